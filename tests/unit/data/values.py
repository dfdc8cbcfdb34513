"""Strategies for everything that a Hash or a Schema can hold."""

import math
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from pykarabo.data import (
    AccessLevel,
    AccessMode,
    CommandInfo,
    Hash,
    OutputInfo,
    ParameterInfo,
    PropertyInfo,
    Schema,
    State,
    Timestamp,
    ValueType,
)

DTYPES: Final = (
    *("<f8", "<f4", "<f2", ">f8", "|u1", "|i1", "<u2", ">i2", "<i4", ">u4", "<i8", "<u8"),
    *("|b1", "<c16", "<c8", ">c16"),
)
SCALAR_TYPES: Final = (
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32),
    *(np.uint64, np.float16, np.float32, np.float64, np.complex64, np.complex128),
)
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", "\0", "a\0b", "\r\n\t ", "]]>", "<&\"'>", "\uffff", "\ud7ff\U0010ffff", " x ", "µ±∞", "."]
)
KEYS = TEXTS | st.sampled_from(["a", "b/c", "%2F", "..", "$hash", "value", "0"])
INTEGERS = st.integers(-(2**63), 2**64 - 1)


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Return an array of any type and up to four dimensions, with bits of all kinds."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 7]), max_size=4)))
    size = math.prod(shape) * dtype.itemsize
    content = draw(st.binary(min_size=min(size, 64), max_size=min(size, 64)))
    if dtype.kind == "b":
        content = bytes(byte & 1 for byte in content)
    repeated = (content * (size // max(len(content), 1) + 1))[:size]
    return np.frombuffer(repeated, dtype).reshape(shape) if size else np.zeros(shape, dtype)


SCALARS = st.builds(
    lambda kind, number: kind(number),
    st.sampled_from(SCALAR_TYPES),
    st.integers(0, 100),
) | st.sampled_from([np.float32("nan"), np.float64("-inf"), np.complex64(complex("nan+infj"))])
LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | INTEGERS
    | st.floats()
    | st.complex_numbers()
    | TEXTS
    | st.binary(max_size=20)
    | st.builds(Timestamp, st.integers(-(2**40), 2**40), st.integers(0, 10**18 - 1), INTEGERS)
    | arrays()
    | SCALARS
    | st.lists(INTEGERS, max_size=3)
    | st.lists(st.floats(), max_size=3)
    | st.lists(TEXTS, max_size=3)
)


def made_hash(elements: dict[str, tuple[Any, dict[str, Any]]]) -> Hash:
    """Return a Hash of elements with attributes."""
    made = Hash()
    for key, (value, attributes) in elements.items():
        made.set_element(key, value, attributes)
    return made


def hashes_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Hash]:
    """Return Hashes that hold such values, with attributes of such values."""
    attributes: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.dictionaries(
        KEYS, inner, max_size=2
    )
    return st.dictionaries(KEYS, st.tuples(inner, attributes), max_size=3).map(made_hash)


VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | hashes_of(inner)
        | st.lists(hashes_of(inner), max_size=2)
    ),
    max_leaves=12,
)


@st.composite
def hashes(draw: st.DrawFn) -> Hash:
    """Return a Hash whose nodes lie up to eight levels deep."""
    made = draw(hashes_of(VALUES))
    for _ in range(draw(st.integers(0, 7))):
        outer = Hash()
        outer.set_element(draw(KEYS), made, draw(st.dictionaries(KEYS, LEAVES, max_size=1)))
        made = outer
    return made


_NAMES = st.sampled_from(["speed", "motor.speed", "a.b.c", "x_1", "stage", "value"])
_OPTIONAL = st.none() | st.floats(allow_nan=False)
_STATES = st.none() | st.frozensets(st.sampled_from(State), max_size=3)
PROPERTIES = st.builds(
    PropertyInfo,
    _NAMES,
    st.sampled_from(ValueType),
    description=TEXTS,
    unit=TEXTS,
    access_mode=st.sampled_from(AccessMode),
    access_level=st.sampled_from(AccessLevel),
    default=LEAVES,
    minimum=_OPTIONAL,
    alarm_high=_OPTIONAL,
    max_size=st.none() | st.integers(0, 9),
    options=st.none() | st.lists(INTEGERS | TEXTS, max_size=3).map(tuple),
    allowed_states=_STATES,
    shape=st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3).map(tuple),
    tags=st.lists(TEXTS, max_size=2).map(tuple),
    required=st.booleans(),
    limit_info=st.dictionaries(st.sampled_from(["warn_low", "alarm_high"]), TEXTS).map(
        MappingProxyType
    ),
    node=st.booleans(),
)
COMMANDS = st.builds(
    CommandInfo,
    _NAMES,
    description=TEXTS,
    parameters=st.lists(
        st.builds(ParameterInfo, _NAMES, st.sampled_from(ValueType), default=LEAVES), max_size=2
    ).map(tuple),
    allowed_states=_STATES,
    idempotent=st.booleans(),
)
OUTPUTS = st.builds(
    OutputInfo, _NAMES, description=TEXTS, properties=st.lists(PROPERTIES, max_size=2).map(tuple)
)
SCHEMAS = st.builds(
    lambda class_id, properties, commands, outputs: Schema(
        class_id,
        "",
        {info.key: info for info in properties},
        {info.name: info for info in commands},
        {info.name: info for info in outputs},
    ),
    _NAMES,
    st.lists(PROPERTIES, max_size=3),
    st.lists(COMMANDS, max_size=2),
    st.lists(OUTPUTS, max_size=1),
)
