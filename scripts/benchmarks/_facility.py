"""A facility of full size on one host: how long until all of it is known, and what it weighs."""

import asyncio
import time
from contextlib import ExitStack
from typing import Final

import psutil

from pykarabo.client import Client
from scripts.benchmarks._devices import OWN_PROPERTIES
from scripts.benchmarks._processes import Peer, domain, peer
from scripts.benchmarks._report import Reach, Row

SERVERS: Final = 5
DEVICES: Final = 1_500
PROPERTIES: Final = 134
PATIENCE_S: Final = 300.0
_GIGA: Final = 1e9


def facility() -> list[Row]:
    """Measure the start of 7 500 devices with a million properties in six processes."""
    begin = time.perf_counter()
    with domain("serve") as directory, ExitStack() as stack:
        servers = [
            stack.enter_context(
                peer("idle", f"BENCH/{number}", DEVICES, PROPERTIES - OWN_PROPERTIES)
            )
            for number in range(SERVERS)
        ]
        asyncio.run(_all_known())
        complete_s = time.perf_counter() - begin
        weight = sum(map(_rss, [directory, *servers]))
    what = f"{SERVERS * DEVICES} devices with {PROPERTIES} properties in {SERVERS + 1} processes"
    return [
        Row(
            id="facility_start",
            what=f"{what}: until all are known",
            value=complete_s,
            unit="s",
            reach=Reach(60.0),
        ),
        Row(
            id="facility_memory",
            what=f"{what}: memory in all",
            value=weight / _GIGA,
            unit="GB",
            reach=Reach(4.0),
        ),
    ]


async def _all_known() -> None:
    """Wait until the directory names every device; one answer holds at most 6 600 of them."""
    async with Client() as client, asyncio.timeout(PATIENCE_S), client.watch("DIRECTORY") as watch:
        async for _update in watch:
            count = (await client.get("DIRECTORY", ["device_count"]))[0][1]
            if count < SERVERS * DEVICES:
                continue
            known = [len(await client.topology(f"BENCH/{n}/*")) for n in range(SERVERS)]
            if sum(known) == SERVERS * DEVICES:
                return


def _rss(process: Peer) -> int:
    return int(psutil.Process(process.process.pid).memory_info().rss)
