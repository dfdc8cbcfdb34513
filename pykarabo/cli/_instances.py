"""`instantiate`, `shutdown`."""

import click

from pykarabo.client import BlockingClient
from pykarabo.data import Schema

from ._app import common
from ._complete import complete_devices
from ._parsing import parse_value, split_assignment
from ._text import print_json


@click.command("instantiate")
@click.argument("class_id", metavar="CLASS")
@click.argument("device_id", metavar="DEV")
@click.option(
    "--server", required=True, help="The server to start it on.", shell_complete=complete_devices
)
@click.argument("configuration", nargs=-1, metavar="[prop=value]...")
@common
def instantiate_command(
    class_id: str, device_id: str, server: str, configuration: tuple[str, ...], *, as_json: bool
) -> None:
    """Start a device DEV of class CLASS on a server, with initial values."""
    with BlockingClient() as client:
        host = client.device(server)
        schema = Schema.from_wire(host.class_schema(class_id))
        values: dict[str, object] = {}
        for assignment in configuration:
            key, text = split_assignment(assignment)
            values[key] = parse_value(text, schema.require_property(key, device_id), device_id)
        started = host.call("instantiate", class_id, device_id, values, timeout_s=30.0)
    if as_json:
        print_json(started)
    else:
        click.echo(f"{device_id} ({class_id}) is running on {server}, state {started['state']}")


@click.command("shutdown")
@click.argument("device_id", metavar="DEV", shell_complete=complete_devices)
@common
def shutdown_command(device_id: str, *, as_json: bool) -> None:
    """Stop the device DEV; a server is stopped with all of its devices."""
    with BlockingClient() as client:
        record = client.resolve(device_id)
        if record.class_id == "DeviceServer":
            client.device(device_id).shutdown()
        else:
            client.device(record.server_id).call("shutdown_device", device_id, timeout_s=15.0)
    if as_json:
        print_json({"device_id": device_id, "stopped": True})
    else:
        click.echo(f"{device_id} was stopped")
