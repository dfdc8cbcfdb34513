"""Events: how many arrive, how soon, after a restart, and past somebody who does not listen."""

import asyncio
import os
import signal
import statistics
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import uvloop

from pykarabo.client import Change, Client, Gap, Live, Stale, Update
from scripts.benchmarks._processes import Peer, domain, duration_s, library, peer
from scripts.benchmarks._report import Reach, Row
from scripts.benchmarks._views import open_view

_DEVICE: Final = "BENCH/1"
_TICKING: Final = "BENCH/TICKING"
_SERVER: Final = "BENCH/SECOND"
WINDOW: Final = 4_000
"""Events under way; above some ten thousand a slow watcher gets a counted gap instead."""
STEP: Final = 1_000
RATE: Final = 1_000
PERCENT: Final = 100
RESTARTS: Final = 5
STALLED_ROUNDS: Final = 5
FLOOD_S: Final = 2.0
PROFILE_S: Final = 3.0
FILL_S: Final = 1.0
"""Fills every queue in front of the stopped subscriber."""
_NO_P4P: Final = "p4p, which has no wheel for this Python"


def rows() -> list[Row]:
    """Measure the event stream of one device."""
    with domain("serve", f"Bench={_DEVICE}") as server, _Runner() as runner:

        def explain() -> list[str]:
            return server.profiled(lambda: runner.run(_count_alone(PROFILE_S)))

        return [
            runner.run(_sustained()).explained(explain),
            runner.run(_latency()),
            runner.run(open_view()),
            runner.run(_restart()),
            runner.run(_stalled()),
        ]


def _Runner() -> asyncio.Runner:  # noqa: N802 - stands for the class
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


# -- how many -----------------------------------------------------------------------------------


async def _sustained() -> Row:
    seconds = duration_s(10, 60)
    async with Client() as client:
        received, missed, lasted_s = await _count(client, seconds)
    reference = await asyncio.to_thread(_p4p_per_second, seconds)
    return Row(
        id="sustained",
        what=f"events to one watcher, one change each, in {seconds:.0f} s; {missed} missed",
        value=received / lasted_s,
        unit="1/s",
        reference="p4p monitor of a value that changes all the time" if reference else _NO_P4P,
        reference_value=reference,
        reach=Reach(35_000, least=True),
    )


async def _count_alone(seconds: float) -> None:
    async with Client() as client:
        await _count(client, seconds)


async def _count(client: Client, seconds: float) -> tuple[int, int, float]:
    """Take events as fast as they come, with a window of them under way."""
    device = await client.device(_DEVICE, follow=False)
    received = missed = 0
    begin = 0.0
    async with client.watch(f"{_DEVICE}.count") as watch, asyncio.TaskGroup() as granting:
        async for update in watch:
            if isinstance(update, Live):
                granting.create_task(device.call("grant", WINDOW))
                begin = time.perf_counter()
            elif isinstance(update, Gap):
                missed += update.missed or 1
            elif isinstance(update, Change):
                received += 1
                if received % STEP == 0:
                    if time.perf_counter() - begin > seconds:
                        break
                    granting.create_task(device.call("grant", STEP))
    return received, missed, time.perf_counter() - begin


def _p4p_per_second(seconds: float) -> float | None:
    pva = library("p4p.client.thread")
    if pva is None:
        return None
    received = 0
    first = threading.Event()

    def count(_value: object) -> None:
        nonlocal received
        received += 1
        first.set()

    with peer("pva") as server, pva.Context("pva") as context:
        server.hear()
        subscription = context.monitor("bench:count", count)
        first.wait()
        before, begin = received, time.perf_counter()
        time.sleep(seconds)
        per_second = (received - before) / (time.perf_counter() - begin)
        subscription.close()
    return per_second


# -- how soon -----------------------------------------------------------------------------------


async def _latency() -> Row:
    seconds = duration_s(5, 60)
    delays_ns: list[int] = []

    def arrived(update: Update) -> None:
        now_ns = time.monotonic_ns()
        if isinstance(update, Change) and "sent" in update.values:
            delays_ns.append(now_ns - update.values["sent"].value)

    async with Client() as client:
        device = await client.device(_DEVICE)
        client.follow(_DEVICE, arrived)
        await device.call("pace", float(RATE), seconds, timeout_s=2 * seconds + 5)
        client.unfollow(_DEVICE, arrived)
    percentiles = statistics.quantiles(delays_ns, n=PERCENT)
    return Row(
        id="latency",
        what=f"event from assignment to callback at {RATE} changes/s, p99 of {len(delays_ns)}",
        value=percentiles[-1] / 1e6,
        unit="ms",
        reference="its own median",
        reference_value=statistics.median(delays_ns) / 1e6,
        reach=Reach(3.0),
    )


# -- after a restart ----------------------------------------------------------------------------


async def _restart() -> Row:
    async with Client() as client:
        server = _second()
        try:
            async with client.watch(_TICKING) as watch:
                async for update in watch:
                    if isinstance(update, Change):
                        break
                times: list[float] = []
                for _ in range(RESTARTS):
                    begin = time.perf_counter()
                    await asyncio.to_thread(server.end)
                    server = _second()
                    stale = False
                    async for update in watch:
                        stale = stale or isinstance(update, Stale)
                        if stale and isinstance(update, Change):
                            break
                    times.append(time.perf_counter() - begin)
        finally:
            server.end()
    return Row(
        id="restart",
        what="from the stop of a server, started again at once, to the new life's first event",
        value=statistics.median(times),
        unit="s",
        reach=Reach(1.0),
    )


def _second() -> Peer:
    return Peer("second", _SERVER, f"Ticking={_TICKING}")


# -- past somebody who does not listen ----------------------------------------------------------


async def _stalled() -> Row:
    """Alternate rounds with and without; nothing else takes the publisher's time."""
    with_stalled: list[float] = []
    without: list[float] = []
    async with Client() as client:
        device = await client.device(_DEVICE, follow=False)
        for _ in range(STALLED_ROUNDS):
            without.append(await device.call("flood", FLOOD_S))
            with _stopped_follower():
                await device.call("flood", FILL_S)
                with_stalled.append(await device.call("flood", FLOOD_S))
    return Row(
        id="stalled",
        what="events published per second past a stopped subscriber whose queue is full",
        value=statistics.median(with_stalled),
        unit="1/s",
        reference="without a subscriber",
        reference_value=statistics.median(without),
        reach=Reach(0.95, ratio=True, least=True),
    )


@contextmanager
def _stopped_follower() -> Generator[None, None, None]:
    with peer("follow", _DEVICE) as follower:
        follower.hear()
        os.kill(follower.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(follower.process.pid, signal.SIGCONT)
