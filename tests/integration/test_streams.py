"""Event streams between real processes: what is lost is seen, counted and repaired."""

import asyncio
import signal
import time
from typing import Any

import pytest

from pykarabo.client import (
    Change,
    Client,
    Gap,
    Live,
    Stale,
    Update,
    Watch,
    connect,
    wait_until,
    watch,
)
from pykarabo.errors import StaleValueError


async def _next_of(updates: Watch, kind: type[Any], timeout_s: float) -> Any:
    async with asyncio.timeout(timeout_s):
        async for update in updates:
            if isinstance(update, kind):
                return update
    raise AssertionError("the stream ended")


def test_every_change_arrives_once_and_in_order(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)

    async def scenario() -> list[int]:
        async with Client() as client, client.watch("COUNT/1.value") as updates:
            first = await _next_of(updates, Live, 5)
            assert first.values["value"].value == 0
            proxy = await client.device("COUNT/1", follow=False)
            await proxy.count(200, 0.001)
            seen: list[int] = []
            while len(seen) < 200:
                change: Change = await _next_of(updates, Change, 5)
                seen.append(change.values["value"].value)
            return seen

    assert asyncio.run(scenario()) == list(range(1, 201))


def test_more_changes_of_one_turn_than_a_message_may_hold_arrive_all_the_same(
    processes: Any,
) -> None:
    processes.start("S/1", "COUNT/1", directory=True)

    async def scenario() -> list[Update]:
        told: list[Update] = []
        async with Client() as client:
            client.follow("COUNT/1", told.append)
            async with asyncio.timeout(30):
                while not told:
                    await asyncio.sleep(0.01)
                proxy = await client.device("COUNT/1", follow=False)
                await proxy.count(40_000)
                while len(told) < 40_001:
                    await asyncio.sleep(0.01)
        return told

    live, *changes = asyncio.run(scenario())
    assert isinstance(live, Live)
    values = [change.values["value"].value for change in changes if isinstance(change, Change)]
    assert values == list(range(1, 40_001))


def test_a_killed_server_is_stale_at_once_and_followed_after_its_restart(
    processes: Any,
) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "COUNT/1")

    async def scenario() -> None:
        async with Client() as client, client.watch("COUNT/1") as updates:
            await _next_of(updates, Live, 5)
            killed = time.monotonic()
            await asyncio.to_thread(processes.end, server, signal.SIGKILL)
            await _next_of(updates, Stale, 10)
            assert time.monotonic() - killed < 10.0
            await asyncio.to_thread(processes.start, "S/1", "COUNT/1")
            restarted = time.monotonic()
            gap = await _next_of(updates, Gap, 5)
            assert gap.missed is None
            await _next_of(updates, Live, 5)
            assert time.monotonic() - restarted < 2.0

    asyncio.run(scenario())


def test_a_proxy_refuses_to_show_stale_values(processes: Any) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "COUNT/1")

    async def scenario() -> None:
        async with Client() as client, client.watch("COUNT/1") as updates:
            proxy = await client.device("COUNT/1")
            assert proxy.value == 0
            await _next_of(updates, Live, 5)
            await asyncio.to_thread(processes.end, server, signal.SIGKILL)
            await _next_of(updates, Stale, 10)
            with pytest.raises(StaleValueError, match="COUNT/1"):
                _ = proxy.label
            assert proxy.last_known("label").value == "none"

    asyncio.run(scenario())


def test_a_frozen_server_is_stale_and_recovers_in_the_same_life(processes: Any) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "COUNT/1")

    async def scenario() -> list[Update]:
        seen: list[Update] = []
        async with Client() as client, client.watch("COUNT/1") as updates:
            await _next_of(updates, Live, 5)
            server.send_signal(signal.SIGSTOP)
            seen.append(await _next_of(updates, Stale, 10))
            server.send_signal(signal.SIGCONT)
            async with asyncio.timeout(10):
                async for update in updates:
                    seen.append(update)
                    if isinstance(update, Live):
                        break
        return seen

    kinds = [type(update) for update in asyncio.run(scenario())]
    assert kinds == [Stale, Live]


def test_blocking_code_waits_and_watches(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    counter.count(2)
    assert wait_until(lambda: counter.value == 2, timeout_s=5)
    updates = watch("COUNT/1.label", timeout_s=5)
    assert isinstance(next(updates), Live)
    counter.label = "seen"
    change = next(updates)
    assert isinstance(change, Change)
    assert change.values["label"].value == "seen"
    updates.close()


def test_a_restarted_directory_knows_everything_again(processes: Any) -> None:
    directory = processes.start("S/0", directory=True)
    processes.start("S/1", "COUNT/1")
    counter = connect("COUNT/1")
    processes.end(directory, signal.SIGKILL)
    assert counter.count() == 1
    processes.start("S/0", directory=True)

    async def scenario() -> None:
        async with Client() as client, asyncio.timeout(10):
            while "COUNT/1" not in [record.device_id for record in await client.topology()]:
                await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert counter.count() == 2


def test_a_device_that_is_stopped_is_stale_at_once_though_its_server_goes_on(
    processes: Any,
) -> None:
    processes.start("S/1", "COUNT/1", directory=True)

    async def scenario() -> None:
        async with Client() as client, client.watch("COUNT/1") as updates:
            await _next_of(updates, Live, 5)
            server = await client.device("S/1", follow=False)
            await server.shutdown_device("COUNT/1")
            stale = await _next_of(updates, Stale, 1)
            assert "stopped" in stale.reason
            await server.instantiate("Counter", "COUNT/1")
            gap = await _next_of(updates, Gap, 2)
            assert gap.missed is None
            await _next_of(updates, Live, 2)

    asyncio.run(scenario())
