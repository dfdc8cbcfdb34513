"""`instantiate`, `shutdown`."""

import time
from typing import Final

import click

from pykarabo.client import BlockingClient
from pykarabo.data import Schema
from pykarabo.errors import (
    CallTimeoutError,
    ConnectionLostError,
    NotConnectedError,
    UnknownDeviceError,
)

from ._app import common
from ._complete import complete_devices
from ._parsing import parse_value, split_assignment
from ._processes import STOP_S, ask_to_stop
from ._text import print_json

_START_S: Final = 30.0
"""The server gives `on_initialize` 10 s; claiming the id and a loaded host come on top."""
_DEVICE_STOP_S: Final = 15.0
"""The server gives `on_stop` 5 s."""
_LOOK_S: Final = 0.05


@click.command("instantiate")
@click.argument("class_id", metavar="CLASS")
@click.argument("device_id", metavar="DEV")
@click.option(
    "--server", required=True, help="The server to start it on.", shell_complete=complete_devices
)
@click.option("--own-process", is_flag=True, help="Run it apart from the server's other devices.")
@click.argument("configuration", nargs=-1, metavar="[prop=value]...")
@common
def instantiate_command(
    class_id: str,
    device_id: str,
    server: str,
    configuration: tuple[str, ...],
    *,
    own_process: bool,
    as_json: bool,
) -> None:
    """Start a device DEV of class CLASS on a server, with initial values."""
    with BlockingClient() as client:
        host = client.device(server)
        schema = Schema.from_wire(host.class_schema(class_id))
        values: dict[str, object] = {}
        for assignment in configuration:
            key, text = split_assignment(assignment)
            values[key] = parse_value(text, schema.require_property(key, device_id), device_id)
        started = host.call(
            "instantiate", class_id, device_id, values, own_process, timeout_s=_START_S
        )
    if as_json:
        print_json(started)
    else:
        where = f"in process {started['pid']} of {server}" if own_process else f"on {server}"
        click.echo(f"{device_id} ({class_id}) is running {where}, state {started['state']}")


@click.command("shutdown")
@click.argument("device_id", metavar="DEV", shell_complete=complete_devices)
@common
def shutdown_command(device_id: str, *, as_json: bool) -> None:
    """Stop the device DEV; a server is stopped with all of its devices."""
    with BlockingClient() as client:
        record = client.resolve(device_id)
        if record.class_id == "DeviceServer":
            ask_to_stop(device_id)
            await_end(client, device_id)
        else:
            client.device(record.server_id).call(
                "shutdown_device", device_id, timeout_s=_DEVICE_STOP_S
            )
    if as_json:
        print_json({"device_id": device_id, "stopped": True})
    else:
        click.echo(f"{device_id} was stopped")


def await_end(client: BlockingClient, server_id: str) -> None:
    """Wait until a server has left the directory, or the directory has ended with it."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        try:
            client.directory("resolve", server_id)
        except (UnknownDeviceError, NotConnectedError, ConnectionLostError):
            return
        time.sleep(_LOOK_S)
    raise CallTimeoutError(
        f"server '{server_id}' is still stopping after {STOP_S:.0f} s",
        device=server_id,
        remedy="look at its log; 'pykarabo down' ends it by force",
    )
