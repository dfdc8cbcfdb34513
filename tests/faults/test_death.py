"""How soon the end of a device server is known, to the directory and to a watcher."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Final

import pytest

from pykarabo.client import Client
from pykarabo.errors import PykaraboError
from tests.harness import Auditor, Cluster, record

LOOK_S: Final = 0.02
GONE: Final = "gone"
ABSENT: Final = "absent"
STALE: Final = "stale"


@dataclass(slots=True)
class Sightings:
    """When a server's device was first seen in each condition, in s since the fault."""

    begun: float = field(default_factory=time.monotonic)
    directory: dict[str, float] = field(default_factory=dict[str, float])
    watcher: dict[str, float] = field(default_factory=dict[str, float])

    def ended(self) -> float:
        """Return when the directory first knew that the device is no more."""
        return min(self.directory[name] for name in (GONE, ABSENT) if name in self.directory)


async def _look(client: Client, auditor: Auditor, seen: Sightings) -> None:
    """Note what the directory and a watcher say, again and again."""
    while True:
        try:
            client.forget_record("D/1")
            status = (await client.resolve("D/1")).status
        except PykaraboError:
            status = ABSENT
        now = time.monotonic() - seen.begun
        seen.directory.setdefault(status, round(now, 2))
        if not auditor.streams["D/1"].live:
            seen.watcher.setdefault(STALE, round(now, 2))
        await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def _looking(
    cluster: Cluster, fault: Callable[[], object]
) -> AsyncGenerator[Sightings, None]:
    """Watch a device, do something to its server, and note what is seen from then on."""
    async with cluster.client() as onlooker, cluster.client() as client:
        auditor = Auditor(client, "D/1")
        watching = asyncio.create_task(auditor.run())
        async with asyncio.timeout(10):
            while not auditor.all_live:
                await asyncio.sleep(LOOK_S)
        await onlooker.resolve("D/1")
        seen = Sightings()
        await asyncio.to_thread(fault)
        looking = asyncio.create_task(_look(onlooker, auditor, seen))
        try:
            yield seen
        finally:
            looking.cancel()
            watching.cancel()
            auditor.close()


async def _until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for a condition or, if it does not come, for the time to be over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(LOOK_S)


def _over(seen: Sightings) -> bool:
    return STALE in seen.watcher and bool({GONE, ABSENT} & seen.directory.keys())


def _record(case: str, bar: str, seen: Sightings) -> None:
    record(case, bar, f"directory {seen.directory}, watcher {seen.watcher}")


def test_D6_kill(cluster: Cluster) -> None:
    cluster.start_directory()
    server = cluster.start("S/1", "D/1")

    async def scenario() -> Sightings:
        async with _looking(cluster, server.kill) as seen:
            await _until(lambda: _over(seen), 15.0)
            return seen

    seen = asyncio.run(scenario())
    _record("D6 (kill -9)", "<= 2 s", seen)
    assert seen.watcher[STALE] <= 2.0
    assert seen.ended() <= 2.0


def test_D6_clean_exit(cluster: Cluster) -> None:
    cluster.start_directory()
    server = cluster.start("S/1", "D/1")

    async def scenario() -> Sightings:
        async with _looking(cluster, server.end) as seen:
            await _until(lambda: _over(seen), 15.0)
            return seen

    seen = asyncio.run(scenario())
    _record("D6 (clean)", "<= 0.5 s", seen)
    assert seen.watcher[STALE] <= 0.5
    assert seen.ended() <= 0.5


@pytest.mark.nightly
def test_D6_freeze(cluster: Cluster) -> None:
    cluster.start_directory()
    server = cluster.start("S/1", "D/1")

    async def scenario() -> Sightings:
        async with _looking(cluster, server.stop) as seen:
            await _until(lambda: _over(seen), 15.0)
            return seen

    seen = asyncio.run(scenario())
    _record("D6 (SIGSTOP)", "suspect <= 7 s, gone <= 10 s", seen)
    assert seen.watcher[STALE] <= 5.0
    assert seen.directory["suspect"] <= 7.0
    assert 8.0 <= seen.directory[GONE] <= 10.0
