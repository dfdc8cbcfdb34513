"""A client that follows much for long: `python sink_process.py KEY [options]`.

It follows devices and counts each change of the property KEY, which grows by one with each. It
keeps nothing else, so that its memory can be watched. With ``--callers`` it also calls devices,
with ``--churn`` other clients come and go in it. Each line on stdin is a JSON list of a verb and
its argument; each is answered with one line of JSON.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Final

import psutil

from pykarabo.client import Change, Client, Gap, Live, Stale, Update
from pykarabo.data import PropertyValue
from pykarabo.errors import PykaraboError
from pykarabo.wire import Call

AGE_EVERY: Final = 16
"""The age of one change of so many is noted."""
READ_AT_ONCE: Final = 500
AGE_STEP_S: Final = 0.005
_NS: Final = 1e9


@dataclass(slots=True)
class Count:
    """What became of the changes of a device, without remembering each.

    Attributes:
        last: the latest value; None before the first one.
        produced: changes between what was received first and last, of every life.
        missing: reported as missed for good.
        unaccounted: neither delivered nor reported; negative when too many were reported.
        wrong: changes that came again, or after a later one.
        restarts: lives that ended.
    """

    last: int | None = None
    produced: int = 0
    delivered: int = 0
    missing: int = 0
    recovered: int = 0
    unaccounted: int = 0
    wrong: int = 0
    restarts: int = 0
    stale: int = 0
    live: bool = False
    allowed: int = 0
    """Of the missing ones, those that the values to come are to leave out."""

    def take(self, update: Update, key: str) -> None:
        """Take an update."""
        if isinstance(update, Change):
            if key in update.values:
                self._change(int(update.values[key].value))
        elif isinstance(update, Live):
            self.live = True
            self._synchronise(int(update.values[key].value))
        elif isinstance(update, Gap):
            self._gap(update)
        elif isinstance(update, Stale):
            self.live = False
            self.stale += 1

    def _change(self, value: int) -> None:
        left_out = value - (self.last or 0) - 1
        if left_out < 0:
            self.wrong += 1
            return
        if left_out:
            reported = min(left_out, self.allowed)
            self.allowed -= reported
            self.unaccounted += left_out - reported
        self.produced += left_out + 1
        self.delivered += 1
        self.last = value

    def _synchronise(self, value: int) -> None:
        if self.last is not None:
            left_out = value - self.last
            self.wrong += left_out < 0
            self.produced += left_out
            self.unaccounted += left_out - self.allowed
        self.allowed = 0
        self.last = value

    def _gap(self, gap: Gap) -> None:
        if gap.missed is None:
            self.restarts += 1
            self.last = None
            self.allowed = 0
        elif gap.recovered:
            self.recovered += gap.missed
        else:
            self.missing += gap.missed
            self.allowed += gap.missed


class Sink:
    """Follows devices, calls them, and answers questions about that."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key = key
        self._counts: dict[str, Count] = {}
        self._ages: Counter[int] = Counter()
        self._seen = 0
        self._calls: Counter[str] = Counter()

    async def follow(self, patterns: list[str]) -> int:
        """Follow every device that matches; returns how many they are."""
        for pattern in patterns:
            for record in await self._client.topology(pattern):
                if record.class_id in ("Specimen", "Wide"):
                    self._follow(record.device_id)
        return len(self._counts)

    def _follow(self, device_id: str) -> None:
        count = self._counts[device_id] = Count()

        def take(update: Update) -> None:
            count.take(update, self._key)
            self._seen += 1
            if self._seen % AGE_EVERY == 0:
                self._note_age(update)

        self._client.follow(device_id, take)

    def _note_age(self, update: Update) -> None:
        if isinstance(update, Change) and self._key in update.values:
            made_ns = update.values[self._key].timestamp.to_ns()
            self._ages[int((time.time_ns() - made_ns) / _NS / AGE_STEP_S)] += 1

    # -- load -----------------------------------------------------------------------------------

    async def call(self, devices: Iterator[str]) -> None:
        """Call one device after the other until cancelled."""
        while True:
            await self._call_once(self._client, next(devices))

    async def _call_once(self, client: Client, device_id: str) -> None:
        number = self._calls.total()
        try:
            found = await client.request(device_id, Call(device_id, "add", [number, 1]))
        except PykaraboError as error:
            self._calls[error.code] += 1
        else:
            self._calls["done" if found == number + 1 else "wrong"] += 1

    async def churn(self, devices: Iterator[str]) -> None:
        """Be one new client after the other until cancelled: connect, call, leave."""
        while True:
            async with Client() as client:
                await self._call_once(client, next(devices))
            self._calls["sessions"] += 1

    # -- answers --------------------------------------------------------------------------------

    async def live(self, _argument: None) -> int:
        """Return how many devices are live."""
        return sum(count.live for count in self._counts.values())

    async def counts(self, _argument: None) -> dict[str, int]:
        """Return the sums over all devices."""
        total: Counter[str] = Counter()
        for count in self._counts.values():
            total.update(asdict(count))
        return dict(total)

    async def p99_age(self, _argument: None) -> float:
        """Return the age that one change of a hundred exceeded since this was asked last."""
        ages, self._ages = self._ages, Counter()
        older = ages.total() // 100
        for step in sorted(ages, reverse=True):
            older -= ages[step]
            if older < 0:
                return (step + 1) * AGE_STEP_S
        return float("inf")

    async def calls(self, _argument: None) -> dict[str, int]:
        """Return how calls ended."""
        return dict(self._calls)

    async def behind(self, _argument: None) -> list[str]:
        """Return the devices that say another value than was received last."""
        devices = list(self._counts)
        found: list[str] = []
        for start in range(0, len(devices), READ_AT_ONCE):
            part = devices[start : start + READ_AT_ONCE]
            answers = await self._client.read_many({device: [self._key] for device in part})
            found += [
                device for device, values in answers.items() if not self._equals(device, values)
            ]
        return found

    def _equals(self, device_id: str, values: dict[str, PropertyValue] | PykaraboError) -> bool:
        return isinstance(values, dict) and values[self._key].value == self._counts[device_id].last

    async def size(self, _argument: None) -> dict[str, int]:
        """Return what this process holds."""
        return holdings()


def holdings() -> dict[str, int]:
    """Return what this process holds."""
    process = psutil.Process()
    return {
        "files": process.num_fds(),
        "tasks": len(asyncio.all_tasks()),
        "memory": process.memory_info().rss,
    }


async def _obey(sink: Sink) -> None:
    """Answer questions until stdin ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print('"ready"', flush=True)
    while line := await reader.readline():
        verb, argument = json.loads(line)
        print(json.dumps(await getattr(sink, verb)(argument)), flush=True)


async def _run(options: argparse.Namespace) -> None:
    async with Client() as client:
        sink = Sink(client, options.key)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work(cycle(options.call)))
                for work, count in ((sink.call, options.callers), (sink.churn, options.churn))
                for _ in range(count)
            ]
            await _obey(sink)
            for task in tasks:
                task.cancel()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("key")
    parser.add_argument("--call", action="append", default=[])
    parser.add_argument("--callers", type=int, default=0)
    parser.add_argument("--churn", type=int, default=0)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
