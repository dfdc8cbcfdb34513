"""History and what comes after it: a device changes, is archived, and is followed."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from pykarabo.client import AsyncDeviceProxy, Client
from pykarabo.data import Int64, State
from pykarabo.device import Device, command
from pykarabo.testing import MemoryFacility, run_facility, until
from pykarabo_services.archiver.main import Archiver
from pykarabo_services.archiver.reader import HistoryReader
from tests.harness.databases import Databases

COUNTER: Final = "TEST/COUNTER/1"
PERIOD_S: Final = 0.002


class Counter(Device):
    """Counts."""

    number = Int64(read_only=True, unit="m")
    constant = Int64(default=7)
    ahead = Int64(default=0)

    @command()
    async def go_ahead(self, seconds: float) -> None:
        """Count once more, by a clock that is ahead."""
        self.set_values({"ahead": self.ahead + 1}, timestamp=self.now().later_by(seconds))

    async def on_start(self) -> None:
        """Count."""
        self.state = State.ON
        while True:
            self.number += 1
            await asyncio.sleep(PERIOD_S)


CLASSES: Final = {"Archiver": Archiver, "HistoryReader": HistoryReader, "Counter": Counter}


@asynccontextmanager
async def facility() -> AsyncGenerator[MemoryFacility]:
    """Run a counter that is archived, and a reader."""
    async with run_facility(CLASSES) as running:
        await running.start("Counter", COUNTER)
        archiver = await running.start("Archiver", "ARCHIVE/1", {"recent": 0.5})
        reader = await running.start("HistoryReader", "ARCHIVE/READER/1")
        await until(lambda: reader.state == State.ON, timeout_s=20)
        await until(lambda: archiver.values()["written"].value > 100, timeout_s=20)
        yield running


@pytest.fixture
def run(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, short_runtime: Any
) -> Callable[[Callable[[Client], Coroutine[Any, Any, Any]]], Any]:
    """Run a coroutine function with a client of such a domain."""
    assert short_runtime.exists()
    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)

    async def with_client(work: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
        async with facility() as running:
            return await work(running.client)

    return lambda work: asyncio.run(with_client(work))


def test_history_goes_over_into_changes_without_a_hole_and_without_a_double(run: Any) -> None:
    async def work(client: Client) -> tuple[list[int], list[int]]:
        async with client.tail(COUNTER, "number", since="-1h") as tail:
            live = [int((await anext(tail)).value) for _ in range(200)]
            return tail.history.values.tolist(), live

    before, live = run(work)
    numbers = before + live
    assert len(before) > 100
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_what_never_changes_has_a_history_too(run: Any) -> None:
    async def work(client: Client) -> Any:
        proxy: AsyncDeviceProxy = await client.device(COUNTER, follow=False)
        value = (await proxy.read("constant"))["constant"]
        found = await proxy.history("constant", since="-1h")
        return value, found, await client.past(COUNTER, "now")

    value, found, past = run(work)
    assert found.rows()[-1].timestamp.to_ns() == value.timestamp.to_ns()
    assert found.values.tolist() == [7]
    assert past.values["constant"].value == 7
    assert past.schema.properties["number"].unit == "m"
    assert past.present


def test_what_a_clock_that_is_ahead_has_stamped_is_in_the_history(run: Any) -> None:
    async def work(client: Client) -> tuple[Any, list[int]]:
        proxy: AsyncDeviceProxy = await client.device(COUNTER, follow=False)
        for _ in range(3):
            await proxy.call("go_ahead", 20.0)
        async with client.tail(COUNTER, "ahead", since="-10s") as tail:
            await proxy.call("go_ahead", 20.0)
            return tail.history, [(await anext(tail)).value]

    found, live = run(work)
    assert found.values.tolist()[-3:] + live == [1, 2, 3, 4]
    assert "behind" not in {gap.kind for gap in found.gaps}
    assert found.end_ns > found.time_ns[-1] > time.time_ns()
