"""A Hash is an ordered tree: whatever is put in at a path is found there, with its attributes."""

from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Hash, decode, encode

_NAMES: Final = st.sampled_from(["a", "b", "c", "long name"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map(".".join)
_LEAVES = st.none() | st.integers(-9, 9) | st.floats() | st.text(max_size=3)
_STEPS = st.lists(st.tuples(_PATHS, _LEAVES), max_size=8)


def _built(steps: list[tuple[str, Any]]) -> Hash:
    made = Hash()
    for path, value in steps:
        made[path] = value
    return made


@given(_STEPS, _PATHS, _LEAVES)
def test_value_is_found_where_it_was_put(
    steps: list[tuple[str, Any]], path: str, value: Any
) -> None:
    made = _built(steps)
    made[path] = value
    assert path in made
    assert Hash({"it": made[path]}) == Hash({"it": value})


@given(_STEPS)
def test_hash_is_equal_to_its_twin_and_to_what_travelled(steps: list[tuple[str, Any]]) -> None:
    made = _built(steps)
    assert made == _built(steps)
    assert decode(encode(made)) == made


@given(_STEPS, _PATHS)
def test_deleted_path_is_gone_and_another_is_an_error(
    steps: list[tuple[str, Any]], path: str
) -> None:
    made = _built(steps)
    made[path] = 1
    del made[path]
    assert path not in made
    with pytest.raises(KeyError):
        del made[path]
    with pytest.raises(KeyError):
        made[path]


def test_attributes_travel_and_count_in_comparison() -> None:
    made = Hash()
    made.set("a.b", np.arange(3), unit="mm", limits=[1, 2])
    back = decode(encode(made))
    assert back.attributes("a.b") == {"unit": "mm", "limits": [1, 2]}
    assert back == made
    back.attributes("a.b")["unit"] = "m"
    assert back != made


def test_order_is_that_of_insertion_also_after_the_journey() -> None:
    made = Hash({"z": 1, "a": {"y": 2, "b": 3}, "m": 4})
    back = decode(encode(made))
    assert list(back) == ["z", "a", "m"]
    assert list(back["a"]) == ["y", "b"]


@pytest.mark.parametrize("path", ["a.b.c", "x", "a.", ".a", "", "."])
def test_path_to_nowhere_is_a_key_error(path: str) -> None:
    with pytest.raises(KeyError):
        Hash({"a": {"b": 1}})[path]
