"""Histories as clients have them: moments, columns, and tables."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import pytest
from pyarrow import parquet

from pykarabo.client import History, HistoryGap
from pykarabo.client._history import HistoryRequest, _joined, moment_of
from pykarabo.client._history_files import text_of
from pykarabo.data import Quality, Timestamp
from pykarabo.errors import BadInputError, NotAnOptionError, OutOfRangeError, WrongTypeError

NOW: Final = 1_790_000_000_123_456_789


def hdf5(path: Path) -> Any:
    """Open a file whose members are what they are, not what their type could be."""
    return h5py.File(path)


def history(values: Any, *, start: int = 0, **more: Any) -> History:
    count = len(values)
    columns = {
        "time_ns": np.arange(start, start + count, dtype=np.int64),
        "value": values,
        "quality": np.zeros(count, np.uint8),
        "train_id": np.arange(count, dtype=np.int64),
        "flags": np.zeros(count, np.uint8),
    }
    return History(
        device_id="A", key="x", operator="raw", start_ns=0, end_ns=100, columns=columns, **more
    )


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("now", NOW),
        (Timestamp.from_ns(5), 5),
        (1.5, 1_500_000_000),
        (1_790_000_000, 1_790_000_000 * 10**9),
        (datetime(2026, 3, 1, 12, 0, 0, 7, UTC), 1_772_366_400_000_007_000),
        (datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1))), 1_772_366_400 * 10**9),
    ],
)
def test_moment_is_exact_however_it_is_given(moment: Any, expected: int) -> None:
    assert moment_of(moment, NOW) == expected


@pytest.mark.parametrize("moment", [None, True, [], b"now", float("inf"), float("nan")])
def test_what_is_no_moment_is_refused(moment: Any) -> None:
    with pytest.raises(WrongTypeError, match="is no moment - give text"):
        moment_of(moment, NOW)


@pytest.mark.parametrize("moment", ["9999-12-31", 1e12, -1e11, Timestamp(2**40, 0)])
def test_moment_that_no_archive_can_name_is_told_with_its_argument(moment: Any) -> None:
    with pytest.raises(OutOfRangeError, match=r"'until' is .+ 1678 to 2262 - give 'until' between"):
        moment_of(moment, NOW, "until")


def test_buckets_without_an_operator_are_refused() -> None:
    for operator in (None, "raw"):
        request = HistoryRequest(device_id="A", key="x", every="1min", operator=operator)
        with pytest.raises(BadInputError, match="name an operator too, such as mean"):
            request.arguments  # noqa: B018


def test_points_alone_ask_for_what_a_plot_needs() -> None:
    assert HistoryRequest(device_id="A", key="x").arguments["operator"] == "raw"
    request = HistoryRequest(device_id="A", key="x", points=5, every=0.5)
    assert request.arguments == {"operator": "optimized", "points": 5, "every_ns": 500_000_000}
    with pytest.raises(BadInputError, match="no length of a bucket"):
        HistoryRequest(device_id="A", key="x", every=0, points=5).arguments  # noqa: B018


def test_columns_are_found_by_name_and_times_are_dates() -> None:
    found = history(np.array([1.0, 2.0]))
    assert found["value"].tolist() == found.values.tolist() == [1.0, 2.0]
    assert found.times.dtype == np.dtype("datetime64[ns]")
    assert found.rows()[1].quality is Quality.VALID
    assert repr(found).startswith("<history of A.x from 1970-01-01T00:00:00.000Z")
    with pytest.raises(NotAnOptionError, match="has no column 'mean' - it has time_ns"):
        found["mean"]


def test_pages_of_several_types_become_one_history() -> None:
    gap = HistoryGap(0, 5, "gap", None, "")
    pages = [
        history(np.array([1, 2]), gaps=(gap,)),
        history(np.array(["a"], object), start=2, gaps=(gap, gap._replace(from_ns=3))),
        history(np.empty(0), start=3),
    ]
    found = _joined(pages)
    assert found.values.tolist() == [1, 2, "a"]
    assert found.time_ns.tolist() == [0, 1, 2]
    assert [item.from_ns for item in found.gaps] == [0, 3]


def test_pages_of_integers_and_of_floats_keep_every_digit() -> None:
    pages = [history(np.array([2**53 + 1])), history(np.array([0.5]), start=1)]
    assert _joined(pages).values.tolist() == [2**53 + 1, 0.5]


def test_pandas_table_says_what_it_is_of() -> None:
    table = history(np.array([1.0, 2.0]), unit="mm").to_pandas()
    index: Any = table.index
    assert str(index.tz) == "UTC"
    assert index[1].value == 1
    assert list(table.columns) == ["value", "quality", "train_id", "flags"]
    assert (table.attrs["unit"], table.attrs["device_id"]) == ("mm", "A")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (0.1, "0.1"),
        (2**63, str(2**63)),
        ("a,b", "a,b"),
        (np.array([1, 2]), "[1, 2]"),
        (np.array([1 + 2j, -0.5j]), "[[1.0, 2.0], [-0.0, -0.5]]"),
    ],
)
def test_values_are_text_in_a_table(value: Any, text: str) -> None:
    assert text_of(value) == text


COLUMNS = {
    "floats": ([0.5, None, -1.0], "double", np.float64),
    "integers": ([1, None, -(2**63)], "int64", np.int64),
    "large": ([2**64 - 1, None], "uint64", np.uint64),
    "truths": ([True, None, False], "bool", np.bool_),
}


@pytest.mark.parametrize(("values", "arrow", "dtype"), COLUMNS.values(), ids=COLUMNS)
def test_numbers_with_none_among_them_are_numbers_in_files(
    values: list[Any], arrow: str, dtype: type[np.generic], tmp_path: Path
) -> None:
    found = history(np.array(values, object))
    found.to_parquet(tmp_path / "a.parquet")
    found.to_hdf5(tmp_path / "a.h5")

    column = parquet.read_table(tmp_path / "a.parquet")["value"]
    assert (str(column.type), column.to_pylist()) == (arrow, values)
    with hdf5(tmp_path / "a.h5") as file:
        stored, missing = file["value"][:], file["value_missing"][:]
    assert stored.dtype == dtype
    assert missing.tolist() == [value is None for value in values]
    assert stored[~missing].tolist() == [value for value in values if value is not None]


MIXED = {
    "kinds": ([1, 0.5, "a", None], ["1", "0.5", "a", None]),
    "beyond every integer type": ([-1, 2**64 - 1], ["-1", str(2**64 - 1)]),
    "empty": ([], []),
    "NUL": (["a\0b", "c"], ["a\0b", "c"]),
}


@pytest.mark.parametrize(("values", "texts"), MIXED.values(), ids=MIXED)
def test_what_is_no_column_of_numbers_is_text_in_files(
    values: list[Any], texts: list[str | None], tmp_path: Path
) -> None:
    found = history(np.array(values, object))
    found.to_parquet(tmp_path / "a.parquet")
    found.to_hdf5(tmp_path / "a.h5")

    assert parquet.read_table(tmp_path / "a.parquet")["value"].to_pylist() == texts
    with hdf5(tmp_path / "a.h5") as file:
        stored = file["value"].asstr()[:].tolist()
        if file["value"].attrs["json"]:
            stored = [json.loads(text) for text in stored]
    assert stored == [text or "" for text in texts]
