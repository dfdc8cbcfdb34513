"""`up`: start what is missing of a facility on this host."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

import pykarabo
from pykarabo.client import (
    DIRECTORY_ID,
    ROLE_VARIABLE,
    BlockingClient,
    DeviceRecord,
    ServerRecord,
    own_server_id,
)
from pykarabo.data import AccessLevel, Schema
from pykarabo.errors import NotConnectedError, PykaraboError
from pykarabo.facility import (
    Facility,
    FacilityServer,
    default_facility,
    read_facility,
    resolve_variables,
    with_accounts,
)
from pykarabo.transport import (
    DOMAIN_VARIABLE,
    accounts_folder,
    data_directory,
    domain_name,
    joined_site,
    site_state_file,
)
from pykarabo.trust import serves_accounts

from ._app import common
from ._processes import NOTE, living_processes, one_at_a_time
from ._roles import require_role
from ._text import print_json

START_S: Final = 30.0
"""A server that is not there after so long has a problem that its log tells."""
RETURN_S: Final = 5.0
"""Servers look for a lost directory twice a second; one that is stopped does not come back."""
DIRECTORY_SERVER: Final = "DIRECTORY/HOST"
_LOOK_S: Final = 0.05
_LOG_TAIL: Final = 8
_PORT_OPTIONS: Final = {"rpc": "--rpc-port", "events": "--event-port", "data": "--data-port"}


@click.command("up")
@click.option(
    "--config", type=click.Path(path_type=Path), help="YAML file that describes the facility."
)
@click.option("--data", type=click.Path(path_type=Path), help="Where it writes; $DATA in the file.")
@common
def up_command(config: Path | None, data: Path | None, *, as_json: bool) -> int:
    """Start what is missing of a facility on this host, and leave alone what runs.

    Without --config: a directory, this host's monitor and a train clock; on a host that has joined
    a site its monitor.
    """
    require_role(AccessLevel.EXPERT, "starting a facility")
    home = data.expanduser().resolve() if data is not None else None
    facility = default_facility(socket.gethostname(), alone=_begins_here())
    if config is not None:
        named = os.environ.get(DOMAIN_VARIABLE)
        facility = read_facility(config, os.environ, domain=named, data=home)
        os.environ[DOMAIN_VARIABLE] = domain_name(facility.domain)
        facility = resolve_variables(facility, _schema_here)
    if serves_accounts(accounts_folder()):
        facility = with_accounts(facility, socket.gethostname())
    if not as_json:
        click.echo(f"domain {domain_name()}")
    with one_at_a_time() as directory:
        launcher = Launcher(directory, home or data_directory(), facility)
        launcher.start_missing()
    notes = _not_kept(facility, config)
    if as_json:
        told = {"servers": launcher.report, "problems": launcher.problems, "notes": notes}
        print_json({"domain": domain_name(), **told})
    else:
        for server_id, done in launcher.report.items():
            click.echo(f"{server_id}: {done}")
        for note in notes:
            click.echo(f"note: {note}", err=True)
        for problem in launcher.problems:
            click.echo(f"error: {problem}", err=True)
    return 1 if launcher.problems else 0


def _schema_here(_server_id: str, server: FacilityServer, class_id: str) -> Schema:
    # It takes long to import, and most files have no variables.
    from pykarabo.device import DeviceClasses

    return DeviceClasses(server.classes).require(class_id).schema()


def _not_kept(facility: Facility, config: Path | None) -> list[str]:
    """Return what of a facility `up` leaves to be done."""
    if not facility.configurations:
        return []
    devices = ", ".join(facility.configurations)
    return [
        f"the named configurations of {config} were not compared with the store ({devices}); "
        f"'pykarabo apply {config}' keeps them"
    ]


class Launcher:
    """Starts processes and waits for what they host.

    Attributes:
        report: per server what was done, in the order of the facility's file.
        problems: what is not as the facility wants it.
    """

    def __init__(self, directory: Path, home: Path, facility: Facility) -> None:
        self.report: dict[str, str] = {}
        self.problems: list[str] = []
        self._directory = directory
        self._logs = home / "log"
        self._facility = facility

    def start_directory(self) -> bool:
        """Start the directory where there is none; returns whether there is one now."""
        self._logs.mkdir(parents=True, exist_ok=True)
        if directory_answers():
            return True
        process = self._spawn_directory()
        self._wait({DIRECTORY_SERVER: process})
        if not self.problems:
            self._await_return()
        return not self.problems

    def start_all(self) -> None:
        """Start every server of the facility, whose directory is there, and wait for them."""
        self._logs.mkdir(parents=True, exist_ok=True)
        servers = self._facility.servers
        self._wait({name: self._spawn(name, servers[name], directory=False) for name in servers})

    def start_missing(self) -> None:
        """Start the directory, then every server that is not there, and wait for them."""
        if not self.start_directory():
            return
        with BlockingClient() as client:
            servers, topology = client.servers(), client.topology()
        lives = self._life()
        running = {record.server_id: record for record in servers if lives(record)}
        devices = {record.device_id: record for record in topology if lives(record)}
        started: dict[str, subprocess.Popen[bytes]] = {}
        for server_id, server in self._facility.servers.items():
            record = running.get(server_id)
            if record is None:
                started[server_id] = self._spawn(server_id, server, directory=False)
                continue
            self.report[server_id] = f"is running already ({_where(record)})"
            self._look_for_devices(server_id, server, devices)
        self._wait(started)
        # They were ready in an order of their own.
        order = [DIRECTORY_SERVER, *self._facility.servers]
        self.report = {name: self.report[name] for name in order if name in self.report}

    def _await_return(self) -> None:
        """Let servers that have lost their directory register with the new one."""
        deadline = time.monotonic() + RETURN_S
        with BlockingClient() as client:
            while time.monotonic() < deadline:
                known = {record.pid for record in client.servers()}
                if known.issuperset(living_processes(self._directory).values()):
                    return
                time.sleep(_LOOK_S)

    def _life(self) -> Callable[[ServerRecord | DeviceRecord], bool]:
        """Return what tells whether the process of a record lives; on other hosts it is believed.

        The directory learns of a death on this host later than the operating system.
        """
        living = set(living_processes(self._directory).values())
        here = socket.gethostname()
        return lambda record: record.host != here or record.pid in living

    def _look_for_devices(
        self, server_id: str, server: FacilityServer, devices: Mapping[str, DeviceRecord]
    ) -> None:
        for device_id, item in server.devices.items():
            record = devices.get(device_id)
            home = own_server_id(server_id, device_id)
            expected = home if device_id in server.own_process else server_id
            if record is None or record.server_id != expected or record.status == "gone":
                apart = " --own-process" if device_id in server.own_process else ""
                self.problems.append(
                    f"device '{device_id}' is not on server '{server_id}' - start it: "
                    f"pykarabo instantiate {item.class_id} {device_id} --server {server_id}{apart}"
                )

    def _log(self, server_id: str) -> Path:
        return self._logs / f"{_file_name(server_id)}.log"

    def _spawn_directory(self) -> "subprocess.Popen[bytes]":
        """Start the directory, in the site's authority with what takes new members in."""
        if not site_state_file().exists():
            return self._spawn(DIRECTORY_SERVER, FacilityServer({}), directory=True)
        return self._run(DIRECTORY_SERVER, ["site", "serve"])

    def _spawn(
        self, server_id: str, server: FacilityServer, *, directory: bool
    ) -> "subprocess.Popen[bytes]":
        note = self._directory / f"{_file_name(server_id)}{NOTE}"
        devices = {
            device_id: {
                "class": item.class_id,
                "configuration": dict(item.configuration),
                "own_process": device_id in server.own_process,
                "attributes": dict(item.attributes),
            }
            for device_id, item in server.devices.items()
        }
        note.write_text(json.dumps(devices))
        command = ["server", "start", "--id", server_id, "--init", str(note)]
        command += _options(server, self._facility.source_of(server))
        if directory:
            command.append("--directory")
        return self._run(server_id, command)

    def _run(self, server_id: str, command: list[str]) -> "subprocess.Popen[bytes]":
        log = self._log(server_id)
        command = [sys.executable, "-m", "pykarabo", *command, "--log", str(log)]
        command += ["--domain", domain_name()]
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )

    def _wait(self, started: "Mapping[str, subprocess.Popen[bytes]]") -> None:
        """Wait until every process serves its devices, or has failed."""
        deadline = time.monotonic() + START_S
        waiting = dict(started)
        with BlockingClient() as client:
            while waiting and time.monotonic() < deadline:
                for server_id, process in list(waiting.items()):
                    if self._arrived(client, server_id, process):
                        del waiting[server_id]
                if waiting:
                    time.sleep(_LOOK_S)
        for server_id, process in waiting.items():
            self._failed(server_id, f"(process {process.pid}) is not ready after {START_S:.0f} s")

    def _arrived(
        self, client: BlockingClient, server_id: str, process: "subprocess.Popen[bytes]"
    ) -> bool:
        if process.poll() is not None:
            self._failed(server_id, f"ended with status {process.returncode}")
            return True
        try:
            # Not `resolve`, which would keep the record of a process that was killed.
            if client.directory("resolve", server_id)["pid"] != process.pid:
                return False
            values = client.device(server_id).get("ready", "device_count", "problems")
        except PykaraboError:
            return False
        if not values["ready"]:
            return False
        count = values["device_count"]
        self.report[server_id] = f"started (process {process.pid}, {count} devices)"
        self.problems += [f"{server_id}: {problem}" for problem in values["problems"]]
        return True

    def _failed(self, server_id: str, how: str) -> None:
        log = self._log(server_id)
        tail = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        self.report[server_id] = "failed"
        lines = "".join(f"\n  | {line}" for line in tail)
        self.problems.append(f"server '{server_id}' {how}; its log {log} ends with:{lines}")


def _where(record: ServerRecord) -> str:
    here = record.host == socket.gethostname()
    return f"process {record.pid}" if here else f"process {record.pid} on {record.host}"


def _file_name(server_id: str) -> str:
    return server_id.replace("/", ".")  # which no id contains


def _environment() -> dict[str, str]:
    """Return our environment for a process in another directory that must find the same code.

    With which role we work is none of its business.
    """
    paths = [Path(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    source = Path(pykarabo.__file__).parents[1]
    if source == Path.cwd():  # run from a checkout that is not installed
        paths.insert(0, source)
    own = {name: value for name, value in os.environ.items() if name != ROLE_VARIABLE}
    if not paths:
        return own
    return {**own, "PYTHONPATH": os.pathsep.join(str(path.absolute()) for path in paths)}


def _options(server: FacilityServer, time_source: str | None) -> list[str]:
    options: list[str] = []
    for option, value in (
        ("--time-source", time_source),
        ("--classes", None if server.classes is None else ",".join(server.classes)),
        ("--host", server.host),
        ("--advertise", server.advertise),
        ("--memory", None if server.memory is None else str(server.memory)),
    ):
        if value is not None:
            options += [option, value]
    for network in server.trusted_networks:
        options += ["--trusted-network", network]
    for name, port in server.ports.items():
        options += [_PORT_OPTIONS[name], str(port)]
    return options


def _begins_here() -> bool:
    """Tell whether this host is the one where the domain has its directory; of a site one is."""
    return joined_site() is None or site_state_file().exists()


def directory_answers() -> bool:
    """Tell whether the domain has a directory that can be reached."""
    with BlockingClient() as client:
        try:
            client.resolve(DIRECTORY_ID)
        except NotConnectedError:
            if _begins_here():
                return False
            raise
        return True
