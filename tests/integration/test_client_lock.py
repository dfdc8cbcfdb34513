"""Locking a device for a block: waiting for it, entering it again, renewing and losing it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pykarabo.client import Client, connect, wait_until
from pykarabo.errors import LockedError, LockLostError

from .conftest import Processes


@pytest.fixture
def lockables(short_runtime: Path, tmp_path: Path) -> Iterator[Processes]:
    """Give the test a domain of its own and servers of Lockables to start in it."""
    del short_runtime
    running = Processes(Path(__file__).with_name("lock_process.py"), tmp_path)
    yield running
    running.close()


def test_lock_is_held_for_the_block_and_entered_again(lockables: Processes) -> None:
    lockables.start("S/1", "L/1", directory=True)
    device = connect("L/1")
    with device.lock(), device.lock() as again:
        with device.lock(wait_s=0):
            assert device.locked_by == "ours"
        assert device.locked_by == "ours"
        assert again.lost is None
    assert (device.locked_by, device.locks, device.unlocks) == ("", 1, 1)
    with pytest.raises(ZeroDivisionError), device.lock():
        device.target = 1 / 0
    assert (device.locked_by, device.unlocks) == ("", 2)


def test_asynchronous_lock_is_entered_again_by_its_task_and_those_it_starts(
    lockables: Processes,
) -> None:
    lockables.start("S/1", "L/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("L/1", follow=False)

            async def enter() -> str:
                async with device.lock(wait_s=5):
                    return str((await device.get("locked_by"))["locked_by"])

            async with device.lock(), device.lock():
                assert await asyncio.create_task(enter()) == "ours"
                assert (await device.get("locked_by")) == {"locked_by": "ours"}
            found = await device.get("locked_by", "locks", "unlocks")
            assert found == {"locked_by": "", "locks": 1, "unlocks": 1}

    asyncio.run(scenario())


def test_parts_of_a_program_take_turns(lockables: Processes) -> None:
    lockables.start("S/1", "L/1", directory=True)
    device = connect("L/1")
    inside = threading.Event()
    seen: list[str] = []

    def other() -> None:
        with (
            pytest.raises(LockedError, match="another part of this program"),
            device.lock(wait_s=0),
        ):
            pass
        inside.set()
        with device.lock(wait_s=10):
            seen.append("other")

    with device.lock():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        seen.append("first")
    thread.join()
    assert seen == ["first", "other"]

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("L/1", follow=False)
            order: list[str] = []

            async def second() -> None:
                with pytest.raises(LockedError, match="another part of this program"):
                    async with device.lock(wait_s=0.05):
                        pass
                order.append("refused")
                async with device.lock():
                    order.append("second")

            task = asyncio.create_task(second())
            async with device.lock():
                while not order:
                    await asyncio.sleep(0.01)
                order.append("first")
            await task
            assert order == ["refused", "first", "second"]

    asyncio.run(scenario())


def test_lock_of_somebody_else_is_waited_for(lockables: Processes) -> None:
    lockables.start("S/1", "L/1", directory=True)
    device = connect("L/1")
    device.occupy("somebody")
    with pytest.raises(LockedError, match="locked by 'somebody'"), device.lock(wait_s=0):
        pass
    with pytest.raises(LockedError, match="locked by 'somebody'"), device.lock(wait_s=0.3):
        pass
    device.occupy("somebody", 0.5)
    begin = time.monotonic()
    with device.lock(wait_s=20):
        assert time.monotonic() - begin > 0.4
        assert device.locked_by == "ours"

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("L/1")
            await device.occupy("somebody")
            with pytest.raises(LockedError, match="locked by 'somebody'"):
                async with device.lock(wait_s=0.3):
                    pass
            await device.occupy("somebody", 0.5)
            async with device.lock():
                assert (await device.get("locked_by")) == {"locked_by": "ours"}

    asyncio.run(scenario())


def test_lock_is_renewed_while_it_is_held(lockables: Processes) -> None:
    lockables.start("S/1", "L/1", directory=True)
    device = connect("L/1")
    with device.lock(lease_s=3.0):
        assert device.lease == 3.0
        wait_until(lambda: device.locks >= 3, timeout_s=60)
    renewed = device.locks
    assert device.unlocks == 1

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("L/1", follow=False)
            async with device.lock(lease_s=3.0) as held:
                while (await device.get("locks"))["locks"] < renewed + 3:
                    await asyncio.sleep(0.05)
                assert held.lost is None

    asyncio.run(scenario())


def test_lost_lock_is_told_at_the_end_of_the_block(lockables: Processes) -> None:
    lockables.start("S/1", "L/1", directory=True)
    device = connect("L/1")

    def lose(divisor: int) -> None:
        with device.lock(lease_s=1.5) as held:
            device.occupy("somebody")
            while held.lost is None:
                time.sleep(0.01)
            assert 1 / divisor == 1  # the block may fail by itself

    with pytest.raises(LockLostError, match="locked by 'somebody'"):
        lose(1)
    assert device.locked_by == "somebody"
    assert device.unlocks == 0
    device.clear_lock()
    with pytest.raises(ZeroDivisionError) as raised:
        lose(0)
    assert "the lock of 'L/1' was lost" in raised.value.__notes__[0]

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("L/1", follow=False)
            await device.clear_lock()

            async def lose() -> None:
                async with device.lock(lease_s=1.5) as held:
                    await device.occupy("somebody")
                    while held.lost is None:
                        await asyncio.sleep(0.01)

            with pytest.raises(LockLostError, match="locked by 'somebody'"):
                await lose()

    asyncio.run(scenario())


def test_restart_of_the_device_ends_the_lock(lockables: Processes) -> None:
    lockables.start("S/0", directory=True)
    server = lockables.start("S/1", "L/1")
    device = connect("L/1")

    def restart() -> None:
        with device.lock(lease_s=6.0) as held:
            lockables.end(server)
            lockables.start("S/1", "L/1")
            while held.lost is None:
                time.sleep(0.01)

    with pytest.raises(LockLostError, match="the lock of 'L/1' was lost"):
        restart()
