"""Any schema arrives as it was, and any value that it takes too."""

import contextlib
from dataclasses import fields
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykarabo.data import (
    AccessLevel,
    AccessMode,
    CommandInfo,
    Encoding,
    OutputInfo,
    ParameterInfo,
    PropertyInfo,
    Quality,
    Schema,
    State,
    ValueType,
    decode,
    encode,
    same,
)
from pykarabo.errors import BadInputError

_TEXT = st.text(max_size=5)
_NUMBER = st.none() | st.floats(allow_nan=False) | st.integers(-9, 9)
_SIZE = st.none() | st.integers(0, 9)
_AMOUNT = st.floats(0, 9)
_STATES = st.none() | st.frozensets(st.sampled_from(State), max_size=3)
_VALUE: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    _TEXT,
    st.binary(max_size=5),
    st.lists(_TEXT, max_size=3),
    st.dictionaries(_TEXT, st.integers(-9, 9), max_size=2),
)
_ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "description": _TEXT,
    "label": _TEXT,
    "unit": st.sampled_from(["", "mm", "degC"]),
    "access_mode": st.sampled_from(AccessMode),
    "access_level": st.sampled_from(AccessLevel),
    "default": _VALUE,
    "options": st.none() | st.lists(_VALUE, max_size=3).map(tuple),
    "option_names": st.lists(_TEXT, max_size=3).map(tuple),
    "regex": st.none() | _TEXT,
    "allowed_states": _STATES,
    "dtype": st.sampled_from([None, "uint16"]),
    "shape": st.none() | st.lists(_SIZE, max_size=3).map(tuple),
    "encoding": st.sampled_from(["", *Encoding]).map(str),
    "tags": st.lists(_TEXT, max_size=2).map(tuple),
    "alias": st.none() | _TEXT,
    "acknowledge": st.lists(_TEXT, max_size=2).map(tuple),
    "limit_info": st.dictionaries(_TEXT, _TEXT, max_size=2).map(MappingProxyType),
    "rolling_window": st.integers(0, 99),
    "daq_data_type": st.sampled_from(["", "train", "pulse"]),
    "display_type": _TEXT,
    "secret": st.booleans(),
    "node_kind": st.sampled_from(["", "choice", "list"]),
    **dict.fromkeys(("required", "nullable", "archive", "daq", "node"), st.booleans()),
    **dict.fromkeys(("min_size", "max_size"), _SIZE),
    **dict.fromkeys(
        ("hysteresis", "alarm_delay", "deadband", "relative_deadband", "archive_interval"), _AMOUNT
    ),
    **{
        f"{name}{end}": _NUMBER
        for name in ("warn", "alarm", "warn_variance", "alarm_variance")
        for end in ("_low", "_high")
    },
    **dict.fromkeys(("minimum", "maximum", "minimum_exclusive", "maximum_exclusive"), _NUMBER),
}


def _info_of(attributes: dict[str, Any]) -> PropertyInfo:
    return PropertyInfo(**attributes)


_INFO: st.SearchStrategy[PropertyInfo] = st.deferred(
    lambda: st.fixed_dictionaries(
        {"key": st.text(min_size=1, max_size=5), "value_type": st.sampled_from(ValueType)},
        optional={**_ATTRIBUTES, "rows": st.lists(_INFO, max_size=2).map(tuple)},
    ).map(_info_of)
)
_COMMAND = st.builds(
    CommandInfo,
    name=_TEXT,
    label=_TEXT,
    parameters=st.lists(
        st.builds(
            ParameterInfo,
            name=_TEXT,
            value_type=st.sampled_from(ValueType),
            required=st.booleans(),
            default=_VALUE,
            nullable=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    allowed_states=_STATES,
    idempotent=st.booleans(),
)
_OUTPUT = st.builds(OutputInfo, name=_TEXT, properties=st.lists(_INFO, max_size=2).map(tuple))


def _by(items: list[Any], name: str) -> Any:
    return MappingProxyType({getattr(item, name): item for item in items})


_SCHEMA = st.builds(
    lambda properties, commands, outputs: Schema(
        "Any", "what", _by(properties, "key"), _by(commands, "name"), _by(outputs, "name")
    ),
    st.lists(_INFO, max_size=3),
    st.lists(_COMMAND, max_size=2),
    st.lists(_OUTPUT, max_size=2),
)


def test_every_attribute_is_made_here() -> None:
    made = {"key", "value_type", "rows", *_ATTRIBUTES}
    assert made == {item.name for item in fields(PropertyInfo)}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_SCHEMA)
def test_schema_arrives_as_it_was(schema: Schema) -> None:
    arrived = Schema.from_wire(decode(encode(schema.to_wire())))
    assert arrived == schema
    assert arrived.version == schema.version
    assert encode(arrived.to_wire()) == encode(schema.to_wire())


_FREE = [
    PropertyInfo("x", kind, nullable=True)
    for kind in ValueType
    if kind not in (ValueType.ANY, ValueType.NONE)
]
_GIVEN = st.one_of(
    _VALUE,
    st.sampled_from(State),
    st.datetimes(timezones=st.timezones()),
    st.lists(st.integers(0, 9) | st.floats(allow_nan=False) | st.booleans(), max_size=3),
    st.builds(np.ones, st.lists(st.integers(0, 3), max_size=3).map(tuple)),
    st.sampled_from(["bool", "int8", "uint16", "float32", "complex64"]).map(
        lambda dtype: np.ones((2, 3), dtype)
    ),
)


def _taken(value: Any) -> list[tuple[PropertyInfo, Any]]:
    """Return what the properties that take a value make of it."""
    taken: list[tuple[PropertyInfo, Any]] = []
    for info in _FREE:
        with contextlib.suppress(BadInputError):
            taken.append((info, info.validate(value)))
    return taken


@given(_GIVEN)
def test_value_that_is_taken_arrives_as_it_was(value: Any) -> None:
    for info, plain in _taken(value):
        arrived = decode(encode(plain))
        assert info.quality_of(plain) is Quality.VALID
        assert same(info.validate(arrived), plain)
        assert same(arrived, _unlisted(plain))


def _unlisted(plain: Any) -> Any:
    """Return a value as it arrives: enumerations are the texts that they are."""
    return str(plain) if isinstance(plain, State) else plain
