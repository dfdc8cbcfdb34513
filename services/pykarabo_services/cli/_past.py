"""`pykarabo past`: what a device was."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from pykarabo.cli import common, complete_devices, print_json, print_table, to_text
from pykarabo.client import BlockingClient
from pykarabo.data import PropertyValue, Timestamp, same
from pykarabo.errors import UnknownDeviceError

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
    everything from that time.
    """
    with BlockingClient() as client:
        for device_id in _devices(client, device, reader):
            found = client.past(device_id, time, reader=reader)
            if diff is None:
                _show_past(found, as_json=as_json)
            else:
                other = _other(client, device_id, diff, reader)
                _show_difference(found, other, diff, as_json=as_json)


def _devices(client: BlockingClient, pattern: str, reader: str | None) -> list[str]:
    if _PATTERN_SIGNS.isdisjoint(pattern):
        return [pattern]
    found = client.archived(pattern, reader=reader)
    if not found:
        raise UnknownDeviceError(
            f"no device that matches '{pattern}' has a history", remedy="see 'pykarabo devices'"
        )
    return found


def _show_past(found: "Past", *, as_json: bool) -> None:
    if as_json:
        print_json(_past_as_json(found))
        return
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


def _past_as_json(found: "Past") -> dict[str, Any]:
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


def _other(
    client: BlockingClient, device_id: str, time: str, reader: str | None
) -> dict[str, PropertyValue]:
    if time == _NOW:
        return client.read(device_id)
    return dict(client.past(device_id, time, reader=reader).values)


def _show_difference(
    found: "Past", other: dict[str, PropertyValue], time: str, *, as_json: bool
) -> None:
    differences = {
        key: (found.values.get(key), other.get(key))
        for key in sorted(found.values.keys() | other.keys())
        if not _is_same(found.values.get(key), other.get(key))
    }
    if as_json:
        shown = {key: {"then": left, "other": right} for key, (left, right) in differences.items()}
        print_json({"device_id": found.device_id, "differences": shown})
        return
    moment = Timestamp.from_ns(found.time_ns).iso(3)
    click.echo(f"{found.device_id}: {len(differences)} of {len(other)} properties differ")
    if found.away:
        click.echo(click.style(f"it was not there then: {found.away}", fg="yellow"))
    properties = {} if found.schema is None else found.schema.properties
    rows = []
    for key, (left, right) in differences.items():
        unit = properties[key].unit if key in properties else ""
        doubt = "uncertain" if key in found.uncertain else ""
        rows.append((key, _shown(left, unit), _shown(right, unit), doubt))
    print_table(("property", moment, time, ""), rows)


def _is_same(left: PropertyValue | None, right: PropertyValue | None) -> bool:
    return left is not None and right is not None and same(left.value, right.value)


def _shown(value: PropertyValue | None, unit: str) -> str:
    return "missing" if value is None else to_text(value.value, unit)
