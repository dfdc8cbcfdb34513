"""`pykarabo bridge`: give trains to karabo-bridge clients, and look at what a bridge sends."""

import socket
from typing import Any

import click

from pykarabo.cli import common, print_json, print_table, require_role
from pykarabo.data import AccessLevel
from pykarabo.errors import NotConnectedError


@click.group("bridge")
def bridge_group() -> None:
    """Give live trains to karabo-bridge clients, or look at what a bridge sends."""


@bridge_group.command("serve")
@click.option(
    "--endpoint", default="tcp://127.0.0.1:45454", show_default=True, help="Where to listen."
)
@click.option("--pattern", type=click.Choice(["REP", "PUB", "PUSH"]), default="REP")
@click.option("--device", "devices", multiple=True, help="Devices to send; patterns; repeatable.")
@click.option("--output", "outputs", multiple=True, help="Outputs to send, DEVICE:output.")
@click.option("--id", "device_id", help="Device id of the bridge.")
@common
def serve_command(
    endpoint: str,
    pattern: str,
    devices: tuple[str, ...],
    outputs: tuple[str, ...],
    device_id: str | None,
    *,
    as_json: bool,
) -> None:
    """Serve the domain's trains until Ctrl-C; without --device and --output all of them."""
    import os

    from pykarabo.device import DeviceSettings, Server, ServerSettings, run_server

    require_role(AccessLevel.EXPERT, "starting a bridge")
    name = device_id or f"BRIDGE/{socket.gethostname().partition('.')[0]}/{os.getpid()}"
    configuration: dict[str, Any] = {"endpoint": endpoint, "pattern": pattern}
    if devices or outputs:
        configuration |= {"devices": list(devices), "outputs": list(outputs)}

    def started(server: Server) -> None:
        for error in server.problems.values():
            raise error
        if as_json:
            print_json({"device_id": name, "endpoint": endpoint, "pattern": pattern})
        else:
            click.echo(f"{name} serves trains at {endpoint} ({pattern}); Ctrl-C stops it")

    run_server(
        ServerSettings(
            f"{name}/SERVER",
            devices=(DeviceSettings(name, "KaraboBridge", configuration),),
            classes=("KaraboBridge",),
        ),
        started,
    )


@bridge_group.command("glimpse")
@click.argument("endpoint", default="tcp://127.0.0.1:45454")
@click.option("--pattern", type=click.Choice(["REP", "PUB", "PUSH"]), default="REP")
@click.option("--timeout", default=5.0, show_default=True, help="Seconds to wait for a train.")
@common
def glimpse_command(endpoint: str, pattern: str, timeout: float, *, as_json: bool) -> None:
    """Receive one train from a bridge and show what it holds."""
    from karabo_bridge import Client as BridgeClient

    sockets = {"REP": "REQ", "PUB": "SUB", "PUSH": "PULL"}
    try:
        with BridgeClient(endpoint, sock=sockets[pattern], timeout=timeout) as client:
            train: Any = client.next()
    except TimeoutError:
        raise NotConnectedError(
            f"no train came from {endpoint} within {timeout:g} s",
            remedy="check endpoint and pattern, and that the train clock and the sources run",
        ) from None
    data, meta = train
    if as_json:
        print_json({"data": _described(data), "metadata": meta})
        return
    rows = [
        (source, str(meta[source].get("timestamp.tid", "")), key, _describe(value))
        for source, values in data.items()
        for key, value in values.items()
    ]
    print_table(("source", "train", "key", "value"), rows)


def _described(data: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        source: {key: _describe(value) for key, value in values.items()}
        for source, values in data.items()
    }


def _describe(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{value.dtype} {' x '.join(map(str, shape))}"
    text = str(value)
    longest = 60
    return text if len(text) <= longest else f"{text[:longest]}…"
