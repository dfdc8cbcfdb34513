"""`watch`."""

from datetime import datetime

import click

from pykarabo.client import Change, Gap, Live, Stale, Update, watch
from pykarabo.client import stop_watching as end_watching

from ._app import common
from ._complete import complete_targets
from ._text import print_json, to_text


@click.command("watch")
@click.argument("targets", nargs=-1, required=True, shell_complete=complete_targets)
@click.option("--for", "seconds", type=float, help="End after so many seconds.")
@click.option("--count", type=int, help="End after so many updates.")
@common
def watch_command(
    targets: tuple[str, ...], seconds: float | None, count: int | None, *, as_json: bool
) -> None:
    """Follow TARGETS (DEV or DEV.property): changes, losses, stale values, recovery."""
    updates = watch(*targets, timeout_s=seconds)
    try:
        for number, update in enumerate(updates, 1):
            if as_json:
                print_json(_as_json(update))
            else:
                for line in _lines(update):
                    click.echo(line)
            if number == count:
                break
    finally:
        updates.close()
        end_watching()


def _as_json(update: Update) -> dict[str, object]:
    shown: dict[str, object] = {
        "kind": type(update).__name__.lower(),
        "device_id": update.device_id,
    }
    if isinstance(update, Change | Live):
        shown["values"] = update.values
    elif isinstance(update, Gap):
        shown |= {"missed": update.missed, "recovered": update.recovered}
    elif isinstance(update, Stale):
        shown["reason"] = update.reason
    return shown


def _lines(update: Update) -> list[str]:
    if isinstance(update, Change):
        return [
            f"{value.timestamp.iso(3)}  {update.device_id}.{key} = {to_text(value.value)}"
            + ("" if value.quality.value == "valid" else f"  ({value.quality.value})")
            for key, value in update.values.items()
        ]
    now = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
    name = update.device_id
    if isinstance(update, Live):
        head = click.style(f"{now}  {name} live", fg="green")
        return [head, *_lines(Change(name, update.values, 0))]
    if isinstance(update, Gap):
        lost = "an unknown number of" if update.missed is None else str(update.missed)
        after = "all delivered after all" if update.recovered else "present values restored"
        why = " (the device was restarted)" if update.missed is None else ""
        return [click.style(f"{now}  {name} gap: {lost} changes missed{why}; {after}", fg="yellow")]
    if isinstance(update, Stale):
        return [click.style(f"{now}  {name} stale: {update.reason}", fg="red")]
    return [click.style(f"{now}  {name} has another schema now", fg="yellow")]
