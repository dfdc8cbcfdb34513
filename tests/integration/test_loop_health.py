"""A device that stops the event loop is named, and the others of its process are shown as busy."""

import asyncio
import time
from typing import Any

import pytest

from pykarabo.client import Client, Stale, connect
from pykarabo.errors import CallTimeoutError


def test_R4_device_that_blocks_is_named_and_its_neighbours_are_busy_within_3_s(
    benches: Any,
) -> None:
    benches.start("S/0", directory=True)
    benches.start("S/1", "B/1", "B/2")

    async def scenario() -> tuple[float, float, str]:
        async with Client() as client, client.watch("B/2.value") as updates:
            await anext(updates)
            began = time.monotonic()
            blocking = asyncio.create_task(client.device("B/1", follow=False))
            call = asyncio.create_task((await blocking).call("block", 5.0, timeout_s=2.0))
            busy_s = stale_s = 0.0
            while not (busy_s and stale_s) and time.monotonic() < began + 6:
                (record,) = await client.topology("B/2")
                if record.status == "busy" and not busy_s:
                    busy_s = time.monotonic() - began
                stale_s = stale_s or await _stale_after(updates, began)
            with pytest.raises(CallTimeoutError):
                await call
            server = await client.device("S/1", follow=False)
            found = await server.get("blocked_by")
            return busy_s, stale_s, found["blocked_by"]

    busy_s, stale_s, culprit = asyncio.run(scenario())
    assert 0 < busy_s < 3.0
    assert 0 < stale_s < 3.5
    assert "device 'B/1'" in culprit
    assert "semantics_process.py" in culprit
    assert "(block)" in culprit
    log = benches.log_of("S/1").read_text()
    assert "the event loop has been standing for" in log
    assert "time.sleep(duration)" in log


async def _stale_after(updates: Any, began: float) -> float:
    try:
        async with asyncio.timeout(0.05):
            update = await anext(updates)
    except TimeoutError:
        return 0.0
    return time.monotonic() - began if isinstance(update, Stale) else 0.0


def test_server_that_works_blames_nobody(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    connect("B/1").execute(0.7)
    assert connect("S/1").blocked_by == ""
    assert "standing" not in benches.log_of("S/1").read_text()
