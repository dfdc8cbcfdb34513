"""Real device servers as processes, and the faults that can be done to a process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from pykarabo.client import DIRECTORY_VARIABLE, Client

from .namespace import Namespace
from .ports import free_ports
from .proxy import SERVER_HOST
from .server_process import LEDGER_VARIABLE

_SERVER_PROGRAM: Final = Path(__file__).with_name("server_process.py")
_CLIENT_PROGRAM: Final = Path(__file__).with_name("client_process.py")
_ROOT: Final = Path(__file__).parents[2]
_ERRORS: Final = (
    "Traceback (most recent", "never retrieved", "does not end", "ResourceWarning",
    "Assertion failed",
)  # fmt: skip
_BEFORE: Final = 200
_EXCERPT: Final = 2_000
_END_S: Final = 15.0
_POLL_S: Final = 0.01


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 10.0) -> float:
    """Wait for a condition and return how many seconds it took; fails when it never comes."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > timeout_s:
            raise AssertionError(f"{what} did not come within {timeout_s} s")
        time.sleep(_POLL_S)
    return time.monotonic() - begun


class FaultyProcess:
    """A process that faults can be done to; it speaks a line at a time."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=dict(environment),
            )
        self._stopped = False

    def hear(self) -> str:
        """Return the next line that it prints; fails when it ends without one."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended: {self.log.read_text()}"
        return line.rstrip("\n")

    def tell(self, line: str) -> None:
        """Write a line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def open_files(self) -> int:
        """Return how many file descriptors it has open."""
        return int(psutil.Process(self.pid).num_fds())

    def kill(self) -> None:
        """SIGKILL: dead at once, without any goodbye."""
        self._process.kill()
        self._reap()

    def abort(self) -> None:
        """SIGABRT: dies as it does when the C code in it finds itself broken."""
        self._process.send_signal(signal.SIGABRT)
        self._reap()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """SIGSTOP: frozen, while its sockets live on."""
        self._process.send_signal(signal.SIGSTOP)
        wait_until(
            lambda: not self.running or psutil.Process(self.pid).status() == psutil.STATUS_STOPPED,
            "the freezing",
        )
        self._stopped = True

    def cont(self) -> None:
        """SIGCONT: goes on after `stop`."""
        self._stopped = False
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """SIGTERM: ends cleanly; returns the exit status."""
        self._process.terminate()
        return self._reap()

    def close(self) -> None:
        """Leave nothing behind, whatever was done to it."""
        if self._process.poll() is None:
            if self._stopped:
                self.cont()
            self._process.kill()
        self._reap()

    def _reap(self) -> int:
        try:
            return self._process.wait(_END_S)
        finally:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()


class ServerProcess(FaultyProcess):
    """A device server of the cluster; `Cluster.restart` starts its next life.

    Attributes:
        options: what `Cluster.start` was told.
        endpoints: where it answers, by port name.
    """

    def __init__(
        self, environment: Mapping[str, str], log: Path, options: Mapping[str, object]
    ) -> None:
        super().__init__(_command(options), environment, log)
        self.options = options
        self.endpoints: dict[str, str] = {}

    def wait_started(self) -> None:
        """Wait until it serves; fails when it or one of its devices could not start."""
        said = json.loads(self.hear())
        assert not said["problems"], said["problems"]
        self.endpoints = said["endpoints"]

    @property
    def ports(self) -> dict[str, int]:
        """Its TCP ports, to be used by the next life too."""
        found = {name: urlsplit(endpoint).port for name, endpoint in self.endpoints.items()}
        return {name: port for name, port in found.items() if port is not None}


class WorkloadProcess(FaultyProcess):
    """A process that watches and calls devices."""

    def ask(self, verb: str, argument: object = None) -> Any:
        """Ask it something; see the answers of `workload_process.Workload`."""
        self.tell(json.dumps([verb, argument]))
        return json.loads(self.hear())


class Cluster:
    """Starts device servers, restarts them, ends them all; knows what their devices really did.

    Args:
        folder: where logs and ledgers go.

    Attributes:
        directory: endpoint of a directory on TCP; None for that on Unix sockets.
        servers: the latest life of each server, by its id.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[FaultyProcess] = []
        self.directory: str | None = None
        self.servers: dict[str, ServerProcess] = {}

    def start_directory(self, *devices: str, host: str | None = None) -> ServerProcess:
        """Start the domain's directory, on Unix sockets or on the TCP address `host`."""
        server = self._start(
            {"server_id": "S/DIRECTORY", "devices": devices, "directory": True, "host": host}
        )
        if host is not None:
            self.directory = server.endpoints["rpc"]
        return server

    def start(
        self,
        server_id: str,
        *devices: str,
        host: str | None = None,
        advertise: str | None = None,
        ports: Mapping[str, int] | None = None,
        namespace: Namespace | None = None,
        open_files: int | None = None,
        rate: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ServerProcess:
        """Start a device server with Specimens and wait until it serves.

        Args:
            host, advertise, ports: as in `pykarabo.transport.Binding`; ports that its next life
                finds free again are chosen where none are given.
            namespace: the network namespace that it runs in.
            open_files: its limit of file descriptors.
            rate: changes per second that each device produces from its start on.
            environment: variables for this process alone.
        """
        return self._start(
            {
                "server_id": server_id,
                "devices": devices,
                "host": host,
                "advertise": advertise,
                "ports": ports if ports is not None else _ports(host),
                "namespace": namespace,
                "open_files": open_files,
                "rate": rate,
                "environment": dict(environment or {}),
            }
        )

    def start_replica(
        self,
        number: int,
        port: int,
        *,
        host: str,
        advertise: str,
        environment: Mapping[str, str] | None = None,
    ) -> ServerProcess:
        """Start a replica of the directory; `directory` names all of them, with commas."""
        return self._start(
            {
                "server_id": f"DIRECTORY/{number}",
                "directory": True,
                "host": host,
                "advertise": advertise,
                "ports": {"rpc": port},
                "environment": dict(environment or {}),
            }
        )

    def restart(self, server: ServerProcess, **changes: object) -> ServerProcess:
        """Start the next life of a server that has ended, with other options where named."""
        return self._start({**server.options, **changes})

    def _start(self, options: Mapping[str, object]) -> ServerProcess:
        server_id = str(options["server_id"])
        name = server_id.replace("/", "_")
        more = options.get("environment")
        environment = self._environment() | (more if isinstance(more, dict) else {})
        server = ServerProcess(environment, self._folder / f"{name}.log", options)
        self._processes.append(server)
        server.wait_started()
        self.servers[server_id] = server
        return server

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, LEDGER_VARIABLE: str(self._folder)}
        if self.directory is not None:
            environment[DIRECTORY_VARIABLE] = self.directory
        return environment

    def start_client(self, task: str, device_id: str, count: int, size: int = 0) -> FaultyProcess:
        """Start a process that calls a Specimen; see `client_process.py` for its tasks."""
        command = [sys.executable, str(_CLIENT_PROGRAM), task, device_id, str(count), str(size)]
        client = FaultyProcess(command, self._environment(), self._folder / f"{task}.log")
        self._processes.append(client)
        return client

    def start_workload(self, name: str, *devices: str, callers: int = 0) -> "WorkloadProcess":
        """Start a process that watches and calls devices; see `workload_process.py`."""
        journal = self._folder / f"{name}.journal"
        return self._start_asked(
            name, "workload_process", name, journal, *devices, "--callers", callers
        )

    def start_sink(self, key: str, *options: object) -> "WorkloadProcess":
        """Start a process that follows much for long; see `sink_process.py`."""
        return self._start_asked("sink", "sink_process", key, *options)

    def start_wide(self, server_id: str, devices: int, properties: int) -> "WorkloadProcess":
        """Start a server with many devices that have many properties; see `wide_process.py`."""
        name = server_id.replace("/", "_")
        return self._start_asked(name, "wide_process", server_id, devices, properties)

    def _start_asked(self, name: str, program: str, *arguments: object) -> "WorkloadProcess":
        command = [sys.executable, "-m", f"tests.harness.{program}", *map(str, arguments)]
        environment = self._environment() | {"PYTHONPATH": str(_ROOT)}
        process = WorkloadProcess(command, environment, self._folder / f"{name}.log")
        self._processes.append(process)
        assert process.hear() == '"ready"'
        return process

    def journal(self, name: str) -> list[list[Any]]:
        """Return what all lives of a workload have noted."""
        path = self._folder / f"{name}.journal"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def errors(self) -> list[str]:
        """Return what went wrong inside processes, by what they wrote to stderr."""
        texts = {path.stem: path.read_text() for path in self._folder.glob("*.log")}
        return [
            f"{name}: {text[max(0, text.find(mark) - _BEFORE) :][:_EXCERPT]}"
            for name, text in texts.items()
            for mark in _ERRORS
            if mark in text
        ]

    def execution_times(self, device_id: str) -> list[tuple[str, float]]:
        """Return each execution's key and when it was, on the host's monotonic clock."""
        path = self._folder / f"{device_id.replace('/', '_')}.executions"
        lines = [line.split() for line in path.read_text().splitlines()]
        return [(key, float(at)) for key, at in lines]

    def client(self) -> Client:
        """Return a client of the cluster's domain."""
        return Client(directory=self.directory)

    def executions(self, device_id: str) -> Counter[str]:
        """Return how often each key was executed by a device, in all of its lives."""
        return Counter(key for key, _at in self.execution_times(device_id))

    def produced(self, device_id: str) -> dict[str, int]:
        """Return how many changes each life of a device has produced, by the life's instance."""
        name = device_id.replace("/", "_")
        return {
            path.name.split(".")[1]: int.from_bytes(path.read_bytes(), "little")
            for path in self._folder.glob(f"{name}.*.produced")
        }

    def close(self) -> None:
        """End every process."""
        with contextlib.ExitStack() as stack:
            for process in self._processes:
                stack.callback(process.close)


def _command(options: Mapping[str, object]) -> list[str]:
    namespace = options.get("namespace")
    command = namespace.command() if isinstance(namespace, Namespace) else []
    command += [sys.executable, str(_SERVER_PROGRAM), str(options["server_id"])]
    devices = options.get("devices")
    if isinstance(devices, tuple):
        command += [str(device) for device in devices]
    if options.get("directory"):
        command.append("--directory")
    for name in ("host", "advertise", "open_files", "rate"):
        if options.get(name) is not None:
            command += [f"--{name.replace('_', '-')}", str(options[name])]
    if options.get("ports"):
        command += ["--ports", json.dumps(options["ports"])]
    return command


def _ports(host: str | None) -> dict[str, int]:
    if host != SERVER_HOST:
        return {}
    return dict(zip(("rpc", "events", "data"), free_ports(3), strict=True))
