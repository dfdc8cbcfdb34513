"""A day's work in ten minutes, and a cluster on a host that is busy (cases S3 and S5).

``PYKARABO_SOAK_S`` says how long S3 takes (three minutes at least), ``PYKARABO_STRESS_S`` how
long S5 does. The clock is
not sped up in S3: what happens once a day is not among it.
"""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import statistics
import subprocess
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import Client
from pykarabo.wire import Call
from tests.harness import Cluster, Proxy, StreamAccount, record, wait_until
from tests.harness.cluster import WorkloadProcess
from tests.harness.mix import Mix, Size, environment_number
from tests.harness.proxy import PROXY_HOST, SERVER_HOST
from tests.harness.verdict import read_calls

FULL_S: Final = 600.0
RESTART_S: Final = 6.0
"""A server is restarted so often: 100 times in ten minutes."""
RATE: Final = 3_000_000 / FULL_S
"""Events per second."""
CALLERS: Final = 8
CHURNERS: Final = 4
WARM_S: Final = 90.0
"""Journals and caches are full by then; slopes are measured after it."""
SHORTEST_S: Final = 180
MIB: Final = 2**20
GROWTH: Final = 1.0 * MIB
"""What memory may grow by in ten minutes."""


class Sizes:
    """What long-lived processes hold, again and again."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._sizes: dict[str, list[dict[str, int]]] = {}

    def add(self, sizes: dict[str, dict[str, int]]) -> None:
        """Note what each process holds now."""
        self._at.append(time.monotonic())
        for name, size in sizes.items():
            self._sizes.setdefault(name, []).append(size)

    def slopes(self) -> dict[str, dict[str, float]]:
        """Return by how much each figure of each process grows in ten minutes."""
        first = self._first
        return {
            name: {
                what: _slope(self._at[first:], [size[what] for size in sizes[first:]]) * FULL_S
                for what in ("files", "tasks", "memory")
            }
            for name, sizes in self._sizes.items()
        }

    @property
    def seconds(self) -> float:
        """The time that slopes are measured over."""
        return self._at[-1] - self._at[self._first]

    @property
    def _first(self) -> int:
        return bisect_left(self._at, self._at[0] + WARM_S)


def _slope(at: list[float], values: list[int]) -> float:
    """Return the median of the slopes between points of the first and of the second half."""
    half = len(at) // 2
    return statistics.median(
        (later - earlier) / (at[half + index] - at[index])
        for index, (earlier, later) in enumerate(
            zip(values[:half], values[half : 2 * half], strict=True)
        )
    )


async def _holdings(client: Client, device_id: str) -> dict[str, int]:
    found: dict[str, int] = await client.request(device_id, Call(device_id, "holdings"))
    return found


async def _soak(cluster: Cluster, sink: WorkloadProcess, restarts: int, proxy: Proxy) -> Sizes:
    """Restart a server again and again while the others work; returns what these held."""
    sizes = Sizes()
    begun = time.monotonic()
    async with cluster.client() as client:
        for number in range(restarts):
            await asyncio.sleep(max(0.0, begun + number * RESTART_S - time.monotonic()))
            server = cluster.servers["S/1"]
            await asyncio.to_thread(server.kill if number % 2 else server.end)
            await asyncio.to_thread(cluster.restart, server)
            await asyncio.to_thread(proxy.reset)
            await asyncio.to_thread(_until_live, sink)
            sizes.add(
                {
                    "directory": await _holdings(client, "D/DIRECTORY"),
                    "server": await _holdings(client, "D/STABLE/0"),
                    "client": await asyncio.to_thread(sink.ask, "size"),
                }
            )
    return sizes


def _until_live(sink: WorkloadProcess) -> None:
    wait_until(lambda: sink.ask("live") == 2, "live devices", timeout_s=30)


@contextlib.contextmanager
def _soaking(
    cluster: Cluster,
) -> Generator[tuple[WorkloadProcess, WorkloadProcess, Proxy], None, None]:
    """Start what a soak needs: a stable server behind a proxy, another one, and two clients."""
    cluster.start_directory("D/DIRECTORY")
    stable = cluster.start(
        "S/0", "D/STABLE/0", host=SERVER_HOST, advertise=PROXY_HOST, rate=RATE * 0.9
    )
    cluster.start("S/1", "D/RESTARTED/0", rate=RATE * 0.1)
    with Proxy(stable.ports.values()) as proxy:
        called = ("--call", "D/STABLE/0", "--call", "D/RESTARTED/0")
        sink = cluster.start_sink("value", "--callers", CALLERS, *called)
        churn = cluster.start_sink("value", "--churn", CHURNERS, *called)
        sink.ask("follow", ["D/STABLE/*", "D/RESTARTED/*"])
        _until_live(sink)
        yield sink, churn, proxy


@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_S3_a_day_in_10_minutes(cluster: Cluster) -> None:
    seconds = max(SHORTEST_S, environment_number("PYKARABO_SOAK_S", int(FULL_S)))
    restarts = int(seconds / RESTART_S)
    with _soaking(cluster) as (sink, churn, proxy):
        sizes = asyncio.run(_soak(cluster, sink, restarts, proxy))
        asyncio.run(_halt(cluster, "D/STABLE/0", "D/RESTARTED/0"))
        wait_until(lambda: not sink.ask("behind"), "the last changes", timeout_s=60)
        counts, calls = sink.ask("counts"), Counter(sink.ask("calls"))
        sessions = Counter(churn.ask("calls"))
        resets = proxy.resets
    slopes = sizes.slopes()
    errors = cluster.errors()
    record(
        f"S3 ({seconds} s)",
        "100 restarts, 10^6 calls and 3*10^6 events in 600 s, slopes of files and tasks 0, of "
        "memory < 1 MiB/10 min, 0 unaccounted, 0 unhandled exceptions",
        f"{restarts} restarts, {resets} resets, sessions {dict(sessions)}, {calls.total()} calls "
        f"{dict(calls)}, {counts['produced']} events, {counts['unaccounted']} unaccounted, "
        f"{counts['recovered']} late; slopes per 10 min, over {sizes.seconds:.0f} s: "
        + "; ".join(
            f"{name} files {slope['files']:+.1f} tasks {slope['tasks']:+.1f} "
            f"memory {slope['memory'] / MIB:+.2f} MiB"
            for name, slope in slopes.items()
        )
        + f"; {len(errors)} errors in logs",
        counts=counts,
        errors=errors,
    )
    assert counts["unaccounted"] == counts["wrong"] == counts["missing"] == 0, counts
    assert counts["restarts"] == restarts, counts
    assert calls["done"] > 0
    assert not calls["wrong"] + sessions["wrong"]
    assert sessions["sessions"] > restarts
    assert not errors, "\n".join(errors)
    _assert_slopes(slopes, sizes.seconds)


async def _halt(cluster: Cluster, *devices: str) -> None:
    async with cluster.client() as client:
        for device in devices:
            await client.request(device, Call(device, "halt"))


def _assert_slopes(slopes: dict[str, dict[str, float]], seconds: float) -> None:
    """Hold growth against the gate; a short run must not grow by more than a long one may."""
    share = min(1.0, seconds / FULL_S)
    for name, slope in slopes.items():
        assert slope["files"] * share < 1.0, (name, slope)
        assert slope["tasks"] * share < 1.0, (name, slope)
        assert slope["memory"] * share < GROWTH, (name, slope)


# -- S5 -----------------------------------------------------------------------------------------

STRESS_MEMORY: Final = os.environ.get("PYKARABO_STRESS_MEMORY", "80%")
CALM_S: Final = 5.0
CONVERGED_S: Final = 5.0
QUICK_S: Final = 0.1


def _burn() -> None:
    while True:
        pow(3, 10_000)


def _write(folder: str) -> None:
    block = os.urandom(MIB)
    while True:
        with Path(folder, f"{os.getpid()}.io").open("wb") as file:
            file.write(block)
            os.fsync(file.fileno())


@contextlib.contextmanager
def _stress(folder: Path) -> Generator[str, None, None]:
    """Keep processors, disk and memory busy; yields by which means."""
    if shutil.which("stress-ng"):
        command = ["stress-ng", "--cpu", "2", "--io", "2", "--vm", "1"]
        command += ["--vm-bytes", STRESS_MEMORY, "--temp-path", str(folder), "--quiet"]
        with subprocess.Popen(command) as process:
            try:
                yield f"stress-ng with 2 cpu, 2 io, {STRESS_MEMORY} of memory"
            finally:
                process.terminate()
        return
    spawn = multiprocessing.get_context("spawn")
    burners = [spawn.Process(target=_burn) for _ in range(2)]
    burners += [spawn.Process(target=_write, args=(str(folder),)) for _ in range(2)]
    for burner in burners:
        burner.start()
    try:
        yield "2 processes that compute and 2 that write"
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


async def _statuses(mix: Mix, seconds: float) -> Counter[str]:
    """Ask each replica of the directory for all statuses, twice a second; count the answers."""
    seen: Counter[str] = Counter()
    end = time.monotonic() + seconds
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Client(directory=endpoint))
            for endpoint in mix.endpoints
        ]
        while time.monotonic() < end:
            for client in clients:
                seen.update((await client.directory("topology", ""))["statuses"].values())
            await asyncio.sleep(0.5)
    return seen


async def _endure(mix: Mix, folder: Path, seconds: float) -> dict[str, Any]:
    """Stress the host for a while and let it be calm; returns what was seen."""
    await mix.until_live()
    with _stress(folder) as means:
        statuses = await _statuses(mix, seconds)
    live_s = await mix.until_live()
    await asyncio.sleep(CALM_S)
    calm = time.monotonic()
    await asyncio.sleep(CALM_S)
    await mix.finish()
    return {
        "means": means,
        "statuses": statuses,
        "live_s": live_s,
        "calm": calm,
    }


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_S5_host_that_is_busy(cluster: Cluster, tmp_path: Path) -> None:
    seconds = environment_number("PYKARABO_STRESS_S", 300)
    with Mix(cluster, tmp_path, Size()) as mix:
        seen = asyncio.run(_endure(mix, tmp_path, seconds))
        calls, streams = mix.calls(), sum(mix.accounts().values(), StreamAccount())
        quick = [
            call.ended - call.begun
            for name in mix.callers
            for call in read_calls(name, cluster.journal(name))
            if call.begun > seen["calm"]
        ]
        errors = cluster.errors()
    p99_s = statistics.quantiles(quick, n=100)[-1]
    statuses: Counter[str] = seen["statuses"]
    record(
        f"S5 ({seconds} s)",
        "no false gone > 0.1 %/min; all gates after",
        f"{seen['means']}: statuses {dict(statuses)}, {calls.made} calls {dict(calls.outcomes)}, "
        f"at most {calls.worst_late_s:.3f} s late, {len(calls.doubles)} double, "
        f"{len(calls.ghosts)} ghosts; {streams.produced} events, {streams.unaccounted} "
        f"unaccounted, {streams.stale} times stale; live {seen['live_s']:.2f} s after, p99 of "
        f"{len(quick)} calls in the calm after {p99_s * 1e3:.0f} ms",
        streams=streams,
        errors=errors,
    )
    assert statuses["online"] > 0
    assert statuses["gone"] <= statuses.total() * 0.001 * seconds / 60, statuses
    assert streams.exact, streams
    assert calls.exact, calls
    assert not calls.late_executions
    assert not errors, "\n".join(errors)
    assert seen["live_s"] <= CONVERGED_S
    assert p99_s <= QUICK_S
