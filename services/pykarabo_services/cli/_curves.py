"""The lines of a plot of a history: steps that hold until the next sample, and end at gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pykarabo.client import History
from pykarabo.errors import WrongTypeError

_MAX_NAMES: Final = 30
"""Different texts that an axis can name."""
_KEPT: Final = "value"


@dataclass(frozen=True, slots=True)
class Curve:
    """A line without a hole: times in ns since 1970, and numbers."""

    time_ns: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """What the values of a history are on an axis: numbers, or texts that have a place there."""

    numbers: NDArray[np.float64]
    names: tuple[str, ...] = ()
    before: float | None = None


def axis_of(history: History, column: str) -> Axis:
    """Return the numbers of a column; texts such as states get a place each.

    Raises:
        WrongTypeError: it holds neither numbers nor a few different texts.
    """
    values = history[column]
    before = history.before.value if history.before is not None and column == _KEPT else None
    if values.dtype.kind in "biuf":
        number = float(before) if isinstance(before, bool | int | float) else None
        return Axis(values.astype(np.float64), before=number)
    plain = [value for value in [*values.tolist(), before] if value is not None]
    if all(isinstance(value, bool | int | float) for value in plain):
        numbers = [np.nan if value is None else float(value) for value in values.tolist()]
        return Axis(np.array(numbers), before=None if before is None else float(before))
    names = sorted({value for value in plain if isinstance(value, str)})
    if not names or len(names) > _MAX_NAMES or any(not isinstance(value, str) for value in plain):
        raise WrongTypeError(
            f"'{history.device_id}.{history.key}' cannot be plotted: its values are no numbers",
            device=history.device_id,
            key=history.key,
            remedy="look at it as a table, or write it to a file",
        )
    places = {name: float(place) for place, name in enumerate(names)}
    numbers = [places.get(value, np.nan) for value in values.tolist()]
    return Axis(np.array(numbers), tuple(names), None if before is None else places[before])


def curves(history: History, numbers: NDArray[np.float64], before: float | None) -> Iterator[Curve]:
    """Yield the lines of a column; between them nobody knows what the value was.

    A sample holds until the next one, or to the end of the span. A figure of a bucket is drawn as a
    point in its middle.
    """
    is_figure = "end_ns" in history.columns
    times, values = history.time_ns, numbers
    if is_figure:
        times = times + (history["end_ns"] - times) // 2
    else:
        times, values = _held(history, times, values, before)
    for first, stop in _spans(history):
        inside = (times >= first) & (times <= stop)
        if is_figure:
            yield Curve(times[inside], values[inside])
            continue
        yield from _steps(times, values, first, stop)


def _held(
    history: History, times: NDArray[np.int64], values: NDArray[np.float64], before: float | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Put what was known at the beginning of the span in front."""
    if before is None:
        return times, values
    return np.insert(times, 0, history.start_ns), np.insert(values, 0, before)


def _spans(history: History) -> Iterator[tuple[int, int]]:
    """Yield the parts of the span without a gap."""
    start_ns = history.start_ns
    for gap in history.gaps:
        if gap.from_ns > start_ns:
            yield start_ns, min(gap.from_ns, history.end_ns)
        start_ns = max(start_ns, history.end_ns if gap.to_ns is None else gap.to_ns)
    if start_ns < history.end_ns:
        yield start_ns, history.end_ns


def _steps(
    times: NDArray[np.int64], values: NDArray[np.float64], first: int, stop: int
) -> Iterator[Curve]:
    """Yield the steps from a moment to another; what was before holds at the beginning."""
    low = max(int(np.searchsorted(times, first, side="right")) - 1, 0)
    high = int(np.searchsorted(times, stop, side="right"))
    if high <= low:
        return
    corners = np.clip(np.append(times[low:high], stop), first, stop)
    yield Curve(np.repeat(corners, 2)[1:-1], np.repeat(values[low:high], 2))
