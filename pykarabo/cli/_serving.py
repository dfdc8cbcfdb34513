"""`server start`."""

import json
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import click

from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError
from pykarabo.facility import start_options

from ._app import common
from ._roles import require_role
from ._storing import database_option
from ._text import print_json

_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_LOG_BYTES: Final = 10 * 2**20
_LOG_FILES: Final = 3
"""Together with the present one 40 MiB per server: weeks of a facility that is well."""
_PORT: Final = click.IntRange(0, 65_535)


class ProcessLog(RotatingFileHandler):
    """The log file of a process, which takes what is written to stdout and stderr as well."""

    def _open(self) -> Any:
        stream = super()._open()
        for output in (sys.stdout, sys.stderr):
            output.flush()
            os.dup2(stream.fileno(), output.fileno())
        return stream


def set_up_log(path: Path | None) -> None:
    """Write the log to stderr, or to a file that is never larger than its share."""
    handlers: list[logging.Handler] | None = None
    if path is not None:
        try:
            handlers = [ProcessLog(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES)]
        except OSError as error:
            raise BadConfigurationError(
                f"the log {path} cannot be written: {error.strerror}", remedy="name another file"
            ) from None
    logging.basicConfig(level=logging.INFO, format=_FORMAT, handlers=handlers)


@click.group("server")
def server_command() -> None:
    """Run a device server."""


@server_command.command("start")
@click.option("--id", "server_id", required=True, help="Its device id.")
@click.option("--classes", help="Offer only these classes, separated by commas.")
@click.option("--directory", is_flag=True, help="Host the domain's directory, or a replica of it.")
@click.option(
    "--allow-offline", is_flag=True, help="Start without a majority of the directory's replicas."
)
@click.option("--init", type=click.Path(path_type=Path), help="JSON file of devices to start.")
@click.option("--host", help="Listen on TCP at this address instead of Unix sockets.")
@click.option(
    "--trusted-network",
    "trusted_networks",
    multiple=True,
    metavar="ADDRESS/BITS",
    help="Where --host is in this network, data goes in plain text, which is faster.",
)
@click.option("--advertise", help="Host name or address that others are told.")
@click.option("--rpc-port", type=_PORT, default=0, help="TCP port of calls; 0: the system chooses.")
@click.option("--event-port", type=_PORT, default=0, help="TCP port of events.")
@click.option("--data-port", type=_PORT, default=0, help="TCP port of pipelines.")
@click.option("--time-source", help="Device id of the train clock.")
@click.option(
    "--memory", "memory_mib", type=click.IntRange(256), help="MiB that the process may take."
)
@click.option("--log", type=click.Path(path_type=Path), help="Write to this file instead.")
@database_option
@common
def start_command(
    init: Path | None, classes: str | None, log: Path | None, *, as_json: bool, **options: Any
) -> None:
    """Run a device server in the foreground until Ctrl-C, SIGTERM or its command `shutdown`."""
    from pykarabo.device import DeviceSettings, Server, ServerSettings, run_server

    require_role(AccessLevel.EXPERT, "starting a server")
    set_up_log(log)
    ports = {
        name: options.pop(f"{option}_port")
        for name, option in (("rpc", "rpc"), ("events", "event"), ("data", "data"))
    }
    devices = tuple(
        DeviceSettings(
            device_id,
            entry["class"],
            entry.get("configuration", {}),
            own_process=entry.get("own_process", False),
            attributes=entry.get("attributes", {}),
        )
        for device_id, entry in _read_init(init).items()
    )
    offered = tuple(name.strip() for name in classes.split(",")) if classes else None
    settings = ServerSettings(
        ports=ports,
        devices=devices,
        classes=offered,
        start_options=start_options(offered, ports, options),
        **options,
    )

    def started(server: Server) -> None:
        problems = {name: str(error) for name, error in server.problems.items()}
        if as_json:
            print_json({"server_id": server.server_id, "problems": problems})
            return
        click.echo(f"server {server.server_id} is running; Ctrl-C stops it")
        for name, problem in problems.items():
            click.echo(f"device {name} could not be started: {problem}", err=True)

    run_server(settings, started)


def _read_init(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadConfigurationError(
            f"{path} cannot be read: {error}", remedy="name a JSON file of devices"
        ) from None
    if not isinstance(content, dict) or not all(
        isinstance(entry, dict) and "class" in entry for entry in content.values()
    ):
        raise BadConfigurationError(
            f"{path} is no map of devices",
            remedy='write {"DEVICE": {"class": "CLASS", "configuration": {...}}}',
        )
    return content
