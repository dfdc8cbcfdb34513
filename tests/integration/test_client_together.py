"""Work in threads and several things at once, and proxies that rest while nobody uses them."""

import asyncio
import threading
import time

import pytest

from pykarabo import unit
from pykarabo.client import (
    Client,
    aall_completed,
    afirst_completed,
    afirst_exception,
    all_completed,
    asleep,
    background,
    connect,
    first_completed,
    first_exception,
    sleep,
    wait_until,
)
from pykarabo.errors import (
    CallTimeoutError,
    CancelledByCallerError,
    StaleValueError,
    WrongUnitError,
)

from .conftest import Processes


def test_background_returns_results_and_errors() -> None:
    assert background(divmod, 7, 2).result(timeout_s=10) == (3, 1)
    failing = background(divmod, 7, 0)
    with pytest.raises(ZeroDivisionError):
        failing.result(timeout_s=10)
    assert failing.done
    release = threading.Event()
    waiting = background(release.wait)
    assert repr(waiting).endswith("at work>")
    with pytest.raises(CallTimeoutError, match="has not ended within"):
        waiting.result(timeout_s=0.05)
    release.set()
    assert waiting.result() is True


def test_background_work_ends_at_its_next_call_wait_or_sleep(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")

    def read_on() -> None:
        while True:
            bench.get("value")

    with bench.changes("value") as changes:
        works = [
            background(read_on),
            background(sleep, 600),
            background(wait_until, lambda: bench.value == 1),
            background(changes.get),
        ]
        for work in works:
            work.cancel()
        for work in works:
            with pytest.raises(CancelledByCallerError, match="was cancelled"):
                work.result(timeout_s=20)
    assert bench.value == 0  # who was not cancelled goes on


def test_first_and_all_of_several_works() -> None:
    release = threading.Event()
    ended = first_completed(background(divmod, 7, 2), slow=background(release.wait), timeout_s=10)
    assert ended.done == {0: (3, 1)}
    assert not ended.failed
    assert list(ended.pending) == ["slow"]
    failing = background(divmod, 7, 0)
    ended = first_exception(failing, background(release.wait), timeout_s=10, cancel_pending=False)
    assert isinstance(ended.failed[0], ZeroDivisionError)
    release.set()
    ended = all_completed(ended.pending[1], other=background(divmod, 7, 0), timeout_s=10)
    assert ended.done == {0: True}
    assert list(ended.failed) == ["other"]
    waiting = background(sleep, 600)
    ended = all_completed(waiting, timeout_s=0.05)
    assert list(ended.pending) == [0]
    with pytest.raises(CancelledByCallerError):
        waiting.result(timeout_s=10)
    assert all_completed() == ({}, {}, {})


def test_first_and_all_of_several_awaitables() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        stopped = asyncio.Event()

        async def slow() -> None:
            try:
                await asyncio.sleep(600)
            finally:
                stopped.set()

        ended = await afirst_completed(asyncio.sleep(0, "here"), slow=slow(), timeout_s=10)
        assert ended.done == {0: "here"}
        assert list(ended.pending) == ["slow"]
        assert stopped.is_set()
        ended = await afirst_exception(slow(), fail(), timeout_s=10)
        assert list(ended.pending) == [0]
        assert isinstance(ended.failed[1], ZeroDivisionError)
        ended = await aall_completed(a=asyncio.sleep(0, 1), b=fail(), timeout_s=10)
        assert (ended.done, list(ended.failed), ended.pending) == ({"a": 1}, ["b"], {})
        kept = asyncio.create_task(slow())
        ended = await aall_completed(kept, timeout_s=0.01, cancel_pending=False)
        assert not kept.done()
        ended = await afirst_completed(kept, timeout_s=0.01)
        assert kept.cancelled()
        ended = await aall_completed(kept)
        assert isinstance(ended.failed[0], CancelledByCallerError)
        assert await aall_completed() == ({}, {}, {})

    asyncio.run(scenario())


def test_sleep_knows_units() -> None:
    begin = time.monotonic()
    sleep("20 ms")
    sleep(0.02 * unit.s)
    sleep(0)
    assert time.monotonic() - begin >= 0.04
    with pytest.raises(WrongUnitError):
        sleep("2 mm")

    async def scenario() -> None:
        begin = time.monotonic()
        await asleep("20 ms")
        assert time.monotonic() - begin >= 0.02
        with pytest.raises(WrongUnitError):
            await asleep("2 mm")

    asyncio.run(scenario())


def test_updated_proxy_shows_what_was_written_before(benches: Processes) -> None:
    server = benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    bench.target = 2
    assert bench.updated()["target"].value == 2.0

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("B/1")
            for number in range(1, 30):
                await device.set(other=number)
                values = await device.updated(timeout_s=20)
                assert device.other == values["other"].value == number
            unfollowed = await client.device("B/1", follow=False)
            assert (await unfollowed.updated())["other"].value == 29
            device.disconnect()
            with pytest.raises(StaleValueError):
                _ = device.other
            assert benches.end(server) == 0

    asyncio.run(scenario())


def test_proxy_rests_while_nobody_uses_it(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("B/1", autodisconnect_s=0.3)
            for _ in range(8):
                assert device.other == 0.0
                await asyncio.sleep(0.1)
            while device.is_live:
                await asyncio.sleep(0.01)
            await device.set(other=3.0)
            with pytest.raises(StaleValueError, match=r"await updated\(\)|out of date"):
                _ = device.other  # it begins to follow again with this
            await device.updated(timeout_s=20)
            assert device.other == 3.0
            while device.is_live:
                await asyncio.sleep(0.01)
            await device.updated(timeout_s=20)
            assert device.is_live
            device.disconnect()
            assert not device.is_live

    asyncio.run(scenario())
