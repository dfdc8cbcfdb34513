"""A device that tells odd values and floods: `python -m tests.harness.odd_process ID`."""

import asyncio
import json
import struct
import sys
from typing import Any, Final

import numpy as np

from pykarabo.data import (
    Float64,
    Int64,
    State,
    String,
    Timestamp,
    UInt64,
    VectorFloat64,
    VectorString,
)
from pykarabo.device import Device, DeviceSettings, Server, ServerSettings, command, run_server

LONG: Final = 100_000
NAN_BITS: Final = 0x7FF80000DEADBEEF


def odd_floats() -> list[float]:
    """Return NaN with bits of its own, infinities, -0.0 and the smallest number."""
    nan = struct.unpack("<d", struct.pack("<Q", NAN_BITS))[0]
    return [nan, float("inf"), float("-inf"), -0.0, 5e-324, 0.1]


class Oddity(Device):
    """Tells what other archives stumble over."""

    notes_callers = False  # messages are counted
    real = Float64(read_only=True)
    large = UInt64(read_only=True)
    text = String(read_only=True)
    vector = VectorFloat64(read_only=True, max_size=5 * LONG)
    names = VectorString(read_only=True, max_size=LONG)
    count = Int64(read_only=True)
    silent = Int64(read_only=True, archive=False)
    secret = String(default="hush", secret=True)
    slow = Int64(read_only=True, archive_interval=1.0)
    seldom = Int64(read_only=True, archive_interval=3600.0)

    async def on_initialize(self) -> None:
        """Be there, with a property whose type can be changed."""
        self.inject(kind=Int64(read_only=True))
        self.state = State.ON

    def _told(self, **values: Any) -> None:
        self.set_values(values)
        self.flush()

    @command()
    async def tell_odd(self) -> None:
        """Tell odd values of each kind, and ordinary ones between them."""
        for number, value in enumerate(odd_floats()):
            self._told(real=value, count=number)
        for value in (0, 2**63 - 1, 2**63, 2**64 - 1):
            self._told(large=value)
        for text in ("", "a\0b", "µ € \U0001f600", "x" * 100_000):
            self._told(text=text)
        self._told(vector=np.arange(LONG, dtype=np.float64))
        self._told(names=[f"{i}" for i in range(1_000)])
        self._told(silent=1, secret="again")
        self._told(vector=np.zeros(5 * LONG))
        self._told(count=100)

    @command()
    async def tell_wrong_times(self) -> None:
        """Tell values with time stamps that cannot be, and one that goes backwards."""
        now = self.now()
        for number, at in enumerate(
            (
                Timestamp(0, 0),
                Timestamp(now.seconds + 86_400, 0),
                now,
                Timestamp(now.seconds - 60, 0),
            )
        ):
            self.set_values({"count": 200 + number}, timestamp=at)
            self.flush()

    @command()
    async def change_type(self) -> None:
        """Become a device whose `kind` is a number, a text, and then a number again."""
        kinds = (
            (Int64(read_only=True), 1),
            (String(read_only=True), "many"),
            (Int64(read_only=True), 2),
        )
        for declaration, value in kinds:
            self.inject(kind=declaration)
            await asyncio.sleep(0.05)
            self._told(kind=value)

    @command()
    async def tell_slowly(self, times: int) -> None:
        """Change what is stored once per second ten times as often."""
        for number in range(1, times + 1):
            self._told(slow=number)
            await asyncio.sleep(0.1)

    @command()
    async def tell_seldom(self, times: int) -> None:
        """Change what is stored once an hour, and then what is stored at once."""
        for number in range(1, times + 1):
            self._told(seldom=number)
        self._told(large=times)

    @command()
    async def flood(self, rate: float, duration: float) -> int:
        """Change so often per second; returns how often it was."""
        loop = asyncio.get_running_loop()
        begun, made = loop.time(), 0
        while (elapsed := loop.time() - begun) < duration:
            while made < elapsed * rate:
                made += 1
                self.large = made
            await asyncio.sleep(0.001)
        return made


def _started(server: Server) -> None:
    print(
        json.dumps({"problems": {name: str(why) for name, why in server.problems.items()}}),
        flush=True,
    )


if __name__ == "__main__":
    run_server(
        ServerSettings(
            "S/ODD",
            classes=(),
            more_classes={"Oddity": Oddity},
            devices=tuple(DeviceSettings(name, "Oddity", {}) for name in sys.argv[1:]),
        ),
        _started,
    )
