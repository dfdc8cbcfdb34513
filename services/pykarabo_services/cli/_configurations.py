"""`pykarabo config`: named configurations of devices, with all of their history."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from pykarabo.cli import common, complete_devices, print_json, print_table, to_text
from pykarabo.client import BlockingClient, DeviceProxy
from pykarabo.data import Timestamp
from pykarabo.errors import NotExecutedError, PykaraboError, UnknownDeviceError
from pykarabo_services.configuration.model import LIVE, in_utc

STORE_CLASS: Final = "ConfigurationStore"
_BULK: Final = 200
"""Devices in one call: the store gives each 3 s to answer, 16 at a time."""
_BULK_S: Final = 60.0
_START_S: Final = 45.0
_PAGE: Final = 1_000
"""Versions in one answer."""
_NOT_KEPT: Final = ("DeviceServer", "Directory")
"""Servers are set up by their command lines; no configuration would start them."""
_PATTERN_SIGNS: Final = frozenset("*?[")
_COLUMNS: Final = ("configuration", "version", "active", "priority", "saved", "by", "comment")

_store_option = click.option(
    "--store",
    help="Device id of the configuration store; default: the only one there is.",
    shell_complete=complete_devices,
)
_device_argument = click.argument("device", metavar="DEVICE", shell_complete=complete_devices)
_without_option = click.option(
    "--without", multiple=True, metavar="KEY", help="Leave this property out; repeatable."
)


def _store(client: BlockingClient, device_id: str | None) -> DeviceProxy:
    if device_id is not None:
        return client.device(device_id)
    found = [record for record in client.topology() if record.class_id == STORE_CLASS]
    if len(found) != 1:
        names = ", ".join(record.device_id for record in found)
        raise UnknownDeviceError(
            f"there are several configuration stores: {names}"
            if found
            else "there is no configuration store",
            remedy="name one with --store"
            if found
            else f"start one: pykarabo instantiate {STORE_CLASS} CONFIG/STORE/1 --server SERVER",
        )
    return client.device(found[0].device_id)


@click.group("config")
def config_group() -> None:
    """Keep named configurations of devices: save, compare, restore, start with.

    A configuration is NAME for its latest version, NAME@3 for a certain one, NAME@-2h,
    NAME@yesterday, NAME@2026-11-28T12:00 (local) or NAME@2026-11-28T12:00Z for the one of that
    moment.
    """


@config_group.command("save")
@_device_argument
@click.argument("name")
@click.option("--comment", help="What it is for.")
@click.option("--priority", type=click.IntRange(0, 9), help="The highest is listed first.")
@click.option("--active/--inactive", default=None, help="Start the device with it by default.")
@_store_option
@common
def save_command(
    device: str,
    name: str,
    comment: str | None,
    priority: int | None,
    *,
    active: bool | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Save what DEVICE is configured with as NAME; of a pattern, each device that matches."""
    with BlockingClient() as client:
        keeper = _store(client, store)
        if _PATTERN_SIGNS.isdisjoint(device):
            answers = iter([{device: keeper.call("save", device, name, comment, priority, active)}])
        else:
            answers = _bulk(keeper, _matching(client, device), name, comment, priority, active)
        found: dict[str, Any] = {}
        for answer in answers:
            found |= answer
            for device_id, saved in {} if as_json else answer.items():
                _tell_saved(device_id, saved)
    if as_json:
        print_json(found)
    return 1 if any("error" in saved for saved in found.values()) else 0


def _matching(client: BlockingClient, pattern: str) -> list[str]:
    """Return the devices that match and can be kept; raises `UnknownDeviceError`."""
    records = client.topology(pattern)
    found = [record.device_id for record in records if record.class_id not in _NOT_KEPT]
    if not found:
        raise UnknownDeviceError(
            f"only servers match '{pattern}', and they are set up by their command lines"
            if records
            else f"no device matches '{pattern}'",
            remedy="see what runs: pykarabo devices",
        )
    return found


def _bulk(keeper: DeviceProxy, ids: list[str], *what: Any) -> Iterator[dict[str, Any]]:
    """Save devices, and yield what became of them; what is not known is told as that."""
    for start in range(0, len(ids), _BULK):
        part, rest = ids[start : start + _BULK], ids[start + _BULK :]
        try:
            yield keeper.call("save_many", part, *what, timeout_s=_BULK_S)
        except PykaraboError as error:
            if not start and isinstance(error, NotExecutedError):
                raise
            not_tried = NotExecutedError("it was not tried any more", remedy="save it again")
            yield {device_id: {"error": error.to_wire()} for device_id in part}
            yield {device_id: {"error": not_tried.to_wire()} for device_id in rest}
            return


def _tell_saved(device_id: str, saved: Mapping[str, Any]) -> None:
    if "error" in saved:
        click.echo(f"error: {device_id}: {PykaraboError.from_wire(saved['error'])}", err=True)
        return
    click.echo(f"{device_id}: saved as {saved['name']}@{saved['number']}")
    for key, why in saved["left_out"].items():
        click.echo(f"warning: '{device_id}.{key}' is not kept: {why}", err=True)


@config_group.command("list")
@click.argument("device", required=False, shell_complete=complete_devices)
@click.option("--deleted", is_flag=True, help="Those of DEVICE that were deleted.")
@_store_option
@common
def list_command(device: str | None, store: str | None, *, deleted: bool, as_json: bool) -> None:
    """List the configurations of DEVICE, or the devices that have some."""
    if deleted and device is None:
        raise click.UsageError("--deleted needs a DEVICE")
    with BlockingClient() as client:
        keeper = _store(client, store)
        found = keeper.call("devices") if device is None else keeper.call("names", device, deleted)
    if as_json:
        print_json(found)
    elif device is None:
        for name in found:
            click.echo(name)
    else:
        _print_versions(found)


@config_group.command("history")
@_device_argument
@click.argument("name")
@_store_option
@common
def history_command(device: str, name: str, store: str | None, *, as_json: bool) -> None:
    """List every version of a configuration of DEVICE, the latest first."""
    with BlockingClient() as client:
        found = list(_versions(_store(client, store), device, name))
    if as_json:
        print_json(found)
    else:
        _print_versions(found)


def _versions(keeper: DeviceProxy, device: str, name: str) -> Iterator[dict[str, Any]]:
    before = 0
    while page := keeper.call("versions", device, name, before, _PAGE):
        yield from page
        before = page[-1]["number"]
        if len(page) < _PAGE:
            return


def _print_versions(versions: list[dict[str, Any]]) -> None:
    print_table(
        _COLUMNS,
        (
            (
                item["name"],
                f"{item['number']} {item['action']}",
                "yes" if item["active"] else "",
                str(item["priority"]),
                _time(item["time_ns"]),
                _line(item["user"]),
                _line(" ".join(item["comment"].split())),
            )
            for item in versions
        ),
    )


def _time(time_ns: int) -> str:
    """Return when a version came about: behind an @, this names it."""
    return Timestamp.from_ns(time_ns).iso(6)


def _line(text: str) -> str:
    """Return a text on one line, in which nothing moves the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


@config_group.command("show")
@_device_argument
@click.argument("configuration")
@_store_option
@common
def show_command(device: str, configuration: str, store: str | None, *, as_json: bool) -> None:
    """Show a configuration of DEVICE, and how the device's class has changed since."""
    with BlockingClient() as client:
        found = _store(client, store).call("show", device, _named(configuration))
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{device} {found['name']}@{found['number']} ({found['class_id']}), {found['action']} "
        f"{_time(found['time_ns'])} by {_line(found['user'])}"
    )
    if found["comment"]:
        for line in found["comment"].splitlines():
            click.echo(_line(line))
    for key, value in found["values"].items():
        click.echo(f"  {key}: {_line(to_text(value, whole=True))}")
    if not found["values"]:
        click.echo("  everything at its default")
    if found["class_today"] not in ("", found["class_id"]):
        click.echo(f"conflict: {device} has class {found['class_today']} now")
    _print_drift(found["drift"])
    if found["today"]:
        click.echo(f"note: today's class could not be asked: {found['today']}")


def _named(configuration: str) -> str:
    return in_utc(configuration, time.time_ns())


def _print_drift(drift: list[dict[str, Any]]) -> None:
    for item in drift:
        changes = ", ".join(
            f"{name} {_line(to_text(was, whole=True))} -> {_line(to_text(now, whole=True))}"
            for name, (was, now) in item["changes"].items()
        )
        told = f": {_line(item['told'])}" if item["told"] else ""
        more = f" ({changes})" if changes else ""
        word = "conflict" if item["conflict"] else "note"
        click.echo(f"{word}: '{item['key']}' is {item['kind']} since{more}{told}")


@config_group.command("diff")
@_device_argument
@click.argument("left")
@click.argument("right", default=LIVE)
@_store_option
@common
def diff_command(device: str, left: str, right: str, store: str | None, *, as_json: bool) -> int:
    """Compare two configurations of DEVICE; `live`, the default, is what it has now.

    Ends with status 1 if they differ.
    """
    with BlockingClient() as client:
        found = _store(client, store).call("compare", device, _named(left), _named(right))
    if as_json:
        print_json(found)
    elif not found["differences"]:
        click.echo(f"{left} and {right} are the same")
    else:
        print_table(
            ("property", left, right),
            (
                (item["key"], *_sides(item, untold=item["key"] in found["untold"]))
                for item in found["differences"]
            ),
        )
    if not as_json:
        if len(set(found["classes"])) > 1:
            click.echo(f"note: of the classes {' and '.join(found['classes'])}")
        _print_drift(found["drift"])
        if found["note"]:
            click.echo(f"note: {found['note']}")
    return 1 if found["differences"] else 0


def _sides(item: Mapping[str, Any], *, untold: bool) -> Iterator[str]:
    for name in ("left", "right"):
        value = item[name]
        shown = "" if value is None else to_text(value, item[f"{name}_unit"], whole=True)
        yield "too large to be shown here" if untold else _line(shown)


@config_group.command("restore")
@_device_argument
@click.argument("configuration")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@_without_option
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@_store_option
@common
def restore_command(
    device: str,
    configuration: str,
    keys: tuple[str, ...],
    without: tuple[str, ...],
    *,
    dry_run: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Write a configuration to the running DEVICE: all of it, or the properties named."""
    with BlockingClient() as client:
        found = _store(client, store).call(
            "restore", device, _named(configuration), list(keys) or None, list(without), dry_run
        )
    if as_json:
        print_json(found)
        return
    _print_drift(found["drift"])
    for key, value in found["values"].items():
        click.echo(
            f"{device}.{key}: {_line(to_text(found['before'][key], whole=True))} -> "
            f"{_line(to_text(value, whole=True))}"
        )
    for key in found["untold"]:
        click.echo(f"{device}.{key}: too large to be shown here")
    if not (found["values"] or found["untold"] or found["at_start"]):
        click.echo(f"{device} has what {found['configuration']} has")
    for key in found["at_start"]:
        click.echo(f"note: '{device}.{key}' is another one; only a start can change it")
    if dry_run:
        click.echo("nothing was written")


@config_group.command("instantiate")
@_device_argument
@click.argument("configuration", default="")
@click.option("--server", default="", help="Where; default: where it was saved.")
@_without_option
@_store_option
@common
def instantiate_command(
    device: str,
    configuration: str,
    server: str,
    without: tuple[str, ...],
    *,
    store: str | None,
    as_json: bool,
) -> None:
    """Start DEVICE with a configuration, by default its active one."""
    with BlockingClient() as client:
        found = _store(client, store).call(
            "instantiate", device, _named(configuration), server, list(without), timeout_s=_START_S
        )
    if as_json:
        print_json(found)
        return
    _print_drift(found["drift"])
    click.echo(
        f"{device} ({found['class_id']}) is running on {found['server_id']} with "
        f"{found['configuration']}, state {found['state']}"
    )


@config_group.command("describe")
@_device_argument
@click.argument("name")
@click.option("--comment", help="What it is for.")
@click.option("--priority", type=click.IntRange(0, 9), help="The highest is listed first.")
@click.option("--active/--inactive", default=None, help="Start the device with it by default.")
@_store_option
@common
def describe_command(
    device: str,
    name: str,
    comment: str | None,
    priority: int | None,
    *,
    active: bool | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Change comment, priority or mark of a configuration of DEVICE; its values stay."""
    with BlockingClient() as client:
        found = _store(client, store).call("describe", device, name, comment, priority, active)
    _tell_version(found, as_json=as_json)


@config_group.command("delete")
@_device_argument
@click.argument("name")
@_store_option
@common
def delete_command(device: str, name: str, store: str | None, *, as_json: bool) -> None:
    """Delete a configuration of DEVICE; its history stays."""
    with BlockingClient() as client:
        _tell_version(_store(client, store).call("delete", device, name), as_json=as_json)


@config_group.command("undelete")
@_device_argument
@click.argument("name")
@_store_option
@common
def undelete_command(device: str, name: str, store: str | None, *, as_json: bool) -> None:
    """Bring a deleted configuration of DEVICE back."""
    with BlockingClient() as client:
        found = _store(client, store).call("undelete", device, name)
    _tell_version(found, as_json=as_json)
    if found["active_instead"] and not as_json:
        click.echo(
            f"note: it was the active one; '{found['active_instead']}' is now. To mark it again: "
            f"pykarabo config describe {device} {name} --active"
        )


def _tell_version(version: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(version)
    else:
        title = f"{version['name']}@{version['number']}"
        click.echo(f"{version['device_id']}: {title} {version['action']}")
