"""Tables: every cell is checked, every change is a change of the property, nothing is lost."""

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import (
    Bool,
    Configurable,
    Float64,
    Int32,
    PropertyInfo,
    Schema,
    String,
    Table,
    TableValue,
    VectorFloat64,
    decode,
    encode,
    registry,
    same,
)
from pykarabo.errors import (
    BadInputError,
    OutOfRangeError,
    UnknownPropertyError,
    WrongShapeError,
    WrongTypeError,
    WrongUnitError,
)


class _Step(Configurable):
    name = String(default="rest", options=["rest", "move"])
    position = Float64(unit="mm", minimum=-5.0, maximum_exclusive=5.0)
    repeats = Int32(default=1)
    fast = Bool()
    path = VectorFloat64(max_size=3)


class _Scan(Configurable):
    steps = Table(_Step, max_size=6)
    other = Int32()


_ROWS: list[dict[str, Any]] = [
    {"name": "move", "position": 1.5, "repeats": 2, "fast": True, "path": [1.0, 2.0]},
    {"name": "rest", "position": -1.0, "repeats": 3},
    {"position": 4.0},
]


def _scan(*rows: Any) -> _Scan:
    scan = _Scan()
    scan.steps = rows or _ROWS
    return scan


def _positions(table: TableValue) -> list[float]:
    return [row["position"] for row in table]


def test_missing_cells_have_the_default_of_their_column() -> None:
    last = _scan().steps[-1]
    assert last["path"].tolist() == []
    assert {**last, "path": None} == {
        "name": "rest",
        "position": 4.0,
        "repeats": 1,
        "fast": False,
        "path": None,
    }
    assert _scan().steps.default_row()["name"] == "rest"


def test_rows_are_maps_sequences_columns_structured_arrays_or_tables() -> None:
    table = _scan().steps
    tuples = [tuple(row.values()) for row in table]
    for rows in (table, table.array, table.columns, tuples, list(table), iter(tuples)):
        assert _Scan.steps.value(rows) == table  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rows", "kind", "reason"),
    [
        ([{"position": 9}], OutOfRangeError, r"row 0.*'position' cannot be 9 mm"),
        ([{}, {"position": 5.0}], OutOfRangeError, "row 1"),
        ([{"name": "jump"}], BadInputError, "'jump'"),
        ([{"position": "1 s"}], BadInputError, "position"),
        ([{"psition": 1}], UnknownPropertyError, "psition"),
        ([("rest", 1.0)], WrongShapeError, "2 cells"),
        ([{}] * 7, WrongShapeError, "7 rows"),
        ({"position": [1.0], "repeats": [1, 2]}, WrongShapeError, "lengths"),
        ({"position": np.array([1.0, 5.0])}, OutOfRangeError, "row 1"),
        ({"position": 1.0}, WrongShapeError, "lengths"),
        ({"name": "rest"}, WrongShapeError, "list of rows"),
        ({"name": "rest", "position": 1.0}, WrongShapeError, "list of rows"),
        ({"position": registry().Quantity([1.0], "s")}, WrongUnitError, "'position'"),
        ({"position": registry().Quantity(1.0, "mm")}, WrongShapeError, "list of rows"),
        ([3], WrongTypeError, "3"),
        (3, WrongTypeError, "3"),
        ("text", WrongTypeError, "text"),
    ],
)
def test_what_does_not_fit_is_refused_by_table_column_and_row(
    rows: Any, kind: type[BadInputError], reason: str
) -> None:
    scan = _scan()
    before = scan.steps[:]
    with pytest.raises(kind, match=reason) as caught:
        scan.steps = rows
    assert caught.value.key == "steps"
    assert "'_Scan.steps'" in caught.value.message
    assert caught.value.remedy
    assert scan.steps == before


def test_cells_with_units_are_converted() -> None:
    mm = registry().Unit("mm")
    scan = _scan({"position": 0.2 * registry().cm}, {"position": "300 um"})
    assert _positions(scan.steps) == pytest.approx([2.0, 0.3])
    columns: Any = {"position": np.array([0.1, 0.2]) * registry().cm}
    scan.steps = columns
    assert _positions(scan.steps) == pytest.approx([1.0, 2.0])
    assert len(scan.steps.where("position", 1.5 * mm, operator.gt)) == 1
    with pytest.raises(BadInputError, match="position"):
        scan.steps = {"position": np.array([1.0]) * registry().s}


def test_table_is_edited_like_a_list() -> None:
    scan = _scan()
    scan.steps.append({"position": 0.5})
    scan.steps.insert(0, ("move", 0.0, 1, False, []))
    assert _positions(scan.steps) == [0.0, 1.5, -1.0, 4.0, 0.5]
    assert scan.steps.pop()["position"] == 0.5
    assert scan.steps.pop(0)["position"] == 0.0
    scan.steps[1] = {"position": 2.0}
    scan.steps[0, "repeats"] = 9
    assert (scan.steps[0, "repeats"], scan.steps[0]["path"].tolist()) == (9, [1.0, 2.0])
    del scan.steps[2]
    scan.steps.extend([{"position": -2.0}, {"position": -3.0}])
    assert _positions(scan.steps) == [1.5, 2.0, -2.0, -3.0]
    scan.steps[1:3] = [{"position": 3.0}]
    assert _positions(scan.steps) == [1.5, 3.0, -3.0]
    scan.steps[::2] = [{"position": 0.0}, {"position": 0.1}]
    assert _positions(scan.steps) == [0.0, 3.0, 0.1]
    del scan.steps[::2]
    assert scan.steps["position"].tolist() == [3.0]
    scan.steps.clear()
    assert len(scan.steps) == 0
    assert list(scan.steps["name"]) == []


def test_edit_that_is_refused_changes_nothing() -> None:
    scan: Any = _scan()
    before = scan.steps[:]
    for edit in (
        lambda: scan.steps.append({"position": 9}),
        lambda: scan.steps.extend([{}] * 4),
        lambda: operator.setitem(scan.steps, (0, "nme"), "rest"),
        lambda: operator.setitem(scan.steps, slice(None, None, 2), [{}]),
    ):
        with pytest.raises(BadInputError):
            edit()
    for edit in (
        lambda: operator.setitem(scan.steps, 3, {}),
        lambda: operator.delitem(scan.steps, 3),
        lambda: scan.steps.pop(3),
        lambda: scan.steps[3],
    ):
        with pytest.raises(IndexError):
            edit()
    assert scan.steps == before


def test_two_references_to_a_table_never_overwrite_each_other() -> None:
    scan = _scan({"position": 1.0})
    first, second = scan.steps, scan.steps
    first.append({"position": 2.0})
    second.append({"position": 3.0})
    assert _positions(scan.steps) == _positions(first) == [1.0, 2.0, 3.0]


def test_what_is_read_of_a_table_cannot_change_it_unseen() -> None:
    scan = _scan()
    row: Any = scan.steps[0]
    with pytest.raises(TypeError):
        row["position"] = 3.0
    with pytest.raises(ValueError, match="read-only"):
        scan.steps["position"][0] = 3.0
    scan.steps["name"][0] = "rest"
    scan.steps.array["position"][0] = 3.0
    scan.steps.to_rows()[0]["position"] = 3.0
    assert scan.steps[0]["position"] == 1.5
    assert scan.steps[0]["name"] == "move"


def test_array_that_was_given_can_be_changed_without_changing_the_table() -> None:
    given = np.array([1.0, 2.0])
    scan = _Scan({"steps": {"position": given}})
    given[0] = 4.0
    assert _positions(scan.steps) == [1.0, 2.0]


def test_part_of_a_table_is_a_copy() -> None:
    scan = _scan()
    part = scan.steps[:2]
    part.append({"position": 0.0})
    assert (len(part), len(scan.steps)) == (3, 3)
    assert _positions(scan.steps.where("name", "rest")) == [-1.0, 4.0]


def test_array_has_a_field_of_its_type_for_each_column() -> None:
    array = np.asarray(_scan().steps)
    assert array.dtype.names == ("name", "position", "repeats", "fast", "path")
    assert array["repeats"].dtype == np.int32
    assert array["name"].tolist() == ["move", "rest", "rest"]
    assert array["path"][0].tolist() == [1.0, 2.0]


def test_table_that_can_be_none_is_none_without_a_default() -> None:
    class Scan(Configurable):
        steps = Table(_Step, nullable=True)

    assert Scan().steps is None


def test_table_has_as_many_default_rows_as_it_must() -> None:
    class Scan(Configurable):
        steps = Table(_Step, min_size=2)

    scan = Scan()
    assert [row["name"] for row in scan.steps] == ["rest", "rest"]
    with pytest.raises(WrongShapeError):
        scan.steps.pop()


_NUMBERS = st.floats(-5, 5, exclude_max=True)
_ROW = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["rest", "move"]),
        "position": _NUMBERS,
        "repeats": st.integers(-(2**31), 2**31 - 1),
        "fast": st.booleans(),
        "path": st.lists(st.floats(), max_size=3),
    },
)


@given(st.lists(_ROW, max_size=6))
def test_table_and_its_description_arrive_as_they_were(rows: list[dict[str, Any]]) -> None:
    scan = _scan(*rows) if rows else _Scan()
    plain = scan._values["steps"].value
    arrived = decode(encode(plain))
    schema = Schema.from_wire(decode(encode(_Scan.schema().to_wire())))
    info = schema.properties["steps"]
    assert same(arrived, plain)
    assert info == _Scan.schema().properties["steps"]
    assert info.present(arrived) == scan.steps
    assert same(info.validate(arrived), plain)


@given(
    st.lists(_NUMBERS, max_size=6),
    st.lists(
        st.tuples(
            st.sampled_from(["append", "insert", "set", "del", "slice", "delslice"]),
            st.integers(-8, 8),
            st.integers(-8, 8),
            st.sampled_from([None, 1, 2, -1]),
            _NUMBERS,
        ),
        max_size=8,
    ),
)
def test_table_behaves_as_a_list_of_its_rows(
    numbers: list[float], edits: list[tuple[str, int, int, int | None, float]]
) -> None:
    class Free(Configurable):
        steps = Table(_Step)

    free = Free({"steps": [{"position": number} for number in numbers]})
    model = list(numbers)
    for kind, start, stop, step, number in edits:
        place = slice(start, stop, step)
        outcomes = [
            _edited(model, kind, start, place, number),
            _edited(free.steps, kind, start, place, {"position": number}),
        ]
        assert outcomes[0] == outcomes[1]
        assert _positions(free.steps) == model


def _edited(table: Any, kind: str, at: int, place: slice, row: Any) -> bool:
    """Edit; tell whether the edit was refused."""
    try:
        if kind == "append":
            table.append(row)
        elif kind == "insert":
            table.insert(at, row)
        elif kind == "set":
            table[at] = row
        elif kind == "del":
            del table[at]
        elif kind == "slice":
            table[place] = [row]
        else:
            del table[place]
    except (IndexError, ValueError, BadInputError):
        return True
    return False


def test_description_of_a_table_names_its_columns() -> None:
    rows = PropertyInfo.from_wire(_Scan.schema().properties["steps"].to_wire()).rows
    assert [(row.key, row.unit) for row in rows] == [
        ("name", ""),
        ("position", "mm"),
        ("repeats", ""),
        ("fast", ""),
        ("path", ""),
    ]
