"""`up` and `down`: the processes of a facility on this host."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import click

from pykarabo.client import DIRECTORY_ID, BlockingClient, ServerRecord
from pykarabo.errors import NotConnectedError, PykaraboError
from pykarabo.transport import data_directory, domain_name, run_directory

from ._app import common
from ._facility import Facility, FacilityServer, default_facility, read_facility
from ._text import print_json

START_S: Final = 30.0
"""A server that is not there after so long has a problem that its log tells."""
STOP_S: Final = 10.0
TERMINATE_S: Final = 5.0
_LOOK_S: Final = 0.05
_LOG_TAIL: Final = 8
_LOG_BYTES: Final = 10 * 2**20
DIRECTORY_SERVER: Final = "DIRECTORY/HOST"


class ServerStartError(PykaraboError):
    """A server process ended, or did not register, when it was started."""

    exit_code = 4


@contextlib.contextmanager
def _one_at_a_time(directory: Path) -> Generator[None, None, None]:
    with (directory / "up.guard").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


@click.command("up")
@click.option(
    "--config", type=click.Path(path_type=Path), help="YAML file that describes the facility."
)
@click.option("--data", type=click.Path(path_type=Path), help="Where it writes; $DATA in the file.")
@common
def up_command(config: Path | None, data: Path | None, *, as_json: bool) -> int:
    """Start what is missing of a facility on this host, and leave alone what runs.

    Without --config: a directory, this host's monitor and a train clock.
    """
    home = (data or data_directory()).expanduser().resolve()
    variables = {**os.environ, "DATA": str(home)}
    facility = (
        read_facility(config, variables) if config else default_facility(socket.gethostname())
    )
    home.mkdir(parents=True, exist_ok=True)
    directory = run_directory(create=True)
    with _one_at_a_time(directory):
        launcher = _Launcher(directory, home, facility)
        launcher.start_missing()
    if as_json:
        print_json(
            {"domain": domain_name(), "servers": launcher.report, "problems": launcher.problems}
        )
    else:
        for server_id, done in launcher.report.items():
            click.echo(f"{server_id}: {done}")
        for problem in launcher.problems:
            click.echo(f"error: {problem}", err=True)
    return 1 if launcher.problems else 0


class _Launcher:
    def __init__(self, directory: Path, home: Path, facility: Facility) -> None:
        self._directory = directory
        self._logs = home / "log"
        self._facility = facility
        self.report: dict[str, str] = {}
        self.problems: list[str] = []

    def start_missing(self) -> None:
        """Start the directory, then every server that is not there, and wait for them."""
        self._logs.mkdir(parents=True, exist_ok=True)
        if not _directory_answers():
            process = self._spawn(DIRECTORY_SERVER, FacilityServer({}), directory=True)
            self._wait({DIRECTORY_SERVER: process})
        running = _running_servers()
        started: dict[str, subprocess.Popen[bytes]] = {}
        for server_id, server in self._facility.servers.items():
            if server_id in running:
                self.report[server_id] = f"is running already (process {running[server_id].pid})"
            else:
                started[server_id] = self._spawn(server_id, server, directory=False)
        self._wait(started)

    def _log(self, server_id: str) -> Path:
        return self._logs / f"{server_id.replace('/', '_')}.log"

    def _spawn(
        self, server_id: str, server: FacilityServer, *, directory: bool
    ) -> "subprocess.Popen[bytes]":
        init = self._directory / f"{server_id.replace('/', '_')}.init"
        devices = {
            device_id: {"class": item.class_id, "configuration": dict(item.configuration)}
            for device_id, item in server.devices.items()
        }
        init.write_text(json.dumps(devices))
        command = [sys.executable, "-m", "pykarabo", "server", "start", "--id", server_id]
        command += ["--init", str(init), "--domain", domain_name()]
        command += _options(server, self._facility.time_source)
        if directory:
            command.append("--directory")
        log = self._log(server_id)
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )

    def _wait(self, started: "dict[str, subprocess.Popen[bytes]]") -> None:
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
        for server_id in waiting:
            self._failed(server_id, f"did not start within {START_S:.0f} s")

    def _arrived(
        self, client: BlockingClient, server_id: str, process: "subprocess.Popen[bytes]"
    ) -> bool:
        if process.poll() is not None:
            self._failed(server_id, f"ended with status {process.returncode}")
            return True
        try:
            if client.resolve(server_id).pid != process.pid:
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
        tail = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:] if log.exists() else []
        self.report[server_id] = "failed"
        lines = "\n".join(f"  | {line}" for line in tail)
        self.problems.append(f"server '{server_id}' {how}; its log {log} ends with:\n{lines}")


def _options(server: FacilityServer, time_source: str | None) -> list[str]:
    options: list[str] = []
    if time_source is not None:
        options += ["--time-source", time_source]
    if server.classes is not None:
        options += ["--classes", ",".join(server.classes)]
    if server.host is not None:
        options += ["--host", server.host]
    if server.advertise is not None:
        options += ["--advertise", server.advertise]
    for name, option in (
        ("rpc", "--rpc-port"),
        ("events", "--event-port"),
        ("data", "--data-port"),
    ):
        if name in server.ports:
            options += [option, str(server.ports[name])]
    return options


def _directory_answers() -> bool:
    with BlockingClient() as client:
        try:
            client.resolve(DIRECTORY_ID)
        except NotConnectedError:
            return False
        return True


def _running_servers() -> dict[str, ServerRecord]:
    """Return the servers that answer, by id."""
    running: dict[str, ServerRecord] = {}
    with BlockingClient() as client:
        for record in client.servers():
            try:
                client.device(record.server_id)
            except PykaraboError:
                continue
            running[record.server_id] = record
    return running


@click.command("down")
@common
def down_command(*, as_json: bool) -> int:
    """Stop every device server of the domain on this host, the directory last."""
    directory = run_directory()
    report: dict[str, str] = {}
    if directory.exists():
        with _one_at_a_time(directory):
            report = _stop_all()
            _clean(directory)
    if as_json:
        print_json({"domain": domain_name(), "servers": report})
    elif not report:
        click.echo(f"nothing is running in domain {domain_name()}")
    else:
        for server_id, how in report.items():
            click.echo(f"{server_id}: {how}")
    return 1 if any(how.startswith("still") for how in report.values()) else 0


def _stop_all() -> dict[str, str]:
    try:
        with BlockingClient() as client:
            records = client.servers()
            home = client.resolve(DIRECTORY_ID).server_id or _home_of_directory(client)
    except NotConnectedError:
        return {}
    here = [record for record in records if record.host == socket.gethostname()]
    here.sort(key=lambda record: record.server_id == home)
    report = {record.server_id: _stop(record) for record in here if record.server_id != home}
    report |= {record.server_id: _stop(record) for record in here if record.server_id == home}
    return report


def _home_of_directory(client: BlockingClient) -> str:
    for record in client.topology(DIRECTORY_ID):
        return record.server_id
    return ""


def _stop(record: ServerRecord) -> str:
    """Ask a server to stop; insist where it does not."""
    import psutil

    try:
        process = psutil.Process(record.pid)
        if process.create_time() > record.epoch / 1e9 + 1.0:
            return "was gone already"
    except psutil.NoSuchProcess:
        return "was gone already"
    try:
        with BlockingClient() as client:
            client.device(record.server_id).call("shutdown", timeout_s=2.0)
        if _ended(process, STOP_S):
            return "stopped"
    except PykaraboError:
        pass
    for name, wait_s in ((signal.SIGTERM, TERMINATE_S), (signal.SIGKILL, TERMINATE_S)):
        with contextlib.suppress(psutil.Error):
            process.send_signal(name)
        if _ended(process, wait_s):
            return f"stopped by {name.name}, it did not answer"
    return f"still runs as process {record.pid}"


def _ended(process: Any, timeout_s: float) -> bool:
    import psutil

    try:
        process.wait(timeout_s)
    except psutil.TimeoutExpired:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    return True


def _clean(directory: Path) -> None:
    """Remove what killed processes have left, and the directory when it is empty."""
    for lock in directory.glob("*.lock"):
        with lock.open() as held, contextlib.suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in ("rpc", "events", "data", "lock"):
                lock.with_suffix(f".{name}").unlink(missing_ok=True)
    if any(directory.glob("*.lock")):
        return
    for path in directory.iterdir():
        path.unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()
