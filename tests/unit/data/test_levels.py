"""Which role is needed to write a property."""

from typing import Any

import pytest

from pykarabo.data import (
    AccessLevel,
    Configurable,
    Int64,
    ListOfNodes,
    PropertyInfo,
    Table,
    ValueType,
    configured_properties,
)


class _Rows(Configurable):
    usual = Int64()
    shown = Int64(access_level=AccessLevel.OBSERVER)


class _Guarded(Configurable):
    usual = Int64()
    gain = Int64(access_level=AccessLevel.EXPERT)


class _All(Configurable):
    plain = Int64()
    shown = Int64(read_only=True)
    open_to_all = Int64(access_level=AccessLevel.OBSERVER)
    guarded = Int64(access_level=AccessLevel.ADMINISTRATOR)
    table = Table(_Rows, access_level=AccessLevel.USER)
    part_guarded = Table(_Guarded)
    more_guarded = Table(_Guarded, access_level=AccessLevel.ADMINISTRATOR)
    axes = ListOfNodes(_Guarded)


@pytest.mark.parametrize(
    ("key", "level"),
    [
        ("plain", AccessLevel.OPERATOR),
        ("shown", AccessLevel.OBSERVER),
        ("open_to_all", AccessLevel.OBSERVER),
        ("guarded", AccessLevel.ADMINISTRATOR),
        ("table", AccessLevel.USER),
        ("part_guarded", AccessLevel.EXPERT),
        ("more_guarded", AccessLevel.ADMINISTRATOR),
        ("axes", AccessLevel.OBSERVER),
    ],
)
def test_level_is_that_of_the_property_or_of_what_it_holds(key: str, level: AccessLevel) -> None:
    info = _All.schema().properties[key]
    assert info.write_level is level
    assert PropertyInfo.from_wire(info.to_wire()).write_level is level
    assert info.node or info.value_type is not ValueType.HASH


@pytest.mark.parametrize(
    ("configuration", "keys"),
    [
        ({}, set()),
        ({"plain": 1, "unknown": 2, "shown": 3}, {"plain"}),
        ({"axes": {"x": {"gain": 1}, "y": {}}}, {"axes.x.gain"}),
        ({"axes.x.gain": 1, "guarded": "no number"}, {"axes.x.gain", "guarded"}),
    ],
)
def test_what_a_configuration_writes_is_known_before_it_is_checked(
    configuration: dict[str, Any], keys: set[str]
) -> None:
    found = configured_properties(_All, configuration, "A/1")
    assert {info.key for info in found} == keys
