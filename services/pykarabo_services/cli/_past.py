"""`pykarabo past`: what a device was."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from pykarabo.cli import common, complete_devices, print_json, print_table, to_text
from pykarabo.client import BlockingClient
from pykarabo.data import PropertyValue, Schema, Timestamp, same
from pykarabo.errors import PykaraboError, UnknownDeviceError

from ._history import gap_as_json, gap_line, iso9, reader_option

if TYPE_CHECKING:
    from pykarabo.client import Past

_PATTERN_SIGNS: Final = frozenset("*?[")
_NOW: Final = "now"
_AGO: Final = re.compile(r"-\d")


class _MomentsCommand(click.Command):
    """A command with moments such as ``-2h`` among its arguments, which are no options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep them from being taken for options: a blank in front does not matter."""
        return super().parse_args(ctx, [f" {arg}" if _AGO.match(arg) else arg for arg in args])


@click.command("past", cls=_MomentsCommand)
@click.argument("device", metavar="DEVICE|PATTERN", shell_complete=complete_devices)
@click.argument("time", metavar="TIME")
@click.option("--diff", metavar="TIME", help="Show what is different at another time, or 'now'.")
@reader_option
@common
def past_command(
    device: str, time: str, diff: str | None, reader: str | None, *, as_json: bool
) -> None:
    """Show what a device was at TIME: -1d, yesterday+9h, 2026-03-01T12:00 (local), ...Z.

    All its properties with the value that they had, for how long, and whether the archive knows
    everything from that time. With --json a device is one document, and a pattern a list of them.
    """
    is_pattern = not _PATTERN_SIGNS.isdisjoint(device)
    documents: list[dict[str, Any]] = []
    failures: list[PykaraboError] = []
    with BlockingClient() as client:
        for device_id in _devices(client, device, reader) if is_pattern else [device]:
            try:
                found = client.past(device_id, time, reader=reader)
                difference = None if diff is None else _difference(client, found, diff, reader)
            except PykaraboError as error:
                if not is_pattern:
                    raise
                click.echo(click.style(f"{device_id}: {error}", fg="yellow"), err=True)
                failures.append(error)
                continue
            if as_json:
                documents.append(_as_json(found, difference))
            elif difference is None or diff is None:
                _show_past(found)
            else:
                _show_difference(found, difference, diff)
    if as_json:
        print_json(documents if is_pattern else documents[0])
    if failures:  # each of them was told
        sys.exit(failures[0].exit_code)


class _Difference(NamedTuple):
    """What is different at another time.

    Attributes:
        compared: how many properties were compared.
        values: those that differ, then and at the other time; None where there was none.
    """

    compared: int
    values: dict[str, tuple[PropertyValue | None, PropertyValue | None]]


def _devices(client: BlockingClient, pattern: str, reader: str | None) -> list[str]:
    found = client.archived(pattern, reader=reader)
    if not found:
        raise UnknownDeviceError(
            f"no device that matches '{pattern}' has a history", remedy="see 'pykarabo devices'"
        )
    return found


def _show_past(found: "Past") -> None:
    moment = Timestamp.from_ns(found.time_ns).iso(3)
    click.echo(f"{found.device_id} at {moment}")
    if found.away:
        click.echo(click.style(f"it was not there: {found.away}", fg="yellow"))
    for gap in found.gaps:
        click.echo(click.style(gap_line(gap), fg="yellow"))
    print_table(("property", "value", "quality", "since", ""), _past_rows(found))


def _past_rows(found: "Past") -> Iterator[tuple[str, str, str, str, str]]:
    properties = {} if found.schema is None else found.schema.properties
    for key, value in found.values.items():
        unit = properties[key].unit if key in properties else ""
        doubt = "uncertain" if key in found.uncertain else ""
        yield (
            key,
            to_text(value.value, unit),
            value.quality.value,
            f"{value.timestamp.iso(3)} ({_age(found.age_s(key))})",
            doubt,
        )


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _as_json(found: "Past", difference: _Difference | None) -> dict[str, Any]:
    if difference is not None:
        values = difference.values.items()
        shown = {key: {"then": left, "other": right} for key, (left, right) in values}
        return {"device_id": found.device_id, "differences": shown}
    return {
        "device_id": found.device_id,
        "time": iso9(found.time_ns),
        "present": found.present,
        "away": found.away,
        "class_id": None if found.schema is None else found.schema.class_id,
        "values": dict(found.values),
        "uncertain": sorted(found.uncertain),
        "gaps": [gap_as_json(gap) for gap in found.gaps],
    }


def _difference(
    client: BlockingClient, found: "Past", time: str, reader: str | None
) -> _Difference:
    """Compare what a device was with another time, in all that is archived."""
    other, schema = _at_other_time(client, found.device_id, time, reader)
    left_out = {*_not_archived(found.schema), *_not_archived(schema)}
    keys = sorted((found.values.keys() | other.keys()) - left_out)
    pairs = {key: (found.values.get(key), other.get(key)) for key in keys}
    return _Difference(len(keys), {key: pair for key, pair in pairs.items() if not _is_same(*pair)})


def _at_other_time(
    client: BlockingClient, device_id: str, time: str, reader: str | None
) -> tuple[Mapping[str, PropertyValue], Schema | None]:
    if time == _NOW:
        return client.read(device_id), client.schema(device_id)
    later = client.past(device_id, time, reader=reader)
    return later.values, later.schema


def _not_archived(schema: Schema | None) -> Iterator[str]:
    """Yield the properties of which an archive has nothing to compare with."""
    if schema is not None:
        for key, info in schema.properties.items():
            if info.secret or not info.archive:
                yield key


def _show_difference(found: "Past", difference: _Difference, time: str) -> None:
    moment = Timestamp.from_ns(found.time_ns).iso(3)
    compared = f"{len(difference.values)} of {difference.compared} properties differ"
    click.echo(f"{found.device_id}: {compared}")
    if found.away:
        click.echo(click.style(f"it was not there then: {found.away}", fg="yellow"))
    properties = {} if found.schema is None else found.schema.properties
    rows = []
    for key, (left, right) in difference.values.items():
        unit = properties[key].unit if key in properties else ""
        doubt = "uncertain" if key in found.uncertain else ""
        rows.append((key, _shown(left, unit), _shown(right, unit), doubt))
    print_table(("property", moment, time, ""), rows)


def _is_same(left: PropertyValue | None, right: PropertyValue | None) -> bool:
    return left is not None and right is not None and same(left.value, right.value)


def _shown(value: PropertyValue | None, unit: str) -> str:
    return "missing" if value is None else to_text(value.value, unit)
