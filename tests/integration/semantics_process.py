"""A device server process for the tests of calls and streams: `SERVER_ID [--directory] ...`."""

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from pykarabo.data import Array, Float64, Int64, State
from pykarabo.device import Device, DeviceSettings, ServerSettings, command, run_server


class Bench(Device):
    """Does what the tests need."""

    target = Float64(unit="mm", minimum=-10, maximum=10)
    other = Float64()
    pause = Float64(unit="s", description="Writing it takes so long.")
    value = Int64(read_only=True)
    executed = Int64(read_only=True, description="Commands that were run.")
    cancelled = Int64(read_only=True, description="Commands that were cancelled.")
    image = Array(dtype="float64", shape=(None, None), read_only=True)

    async def on_start(self) -> None:
        """Be ready."""
        self.image = np.arange(64.0).reshape(8, 8)
        self.state = State.ON

    async def on_set(self, values: Mapping[str, Any]) -> None:
        """Take the time that is asked for."""
        await asyncio.sleep(values.get("pause", 0.0))

    @command()
    async def execute(self, duration: float = 0.0) -> int:
        """Note that this ran, then take a while."""
        self.executed += 1
        try:
            await asyncio.sleep(duration)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.executed

    @command(idempotent=True)
    async def look(self, duration: float = 0.0) -> int:
        """Take a while and change nothing but the count."""
        return await self.execute(duration)

    @command()
    async def forward(self, device_id: str, duration: float) -> int:
        """Run another device's command, for as long as it takes."""
        other = await self.connect(device_id)
        result: int = await other.call("execute", duration, timeout_s=60.0)
        return result

    @command()
    def forward_blocking(self, device_id: str, duration: float) -> int:
        """Run another device's command from a worker thread."""
        from pykarabo.client import BlockingClient

        with BlockingClient() as client:
            return int(client.device(device_id).call("execute", duration, timeout_s=60.0))

    @command()
    async def start_later(self, device_id: str) -> None:
        """Have a background task call another device, after this call has ended."""

        async def later() -> None:
            await asyncio.sleep(0.3)
            await self.forward(device_id, 0.0)

        self.spawn(later(), name="later")

    @command()
    async def block(self, duration: float) -> None:
        """Block the event loop, as bad code does."""
        time.sleep(duration)  # noqa: ASYNC251 - on purpose

    @command(job=True)
    async def scan(self, steps: int, pause: float = 0.01, fail: bool = False) -> dict[str, Any]:
        """Take so many steps."""
        for step in range(steps):
            self.report_progress(step / steps, f"step {step}")
            await asyncio.sleep(pause)
            self.value = step + 1
        if fail:
            raise ValueError("the last step broke")
        return {"steps": steps}

    @command()
    async def flood(self, changes: int, rate: float) -> None:
        """Change the value so many times at this rate, in the background."""
        self.spawn(self._flood(changes, rate), name="flood")

    @command()
    async def blink(self, value: int) -> None:
        """Have a value for no time at all: this turn of the event loop ends with the one before."""
        before = self.value
        self.value = value
        self.value = before

    async def _flood(self, changes: int, rate: float) -> None:
        begin = self.value
        started = asyncio.get_running_loop().time()
        for number in range(1, changes + 1):
            self.value = begin + number
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


def main() -> None:
    """Serve the devices named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server_id")
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--directory", action="store_true")
    options = parser.parse_args()
    settings = ServerSettings(
        options.server_id,
        directory=options.directory,
        classes=("Directory",),
        more_classes={"Bench": Bench},
        devices=tuple(DeviceSettings(name, "Bench") for name in options.devices),
    )
    run_server(settings, lambda _server: print("started", flush=True))


if __name__ == "__main__":
    main()
