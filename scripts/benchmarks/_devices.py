"""Devices to measure."""

import asyncio
import time
from typing import Any, Final

from pykarabo.data import Float64, Int64
from pykarabo.device import Device, command

OWN_PROPERTIES: Final = len(Device.schema().properties)
"""What every device has: class, id, server, host, process, state, status and so on."""


class Bench(Device):
    """Something to read, and a source of events."""

    value = Float64(default=1.5)
    count = Int64(read_only=True, description="Grows by one with each event.")
    sent = Int64(read_only=True, description="The host's monotonic clock when it was set.")

    async def on_initialize(self) -> None:
        """Begin with nothing granted."""
        self._left = 0
        self._more = asyncio.Event()

    async def on_start(self) -> None:
        """Count as far as is granted, as fast as it goes, each in a message of its own."""
        while True:
            while self._left == 0:
                self._more.clear()
                await self._more.wait()
            self._left -= 1
            self.count += 1
            await asyncio.sleep(0)

    @command()
    async def grant(self, more: int) -> None:
        """Allow so many more events."""
        self._left += more
        self._more.set()

    @command()
    async def flood(self, seconds: float) -> float:
        """Publish without regard to anybody; returns the events per second."""
        first, begin = self.count, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            self.count += 1
            await asyncio.sleep(0)
        return (self.count - first) / (time.perf_counter() - begin)

    @command()
    async def pace(self, rate: float, seconds: float) -> None:
        """Publish the time so many times a second, evenly."""
        begin = time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            self.sent = time.monotonic_ns()


class Ticking(Device):
    """Begins to count as soon as it lives."""

    count = Int64(read_only=True)

    async def on_start(self) -> None:
        """Count a hundred times a second."""
        while True:
            self.count += 1
            await asyncio.sleep(0.01)


def wide_class(properties: int) -> type[Device]:
    """Return a class with so many properties besides those that every device has."""
    members: dict[str, Any] = {
        f"value{number}": Float64(unit="mm", warn_high=1e6, description="A value.")
        for number in range(properties)
    }
    return type("Wide", (Device,), {"__doc__": "Many values.", **members})


def beating_class(properties: int) -> type[Device]:
    """Return a class that changes so many properties at once, at a rate."""

    async def on_start(self: Any) -> None:
        begin, beats = time.perf_counter(), 0
        while True:
            while (time.perf_counter() - begin) * self.rate > beats:
                beats += 1
                self.set_values(dict.fromkeys(names, float(beats)))
                self.flush()
            await asyncio.sleep(0.5 / self.rate)

    names = [f"value{number}" for number in range(properties)]
    members: dict[str, Any] = {name: Float64(read_only=True) for name in names}
    members |= {"rate": Float64(default=50.0), "on_start": on_start, "__doc__": "Beats."}
    return type("Beating", (Device,), members)
