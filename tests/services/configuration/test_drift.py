"""A class that has changed since a configuration was kept: nothing is dropped silently."""

from typing import Any

import numpy as np
import pytest

from pykarabo.data import (
    Array,
    ChoiceOfNodes,
    Configurable,
    Float64,
    Int32,
    ListOfNodes,
    Node,
    Schema,
    String,
    Table,
    VectorFloat64,
)
from pykarabo_services.configuration.drift import DriftKind, differences, drifts_between, fit


class Axis(Configurable):
    speed = Float64(unit="mm/s", default=1.0)


def _class(**members: Any) -> Schema:
    made: type[Configurable] = type("Motor", (Configurable,), {"__doc__": "", **members})
    return made.schema()


class Stop(Configurable):
    gap = Float64(unit="mm")
    name = String()


class StopInCm(Configurable):
    gap = Float64(unit="cm")
    name = String()


class StopWithout(Configurable):
    gap = Float64()
    name = String()


WAS = _class(
    velocity=Float64(unit="mm/s", default=5.0),
    size=Float64(unit="mm", maximum=10.0),
    mode=String(default="slow", options=["slow", "fast"]),
    old=Int32(),
    count=Int32(default=3),
)


def _now(**members: Any) -> Schema:
    same = {
        "velocity": Float64(unit="mm/s", default=5.0),
        "size": Float64(unit="mm", maximum=10.0),
        "mode": String(default="slow", options=["slow", "fast"]),
        "old": Int32(),
        "count": Int32(default=3),
    }
    return _class(**{name: item for name, item in (same | members).items() if item is not None})


def test_an_unchanged_class_has_no_drift() -> None:
    fitted = fit(WAS, {"velocity": 1.0, "old": 2}, _now())
    assert fitted.drifts == ()
    assert fitted.values == {"velocity": 1.0, "old": 2}


def test_what_is_gone_new_and_changed_is_told_key_by_key() -> None:
    now = _now(old=None, more=Int32(), size=Float64(unit="cm", maximum=2.0))
    drifts = drifts_between(WAS, now)
    assert {key: drift.kind for key, drift in drifts.items()} == {
        "size": DriftKind.CHANGED,
        "old": DriftKind.GONE,
        "more": DriftKind.NEW,
    }
    assert drifts["size"].changes == {"unit": ("mm", "cm"), "maximum": (10.0, 2.0)}


@pytest.mark.parametrize(
    ("values", "now", "key", "told"),
    [
        ({"old": 5}, {"old": None}, "old", "can no longer be configured"),
        ({"old": 5}, {"old": Int32(read_only=True)}, "old", "can no longer be configured"),
        ({"old": 5}, {"old": Int32(maximum=4)}, "old", "4"),
        ({"old": 5}, {"old": Int32(secret=True)}, "old", "secret today"),
        ({"old": 5}, {"old": String()}, "old", "string"),
        ({"mode": "fast"}, {"mode": String(options=["slow"])}, "mode", "slow"),
        ({"size": 5.0}, {"size": Float64(unit="s")}, "size", "convert"),
        ({"size": 5.0}, {"size": Float64()}, "size", "no unit"),
        ({"size": 5.0}, {"size": Float64(unit="cm", maximum=0.1)}, "size", "0.1"),
        ({}, {"more": Int32(required=True)}, "more", "must be configured today"),
        ({}, {"count": Int32(default=1, maximum=2)}, "count", "default 3"),
    ],
)
def test_what_the_class_no_longer_takes_is_a_conflict_until_somebody_leaves_it_out(
    values: dict[str, Any], now: dict[str, Any], key: str, told: str
) -> None:
    fitted = fit(WAS, values, _now(**now))
    assert [drift.key for drift in fitted.conflicts] == [key]
    assert told in fitted.conflicts[0].told
    assert key not in fitted.values
    assert fitted.conflicts[0].to_plain()["conflict"] is True
    without = fit(WAS, values, _now(**now), without=[key])
    assert without.conflicts == ()
    assert without.left_out == tuple(values)


def test_numbers_in_another_unit_are_converted_and_it_is_told() -> None:
    fitted = fit(WAS, {"size": 5.0}, _now(size=Float64(unit="cm")))
    assert fitted.values == {"size": 0.5}
    (drift,) = fitted.drifts
    assert (drift.conflict, drift.told) == (False, "it is 0.5 cm instead")


def test_what_was_at_a_default_that_is_another_one_now_is_given() -> None:
    fitted = fit(WAS, {}, _now(velocity=Float64(unit="cm/s", default=9.0), count=Int32(default=4)))
    assert fitted.values == {"velocity": 0.5, "count": 3}
    assert all("at its default" in drift.told for drift in fitted.drifts)


def test_nodes_that_were_chosen_and_listed_are_compared_too() -> None:
    was = _class(axes=ListOfNodes(Axis), drive=ChoiceOfNodes({"a": Axis, "b": Axis}))
    values = {"axes": {"x": {}}, "axes.x.speed": 2.0, "drive": {"b": {}}, "drive.b.speed": 3.0}
    assert fit(was, values, was).values == values
    now = _class(axes=ListOfNodes(Axis), drive=ChoiceOfNodes({"a": Axis}))
    fitted = fit(was, values, now)
    assert {drift.key for drift in fitted.conflicts} >= {"drive.b.speed"}


def test_numbers_in_tables_and_arrays_are_converted_too() -> None:
    was = _class(
        table=Table(Stop), image=Array(dtype="float64", shape=(None, 2), unit="mm"), free=Array()
    )
    now = _class(
        table=Table(StopInCm),
        image=Array(dtype="float64", shape=(None, 2), unit="cm"),
        free=Array(),
    )
    table = {"gap": np.array([5.0, 10.0]), "name": ["a", "b"]}
    values = {"table": table, "image": np.array([[20.0, 30.0]]), "free": np.array([1.0])}
    fitted = fit(was, values, now)
    assert fitted.conflicts == ()
    assert list(fitted.values["table"]["gap"]) == [0.5, 1.0]
    assert list(fitted.values["table"]["name"]) == ["a", "b"]
    assert fitted.values["image"].tolist() == [[2.0, 3.0]]
    assert fitted.values["free"].tolist() == [1.0]
    drift = {item.key: item for item in fitted.drifts}
    assert drift["table"].changes == {"gap.unit": ("mm", "cm")}
    assert "instead" in drift["table"].told
    assert "instead" in drift["image"].told
    assert differences((was, values), (now, fitted.values)) == []
    assert [item.key for item in differences((was, values), (now, values))] == ["table", "image"]
    unitless = fit(was, values, _class(table=Table(StopWithout)))
    (conflict,) = (item for item in unitless.conflicts if item.key == "table")
    assert "'table.gap' was kept in 'mm' and is now in 'no unit'" in conflict.told


def test_columns_that_have_changed_are_told_one_by_one() -> None:
    found = drifts_between(_class(t=ListOfNodes(Stop)), _class(t=ListOfNodes(Axis)))
    assert found["t"].to_plain()["changes"] == {
        "gap": ["there", "gone"],
        "name": ["there", "gone"],
        "speed": ["not there", "new"],
    }


@pytest.mark.parametrize(
    "now", [ChoiceOfNodes({"a": Axis}), ListOfNodes(Axis), Node(Axis), String(), None]
)
def test_a_choice_that_is_no_more_is_a_conflict_without_values_below_it(now: Any) -> None:
    was = _class(drive=ChoiceOfNodes({"a": Axis, "b": Axis}))
    fitted = fit(was, {"drive": {"b": {}}}, _class(**({} if now is None else {"drive": now})))
    assert [drift.key for drift in fitted.conflicts] == ["drive"]
    assert fitted.values == {}


def test_equal_numbers_in_two_units_are_no_difference() -> None:
    was = _class(v=VectorFloat64(unit="mm"), i=Int32(unit="mm"), f=Float64(unit="mm"))
    now = _class(v=VectorFloat64(unit="cm"), i=Int32(unit="um"), f=Float64(unit="s"))
    values = {"v": np.array([1.0, 7.0]), "i": 3}
    other = {"v": np.array([0.1, 0.7]), "i": 3000}
    assert [item.key for item in differences((was, values), (now, other))] == ["f"]
    assert len(differences((was, values), (now, values))) == 3


def test_two_configurations_are_compared_with_their_defaults() -> None:
    now = _now(velocity=Float64(unit="cm/s", default=0.5), count=Int32(default=4), old=None)
    found = differences((WAS, {"size": 1.0}), (now, {"mode": "fast"}))
    assert [(item.key, item.left, item.right) for item in found] == [
        ("size", 1.0, 0.0),
        ("mode", "slow", "fast"),
        ("old", 0, None),
        ("count", 3, 4),
    ]
    assert found[0].left_unit == "mm"


def test_secrets_are_not_compared() -> None:
    schema = _class(pin=String(secret=True))
    assert differences((schema, {"pin": "1"}), (schema, {"pin": "2"})) == []
