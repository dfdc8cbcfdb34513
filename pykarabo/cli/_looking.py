"""`status`, `devices`, `classes`, `show`."""

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import click

from pykarabo.client import BlockingClient, DeviceRecord, DomainMode, ServerRecord
from pykarabo.data import AccessMode, PropertyInfo, PropertyValue, Schema, State
from pykarabo.errors import NotConnectedError, PykaraboError
from pykarabo.transport import without_key

from ._app import common
from ._complete import complete_devices
from ._text import print_json, print_table, since, to_text

_COLUMNS = ("device", "class", "state", "server", "host", "status")
_SERVER_COLUMNS = ("server", "status", "devices", "host", "pid", "up", "loop lag", "memory")


def _row(record: DeviceRecord) -> tuple[str, ...]:
    return (
        record.device_id, record.class_id, record.state, record.server_id, record.host,
        record.status,
    )  # fmt: skip


@click.command("devices")
@click.argument("pattern", default="*", shell_complete=complete_devices)
@common
def devices_command(pattern: str, *, as_json: bool) -> None:
    """List the devices whose id matches PATTERN, such as 'DEMO/*'."""
    with BlockingClient() as client:
        records = client.topology(pattern)
    if as_json:
        print_json([record.to_wire() for record in records])
    else:
        print_table(_COLUMNS, map(_row, records))


@click.command("classes")
@common
def classes_command(*, as_json: bool) -> None:
    """List the device classes that the running servers can instantiate."""
    servers: dict[str, list[str]] = {}
    with BlockingClient() as client:
        for record in client.servers():
            for name in record.classes:
                servers.setdefault(name, []).append(record.server_id)
    if as_json:
        print_json(servers)
    else:
        print_table(
            ("class", "servers"), ((name, ", ".join(servers[name])) for name in sorted(servers))
        )


@click.command("status")
@common
def status_command(*, as_json: bool) -> int:
    """Show the domain's directory, servers and devices at a glance.

    Where no directory answers, this is what was known last.
    """
    with BlockingClient() as client:
        found = client.directory("topology", "*")
        servers = [ServerRecord.from_wire(record) for record in found["servers"]]
        devices = [DeviceRecord.from_wire(record) for record in found["devices"]]
        health = client.read_many({record.server_id: None for record in servers})
        replicas = {endpoint: _replica(client, endpoint) for endpoint in client.access.endpoints}
        domain, mode = client.domain, _mode(client)
    rows = [_server(record, devices, found["statuses"], health) for record in servers]
    exit_code = 0 if found["answered"] else NotConnectedError.exit_code
    wrong = [record for record in devices if record.state == "ERROR" or record.status != "online"]
    if as_json:
        print_json(
            {
                "domain": domain,
                "mode": mode.to_wire(),
                "directory": replicas,
                "servers": rows,
                "devices": len(devices),
                "not_well": [record.to_wire() for record in wrong],
            }
        )
        return exit_code
    click.echo(f"domain {domain}: {len(servers)} servers, {len(devices)} devices")
    if mode.read_only:
        click.echo(f"domain {domain} {mode}")
    for endpoint, replica in replicas.items():
        click.echo(f"directory at {without_key(endpoint)}: {replica}")
    if not found["answered"]:
        click.echo("no directory answers: this is what was known last")
    print_table(_SERVER_COLUMNS, map(_server_row, rows))
    if wrong:
        click.echo("not well:")
        print_table(_COLUMNS, map(_row, wrong))
    for row in rows:
        for problem in row["problems"]:
            click.echo(f"not started: {problem}")
    return exit_code


def _mode(client: BlockingClient) -> DomainMode:
    try:
        return client.domain_mode()
    except NotConnectedError:
        return DomainMode()


def _replica(client: BlockingClient, endpoint: str) -> str:
    try:
        return f"online since {since(client.replica(endpoint).epoch)}"
    except PykaraboError:
        return "no answer"


def _server(
    record: ServerRecord,
    devices: list[DeviceRecord],
    statuses: Mapping[str, str],
    health: Mapping[str, dict[str, PropertyValue] | PykaraboError],
) -> dict[str, Any]:
    values = health.get(record.server_id)
    known = values if isinstance(values, dict) else {}
    return {
        "server": record.server_id,
        "status": statuses.get(record.server_id, "unknown"),
        "answers": bool(known),
        "devices": sum(device.server_id == record.server_id for device in devices),
        "host": record.host,
        "pid": record.pid,
        "uptime_s": max(0.0, time.time() - record.epoch / 1e9),
        "loop_lag_s": known["loop_lag"].value if "loop_lag" in known else None,
        "memory_mib": known["memory"].value if "memory" in known else None,
        "problems": list(known["problems"].value) if "problems" in known else [],
    }


def _server_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    lag_s, memory_mib = row["loop_lag_s"], row["memory_mib"]
    return (
        row["server"],
        row["status"] if row["answers"] else f"{row['status']}, no answer",
        str(row["devices"]),
        row["host"],
        str(row["pid"]),
        _duration(row["uptime_s"]),
        "?" if lag_s is None else f"{lag_s * 1e3:.1f} ms",
        "?" if memory_mib is None else f"{memory_mib:.0f} MiB",
    )


def _duration(seconds: float) -> str:
    """Return a duration as ``3 d 04:05:06``."""
    days, rest = divmod(int(seconds), 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


@click.command("show")
@click.argument("device_id", metavar="DEV", shell_complete=complete_devices)
@common
def show_command(device_id: str, *, as_json: bool) -> None:
    """Show the properties, commands and outputs of the device DEV."""
    with BlockingClient() as client:
        record = client.resolve(device_id)
        proxy = client.device(device_id)
        values = proxy.read()
        schema = proxy.schema
    if as_json:
        print_json({"record": record.to_wire(), "schema": schema.to_wire(), "values": values})
        return
    click.echo(f"{device_id}: {schema.class_id} on {record.server_id} ({record.host})")
    if schema.description:
        click.echo(schema.description)
    click.echo()
    header = ("property", "value", "access", "range", "written in", "by", "description")
    print_table(header, _properties(schema, values))
    if schema.commands:
        click.echo()
        print_table(("command", "allowed in", "by", "description"), _commands(schema))
    for output in schema.outputs.values():
        click.echo(f"\noutput {device_id}:{output.name}  {output.description}".rstrip())
        rows = ((info.key, str(info.value_type), info.description) for info in output.properties)
        print_table(("item", "type", "description"), rows)


def _properties(schema: Schema, values: Mapping[str, PropertyValue]) -> Iterator[tuple[str, ...]]:
    for key, info in schema.properties.items():
        if info.node:
            yield (f"{key}.", "", "", "", "", "", info.description)
            continue
        value = values.get(key)
        shown = to_text(value.value, info.unit) if value is not None else "?"
        read_only = info.access_mode is AccessMode.READ_ONLY
        states = "" if read_only else _states(info.allowed_states)
        role = "" if read_only else info.write_level.name.lower()
        yield (key, shown, info.access_mode.value, _range(info), states, role, info.description)


def _range(info: PropertyInfo) -> str:
    if info.options is not None:
        return " | ".join(map(str, info.options))
    limits = [
        f"{sign} {limit:g}"
        for sign, limit in (
            (">=", info.minimum),
            (">", info.minimum_exclusive),
            ("<=", info.maximum),
            ("<", info.maximum_exclusive),
            ("warn <", info.warn_low),
            ("warn >", info.warn_high),
            ("alarm <", info.alarm_low),
            ("alarm >", info.alarm_high),
        )
        if limit is not None
    ]
    return ", ".join(limits)


def _states(states: Collection[State] | None) -> str:
    return "any" if states is None else ", ".join(sorted(states))


def _commands(schema: Schema) -> Iterator[tuple[str, ...]]:
    for info in schema.commands.values():
        states, role = _states(info.allowed_states), info.access_level.name.lower()
        yield (info.signature, states, role, info.description.partition("\n")[0])
