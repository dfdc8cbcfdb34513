"""Calls that have not begun when their caller's connection ends."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pykarabo.data import Int32
from pykarabo.device import Device, command
from pykarabo.errors import ConnectionLostError
from pykarabo.testing import run_facility


class _Shutter(Device):
    """Its commands run in threads, of which there is one in this test."""

    moves = Int32(read_only=True)

    async def on_initialize(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    @command()
    def hold(self) -> None:
        """Occupy the thread."""
        self.begun.set()
        self.go_on.wait(10)

    @command()
    def move(self) -> None:
        """Do something that must not happen out of the blue."""
        self.moves += 1


@pytest.mark.parametrize("lost", ["connection", "client"])
def test_what_has_not_begun_does_not_begin_once_its_caller_is_back(lost: str) -> None:
    async def scenario() -> int:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with run_facility({"Shutter": _Shutter}) as facility:
            await facility.server.instantiate("Shutter", "SHUTTER/1")
            (shutter,) = (one for one in facility.server.devices if isinstance(one, _Shutter))
            client = facility.client
            proxy = await client.device("SHUTTER/1", follow=False)
            calls = [asyncio.create_task(proxy.call(name)) for name in ("hold", "move")]
            while not shutter.begun.is_set():
                await asyncio.sleep(0.001)
            link, _target = await client.reach("SHUTTER/1")
            if lost == "connection":
                link.disconnected("reset by peer")
            else:
                link.close()
            for call in calls:
                with pytest.raises(ConnectionLostError):
                    await call
            assert await proxy.get("moves") == {"moves": 0}
            shutter.go_on.set()
            await proxy.call("move")
            return int((await proxy.get("moves"))["moves"])

    assert asyncio.run(scenario()) == 1
