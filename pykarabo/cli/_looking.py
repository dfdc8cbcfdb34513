"""`status`, `devices`, `classes`, `show`."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from pykarabo.client import BlockingClient, DeviceRecord, ServerRecord
from pykarabo.data import PropertyInfo, PropertyValue, Schema
from pykarabo.errors import PykaraboError

from ._app import common
from ._complete import complete_devices
from ._text import print_json, print_table, to_text

_COLUMNS = ("device", "class", "state", "server", "host", "status")


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
def status_command(*, as_json: bool) -> None:
    """Show the domain's directory, servers and devices at a glance."""
    with BlockingClient() as client:
        found = client.directory("topology", "*")
        servers = [ServerRecord.from_wire(record) for record in found["servers"]]
        devices = [DeviceRecord.from_wire(record) for record in found["devices"]]
        health = client.read_many({record.server_id: None for record in servers})
        domain = client.domain
    rows = [_server(record, devices, found["statuses"], health) for record in servers]
    if as_json:
        print_json({"domain": domain, "servers": rows, "devices": len(devices)})
        return
    click.echo(f"domain {domain}: {len(servers)} servers, {len(devices)} devices")
    header = ("server", "status", "devices", "host", "pid", "up", "loop lag", "memory")
    print_table(header, ([to_text(row[name.replace(" ", "_")]) for name in header] for row in rows))
    wrong = [record for record in devices if record.state == "ERROR" or record.status != "online"]
    if wrong:
        click.echo("not well:")
        print_table(_COLUMNS, map(_row, wrong))
    for row in rows:
        for problem in row["problems"]:
            click.echo(f"not started: {problem}")


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
        "devices": sum(device.server_id == record.server_id for device in devices),
        "host": record.host,
        "pid": record.pid,
        "up": f"{max(0.0, time.time() - record.epoch / 1e9):.0f} s",
        "loop_lag": f"{known['loop_lag'].value * 1e3:.1f} ms" if "loop_lag" in known else "?",
        "memory": f"{known['memory'].value:.0f} MiB" if "memory" in known else "?",
        "problems": list(known["problems"].value) if "problems" in known else [],
    }


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
    header = ("property", "value", "access", "range", "description")
    print_table(header, _properties(schema, values))
    if schema.commands:
        click.echo()
        print_table(("command", "allowed in", "description"), _commands(schema))
    for output in schema.outputs.values():
        click.echo(f"\noutput {device_id}:{output.name}: {output.description}")
        rows = ((info.key, str(info.value_type), info.description) for info in output.properties)
        print_table(("item", "type", "description"), rows)


def _properties(schema: Schema, values: Mapping[str, PropertyValue]) -> Iterator[tuple[str, ...]]:
    for key, info in schema.properties.items():
        if info.node:
            yield (f"{key}.", "", "", "", info.description)
            continue
        value = values.get(key)
        shown = to_text(value.value, info.unit) if value is not None else "?"
        yield (key, shown, info.access_mode.value, _range(info), info.description)


def _range(info: PropertyInfo) -> str:
    if info.options is not None:
        return " | ".join(map(str, info.options))
    low = info.minimum if info.minimum is not None else info.minimum_exclusive
    high = info.maximum if info.maximum is not None else info.maximum_exclusive
    if low is None and high is None:
        return ""
    left = "(" if info.minimum is None else "["
    right = ")" if info.maximum is None else "]"
    return (
        f"{left}{'' if low is None else f'{low:g}'}, {'' if high is None else f'{high:g}'}{right}"
    )


def _commands(schema: Schema) -> Iterator[tuple[str, ...]]:
    for info in schema.commands.values():
        states = "any" if info.allowed_states is None else ", ".join(sorted(info.allowed_states))
        yield (info.signature, states, info.description.partition("\n")[0])
