"""A day's work in ten minutes, and a cluster on a host that is busy (cases S3 and S5).

``PYKARABO_SOAK_S`` says how long S3 takes, ``PYKARABO_STRESS_S`` how long S5 does. The clock is
not sped up in S3: what happens once a day is not among it.
"""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import Client
from pykarabo.wire import Call
from tests.harness import Cluster, Proxy, record, wait_until
from tests.harness.cluster import WorkloadProcess
from tests.harness.mix import Mix, Size, environment_number
from tests.harness.proxy import PROXY_HOST, SERVER_HOST

FULL_S: Final = 600.0
RESTARTS: Final = 100
CALLS: Final = 1_000_000
EVENTS: Final = 3_000_000
RATE: Final = EVENTS / FULL_S
CALLERS: Final = 8
CHURNERS: Final = 4
WARM_SHARE: Final = 0.3
"""Caches and pools fill in this part of the time; slopes are measured after it."""
MIB: Final = 2**20
GROWTH: Final = 1.0 * MIB
"""What memory may grow by in ten minutes."""
ERRORS: Final = ("Traceback (most recent", "never retrieved", "does not end", "ResourceWarning")


class Sizes:
    """What long-lived processes hold, again and again."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._sizes: dict[str, list[dict[str, int]]] = {}

    def add(self, sizes: dict[str, dict[str, int]]) -> None:
        """Note what each process holds now."""
        self._at.append(time.monotonic())
        for name, size in sizes.items():
            self._sizes.setdefault(name, []).append(size)

    def slopes(self) -> dict[str, dict[str, float]]:
        """Return by how much each figure of each process grows in ten minutes."""
        first = int(len(self._at) * WARM_SHARE)
        return {
            name: {
                what: _slope(self._at[first:], [size[what] for size in sizes[first:]]) * FULL_S
                for what in ("files", "tasks", "memory")
            }
            for name, sizes in self._sizes.items()
        }

    @property
    def seconds(self) -> float:
        """The time that slopes are measured over."""
        return (self._at[-1] - self._at[0]) * (1 - WARM_SHARE)


def _slope(at: list[float], values: list[int]) -> float:
    """Return the median of the slopes between points of the first and of the second half."""
    half = len(at) // 2
    return statistics.median(
        (later - earlier) / (at[half + index] - at[index])
        for index, (earlier, later) in enumerate(
            zip(values[:half], values[half : 2 * half], strict=True)
        )
    )


def _errors(cluster: Cluster) -> list[str]:
    return [
        f"{name}: {text[text.find(mark) :][:2000]}"
        for name, text in cluster.logs().items()
        for mark in ERRORS
        if mark in text
    ]


async def _holdings(client: Client, device_id: str) -> dict[str, int]:
    found: dict[str, int] = await client.request(device_id, Call(device_id, "holdings"))
    return found


async def _soak(cluster: Cluster, sink: WorkloadProcess, seconds: float, proxy: Proxy) -> Sizes:
    """Restart a server again and again while the others work; returns what these held."""
    sizes = Sizes()
    period_s = seconds / RESTARTS
    begun = time.monotonic()
    async with cluster.client() as client:
        for number in range(1, RESTARTS + 1):
            await asyncio.sleep(max(0.0, begun + number * period_s - time.monotonic()))
            server = cluster.servers["S/1"]
            await asyncio.to_thread(server.kill if number % 2 else server.end)
            await asyncio.to_thread(cluster.restart, server)
            await asyncio.to_thread(proxy.reset)
            sizes.add(
                {
                    "directory": await _holdings(client, "D/DIRECTORY"),
                    "server": await _holdings(client, "D/STABLE/0"),
                    "client": await asyncio.to_thread(sink.ask, "size"),
                }
            )
    return sizes
