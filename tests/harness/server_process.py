"""A device server process for fault cases: `python server_process.py SERVER_ID DEVICE...`.

Its devices count what they produce and note what they execute in files that survive a SIGKILL,
so that a case compares what was received with what truly happened.
"""

import argparse
import asyncio
import contextlib
import json
import mmap
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import psutil

from pykarabo.data import (
    Configurable,
    Float64,
    Int64,
    Node,
    State,
    String,
    ValueType,
    VectorInt32,
)
from pykarabo.device import Device, DeviceSettings, Server, ServerSettings, command, run_server
from pykarabo.errors import BadInputError, NotConnectedError, PykaraboError

LEDGER_VARIABLE: Final = "PYKARABO_TEST_LEDGER"
_COUNTER_BYTES: Final = 8
_TICK_S: Final = 0.01
_GROWTH: Final = 1.585
"""The time of a large power grows with the exponent of Karatsuba's multiplication."""
_FIRST_POWER: Final = 2_000_000


_INJECTED: Final = 8
"""Names that `reshape` chooses from, at every place."""
_LONGEST_REST_S: Final = 0.3
"""Between two injections, as Karabo's test of schema injection has it."""


def _limited() -> Float64:
    return Float64(minimum=0, maximum=10)


_MEMBERS: Final = (_limited, Float64, Int64, String, VectorInt32)


class _Part(Configurable):
    """A part of a device."""

    level = Float64(read_only=True)


class Specimen(Device):
    """Produces numbered changes and executes numbered commands."""

    notes_callers = False  # a message that tells of a command is no change, and could be missed
    level = Float64(read_only=True)
    group = Node(_Part)
    reshapes = 0
    value = Int64(read_only=True, description="How many changes this life has produced.")
    life = String(read_only=True, description="Hex of this life's instance.")
    rate = Float64(default=0.0, description="Changes per second from the start on.")

    async def on_initialize(self) -> None:
        """Open the ledger of this life."""
        folder = Path(os.environ[LEDGER_VARIABLE])
        name = self.context.device_id.replace("/", "_")
        self.life = self.context.instance.hex()
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        self._executions = os.open(folder / f"{name}.executions", flags)
        with (folder / f"{name}.{self.life}.produced").open("w+b") as file:
            file.truncate(_COUNTER_BYTES)
            self._produced = mmap.mmap(file.fileno(), _COUNTER_BYTES)
        self._producing: asyncio.Task[None] | None = None
        self.state = State.ON

    async def on_start(self) -> None:
        """Produce without end if a rate was given."""
        if self.rate:
            self._producing = self.spawn(self._produce(sys.maxsize, self.rate), name="produce")

    async def on_stop(self) -> None:
        """Close the ledger."""
        os.close(self._executions)

    def _change(self) -> None:
        """Produce one change as one message."""
        self.value += 1
        self._produced[:] = self.value.to_bytes(_COUNTER_BYTES, "little")
        self.flush()

    @command()
    async def produce(self, total: int, per_second: float = 0.0, at_once: int = 100) -> None:
        """Produce so many changes in the background, as fast as possible or at a rate.

        `at_once` are made without letting other devices of the server do so.
        """
        self._producing = self.spawn(self._produce(total, per_second, at_once), name="produce")

    async def _produce(self, total: int, per_second: float, at_once: int = 100) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        made = 0
        while made < total:
            due = int((loop.time() - begun) * per_second) if per_second else made + at_once
            while made < min(due, total):
                self._change()
                made += 1
            await asyncio.sleep(_TICK_S if per_second else 0)

    @command()
    async def halt(self) -> int:
        """Stop producing; returns how many changes there were."""
        if self._producing is not None:
            self._producing.cancel()
        return self.value

    @command()
    async def produced(self) -> int:
        """Wait until all is produced; returns how many changes there were."""
        if self._producing is not None:
            await asyncio.wait([self._producing])
        return self.value

    @command()
    async def reshape(self, seconds: float, seed: int) -> None:
        """Inject, change and remove properties at random moments, in the background."""
        self._reshaping = self.spawn(self._reshape(seconds, random.Random(seed)), name="reshape")

    async def _reshape(self, seconds: float, chance: random.Random) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            for _ in range(chance.randint(1, 3)):
                with contextlib.suppress(BadInputError):  # removed already, or does not fit
                    self._reshape_once(chance)
                    self.reshapes += 1
            self._set_some(chance)
            await asyncio.sleep(chance.uniform(0.0, _LONGEST_REST_S))

    def _reshape_once(self, chance: random.Random) -> None:
        name = f"p{chance.randrange(_INJECTED)}"
        below = chance.choice(("", "", "group", "part"))
        key = f"{below}.{name}" if below else name
        what = chance.randrange(6)
        if what <= 1:
            self.inject({name: chance.choice(_MEMBERS)()}, below=below)
        elif what == 2:
            self.remove(chance.choice((key, "part")))
        elif what == 3:
            self.inject(part=Node(_Part))
        else:
            wanted = chance.choice((key, "level", "group.level"))
            self.update_attributes(
                wanted, description=f"{chance.random()}", warn_high=chance.uniform(1, 10)
            )

    def _set_some(self, chance: random.Random) -> None:
        for key, info in self.schema().properties.items():
            if info.value_type is ValueType.FLOAT64:
                self.set_values({key: chance.uniform(0, 10)})

    @command()
    async def reshaped(self) -> int:
        """Wait until the properties stay as they are; returns how often they were changed."""
        await self._reshaping
        return self.reshapes

    @command()
    async def execute(self, key: str, duration: float = 0.0) -> str:
        """Note in the ledger that this ran and when, take a while, return the key."""
        os.write(self._executions, f"{key} {time.monotonic()}\n".encode())
        if duration:
            await asyncio.sleep(duration)
        return key

    @command()
    async def holdings(self) -> dict[str, Any]:
        """Return what this process holds."""
        process = psutil.Process()
        return {
            "files": process.num_fds(),
            "tasks": len(asyncio.all_tasks()),
            "memory": process.memory_info().rss,
        }

    @command()
    async def add(self, first: int, second: int) -> int:
        """Return the sum."""
        return first + second

    @command()
    async def fetch(self, size: int, pause: float = 0.0) -> str:
        """Return a text of this size."""
        if pause:
            await asyncio.sleep(pause)
        return "x" * size

    @command()
    def hold_gil(self, duration: float) -> float:
        """Spend this long in one call of a C library that keeps the interpreter's lock."""
        begun = time.perf_counter()
        pow(3, _FIRST_POWER)
        took = time.perf_counter() - begun
        begun = time.perf_counter()
        pow(3, int(_FIRST_POWER * (duration / took) ** (1 / _GROWTH)))
        return time.perf_counter() - begun

    @command()
    async def use_all_files(self) -> int:
        """Open files until there is no file descriptor left; returns how many it were."""
        self._files: list[int] = []
        while True:
            try:
                self._files.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                return len(self._files)

    @command()
    async def close_all_files(self) -> None:
        """Give the file descriptors back."""
        while self._files:
            os.close(self._files.pop())


def _started(server: Server) -> None:
    record = server.record()
    # What waits for the directory is started when it is back.
    problems = {
        device: str(error)
        for device, error in server.problems.items()
        if not isinstance(error, NotConnectedError)
    }
    endpoints = {"rpc": record.rpc, "events": record.events, "data": record.data}
    print(json.dumps({"endpoints": endpoints, "problems": problems}), flush=True)


def main() -> None:
    """Serve the devices named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server_id")
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--directory", action="store_true")
    parser.add_argument("--host")
    parser.add_argument("--advertise")
    parser.add_argument("--ports", type=json.loads, default={})
    parser.add_argument("--open-files", type=int)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if options.open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.open_files, options.open_files))
    settings = ServerSettings(
        options.server_id,
        directory=options.directory,
        host=options.host,
        advertise=options.advertise,
        ports=options.ports,
        classes=("Directory",),
        more_classes={"Specimen": Specimen},
        devices=tuple(
            DeviceSettings(name, "Specimen", {"rate": options.rate}) for name in options.devices
        ),
    )
    try:
        run_server(settings, _started)
    except PykaraboError as error:  # as `pykarabo server start` ends
        sys.exit(str(error))


if __name__ == "__main__":
    main()
