"""The processes that a benchmark measures: started, heard and ended in one place."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks._profile import profiled

_ROOT: Final = Path(__file__).resolve().parents[2]
LONG_VARIABLE: Final = "PYKARABO_BENCH_LONG"
_END_S: Final = 10.0
_CALLS: Final = 1_000


class Peer:
    """A process that runs a role of `_peers` and prints one JSON document per line."""

    def __init__(self, role: str, *arguments: object) -> None:
        self._role = role
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmarks._peers", role, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )

    def hear(self) -> Any:
        """Return the next thing that the process says."""
        assert self.process.stdout is not None  # noqa: S101 - asked for above
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"'{self._role}' ended with {self.process.wait()}")
        return json.loads(line)

    def profiled(self, work: Callable[[], object]) -> list[str]:
        """Return the shares of the server's time, and of this process's, during `work`."""
        self.process.send_signal(signal.SIGUSR1)
        ours = profiled(work)
        self.process.send_signal(signal.SIGUSR1)
        return [*ours, *self.hear()["profile"]]

    def end(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def peer(role: str, *arguments: object) -> Generator[Peer, None, None]:
    """Run a process for a while."""
    started = Peer(role, *arguments)
    try:
        yield started
    finally:
        started.end()


@contextmanager
def domain(role: str, *arguments: object) -> Generator[Peer, None, None]:
    """Run a domain of its own, whose directory is the process of this role, over TCP."""
    with tempfile.TemporaryDirectory(prefix="pk-") as runtime:
        os.environ |= {
            f"XDG_{kind}": runtime for kind in ("RUNTIME_DIR", "DATA_HOME", "CONFIG_HOME")
        }
        os.environ["PYKARABO_DOMAIN"] = "bench"
        os.environ.pop("PYKARABO_DIRECTORY", None)
        with peer(role, *arguments) as directory:
            os.environ["PYKARABO_DIRECTORY"] = directory.hear()["rpc"]
            try:
                yield directory
            finally:
                del os.environ["PYKARABO_DIRECTORY"]


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def library(name: str) -> Any:
    """Import what a reference needs; None where it is not installed, as the extra `bench` does."""
    try:
        return import_module(name)
    except ImportError:
        return None


def interleaved(rounds: int, measures: Sequence[Callable[[], float]]) -> list[float]:
    """Measure by turns, so that a machine that grows slower slows all; returns the medians."""
    values = [[measure() for measure in measures] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*values, strict=True)]


def median_us(call: Callable[[], object]) -> float:
    """Return the median time of a call in µs."""
    times: list[int] = []
    for _ in range(_CALLS):
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1e3


def duration_s(short: float, long: float) -> float:
    """Return how long to measure: `long` after ``scripts/bench --long``."""
    return long if os.environ.get(LONG_VARIABLE) else short
