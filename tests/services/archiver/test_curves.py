"""What a plot draws: steps that hold, and nothing where changes may be missing."""

from typing import Any, Final

import numpy as np
import pytest

from pykarabo.client import History, HistoryGap
from pykarabo.data import PropertyValue, Timestamp
from pykarabo.errors import WrongTypeError
from pykarabo_services.cli._curves import axis_of, curves

END: Final = 100


def history(times: list[int], values: Any, *, gaps: Any = (), before: Any = None) -> History:
    columns = {
        "time_ns": np.array(times, np.int64),
        "value": values if isinstance(values, np.ndarray) else np.array(values, object),
        "quality": np.zeros(len(times), np.uint8),
    }
    known = None if before is None else PropertyValue(before, Timestamp.from_ns(-5))
    return History(
        device_id="A",
        key="x",
        operator="raw",
        start_ns=0,
        end_ns=END,
        columns=columns,
        gaps=tuple(HistoryGap(start, end, "gap", None, "") for start, end in gaps),
        before=known,
    )


def drawn(found: History) -> list[list[tuple[int, float]]]:
    axis = axis_of(found, "value")
    return [
        list(zip(curve.time_ns.tolist(), curve.values.tolist(), strict=True))
        for curve in curves(found, axis.numbers, axis.before)
    ]


def test_value_holds_until_the_next_and_to_the_end() -> None:
    assert drawn(history([10, 30], np.array([1.0, 2.0]))) == [
        [(10, 1.0), (30, 1.0), (30, 2.0), (END, 2.0)]
    ]


def test_constant_is_a_line_though_nothing_was_stored_in_the_span() -> None:
    assert drawn(history([], np.empty(0), before=7.0)) == [[(0, 7.0), (END, 7.0)]]


def test_nothing_is_drawn_in_a_gap_and_the_value_goes_on_after_it() -> None:
    found = history([10, 80], np.array([1.0, 2.0]), gaps=[(20, 50)], before=0.0)
    assert drawn(found) == [
        [(0, 0.0), (10, 0.0), (10, 1.0), (20, 1.0)],
        [(50, 1.0), (80, 1.0), (80, 2.0), (END, 2.0)],
    ]


def test_gap_that_is_not_over_ends_the_line() -> None:
    assert drawn(history([10], np.array([1.0]), gaps=[(40, None)])) == [[(10, 1.0), (40, 1.0)]]


def test_gaps_that_overlap_and_begin_before_the_span_are_one() -> None:
    found = history([60], np.array([1.0]), gaps=[(-10, 30), (20, 50)], before=3.0)
    assert drawn(found) == [[(50, 3.0), (60, 3.0), (60, 1.0), (END, 1.0)]]


def test_texts_have_a_place_each_and_none_leaves_a_hole() -> None:
    axis = axis_of(history([1, 2, 3], ["ON", "OFF", None], before="ON"), "value")
    assert axis.names == ("OFF", "ON")
    assert axis.before == 1.0
    assert axis.numbers[:2].tolist() == [1.0, 0.0]
    assert np.isnan(axis.numbers[2])


@pytest.mark.parametrize("values", [[[1, 2]], [b"x"], [f"{n}" for n in range(40)]])
def test_what_has_no_place_on_an_axis_is_refused(values: Any) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    with pytest.raises(WrongTypeError, match="cannot be plotted"):
        axis_of(history(list(range(len(values))), array), "value")
