"""A Hash is an ordered tree: whatever is put in at a path is found there, with its attributes."""

from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import (
    Configurable,
    Float64,
    Hash,
    Node,
    Schema,
    String,
    Timestamp,
    decode,
    encode,
    filter_by_tags,
    has_changes,
    same,
)
from pykarabo.errors import InvalidNameError, WrongTypeError
from tests.unit.data.values import hashes

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


# -- attributes by path ----------------------------------------------------------------------


def test_attributes_are_reached_by_path_and_name() -> None:
    made = Hash("a.b", 1)
    made["a.b", "unit"] = "mm"
    assert made["a.b", "unit"] == "mm"
    assert made["a.b", ...] == {"unit": "mm"}
    places: list[Any] = [("a.b", "unit"), ("a.b", "label"), ("x", "unit"), ("a", "b", "c"), 5]
    assert [place in made for place in places] == [True, False, False, False, False]
    made["a.b", ...] = {"label": "B"}
    assert made.attributes("a.b") == {"label": "B"}
    del made["a.b", "label"]
    assert made["a.b", ...] == {}
    made["a.b", "x"] = 1
    del made["a.b", ...]
    assert made["a.b", ...] == {}
    with pytest.raises(KeyError):
        made["a.b", "gone"]
    with pytest.raises(KeyError):
        made["nowhere", "unit"] = 1


@pytest.mark.parametrize(
    "made",
    [
        Hash({"a": 1, "b": {"c": 2}}),
        Hash([("a", 1), ("b.c", 2)]),
        Hash("a", 1, "b.c", 2),
        Hash(Hash({"a": 1, "b": {"c": 2}})),
        Hash.from_flat({"a": 1, "b.c": 2}),
    ],
)
def test_hash_is_made_of_maps_pairs_and_paths_with_values(made: Hash) -> None:
    assert made == Hash({"a": 1, "b": {"c": 2}})


@pytest.mark.parametrize("values", [("a",), (1,), ("a", 1, "b"), (1, 2), ([("a", 1, 2)],)])
def test_hash_of_anything_else_is_refused_with_what_would_do(values: tuple[Any, ...]) -> None:
    with pytest.raises(WrongTypeError, match="paths and values in turn"):
        Hash(*values)


def test_copy_of_a_hash_has_attributes_of_its_own() -> None:
    made = Hash()
    made.set("a", 1, unit="mm")
    copied = Hash(made)
    copied["a", "unit"] = "m"
    assert made["a", "unit"] == "mm"


def _described() -> Hash:
    made = Hash({"a": {"b": 1, "c": Hash()}, "d": [1]})
    made.set("a.b", 1, unit="mm")
    return made


def test_leaves_come_with_path_and_attributes_depth_first() -> None:
    assert list(_described().leaves()) == [
        ("a.b", 1, {"unit": "mm"}),
        ("a.c", Hash(), {}),
        ("d", [1], {}),
    ]
    assert list(_described().paths(intermediate=True)) == ["a", "a.b", "a.c", "d"]
    assert _described().flatten() == {"a.b": 1, "a.c": Hash(), "d": [1]}


def test_two_leaves_with_one_path_are_not_flattened_into_one() -> None:
    made = Hash({"a": {"b": 1}})
    made.set_element("a.b", 2, {})
    with pytest.raises(InvalidNameError, match=r"'a\.b'"):
        made.flatten()


# -- merge, subtract, compare ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("replace", "attributes"), [(False, {"unit": "mm", "label": "B"}), (True, {"label": "B"})]
)
def test_merge_adds_or_replaces_attributes(replace: bool, attributes: dict[str, Any]) -> None:
    made, other = _described(), Hash()
    other.set("a.b", 5, label="B")
    other["new.leaf"] = [1]
    made.merge(other, replace_attributes=replace)
    assert made["a.b"] == 5
    assert made.attributes("a.b") == attributes
    other["new.leaf"].append(2)
    assert made["new.leaf"] == [1]


@given(_STEPS, _STEPS)
def test_subtracted_paths_are_gone_and_all_others_stay(
    steps: list[tuple[str, Any]], others: list[tuple[str, Any]]
) -> None:
    made, other = _built(steps), _built(others)
    before = made.flatten()
    made.subtract(other)
    left = made.flatten()
    assert all(same(left[path], before[path]) for path in left)
    assert not left.keys() & other.flatten().keys()


def test_subtract_can_spare_what_has_another_value() -> None:
    made = Hash({"a": {"b": 1, "c": float("nan")}, "d": 3})
    made.subtract(Hash({"a": {"b": 2, "c": float("nan")}, "d": 3}), only_same=True)
    assert made == Hash({"a": {"b": 1}})


@given(hashes())
def test_deep_copy_is_equal_and_has_no_difference(value: Hash) -> None:
    copied = value.deepcopy()
    assert copied == value
    assert copied.similar(value)
    assert copied.equals(value, order=False)
    assert not has_changes(value, copied)


def test_order_and_attributes_count_unless_told_otherwise() -> None:
    left, right = Hash("a", 1, "b", 2), Hash("b", 2, "a", 1)
    assert left != right
    assert left.equals(right, order=False)
    right["a", "unit"] = "mm"
    assert not left.equals(right, order=False)
    assert left.equals(right, order=False, attributes=False)


def test_similar_trees_have_the_same_keys_and_types() -> None:
    assert Hash({"a": {"b": 1}}).similar(Hash({"a": {"b": 7}}))
    assert not Hash({"a": {"b": 1}}).similar(Hash({"a": {"b": 1.0}}))
    assert not Hash({"a": {"b": 1}}).similar(Hash({"a": {"c": 1}}))


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        (1.0, 1.0 + 1e-12, False),
        (1.0, 1.0 + 1e-6, True),
        (0.1 + 0.2, 0.3, False),
        (1, 1.0, False),
        (1, True, True),
        (2**63, 2**63 + 1, False),
        (5, 6, True),
        (float("nan"), float("nan"), False),
        (float("nan"), 1.0, True),
        (float("inf"), float("inf"), False),
        (float("inf"), -float("inf"), True),
        (complex(1, float("nan")), complex(1, float("nan")), False),
        (1j, 1j + 1e-12, False),
        (np.float32(0.5), 0.5, False),
        (np.array([1.0, np.nan]), np.array([1.0 + 1e-12, np.nan]), False),
        (np.array([1.0]), np.array([1.1]), True),
        (np.array([1.0]), np.array([np.inf]), True),
        (np.array([1.0]), np.array([1.0, 2.0]), True),
        (np.array([1]), np.array([True]), True),
        (np.array([0], np.uint8), np.array([255], np.uint8), True),
        (np.array([1], np.int8), np.array([1], np.uint64), False),
        (np.array([1.0]), [1.0], True),
        ([1.0, "a"], [1.0, "a"], False),
        ([1.0], [1.0, 2.0], True),
        (Hash("a", 1.0), Hash("a", 1.0 + 1e-12), False),
        (Hash("a", 1.0), Hash("b", 1.0), True),
        (Timestamp(1, 2), Timestamp(1, 3), True),
        ("a", "b", True),
        (None, 0, True),
        (Schema("A"), Schema("A"), False),
        (Schema("A"), Schema("B"), True),
    ],
)
def test_changes_are_told_from_rounding(old: Any, new: Any, changed: bool) -> None:
    assert has_changes(old, new) is changed
    assert has_changes(new, old) is changed


def test_tolerance_is_what_was_asked_for() -> None:
    assert not has_changes(100.0, 100.5, relative=0.01)
    assert not has_changes(0.0, 0.4, absolute=0.5)
    assert has_changes(0.0, 0.6, absolute=0.5)
    assert Hash("a", 1.0).diff(Hash("a", 1.05)) == {"a": (1.0, 1.05)}
    assert Hash("a", 1.0).diff(Hash("a", 1.05), relative=0.1) == {}


def test_diff_names_what_is_missing_on_either_side() -> None:
    assert Hash("a", 1, "b", 2).diff(Hash("b", 3, "c", 4)) == {
        "a": (1, None),
        "b": (2, 3),
        "c": (None, 4),
    }


def test_lists_of_hashes_become_lists_of_dicts() -> None:
    assert Hash("rows", [Hash("a", 1)], "n", 2).to_dict() == {"rows": [{"a": 1}], "n": 2}


def test_printed_tree_shows_types_and_attributes() -> None:
    made = Hash({"motor": {"speed": 1.5}, "rows": [Hash("a", 1)], "trace": np.zeros((2, 3))})
    made["motor.speed", "unit"] = "mm/s"
    made["long"] = "x" * 500
    lines = made.pretty().splitlines()
    assert lines[:5] == [
        "motor",
        "  speed = 1.5  (float)  unit='mm/s'",
        "rows",
        "  [0]",
        "    a = 1  (int)",
    ]
    assert lines[5].endswith("(float64 2 x 3)")
    assert len(lines[6]) < 130


# -- filtering -------------------------------------------------------------------------------


class _Stage(Configurable):
    position = Float64(tags=["motion"])
    name = String()


class _Setup(Configurable):
    speed = Float64(tags=["motion", "fast"])
    label = String(tags=["text"])
    stage = Node(_Stage)


def test_elements_are_chosen_by_the_tags_of_their_properties() -> None:
    values = Hash("speed", 1.0, "label", "x", "stage.position", 2.0, "stage.name", "s", "odd", 1)
    values["stage.position", "unit"] = "mm"
    chosen = filter_by_tags(values, _Setup.schema(), "motion")
    assert list(chosen.paths()) == ["speed", "stage.position"]
    assert chosen["stage.position", "unit"] == "mm"
    assert list(filter_by_tags(values, _Setup.schema(), "text", "fast")) == ["speed", "label"]
    assert not filter_by_tags(values, _Setup.schema(), "none")
