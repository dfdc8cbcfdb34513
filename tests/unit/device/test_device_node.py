"""Devices that need others: connected at once before the start, and through restarts."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from pykarabo.data import Int64, State
from pykarabo.device import Device, DeviceNode, command
from pykarabo.errors import MissingValueError, NotConnectedError
from pykarabo.testing import run_facility


class _Pump(Device):
    """A pump."""

    speed = Int64(default=3)

    @command()
    async def work(self) -> int:
        """Work."""
        return self.speed


class _Cooler(Device):
    """Needs two pumps."""

    first = DeviceNode(description="The first pump.", timeout_s=0.6)
    second = DeviceNode(timeout_s=0.6)
    spare = DeviceNode(required=False)

    async def on_initialize(self) -> None:
        with pytest.raises(NotConnectedError, match=r"COOL/1\.first"):
            _ = self.first

    async def on_start(self) -> None:
        self.total = await self.first.work() + self.second.speed
        self.state = State.ON


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


_BOTH = {"first": "PUMP/1", "second": "PUMP/2"}


def test_others_are_connected_before_the_start_whenever_they_come() -> None:
    async def scenario() -> None:
        async with run_facility({"Pump": _Pump, "Cooler": _Cooler}) as facility:
            server = facility.server
            await server.instantiate("Pump", "PUMP/1")
            cooler: Any = await server.instantiate("Cooler", "COOL/1", _BOTH)
            await _until(lambda: cooler.status == "waits for PUMP/1, PUMP/2")
            await server.instantiate("Pump", "PUMP/2")
            await _until(lambda: cooler.state == State.ON)
            assert cooler.total == 6
            assert cooler.status == ""
            assert cooler.values()["first"].value == "PUMP/1"
            with pytest.raises(NotConnectedError, match=r"COOL/1\.spare"):
                _ = cooler.spare
            await server.shut_down("PUMP/2")
            await _until(lambda: not cooler.second.is_live)
            await server.instantiate("Pump", "PUMP/2", {"speed": 9})
            await _until(lambda: cooler.second.is_live)
            assert cooler.second.speed == 9

    asyncio.run(scenario())


def test_one_that_does_not_come_is_named_and_all_are_awaited_at_once() -> None:
    async def scenario() -> None:
        async with run_facility({"Cooler": _Cooler}) as facility:
            begun = time.monotonic()
            cooler = await facility.server.instantiate("Cooler", "COOL/1", _BOTH)
            await _until(lambda: cooler.state == State.ERROR)
            assert "'PUMP/1', the 'first' of 'COOL/1', did not come within 0.6 s" in cooler.status
            assert "there is no device 'PUMP/1'" in cooler.status
            assert time.monotonic() - begun < 10

    asyncio.run(scenario())


def test_a_required_one_must_be_configured() -> None:
    async def scenario() -> None:
        async with run_facility({"Cooler": _Cooler}) as facility:
            with pytest.raises(MissingValueError, match=r"'COOL/1\.second' must be configured"):
                await facility.server.instantiate("Cooler", "COOL/1", {"first": "PUMP/1"})

    asyncio.run(scenario())
