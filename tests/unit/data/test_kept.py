"""What is kept of a configuration, and what a configuration of a class may be."""

from typing import Any

import numpy as np
import pytest

from pykarabo.data import (
    ChoiceOfNodes,
    Configurable,
    Float64,
    Int32,
    ListOfNodes,
    Node,
    String,
    VectorFloat64,
    checked_configuration,
    class_property,
    filled_configuration,
    kept_configuration,
    with_members,
)
from pykarabo.errors import BadInputError


class Gap(Configurable):
    width = Float64(unit="mm", default=1.0)


class Linear(Configurable):
    pitch = Float64(unit="mm", default=5.0)


class Rotary(Configurable):
    ratio = Int32(default=10)
    port = String(required=True)


class Axis(Configurable):
    speed = Float64(unit="mm/s", default=1.0)
    gap = Node(Gap)


class Stage(Configurable):
    name = String()
    limit = Float64(unit="mm", default=2.0, minimum=0.0)
    steps = VectorFloat64(default=[1.0, 2.0])
    secret = String(secret=True)
    count = Int32(read_only=True)
    gap = Node(Gap)
    drive = ChoiceOfNodes({"linear": Linear, "rotary": Rotary})
    axes = ListOfNodes(Axis)


def _checked(configuration: dict[str, Any]) -> tuple[dict[str, Any], list[BadInputError]]:
    errors: list[BadInputError] = []
    return checked_configuration(Stage.schema(), configuration, "S/1", errors=errors), errors


def _kept(configuration: dict[str, Any]) -> dict[str, Any]:
    stage = Stage(configuration)
    values = {key: item.value for key, item in stage._values.items()}
    return kept_configuration(Stage.schema(), stage.schema(), values).values


def test_what_is_at_its_default_is_not_kept() -> None:
    assert _kept({"steps": [1.0, 2.0], "limit": "2 mm"}) == {}
    kept = _kept({"limit": "0.5 cm", "gap": {"width": 3.0}, "steps": [1.0]})
    assert kept["limit"] == 5.0
    assert kept["gap.width"] == 3.0
    assert np.array_equal(kept["steps"], [1.0])


def test_nodes_that_a_configuration_names_are_kept_and_so_are_required_values() -> None:
    given = {"drive": {"rotary": {"port": ""}}, "axes": {"x": {}, "y": {"speed": 4.0}}}
    kept = _kept(given)
    assert kept == {
        "drive": {"rotary": {}},
        "drive.rotary.port": "",
        "axes": {"x": {}, "y": {}},
        "axes.y.speed": 4.0,
    }
    assert _kept(kept) == kept


def test_secrets_and_what_was_injected_are_left_out_and_named() -> None:
    stage = Stage({"secret": "x"})
    cls = with_members(type(stage), {"more": Int32(default=1)})
    values = {key: item.value for key, item in stage._values.items()} | {"more": 3}
    kept = kept_configuration(Stage.schema(), cls.schema(), values)
    assert kept.values == {}
    assert kept.left_out == {
        "secret": "it is secret",
        "more": "its class does not declare it",
    }


def test_a_given_configuration_becomes_plain_values_by_dotted_key() -> None:
    found, errors = _checked(
        {
            "limit": "1 cm",
            "gap.width": 2,
            "axes": [{"gap": {"width": "1 cm"}}],
            "drive": "linear",
        }
    )
    assert errors == []
    assert found == {
        "limit": 10.0,
        "gap.width": 2.0,
        "axes": {"item0": {}},
        "axes.item0.gap.width": 10.0,
        "drive": {"linear": {}},
    }
    filled = filled_configuration(Stage.schema(), found)
    assert filled["axes.item0.speed"] == 1.0
    assert filled["drive.linear.pitch"] == 5.0
    assert not any(key.startswith("drive.rotary") for key in filled)


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ({"limi": 1}, "limi", "did you mean 'limit'"),
        ({"gap": {"widht": 1}}, "gap.widht", "did you mean 'gap.width'"),
        ({"axes": {"x": {"sped": 1}}}, "axes.x.sped", "did you mean 'axes.x.speed'"),
        ({"drive": {"rotory": {}}}, "drive.rotory", "did you mean 'drive.rotary'"),
        ({"limit": -1}, "limit", "0"),
        ({"limit": "3 s"}, "limit", "mm"),
        ({"count": 1}, "count", "leave it out"),
        ({"gap": 3}, "gap", "map of what is below"),
        ({"gap": {"width": 1}, "gap.width": 2}, "gap.width", "once"),
        ({"drive": {"rotary": {}}}, "drive.rotary.port", "must be configured"),
        ({"drive": "linear", "drive.rotary.port": "a"}, "drive", "linear and rotary"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(
    given: dict[str, Any], key: str, words: str
) -> None:
    _found, errors = _checked(given)
    assert [error.key for error in errors] == [key]
    assert words in str(errors[0])


def test_a_class_tells_of_keys_below_the_nodes_of_a_list() -> None:
    schema = Stage.schema()
    found = class_property(schema, "axes.any.gap.width")
    assert found is not None
    assert found.unit == "mm"
    group = class_property(schema, "axes.any")
    assert group is not None
    assert group.node
    assert class_property(schema, "axes.any.no") is None
    assert class_property(schema, "axes.not a name") is None
    assert class_property(schema, "no.such") is None
