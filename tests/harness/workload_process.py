"""A client for the fault mix: `python workload_process.py NAME JOURNAL DEVICE... [options]`.

It watches the devices, calls them all the time with ``--callers``, and notes in its journal when
each call began and ended and when each device was live and stale. Each line on stdin is a JSON
list of a verb and its argument; each is answered with one line of JSON.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import psutil

from pykarabo.client import Client, Live, Stale, Watch
from pykarabo.errors import PykaraboError
from pykarabo.wire import Call
from tests.harness.auditor import CallAudit, StreamAudit, describe

TIMEOUTS_S: Final = (0.5, 1.0, 2.0, 5.0)
PAUSE_S: Final = 0.04
KEYED_SHARE: Final = 0.3


class Journal:
    """Lines that survive the death of this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(self, *facts: object) -> None:
        """Add a line."""
        os.write(self._file, (json.dumps(facts) + "\n").encode())


class Workload:
    """Watches and calls devices and answers questions about that."""

    def __init__(self, client: Client, name: str, journal: Journal, devices: list[str]) -> None:
        self._client = client
        self._journal = journal
        self._streams = {device: StreamAudit(device) for device in devices}
        prefix = f"{name}-{os.getpid()}"
        self._audits = {
            device: CallAudit(client, device, prefix=f"{prefix}-{device}") for device in devices
        }
        self._calling = True
        self._callers = 0
        self._random = random.Random(prefix)

    async def watch(self) -> None:
        """Audit the streams until cancelled."""
        async with self._client.watch(*self._streams) as updates:
            await self._take(updates)

    async def _take(self, updates: Watch) -> None:
        async for update in updates:
            stream = self._streams[update.device_id]
            was_live = stream.live
            stream.take(update)
            if isinstance(update, Live | Stale) and stream.live != was_live:
                self._journal.note("live" if stream.live else "stale", update.device_id, _now())

    async def call(self) -> None:
        """Call one device after the other until told to stop."""
        self._callers += 1
        while self._calling:
            await self._call_once(self._random.choice(list(self._audits)))
            await asyncio.sleep(PAUSE_S)
        self._callers -= 1

    async def _call_once(self, device_id: str) -> None:
        audit = self._audits[device_id]
        timeout_s = self._random.choice(TIMEOUTS_S)
        begun = _now()
        self._journal.note("begun", audit.next_key, device_id, begun)
        call = await audit.call(timeout_s=timeout_s, once=self._random.random() < KEYED_SHARE)
        code = "" if call.error is None else call.error.code
        self._journal.note(
            "ended", call.key, device_id, begun, _now(), call.outcome, code, call.late_s
        )

    # -- answers --------------------------------------------------------------------------------

    async def live(self, _argument: None) -> bool:
        """Return whether every device is live here."""
        return all(stream.live for stream in self._streams.values())

    async def state(self, _argument: None) -> dict[str, str]:
        """Return in words how it stands with each device."""
        return {
            device: f"{'live' if stream.live else 'stale'} at {stream.value}"
            for device, stream in self._streams.items()
        }

    async def values(self, _argument: None) -> dict[str, int]:
        """Return the latest values received."""
        return {device: stream.value for device, stream in self._streams.items()}

    async def finish(self, _argument: None) -> None:
        """Make no more calls."""
        self._calling = False

    async def calling(self, _argument: None) -> bool:
        """Return whether a call is under way."""
        return self._callers > 0

    async def halt(self, _argument: None) -> dict[str, int]:
        """Stop the production of every device; returns their last values."""
        return {device: await self._halt(device) for device in self._streams}

    async def _halt(self, device_id: str) -> int:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(PykaraboError):
                    return int(await self._client.request(device_id, Call(device_id, "halt")))
                await asyncio.sleep(0.05)

    async def account(self, produced: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
        """Return the account of each stream."""
        return {
            device: describe(stream.account(produced[device]))
            for device, stream in self._streams.items()
        }

    async def size(self, _argument: None) -> dict[str, int]:
        """Return what this process holds."""
        process = psutil.Process()
        return {
            "files": process.num_fds(),
            "tasks": len(asyncio.all_tasks()),
            "memory": process.memory_info().rss,
        }


def _now() -> float:
    return time.monotonic()


async def _obey(workload: Workload) -> None:
    """Answer questions until stdin ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print('"ready"', flush=True)
    while line := await reader.readline():
        verb, argument = json.loads(line)
        print(json.dumps(await getattr(workload, verb)(argument)), flush=True)


async def _run(options: argparse.Namespace) -> None:
    async with Client() as client:
        workload = Workload(client, options.name, Journal(options.journal), options.devices)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(workload.watch())]
            tasks += [group.create_task(workload.call()) for _ in range(options.callers)]
            await _obey(workload)
            for task in tasks:
                task.cancel()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("journal")
    parser.add_argument("devices", nargs="+")
    parser.add_argument("--callers", type=int, default=0)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
