"""What a new object of a class holds, and that no two objects hold the same list."""

import pytest

from pykarabo.data import (
    Configurable,
    Float64,
    HashProperty,
    Int32,
    Node,
    Quality,
    VectorFloat64,
    VectorString,
)


class Limits(Configurable):
    high = Float64(default=10.0, warn_high=5.0)


class Thing(Configurable):
    count = Int32(minimum=3)
    names = VectorString()
    values = VectorFloat64(min_size=2)
    tree = HashProperty()
    limits = Node(Limits)


def test_object_begins_with_the_defaults_and_their_quality() -> None:
    thing = Thing()
    assert (thing.count, thing.limits.high) == (3, 10.0)
    assert thing._values["limits.high"].quality is Quality.WARN
    assert "limits" not in thing._values


def test_configuration_of_one_object_is_not_seen_by_the_next() -> None:
    assert Thing({"limits.high": 1}).limits.high == 1.0
    assert Thing().limits.high == 10.0


@pytest.mark.parametrize("name", ["names", "values", "tree"])
def test_objects_do_not_share_what_can_be_changed_in_place(name: str) -> None:
    assert getattr(Thing(), name) is not getattr(Thing(), name)
