"""Values in the audit log are short, do not change afterwards, and differ where the values do."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pykarabo.audit import BEGIN, make_line, shorten, unknown
from pykarabo.data import Hash

_LONGEST_LINE = 20_000
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | arrays.arrays(st.sampled_from(["f8", "i2", "c16", "?"]), arrays.array_shapes(max_side=20))
)
_ANY = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=20), inner, max_size=30)
    ),
    max_leaves=60,
)


def _hash(elements: list[tuple[str, Any]]) -> Hash:
    made = Hash()
    for key, value in elements:
        made.set_element(key, value, {})
    return made


def _told(value: Any) -> Any:
    line, _link = make_line(BEGIN, {"value": shorten(value)})
    return json.loads(line)["value"]


_HASHES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(st.tuples(st.text(".~a", max_size=3), inner), max_size=25).map(_hash),
    max_leaves=40,
)


@given(_HASHES)
def test_keys_of_a_hash_may_hold_dots(value: Any) -> None:
    told = _told(value)
    assert told != {"~": "unshown", "type": "Hash"}
    if isinstance(value, Hash) and 0 < len(value) <= 20:
        assert set(told) == {key for key, _value, _attributes in value.elements()}


class _Strange:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_cannot_be_shown_is_named_and_keeps_nobody_from_it() -> None:
    assert _told(_Strange()) == {"~": "unshown", "type": "_Strange"}
    assert _told({"a": [_Strange()]}) == {"~": "unshown", "type": "dict"}


@given(_ANY)
def test_anything_becomes_a_line_of_bounded_length(value: Any) -> None:
    assert len(json.dumps(_told(value))) < _LONGEST_LINE


@pytest.mark.parametrize(
    "value", [None, True, 3, -(2**70), 1.5, "text", [1, 2], {"a": [1.5]}, [], {}]
)
def test_small_values_are_told_as_they_are(value: Any) -> None:
    assert _told(value) == value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float64(1.5), 1.5),
        (np.arange(3, dtype="uint16"), [0, 1, 2]),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_what_json_has_no_word_for(value: Any, told: Any) -> None:
    assert _told(value) == told


def test_large_values_are_told_by_what_they_are_and_a_digest() -> None:
    array = _told(np.zeros((100, 3), dtype="float32"))
    assert (array["~"], array["dtype"], array["shape"]) == ("array", "float32", [100, 3])
    text = _told("x" * 1_000)
    assert (text["~"], text["start"], text["length"]) == ("text", "x" * 80, 1_000)
    assert _told(b"secret") | {"digest": ""} == {"~": "bytes", "length": 6, "digest": ""}
    assert _told(list(range(50)))["length"] == 50
    assert _told({str(number): number for number in range(50)})["~"] == "map"


@pytest.mark.parametrize(
    "change",
    [
        lambda: (np.arange(100), np.append(np.arange(99), 0)),
        lambda: ("x" * 1_000, "x" * 999 + "y"),
        lambda: (list(range(50)), [*range(49), 0]),
    ],
)
def test_different_values_have_different_digests(change: Any) -> None:
    one, other = change()
    assert _told(one)["digest"] != _told(other)["digest"]
    assert _told(one) == _told(one)


def test_later_changes_do_not_show() -> None:
    array, items = np.zeros(100), [1, [2]]
    before = _told(array), _told(items)
    held = shorten(array), shorten(items)
    array[5] = 1
    items[0] = 7
    line, _link = make_line(BEGIN, {"value": list(held)})
    assert json.loads(line)["value"] == list(before)


def test_what_no_schema_knows_is_told_by_its_type_alone() -> None:
    assert unknown("hunter2") == {"~": "unknown", "type": "str"}
