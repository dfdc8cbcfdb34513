"""`pykarabo history`: what a property was."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pykarabo.cli import (
    common,
    complete_devices,
    complete_targets,
    print_json,
    to_text,
)
from pykarabo.client import BlockingClient, split_target
from pykarabo.data import PropertyValue, Timestamp
from pykarabo.errors import BadInputError, InvalidNameError

if TYPE_CHECKING:
    from pykarabo.client import Gap, History, HistoryGap, HistoryOptions

_SHOWN_ROWS: Final = 200
"""Of a longer history a terminal shows both ends."""
_POINTS: Final = 2_000
"""A picture has about so many columns; a terminal has fewer."""
_NOW: Final = "now"

reader_option = click.option(
    "--reader",
    help="Device to ask; default: any that has the history.",
    shell_complete=complete_devices,
)


@click.command("history")
@click.argument("target", metavar="DEVICE.PROPERTY", shell_complete=complete_targets)
@click.option(
    "--since",
    help="From when on: -1min, -2h, today, or ISO 8601 (local without a zone). Default: -1h.",
)
@click.option("--until", default=_NOW, show_default=True, help="Up to when; without its moment.")
@click.option("--trains", metavar="FIRST:LAST", help="Trains instead of times.")
@click.option("--run", type=int, help="Number of a recorded run instead of times.")
@click.option(
    "--points",
    type=click.IntRange(min=1),
    help="About how many points; their peaks are kept. Default: every sample.",
)
@click.option("--every", help="Length of the buckets of --operator, such as 1min.")
@click.option("--operator", help="What to make of the samples: mean, statistics, last_fill, ...")
@click.option("--csv", type=click.Path(path_type=Path, dir_okay=False), help="Write a CSV file.")
@click.option(
    "--parquet", type=click.Path(path_type=Path, dir_okay=False), help="Write a Parquet file."
)
@click.option("--hdf5", type=click.Path(path_type=Path, dir_okay=False), help="Write an HDF5 file.")
@click.option(
    "--plot",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Draw it, in the terminal or as a picture (.png, .svg, .pdf).",
)
@click.option("--follow", is_flag=True, help="Go on with every change, without hole or double.")
@reader_option
@common
def history_command(target: str, *, follow: bool, as_json: bool, **given: Any) -> None:
    """Show what DEVICE.PROPERTY was, out of the archive."""
    device_id, key = split_target(target)
    if key is None:
        raise InvalidNameError(f"'{target}' names no property", remedy=f"write {device_id}.NAME")
    with BlockingClient() as client:
        if follow:
            _follow(client, device_id, key, given, as_json=as_json)
            return
        found = client.history(device_id, key, **_options(given))
    if not _written(found, given):
        if as_json:
            print_json(_as_json(found))
        else:
            _print(found)


def _options(given: dict[str, Any]) -> "HistoryOptions":
    options: HistoryOptions = {"until": given["until"]}
    if given["trains"] is not None:
        options["trains"] = _trains(given["trains"])
    if given["run"] is not None:
        options["run"] = given["run"]
    if given["since"] is not None or not {"trains", "run"} & options.keys():
        options["since"] = given["since"] or "-1h"
    points = given["points"]
    if points is None and given["plot"] is not None and given["operator"] is None:
        points = _POINTS
    if points is not None:
        options["points"] = points
    for name in ("every", "operator", "reader"):
        if given[name] is not None:
            options[name] = given[name]
    return options


def _trains(text: str) -> tuple[int, int]:
    first, _colon, last = text.partition(":")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise BadInputError(f"'{text}' names no trains", remedy="write FIRST:LAST") from None


def _written(found: "History", given: dict[str, Any]) -> bool:
    """Write the files and plots that are asked for; tells whether there were any."""
    for name in ("csv", "parquet", "hdf5"):
        path = given[name]
        if path is not None:
            with _writing(name, path):
                getattr(found, f"to_{name}")(path)
            click.echo(f"{len(found)} rows written to {path}", err=True)
    if given["plot"] is not None:
        from ._plot import print_plot, save_plot

        if given["plot"]:
            with _writing("plot", given["plot"]):
                save_plot(found, Path(given["plot"]))
            click.echo(f"drawn to {given['plot']}", err=True)
        else:
            print_plot(found, click.echo)
    return any(given[name] is not None for name in ("csv", "parquet", "hdf5", "plot"))


@contextmanager
def _writing(option: str, path: Path | str) -> Generator[None]:
    """Tell of a file that cannot be written which option names it."""
    try:
        yield
    except OSError as error:
        raise BadInputError(
            f"'{path}' of --{option} cannot be written: {error.strerror or error}",
            remedy=f"give --{option} a file in a directory that is there and may be written to",
        ) from error


# -- as text --------------------------------------------------------------------------------------


def _iso(time_ns: int) -> str:
    return Timestamp.from_ns(time_ns).iso(6)


def _print(found: "History") -> None:
    if found.sampled:
        click.echo("its values are no numbers: of each span the last one is shown", err=True)
    if found.before is not None and "value" in found.columns:
        click.echo(_value_line(found.before, found.unit, "  (before)"))
    for gap, line in _lines(found):
        click.echo(click.style(line, fg="yellow") if gap else line)
    if not len(found):
        click.echo("no samples in this time", err=True)


def _lines(found: "History") -> Iterator[tuple[bool, str]]:
    """Yield gaps and rows in order; whether it is a gap, and its text."""
    gaps = list(found.gaps)
    texts = list(_rows(found))
    left_out = range(_SHOWN_ROWS // 2, len(texts) - _SHOWN_ROWS // 2)
    if not _is_terminal() or len(texts) <= _SHOWN_ROWS:
        left_out = range(0)
    for number, (time_ns, text) in enumerate(texts):
        while gaps and gaps[0].from_ns <= time_ns:
            yield True, gap_line(gaps.pop(0))
        if number == left_out.start and left_out:
            more = f"... {len(left_out)} more rows (--points, --csv or a pipe shows all) ..."
            yield False, more
        if number not in left_out:
            yield False, text
    for gap in gaps:
        yield True, gap_line(gap)


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()


def _rows(found: "History") -> Iterator[tuple[int, str]]:
    qualities = _qualities(found)
    trains = found.columns.get("train_id")
    figures = [(name, found[name].tolist()) for name in found.figures]
    for place, time_ns in enumerate(found.time_ns.tolist()):
        values = [
            to_text(column[place], found.unit)
            if name == "value"
            else f"{name} {_short(column[place])}"
            for name, column in figures
        ]
        train = f"  train {trains[place]}" if trains is not None and trains[place] else ""
        quality = "" if not qualities or qualities[place] == "valid" else f"  ({qualities[place]})"
        yield time_ns, f"{_iso(time_ns)}  {'  '.join(values)}{quality}{train}"


def _qualities(found: "History") -> list[str]:
    """Return the qualities of the rows; none where an operator tells of no samples."""
    return found.qualities.tolist() if "quality" in found.columns else []


def _short(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _value_line(value: PropertyValue, unit: str, more: str = "") -> str:
    quality = "" if value.quality.value == "valid" else f"  ({value.quality.value})"
    train = f"  train {value.timestamp.train_id}" if value.timestamp.train_id else ""
    return f"{value.timestamp.iso(6)}  {to_text(value.value, unit)}{quality}{train}{more}"


def gap_line(gap: "HistoryGap") -> str:
    """Return a gap as a line of text."""
    end = "now" if gap.to_ns is None else _iso(gap.to_ns)
    lost = "" if gap.lost is None else f", {gap.lost} changes lost"
    reason = f": {gap.reason}" if gap.reason else ""
    return f"{_iso(gap.from_ns)}  -- {gap.kind} until {end}{lost}{reason} --"


def _as_json(found: "History") -> dict[str, Any]:
    columns = {
        name.removesuffix("_ns"): [iso9(item) for item in column.tolist()]
        if name.endswith("_ns")
        else column.tolist()
        for name, column in found.columns.items()
    }
    return {
        "device_id": found.device_id,
        "key": found.key,
        "unit": found.unit,
        "operator": found.operator,
        "sampled": found.sampled,
        "start": iso9(found.start_ns),
        "end": iso9(found.end_ns),
        "before": found.before,
        "columns": columns | ({"quality": _qualities(found)} if "quality" in columns else {}),
        "gaps": [gap_as_json(gap) for gap in found.gaps],
    }


def iso9(time_ns: int) -> str:
    """Return a moment to the nanosecond."""
    return Timestamp.from_ns(time_ns).iso(9)


def gap_as_json(gap: "HistoryGap") -> dict[str, Any]:
    """Return a gap as JSON has it."""
    return {
        "from": iso9(gap.from_ns),
        "to": None if gap.to_ns is None else iso9(gap.to_ns),
        "kind": gap.kind,
        "lost": gap.lost,
        "reason": gap.reason,
    }


# -- following ------------------------------------------------------------------------------------


def _follow(
    client: BlockingClient, device_id: str, key: str, given: dict[str, Any], *, as_json: bool
) -> None:
    from pykarabo.client import stop_watching

    _require_plain(given)
    since = given["since"] or "-1min"

    def on_gap(gap: "Gap") -> None:
        lost = "an unknown number of" if gap.missed is None else gap.missed
        click.echo(f"{lost} changes were lost", err=True)

    def show(value: PropertyValue, unit: str) -> None:
        if as_json:
            print_json(value)
        else:
            click.echo(_value_line(value, unit))

    try:
        with client.tail(
            device_id, key, since=since, on_gap=on_gap, reader=given["reader"]
        ) as tail:
            if as_json:
                for row in tail.history.rows():
                    show(row, "")
            else:
                _print(tail.history)
            for value in tail:
                show(value, tail.history.unit)
    finally:
        stop_watching()


def _require_plain(given: dict[str, Any]) -> None:
    wrong = [
        name
        for name in (
            "trains",
            "run",
            "points",
            "every",
            "operator",
            "csv",
            "parquet",
            "hdf5",
            "plot",
        )
        if given[name] is not None
    ]
    if wrong or given["until"] != _NOW:
        name = wrong[0] if wrong else "until"
        raise BadInputError(
            f"--follow shows every change and cannot be used with --{name}",
            remedy="leave one of the two out",
        )
