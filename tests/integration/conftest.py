"""A facility of real processes for the integration tests."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest

_END_S: Final = 10.0


class Processes:
    """Starts device servers as processes, and ends them with the test."""

    def __init__(self, program: Path, logs: Path) -> None:
        self._program = program
        self._logs = logs
        self._running: list[subprocess.Popen[str]] = []
        self.output: dict[int, list[str]] = {}

    def start(
        self, server_id: str, *devices: str, directory: bool = False, host: str | None = None
    ) -> "subprocess.Popen[str]":
        """Start a server that hosts Counters and wait until it serves."""
        process = self.spawn(server_id, *devices, directory=directory, host=host)
        self.wait_started(process)
        return process

    def spawn(
        self, server_id: str, *devices: str, directory: bool = False, host: str | None = None
    ) -> "subprocess.Popen[str]":
        """Start a server without waiting."""
        command = [sys.executable, str(self._program), server_id, *devices]
        if directory:
            command.append("--directory")
        if host is not None:
            command += ["--host", host]
        with self.log_of(server_id).open("a") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self._running.append(process)
        return process

    def log_of(self, server_id: str) -> Path:
        """Return the file that a server writes its log to."""
        return self._logs / f"{server_id.replace('/', '-')}.log"

    def wait_started(self, process: "subprocess.Popen[str]") -> list[str]:
        """Wait until a server serves; returns what it printed before."""
        lines: list[str] = []
        for line in _lines(process.stdout):
            if line == "started":
                return lines
            lines.append(line)
        raise AssertionError(f"the server ended with {process.wait()} and said {lines}")

    def end(self, process: "subprocess.Popen[str]", how: int = signal.SIGTERM) -> int:
        """End a process and return its exit status."""
        process.send_signal(how)
        return self.reap(process)

    def reap(self, process: "subprocess.Popen[str]") -> int:
        """Wait for a process's end and return its exit status."""
        try:
            return process.wait(_END_S)
        finally:
            if process.stdout is not None:
                process.stdout.close()
            self._running.remove(process)

    def close(self) -> None:
        """End what is still running."""
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            self.reap(process)


def _lines(stream: IO[str] | None) -> Iterator[str]:
    assert stream is not None
    for line in stream:
        yield line.rstrip("\n")


def _serving(program: str, short_runtime: Path, logs: Path) -> Iterator[Processes]:
    assert short_runtime.exists()  # the domain of the test
    running = Processes(Path(__file__).with_name(program), logs)
    yield running
    running.close()


@pytest.fixture
def processes(short_runtime: Path, tmp_path: Path) -> Iterator[Processes]:
    """Give the test a domain of its own and servers of Counters to start in it."""
    yield from _serving("device_process.py", short_runtime, tmp_path)


@pytest.fixture
def benches(short_runtime: Path, tmp_path: Path) -> Iterator[Processes]:
    """Give the test a domain of its own and servers of Benches to start in it."""
    yield from _serving("semantics_process.py", short_runtime, tmp_path)


@pytest.fixture
def lifts(short_runtime: Path, tmp_path: Path) -> Iterator[Processes]:
    """Give the test a domain of its own and servers of Lifts to start in it."""
    yield from _serving("alarm_process.py", short_runtime, tmp_path)


@pytest.fixture
def stages(short_runtime: Path, tmp_path: Path) -> Iterator[Processes]:
    """Give the test a domain of its own and servers of Stages to start in it."""
    yield from _serving("display_process.py", short_runtime, tmp_path)


@pytest.fixture
def vaults(short_runtime: Path, tmp_path: Path) -> Iterator[Processes]:
    """Give the test a domain of its own and servers of Vaults to start in it."""
    yield from _serving("audit_process.py", short_runtime, tmp_path)
