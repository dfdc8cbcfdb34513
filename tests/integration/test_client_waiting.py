"""Waiting for conditions and changes: each value counts, and a timeout says what was seen."""

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pykarabo.client import (
    BlockingClient,
    Client,
    await_new,
    await_until,
    await_while,
    connect,
    wait_new,
    wait_until,
    wait_while,
)
from pykarabo.errors import CallTimeoutError, StaleValueError

from .conftest import Processes


def _later(pause_s: float, action: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(pause_s, action)
    timer.start()
    return timer


def test_condition_is_evaluated_for_each_value(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    seen: list[int] = []

    def condition() -> bool:
        value = bench.value
        seen.append(value)
        if len(seen) == 1:
            bench.call("flood", 200, 1000.0)
            time.sleep(0.3)  # the device is done long before we look again
        return bool(value == 200)

    assert wait_until(condition, timeout_s=10)
    assert seen == [0, *range(1, 201)] or seen == list(range(201))


def test_value_that_came_and_went_in_one_message_is_seen(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    timer = _later(0.2, functools.partial(bench.call, "blink", 99))
    assert wait_until(lambda: bench.value == 99, timeout_s=10)
    timer.join()
    assert bench.value == 0


def test_asynchronous_condition_is_evaluated_for_each_value(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            bench = await client.device("B/1")
            seen: list[int] = []

            def condition() -> bool:
                seen.append(bench.value)
                return bool(seen[-1] == 999)

            waiting = asyncio.create_task(await_until(condition, timeout_s=10))
            while not seen:
                await asyncio.sleep(0.01)
            await bench.flood(200, 1000.0)
            while seen[-1] != 200:
                await asyncio.sleep(0.01)
            await bench.blink(999)
            assert await waiting is True
            assert list(dict.fromkeys(seen)) == [*range(201), 999]

    asyncio.run(scenario())


def test_condition_sees_what_a_command_has_done_before_the_wait(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            bench = await client.device("B/1")
            for number in range(1, 30):
                await bench.execute(0.0)
                with pytest.raises(CallTimeoutError):
                    # The attribute may still show the count of before; a wait must not.
                    await await_until(
                        functools.partial(lambda n: bench.executed < n, number), timeout_s=0.05
                    )

    asyncio.run(scenario())


def test_timeout_says_what_was_seen_last(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    bench.target = 3
    expected = r"did not become true within 0.3 s; last seen: B/1.target = 3 mm at 20"
    with pytest.raises(CallTimeoutError, match=expected) as raised:
        wait_until(lambda: bench.target > 5, timeout_s=0.3)
    assert raised.value.device == "B/1"
    with pytest.raises(CallTimeoutError, match="did not become false within"):
        wait_while(lambda: bench.target < 5, timeout_s=0.3)

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("B/1")
            with pytest.raises(CallTimeoutError, match=expected):
                await await_until(lambda: device.target > 5, timeout_s=0.3)
            with pytest.raises(CallTimeoutError, match="did not become false within"):
                await await_while(lambda: device.target < 5, timeout_s=0.3)

    asyncio.run(scenario())


def test_wait_while_ends_with_the_condition(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    timer = _later(0.2, functools.partial(bench.set, target=6))
    wait_while(lambda: bench.target < 5, timeout_s=10)
    timer.join()
    assert bench.target == 6


def test_device_that_goes_away_is_waited_for(benches: Processes) -> None:
    benches.start("S/0", directory=True)
    server = benches.start("S/1", "B/1")
    bench = connect("B/1")
    bench.target = 3

    def restart() -> None:
        benches.end(server)
        benches.start("S/1", "B/1")

    timer = _later(0.2, restart)
    # Nobody knows the target while the device is away, so "not 3" is not true of it then.
    assert wait_until(lambda: bench.target != 3, timeout_s=30)
    assert bench.target == 0
    timer.join()


def test_wait_gives_up_on_a_device_that_goes_away_if_asked_to(benches: Processes) -> None:
    benches.start("S/0", directory=True)
    server = benches.start("S/1", "B/1")
    bench = connect("B/1")
    timer = _later(0.3, functools.partial(benches.end, server))
    with pytest.raises(StaleValueError, match="'B/1' went away while it was waited for"):
        wait_until(lambda: bench.target == 5, timeout_s=20, give_up_if_away=True)
    timer.join()
    with pytest.raises(CallTimeoutError, match="'B/1' is away"):
        wait_until(lambda: bench.target == 5, timeout_s=0.5)

    async def scenario() -> None:
        server = benches.start("S/1", "B/1")
        async with Client() as client:
            device = await client.device("B/1")
            waiting = asyncio.create_task(
                await_until(lambda: device.target == 5, timeout_s=20, give_up_if_away=True)
            )
            await asyncio.sleep(0.3)
            benches.end(server)
            with pytest.raises(StaleValueError, match="'B/1' went away"):
                await waiting

    asyncio.run(scenario())


def test_error_in_a_condition_reaches_the_caller(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    with pytest.raises(AttributeError, match="no property or command 'tarquet'"):
        wait_until(lambda: bench.tarquet > 5, timeout_s=5)
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / bench.value, timeout_s=5)

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("B/1")
            with pytest.raises(ZeroDivisionError):
                await await_until(lambda: 1 / device.value, timeout_s=5)

    asyncio.run(scenario())


def test_condition_without_a_device_is_looked_at_again() -> None:
    begin = time.monotonic()
    assert wait_until(lambda: time.monotonic() > begin + 0.2, timeout_s=5)
    with pytest.raises(CallTimeoutError, match="it read no device"):
        wait_until(lambda: False, timeout_s=0.1)


def test_condition_may_read_devices_of_two_clients(benches: Processes) -> None:
    benches.start("S/1", "B/1", "B/2", directory=True)
    with BlockingClient() as client:
        one, two = connect("B/1"), client.device("B/2")
        one.target = 1
        timer = _later(0.2, functools.partial(two.set, target=2))
        assert wait_until(lambda: one.target + two.target == 3, timeout_s=10)
        timer.join()


def test_next_change_of_a_property_or_of_a_device(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    timer = _later(0.3, functools.partial(bench.set, other=1.0, target=2.0))
    assert wait_new(bench, "target", timeout_s=10).value == 2.0
    timer.join()
    timer = _later(0.3, functools.partial(bench.set, target=2.0))
    changed = wait_new(bench, timeout_s=10)
    assert {key: value.value for key, value in changed.items() if key != "last_command"} == {
        "target": 2.0
    }
    timer.join()
    with pytest.raises(CallTimeoutError, match=r"no new value of 'B/1.target' within 0.2 s; last "):
        wait_new(bench, "target", timeout_s=0.2)

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("B/1")
            waiting = asyncio.create_task(await_new(device, "target", "other", timeout_s=10))
            await asyncio.sleep(0.3)
            await device.set(target=7.0)
            assert {key: new.value for key, new in (await waiting).items()} == {"target": 7.0}

    asyncio.run(scenario())


def test_device_that_comes_back_has_new_values(benches: Processes) -> None:
    benches.start("S/0", directory=True)
    server = benches.start("S/1", "B/1")
    bench = connect("B/1")

    def restart() -> None:
        benches.end(server)
        benches.start("S/1", "B/1")

    timer = _later(0.3, restart)
    assert wait_new(bench, "target", timeout_s=30).value == 0.0
    timer.join()
