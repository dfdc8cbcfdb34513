"""`watch`."""

import time
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import click

from pykarabo.client import (
    BlockingClient,
    Change,
    Gap,
    Live,
    NewSchema,
    Stale,
    Update,
    split_target,
    stop_watching,
    watch,
)
from pykarabo.data import PropertyInfo, PropertyValue, Timestamp
from pykarabo.errors import NotConnectedError, UnknownDeviceError

from ._app import common
from ._complete import complete_targets
from ._text import print_json, to_text

_Properties: TypeAlias = dict[str, Mapping[str, PropertyInfo]]


@click.command("watch")
@click.argument("targets", nargs=-1, required=True, shell_complete=complete_targets)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="End after so many seconds.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many updates.")
@common
def watch_command(
    targets: tuple[str, ...], seconds: float | None, count: int | None, *, as_json: bool
) -> None:
    """Follow TARGETS (DEV or DEV.property): changes, losses, stale values, recovery.

    A device need not run yet. With --json every update is one JSON document on a line.
    """
    properties = _look_up(targets)
    updates = watch(*targets, timeout_s=seconds)
    try:
        for number, update in enumerate(updates, 1):
            if as_json:
                print_json(_as_json(update))
            else:
                for line in _lines(update, properties):
                    click.echo(line)
            if number == count:
                break
    finally:
        updates.close()
        stop_watching()


def _look_up(targets: tuple[str, ...]) -> _Properties:
    """Return the properties of the devices that run already; of the others tell the user."""
    found: dict[str, Mapping[str, PropertyInfo]] = {}
    with BlockingClient() as client:
        for target in targets:
            device_id, key = split_target(target)
            try:
                schema = client.schema(device_id)
            except (NotConnectedError, UnknownDeviceError) as error:
                click.echo(f"waiting for '{device_id}': {error.message}", err=True)
                continue
            if key is not None:
                schema.require_property(key, device_id)
            found[device_id] = schema.properties
    return found


def _as_json(update: Update) -> dict[str, object]:
    shown: dict[str, object] = {
        "kind": type(update).__name__.lower(),
        "device_id": update.device_id,
        "received": _now(),
    }
    if isinstance(update, Change | Live):
        shown["values"] = update.values
    elif isinstance(update, Gap):
        shown |= {"missed": update.missed, "recovered": update.recovered}
    elif isinstance(update, Stale):
        shown["reason"] = update.reason
    else:
        shown["schema"] = update.schema.to_wire()
    return shown


def _now() -> str:
    return Timestamp.from_ns(time.time_ns()).iso(3)


def _lines(update: Update, properties: _Properties) -> Iterator[str]:
    head = f"{_now()}  {update.device_id}"
    if isinstance(update, Live):
        yield click.style(f"{head} live", fg="green")
    elif isinstance(update, Gap):
        yield click.style(f"{head} gap: {_loss(update)}", fg="yellow")
    elif isinstance(update, Stale):
        yield click.style(f"{head} stale: {update.reason}", fg="red")
    elif not isinstance(update, Change):
        yield click.style(f"{head} {_difference(update, properties)}", fg="yellow")
        properties[update.device_id] = update.schema.properties
    if isinstance(update, Change | Live):
        infos = properties.get(update.device_id, {})
        for key, value in update.values.items():
            unit = infos[key].unit if key in infos else ""
            yield _value_line(f"{update.device_id}.{key}", value, unit)


def _difference(update: NewSchema, properties: _Properties) -> str:
    """Say what the device has now that it had not before, or the other way round."""
    before, after = properties.get(update.device_id, {}), update.schema.properties
    new = [f"+{key}" for key in after if key not in before]
    gone = [f"-{key}" for key in before if key not in after]
    return f"has another schema now: {' '.join(new + gone) or 'other attributes'}"


def _loss(update: Gap) -> str:
    lost = "an unknown number of" if update.missed is None else str(update.missed)
    why = " (the device was restarted)" if update.missed is None else ""
    after = "all delivered after all" if update.recovered else "present values restored"
    return f"{lost} changes missed{why}; {after}"


def _value_line(name: str, value: PropertyValue, unit: str) -> str:
    quality = "" if value.quality.value == "valid" else f"  ({value.quality.value})"
    return f"{value.timestamp.iso(3)}  {name} = {to_text(value.value, unit)}{quality}"
