"""Alarms, dead-bands and state machines of devices in other processes."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from pykarabo.client import Change, Client, connect
from pykarabo.client._identity import own_identity
from pykarabo.data import Quality, State
from pykarabo.errors import StateForbidsError, UnknownAlarmError

_ID = "LIFT/1"
_FROZEN_S = 0.5
"""Longer than the delay of the alarm."""


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def _told(updates: list[Any], key: str) -> list[Any]:
    changes = [item for item in updates if isinstance(item, Change)]
    return [item.values[key] for item in changes if key in item.values]


def test_a_delayed_alarm_reaches_who_follows_and_stays_until_it_is_acknowledged(
    lifts: Any,
) -> None:
    lifts.start("S/1", _ID, directory=True)

    async def scenario() -> None:
        async with Client() as client, Client() as other:
            updates: list[Any] = []
            client.follow(_ID, updates.append)
            proxy = await other.device(_ID)
            await proxy.set({"pressure": 12.0})
            await _until(lambda: bool(_told(updates, "alarm_condition")))
            assert _told(updates, "alarm_condition")[0].value == "alarm_high"
            qualities = [value.quality for value in _told(updates, "pressure")]
            assert qualities[-1] is Quality.ALARM
            await proxy.set({"pressure": 1.0})
            shown = (await proxy.get("alarms"))["alarms"]["pressure/alarm_high"]
            assert (shown["present"], shown["acknowledged_by"]) == (False, "")
            await proxy.acknowledge_alarm("pressure")
            await _until(lambda: _told(updates, "alarm_condition")[-1].value == "none")
            with pytest.raises(UnknownAlarmError, match="no alarm 'pressure'"):
                await proxy.acknowledge_alarm("pressure")

    asyncio.run(scenario())


def test_a_server_that_was_frozen_raises_the_alarm_when_it_goes_on(lifts: Any) -> None:
    process = lifts.start("S/1", _ID, directory=True)
    lift = connect(_ID)
    lift.pressure = 12.0
    process.send_signal(signal.SIGSTOP)
    time.sleep(_FROZEN_S)
    process.send_signal(signal.SIGCONT)

    async def scenario() -> None:
        async with Client() as client:
            updates: list[Any] = []
            client.follow(_ID, updates.append)
            await _until(lambda: any("alarms" in getattr(item, "values", {}) for item in updates))
            proxy = await client.device(_ID)
            async with asyncio.timeout(20):
                while (await proxy.get("alarm_condition"))["alarm_condition"] == "none":
                    await asyncio.sleep(0.05)

    asyncio.run(scenario())
    lift.acknowledge_alarm("pressure")
    identity = own_identity()
    by = lift.alarms["pressure/alarm_high"]["acknowledged_by"]
    assert by == f"{identity.user}@{identity.host}"


def test_within_a_dead_band_who_asks_has_the_true_value(lifts: Any) -> None:
    lifts.start("S/1", _ID, directory=True)

    async def scenario() -> None:
        async with Client() as client:
            updates: list[Any] = []
            client.follow(_ID, updates.append)
            proxy = await client.device(_ID)
            for level in (5.0, 5.5, 6.0, 6.5):
                await proxy.set({"level": level})
            await _until(lambda: len(_told(updates, "level")) >= 2)
            assert [item.value for item in _told(updates, "level")] == [5.0, 6.5]
            await proxy.set({"level": 7.0})
            assert await proxy.get("level") == {"level": 7.0}
            assert len(_told(updates, "level")) == 2

    asyncio.run(scenario())


def test_of_many_calls_at_once_one_is_executed(lifts: Any) -> None:
    lifts.start("S/1", _ID, directory=True)

    async def scenario() -> None:
        async with Client() as client, Client() as other:
            proxies = [await client.device(_ID), await other.device(_ID)]
            calls = [proxies[number % 2].move(1.0) for number in range(40)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [item for item in outcomes if not isinstance(item, Exception)] == [1]
            refused = [item for item in outcomes if isinstance(item, Exception)]
            assert {type(item) for item in refused} == {StateForbidsError}
            assert all("bring the device to STOPPED first" in str(item) for item in refused)
            found = await proxies[0].get("executed", "state")
            assert found == {"executed": 1, "state": State.STOPPED}

    asyncio.run(scenario())


def test_a_caller_that_gives_up_leaves_the_device_in_error(lifts: Any) -> None:
    lifts.start("S/1", _ID, directory=True)

    async def scenario() -> None:
        async with Client() as client:
            proxy = await client.device(_ID)
            call = asyncio.ensure_future(proxy.move(60.0))
            async with asyncio.timeout(20):
                while (await proxy.get("state"))["state"] != State.MOVING:
                    await asyncio.sleep(0.01)
            call.cancel()
            async with asyncio.timeout(20):
                while (await proxy.get("state"))["state"] != State.ERROR:
                    await asyncio.sleep(0.01)
            assert (await proxy.get("status"))["status"] == "'move' failed: it was cancelled"
            await proxy.reset()
            assert await proxy.move() == 2

    asyncio.run(scenario())
