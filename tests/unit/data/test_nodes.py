"""A configuration may choose what is below a node; what is made then is plain nodes."""

from typing import Any

import pytest

from pykarabo.data import (
    ChoiceOfNodes,
    Configurable,
    Float64,
    Int32,
    ListOfNodes,
    Node,
    Schema,
    String,
    decode,
    encode,
    with_members,
)
from pykarabo.errors import (
    BadInputError,
    InvalidValuesError,
    NotAnOptionError,
    UnknownPropertyError,
    WrongShapeError,
    WrongTypeError,
)


class _Linear(Configurable):
    """Moves straight."""

    speed = Float64(unit="mm/s", default=1.0, maximum=10.0)


class _Rotary(Configurable):
    speed = Float64(unit="deg/s", default=2.0)
    turns = Int32(required=True)


class _Axis(Configurable):
    name = String(default="an axis")
    stage = ChoiceOfNodes({"linear": _Linear, "rotary": _Rotary})


class _Robot(Configurable):
    stage = ChoiceOfNodes({"linear": _Linear, "rotary": _Rotary})
    axes = ListOfNodes(_Axis, max_size=3)
    plain = Node(_Linear, daq_data_type="train")


class _Strict(Configurable):
    stage = ChoiceOfNodes({"linear": _Linear, "rotary": _Rotary}, required=True)
    axes = ListOfNodes(_Axis, min_size=1)


def _keys(thing: Configurable) -> list[str]:
    return list(thing._values)


def test_without_a_configuration_the_default_is_chosen_and_the_list_is_empty() -> None:
    robot: Any = _Robot()
    assert _keys(robot) == ["stage.linear.speed", "plain.speed"]
    assert (robot.stage.chosen, robot.stage.linear.speed) == ("linear", 1.0)
    assert len(robot.axes) == 0


@pytest.mark.parametrize(
    "configuration",
    [
        {"stage": {"rotary": {"speed": 3.0, "turns": 1}}},
        {"stage.rotary.speed": 3.0, "stage.rotary.turns": 1},
        {"stage": {"rotary": {"speed": 3.0}}, "stage.rotary.turns": 1},
        {"stage": "rotary", "stage.rotary": {"speed": 3.0, "turns": 1}},
        {"stage.rotary": {"turns": 1}, "stage": {"rotary": {"speed": 3.0}}},
    ],
)
def test_choice_is_configured_by_maps_or_by_dotted_keys(configuration: dict[str, Any]) -> None:
    before = repr(configuration)
    robot: Any = _Robot(configuration)
    assert (robot.stage.chosen, robot.stage.speed, robot.stage.turns) == ("rotary", 3.0, 1)
    assert repr(configuration) == before
    robot.stage.speed = 4.0
    assert robot._values["stage.rotary.speed"].value == 4.0
    assert not hasattr(robot.stage, "linear")


def test_list_holds_the_nodes_that_are_configured_in_their_order() -> None:
    robot: Any = _Robot(
        {
            "axes": {"x": {}, "y": {"name": "up", "stage": {"rotary": {"turns": 3}}}},
            "axes.z.stage.linear.speed": 5.0,
        }
    )
    assert robot.axes.names == ("x", "y", "z")
    assert [axis.stage.speed for axis in robot.axes] == [1.0, 2.0, 5.0]
    assert robot.axes[1].name == robot.axes["y"].name == robot.axes.y.name == "up"
    assert "axes.y.stage.rotary.turns" in _keys(robot)
    with pytest.raises(AttributeError):
        _ = robot.axes.w


def test_nodes_of_a_list_without_names_are_numbered() -> None:
    robot: Any = _Robot({"axes": [{"name": "a"}, {"stage": "linear"}]})
    assert robot.axes.names == ("item0", "item1")
    assert robot.axes[0].name == "a"


def test_values_configure_an_object_that_is_as_the_one_they_are_from() -> None:
    first = _Robot({"stage": {"rotary": {"turns": 2}}, "axes": [{"name": "a"}, {}]})
    second = _Robot({key: value.value for key, value in first._values.items()})
    assert first.schema() == second.schema()
    assert first._values == second._values


@pytest.mark.parametrize(
    ("configuration", "kind", "reason"),
    [
        ({"stage": "cubic"}, NotAnOptionError, "linear, rotary"),
        ({"stage": {"cubic": {}}}, NotAnOptionError, "cubic"),
        ({"stage": {"linear": {}, "rotary": {"turns": 1}}}, NotAnOptionError, "must be one"),
        ({"stage.linear.speed": 1, "stage.rotary.turns": 1}, NotAnOptionError, "must be one"),
        ({"stage": 3}, NotAnOptionError, "3"),
        ({"stage": {"rotary": {}}}, BadInputError, "stage.rotary.turns"),
        ({"stage": {"linear": {"turns": 1}}}, UnknownPropertyError, "stage.linear.turns"),
        ({"axes": [{}] * 4}, WrongShapeError, "0 to 3"),
        ({"axes": 3}, WrongTypeError, "axes"),
        ({"axes": {"1": {}}}, WrongTypeError, "letters"),
        ({"axes": {"x": 1}}, WrongTypeError, "axes"),
        ({"axes": {"x": {"stage": "cubic"}}}, NotAnOptionError, r"axes\.x\.stage"),
        ({"plain": 3}, BadInputError, "plain"),
        ({"plain": {"speed": 1}, "plain.speed": 2}, BadInputError, "configured twice"),
        ({"stage": {"linear": {"speed": 1}}, "stage.linear.speed": 2}, BadInputError, "twice"),
    ],
)
def test_configuration_that_chooses_nothing_there_is_refused(
    configuration: dict[str, Any], kind: type[BadInputError], reason: str
) -> None:
    with pytest.raises(kind, match=reason) as caught:
        _Robot(configuration)
    assert caught.value.remedy


def test_choice_and_list_may_be_required() -> None:
    with pytest.raises(NotAnOptionError, match="stage"):
        _Strict({"axes": [{}]})
    with pytest.raises(WrongShapeError, match="axes"):
        _Strict({"stage": "linear"})
    assert _keys(_Strict({"stage": "linear", "axes": [{}]}))


def test_class_tells_what_can_be_chosen_and_listed() -> None:
    schema = Schema.from_wire(decode(encode(_Robot.schema().to_wire())))
    assert schema == _Robot.schema()
    stage, axes = schema.properties["stage"], schema.properties["axes"]
    assert (stage.node, stage.node_kind, stage.options) == (True, "choice", ("linear", "rotary"))
    assert stage.default == "linear"
    assert (axes.node_kind, axes.max_size) == ("list", 3)
    assert [row.key for row in axes.rows][:3] == ["name", "stage", "stage.linear"]
    assert schema.properties["plain"].daq_data_type == "train"
    assert {"stage.linear.speed", "stage.rotary.speed"} <= schema.properties.keys()


def test_objects_of_a_class_choose_independently() -> None:
    first, second = _Robot({"stage": "linear"}), _Robot({"stage.rotary.turns": 1})
    assert _keys(first) != _keys(second)
    assert {"stage.linear.speed", "stage.rotary.speed"} <= _Robot.schema().properties.keys()


def _become(robot: Configurable, cls: type[Configurable]) -> None:
    before = dict(robot._values)
    robot._become(cls, robot._brought_values(cls, (), before, strict=False), before)


def test_more_can_be_injected_beside_and_below_what_was_chosen() -> None:
    robot: Any = _Robot({"axes": {"x": {}}})
    _become(robot, with_members(type(robot), {"extra": Int32()}))
    _become(robot, with_members(type(robot), {"extra": Int32()}, "axes.x"))
    assert (robot.extra, robot.axes.x.extra, robot.stage.speed) == (0, 0, 1.0)
    _become(robot, with_members(type(robot), {"speed": Int32()}, "stage"))
    assert (robot.stage.speed, robot.stage.linear.speed) == (0, 1.0)


# -- all errors at once -------------------------------------------------------------------------


class _Motor(Configurable):
    position = Float64(required=True, maximum=3.0)
    limit = Float64(required=True, nullable=True)
    count = Int32(read_only=True)
    linear = Node(_Linear)


def test_all_that_is_wrong_with_a_configuration_is_told_at_once() -> None:
    with pytest.raises(InvalidValuesError) as caught:
        _Motor({"position": 4, "count": 1, "linear": {"speed": "1 s", "sped": 1}, "cont": 1})
    found = {error["key"]: error["code"] for error in caught.value.details["errors"]}
    assert found == {
        "position": "out_of_range",
        "limit": "missing_value",
        "count": "read_only",
        "linear.speed": "wrong_unit",
        "linear.sped": "unknown_property",
        "cont": "unknown_property",
    }
    assert "'_Motor.limit' must be configured" in caught.value.message
    assert all(error["message"] and error["remedy"] for error in caught.value.details["errors"])


def test_single_error_keeps_its_class() -> None:
    with pytest.raises(BadInputError, match=r"'_Motor\.position' must be configured") as caught:
        _Motor({"limit": None})
    assert caught.value.code == "missing_value"


def test_required_property_may_be_given_as_none_where_it_can_be() -> None:
    assert _Motor({"position": 1, "limit": None}).limit is None
