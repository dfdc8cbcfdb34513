"""Opening a view: the first values of a thousand properties of a hundred devices."""

import asyncio
import statistics
import threading
import time
from typing import Any, Final

from pykarabo.client import Client, Live
from scripts.benchmarks._processes import free_port, library, peer
from scripts.benchmarks._report import Reach, Row

DEVICES: Final = 100
PROPERTIES: Final = 10
ROUNDS: Final = 5
_SERVER: Final = "BENCH/VIEW"
_TANGO_S: Final = 120.0


async def open_view() -> Row:
    """Measure from a client's first line to the last first value; PyTango does the same."""
    with peer("idle", _SERVER, DEVICES, PROPERTIES) as server:
        server.hear()
        times = [await _open() for _ in range(ROUNDS)]
    reference = await asyncio.to_thread(_tango_s)
    return Row(
        id="open_view",
        what=f"all first values of {DEVICES * PROPERTIES} properties on {DEVICES} devices",
        value=statistics.median(times),
        unit="s",
        reference="PyTango's change event subscriptions of as many attributes, once"
        if reference
        else "PyTango, which has no wheel for this Python",
        reference_value=reference,
        reach=Reach(0.3),
    )


async def _open() -> float:
    begin = time.perf_counter()
    targets = [
        f"{_SERVER}/{device}.value{number}"
        for device in range(DEVICES)
        for number in range(PROPERTIES)
    ]
    values = 0
    async with Client() as client, client.watch(*targets) as watch:
        async for update in watch:
            if isinstance(update, Live):
                values += len(update.values)
                if values == len(targets):
                    break
    return time.perf_counter() - begin


def _tango_s() -> float | None:
    """Return how long PyTango needs, None where it is not installed."""
    tango = library("tango")
    if tango is None:
        return None
    port = free_port()
    with peer("tango", port, DEVICES, PROPERTIES) as server:
        server.hear()
        return _subscribe(tango, port)


def _subscribe(tango: Any, port: int) -> float:
    missing = DEVICES * PROPERTIES
    done = threading.Event()
    lock = threading.Lock()

    def arrived(_event: object) -> None:
        nonlocal missing
        with lock:
            missing -= 1
            if not missing:
                done.set()

    begin = time.perf_counter()
    subscriptions: list[tuple[Any, int]] = []
    for device in range(DEVICES):
        proxy = tango.DeviceProxy(f"tango://127.0.0.1:{port}/bench/wide/{device}#dbase=no")
        for number in range(PROPERTIES):
            kind = tango.EventType.CHANGE_EVENT
            subscriptions.append((proxy, proxy.subscribe_event(f"value{number}", kind, arrived)))
    if not done.wait(_TANGO_S):
        raise RuntimeError("PyTango's first values did not come")
    taken_s = time.perf_counter() - begin
    for proxy, subscription in subscriptions:
        proxy.unsubscribe_event(subscription)
    return taken_s
