"""Plots of a history: in the terminal and as a picture."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pykarabo.client import History
from pykarabo.data import Timestamp
from pykarabo.errors import BadConfigurationError, BadInputError

from ._curves import Axis, Curve, axis_of, curves

_MARGIN: Final = 23
"""Columns of the terminal that the numbers beside the plot take."""
_LINES: Final = 18
_SECOND: Final = 10**9
_DAY_S: Final = 86_400
_COLOURS: Final = {2: "tab:orange", 3: "tab:red", 4: "tab:gray"}
"""Of qualities from warn on, as a history numbers them."""


def _need(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise BadConfigurationError(
            f"--plot needs {name.partition('.')[0]}, which is not installed",
            remedy="pip install 'pykarabo[history]'",
        ) from None


def _title(history: History) -> str:
    unit = f" [{history.unit}]" if history.unit else ""
    return f"{history.device_id}.{history.key}{unit}"


def _lines(history: History, names: Sequence[str]) -> list[tuple[str, Axis, list[Curve]]]:
    """Return what is to be drawn: name, axis and curves of each column."""
    found = []
    for name in names:
        axis = axis_of(history, name)
        found.append((name, axis, list(curves(history, axis.numbers, axis.before))))
    return found


def _edges(history: History) -> tuple[str, ...]:
    """Return the columns between which a band is drawn around the mean, if it has them."""
    return ("min", "max") if {"mean", "min", "max"} <= history.columns.keys() else ()


# -- terminal -------------------------------------------------------------------------------------


def print_plot(history: History, echo: Callable[[str], None]) -> None:
    """Draw a history in the terminal."""
    plotille = _need("plotille")
    size = shutil.get_terminal_size()
    figure = plotille.Figure()
    figure.width = max(size.columns - _MARGIN, 20)
    figure.height = max(min(size.lines - 6, _LINES), 6)
    figure.with_colors = False
    figure.origin = False
    lines = _lines(history, [history.figures[0], *_edges(history)])
    start_s = history.start_ns // _SECOND
    figure.set_x_limits(0.0, max((history.end_ns - history.start_ns) / _SECOND, 1e-9))
    _limit(figure, [curve.values for _name, _axis, parts in lines for curve in parts])
    figure.x_ticks_fkt = _clock(start_s, (history.end_ns - history.start_ns) / _SECOND)
    figure.y_ticks_fkt = _number_of(lines[0][1].names)
    figure.x_label, figure.y_label = "UTC", history.unit or lines[0][0]
    for _name, _axis, parts in lines:
        for curve in parts:
            seconds = (curve.time_ns - history.start_ns) / _SECOND
            known = np.isfinite(curve.values)
            figure.plot(seconds[known].tolist(), curve.values[known].tolist())
    echo(f"{_title(history)}: {_facts(history)}")
    echo(figure.show())


def _facts(history: History) -> str:
    rows = f"{len(history)} {'samples' if 'value' in history.columns else 'buckets'}"
    count = len(history.gaps)
    gaps = f", {count} gap{'s' if count > 1 else ''}" if count else ""
    return f"{', '.join(history.figures)} ({history.operator}), {rows}{gaps}"


def _limit(figure: Any, values: Sequence[Any]) -> None:
    """Leave room above and below, and give a constant a scale."""
    known = np.concatenate([part[np.isfinite(part)] for part in values] or [np.zeros(0)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    figure.set_y_limits(low - room, high + room)


def _clock(start_s: int, span_s: float) -> Callable[[float, float], str]:
    def text(low: float, _high: float) -> str:
        stamp = Timestamp.from_ns(round((start_s + low) * _SECOND)).iso(0)
        return stamp[5:16].replace("T", " ") if span_s > _DAY_S else stamp[11:19]

    return text


def _number_of(names: tuple[str, ...]) -> Callable[[float, float], str]:
    def text(low: float, high: float) -> str:
        if not names:
            return f"{low:.4g}"
        inside = [name for place, name in enumerate(names) if low <= place < high]
        return inside[0] if inside else ""

    return text


# -- pictures -------------------------------------------------------------------------------------


def save_plot(history: History, path: Path) -> None:
    """Draw a history as a picture; what kind of file it is says its name."""
    dates = _need("matplotlib.dates")
    figure = _need("matplotlib.figure").Figure(figsize=(10, 4), layout="constrained")
    _check_kind(path, figure.canvas.get_supported_filetypes())
    axes = figure.add_subplot()
    ((name, axis, parts),) = _lines(history, history.figures[:1])
    _draw_lines(axes, name, parts)
    if axis.names:
        axes.set_yticks(range(len(axis.names)), axis.names)
    _draw_band(axes, history)
    _draw_qualities(axes, history, axis)
    _draw_gaps(axes, history)
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.set_xlim(*_dates(np.array([history.start_ns, history.end_ns], np.int64)))
    axes.set(title=f"{history.device_id}.{history.key}", ylabel=history.unit, xlabel="UTC")
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize="small")
    figure.savefig(path)


def _check_kind(path: Path, kinds: Mapping[str, str]) -> None:
    if path.suffix.lower().removeprefix(".") not in kinds:
        raise BadInputError(
            f"'{path}' of --plot names no kind of picture that can be drawn",
            remedy=f"let its name end in .png, .svg or .pdf; {', '.join(sorted(kinds))} are known",
        )


def _dates(time_ns: Any) -> Any:
    return time_ns.astype("datetime64[ns]")


def _draw_lines(axes: Any, name: str, parts: Sequence[Curve]) -> None:
    for number, curve in enumerate(parts):
        label = name if number == 0 and name != "value" else None
        axes.plot(_dates(curve.time_ns), curve.values, color="tab:blue", linewidth=1, label=label)


def _draw_band(axes: Any, history: History) -> None:
    """Shade from minimum to maximum."""
    edges = _lines(history, _edges(history))
    label = "min to max"
    for low, high in zip(*(parts for _name, _axis, parts in edges), strict=True):
        times = _dates(low.time_ns)
        axes.fill_between(times, low.values, high.values, color="tab:blue", alpha=0.25, label=label)
        label = ""


def _draw_qualities(axes: Any, history: History, axis: Axis) -> None:
    """Mark samples that are not good."""
    if "value" not in history.columns:
        return
    for quality, colour in _COLOURS.items():
        bad = history.columns["quality"] == quality
        if bad.any():
            name = history.qualities[bad][0]
            axes.plot(
                _dates(history.time_ns[bad]), axis.numbers[bad], ".", color=colour, label=name
            )


def _draw_gaps(axes: Any, history: History) -> None:
    """Shade what nobody knows."""
    label = "not archived"
    for gap in history.gaps:
        start = max(gap.from_ns, history.start_ns)
        end = history.end_ns if gap.to_ns is None else min(gap.to_ns, history.end_ns)
        span = _dates(np.array([start, end], np.int64))
        axes.axvspan(span[0], span[1], color="tab:red", alpha=0.12, linewidth=0, label=label)
        label = ""
