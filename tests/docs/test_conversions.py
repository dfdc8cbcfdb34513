"""What the guide converts is real: the caproto original runs, and does what its twin does."""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

_PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "convert-devices.md"
_BLOCK: Final = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE_S: Final = 30.0


def _original(mark: str) -> dict[str, Any]:
    """Run the block of the page that has `mark` in it, and return its names."""
    (code,) = (
        found["code"]
        for found in _BLOCK.finditer(_PAGE.read_text("utf-8"))
        if mark in found["code"]
    )
    names: dict[str, Any] = {}
    exec(compile(code, str(_PAGE), "exec"), names)
    return names


async def _come(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s
        await asyncio.sleep(0.01)


def test_caproto_original_does_what_its_twin_does() -> None:
    from caproto.asyncio.server import AsyncioAsyncLayer

    pump = _original("PVGroup")["Pump"](prefix="PUMP:")
    assert set(pump.pvdb) == {"PUMP:SPEED", "PUMP:SPEED_RBV", "PUMP:STOP"}

    async def scenario() -> None:
        with pytest.raises(Exception, match=r"Limits are set to 0\.0 and 1000\.0"):
            await pump.setpoint.write(2000.0)
        await pump.setpoint.write(220.0)
        following = asyncio.create_task(pump.readback.server_scan(AsyncioAsyncLayer()))
        await _come(lambda: bool(pump.readback.value == 220.0))
        await pump.stop.write(1)
        await _come(lambda: bool(pump.readback.value == 0.0))
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    asyncio.run(scenario())
