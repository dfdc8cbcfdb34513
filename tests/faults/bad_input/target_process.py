"""The server that the tests attack: `python target_process.py [--host H] [--files N]`."""

import argparse
import asyncio
import json
import resource
from typing import Any, Final

import numpy as np

from pykarabo.data import (
    Array,
    Bool,
    Choice,
    Configurable,
    Float64,
    Int8,
    Int64,
    State,
    String,
    VectorFloat64,
)
from pykarabo.device import Device, DeviceSettings, Output, Server, ServerSettings, command
from pykarabo.device import run_server as run

MANY: Final = 1_000


class Frame(Configurable):
    """An image."""

    image = Array(dtype="uint8", shape=(None,))


class Target(Device):
    """Has properties with every kind of limit."""

    value = Int64(read_only=True)
    position = Float64(unit="mm", minimum=-10.0, maximum=10.0, default=1.0)
    above = Float64(minimum_exclusive=0.0, default=1.0)
    small = Int8(default=1)
    label = String(default="none")
    mode = Choice(["slow", "fast"])
    curve = VectorFloat64(min_size=2, max_size=4, default=[1.0, 2.0])
    table = Array(dtype="uint16", shape=(None, 2))
    parked = Bool(allowed_states={State.OFF})
    started_with = String(init_only=True, default="x")
    output = Output(Frame)

    async def on_initialize(self) -> None:
        """Be on."""
        self.state = State.ON

    @command()
    async def count(self) -> int:
        """Count."""
        self.value += 1
        return self.value

    @command()
    async def block(self, seconds: float) -> None:
        """Block the event loop, as bad code does."""
        import time

        time.sleep(seconds)  # noqa: ASYNC251 - on purpose

    @command()
    async def send(self, size: int) -> int:
        """Write an item of so many bytes to the output; returns how many were written."""
        image = np.zeros(size, np.uint8)
        await self.output.write({"image": image}, timestamp=self.now())
        return self.output.written

    @command()
    async def show(self, rows: int) -> None:
        """Put so many rows into the table."""
        self.table = np.zeros((rows, 2), np.uint16)

    @command()
    async def answer(self, size: int) -> str:
        """Return a text of so many bytes."""
        await asyncio.sleep(0)
        return "x" * size


def _many() -> type[Device]:
    numbers: dict[str, Any] = {f"p{number:03}": Float64(maximum=1.0) for number in range(MANY)}
    return type("Many", (Device,), {"__doc__": "Has many properties.", **numbers})


def _started(server: Server) -> None:
    record = server.record()
    places = {"rpc": record.rpc, "events": record.events, "data": record.data}
    print(json.dumps(places), flush=True)


def main() -> None:
    """Serve a Target as T/TARGET/1, and Many as T/MANY/1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--files", type=int)
    parser.add_argument("--memory", type=int)
    options = parser.parse_args()
    if options.files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.files, options.files))
    settings = ServerSettings(
        "T/SERVER",
        directory=True,
        host=options.host,
        memory_mib=options.memory,
        classes=("Directory",),
        more_classes={"Target": Target, "Many": _many()},
        devices=(DeviceSettings("T/TARGET/1", "Target"), DeviceSettings("T/MANY/1", "Many")),
    )
    run(settings, _started)


if __name__ == "__main__":
    main()
