"""A real device server to attack, and a healthy client that goes on meanwhile."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import psutil
import pytest
import zmq

from pykarabo.client import BlockingClient
from pykarabo.transport import DomainKeys, is_encrypted
from pykarabo.wire import Frame

_PROGRAM: Final = Path(__file__).with_name("target_process.py")
_PAUSE_S: Final = 0.005
_CONNECT_S: Final = 10.0


@dataclass(frozen=True)
class Target:
    """A server process under attack: the domain's directory, and the devices of its program."""

    process: "subprocess.Popen[str]"
    places: dict[str, str]

    def connect(self, name: str, source: str = "") -> socket.socket:
        """Return a connection of bytes to a port: ``rpc``, ``events`` or ``data``."""
        parts = urlsplit(self.places[name])
        if parts.scheme == "ipc":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_CONNECT_S)
            connection.connect(parts.path)
            return connection
        assert parts.hostname
        assert parts.port
        return socket.create_connection(
            (parts.hostname, parts.port), _CONNECT_S, source_address=(source, 0)
        )

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def cpu_s(self) -> float:
        """Processor time used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


class Healthy:
    """A client that reads the device all the time and notes how long each answer takes."""

    def __init__(self) -> None:
        self.took_s: list[float] = []
        self.errors: list[Exception] = []
        self._end = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="healthy client")

    def _work(self) -> None:
        with BlockingClient() as client:
            device = client.device("T/TARGET/1")
            device.get("value")
            self._ready.set()
            while not self._end.wait(_PAUSE_S):
                started = time.monotonic()
                try:
                    device.get("value")
                except Exception as error:  # noqa: BLE001 - the test asserts that there is none
                    self.errors.append(error)
                self.took_s.append(time.monotonic() - started)

    def __enter__(self) -> "Healthy":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def p99_s(self) -> float:
        """The time that 99 of 100 answers needed at most."""
        return sorted(self.took_s)[int(len(self.took_s) * 0.99)]


StartTarget: TypeAlias = Callable[..., Target]


@pytest.fixture
def start_target(short_runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartTarget]:
    """Return a function that starts a target; without a host it listens on Unix sockets."""
    assert short_runtime.exists()
    targets: list[Target] = []

    def start(
        *, host: str | None = "127.0.0.1", files: int | None = None, memory: int | None = None
    ) -> Target:
        command = [sys.executable, str(_PROGRAM)]
        command += ["--host", host] if host else []
        command += ["--files", str(files)] if files else []
        command += ["--memory", str(memory)] if memory else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        target = Target(process, json.loads(process.stdout.readline()))
        targets.append(target)
        monkeypatch.setenv("PYKARABO_DIRECTORY", target.places["rpc"])
        return target

    yield start
    for target in targets:
        target.process.kill()
        target.process.wait()
        assert target.process.stdout is not None
        target.process.stdout.close()


@pytest.fixture
def healthy() -> Callable[[], Healthy]:
    """Return what makes a healthy client; it works inside of a ``with``."""
    return Healthy


class Raw:
    """A DEALER without any of our manners, and what it is answered."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        if is_encrypted(endpoint):
            DomainKeys().use(self._socket, endpoint)
        self._socket.connect(endpoint)

    def send(self, frames: list[Frame]) -> None:
        """Send a message, waiting for room."""
        self._socket.send_multipart(frames)

    def receive(self, timeout_s: float = 5.0) -> list[bytes]:
        """Return the next message, an empty list when none comes in time."""
        if self._socket.poll(round(timeout_s * 1000)):
            return self._socket.recv_multipart()
        return []

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._context.term()


@pytest.fixture
def raw() -> Iterator[Callable[[str], Raw]]:
    """Return what connects a raw DEALER to an endpoint."""
    made: list[Raw] = []

    def connect(endpoint: str) -> Raw:
        made.append(Raw(endpoint))
        return made[-1]

    yield connect
    for item in made:
        item.close()
