"""Groups of devices by pattern, and devices that move between two questions."""

import asyncio
import signal
import subprocess
from typing import Any

import pytest

from pykarabo.client import BlockingClient, Client, Live
from pykarabo.data import PropertyValue
from pykarabo.errors import NotConnectedError, PykaraboError, UnknownDeviceError

from .conftest import Processes


def _start(benches: Processes) -> "subprocess.Popen[str]":
    """Start three devices of a group on two servers; returns the second one."""
    benches.start("S/1", "B/1", "B/2", directory=True)
    return benches.start("S/2", "B/3", "C/1")


def _other(found: "dict[str, PropertyValue] | PykaraboError") -> Any:
    assert isinstance(found, dict)
    return found["other"].value


def test_group_has_the_devices_of_all_servers_that_match(benches: Processes) -> None:
    _start(benches)
    with BlockingClient() as client:
        group = client.group("B/*")
        assert group.devices == ("B/1", "B/2", "B/3")
        assert len(group) == 3
        assert repr(group) == "<group of 3 devices: B/*>"
        assert client.group("B/[12]", "C/?").devices == ("B/1", "B/2", "C/1")
        with pytest.raises(UnknownDeviceError, match="no device matches 'X/\\*'"):
            client.group("B/*", "X/*")


def test_blocking_group_reads_writes_and_runs_commands(benches: Processes) -> None:
    _start(benches)
    with BlockingClient() as client:
        group = client.group("B/*")
        assert group.set({"other": 2.5}) == dict.fromkeys(group.devices)
        assert [_other(found) for found in group.read("other").values()] == [2.5] * 3
        refused = group.set({"other": "no number"})
        assert all(isinstance(answer, PykaraboError) for answer in refused.values())
        assert group.call("execute", 0.0) == dict.fromkeys(group.devices, 1)


def test_asynchronous_group_answers_for_devices_that_have_gone(benches: Processes) -> None:
    second = _start(benches)

    async def scenario() -> None:
        async with Client() as client:
            group = await client.group("B/*")
            await asyncio.to_thread(benches.end, second, signal.SIGKILL)
            values = await group.read("other")
            assert _other(values["B/1"]) == 0.0
            assert isinstance(values["B/3"], NotConnectedError)
            answers = await group.call("execute", 0.0)
            assert answers["B/2"] == 1
            assert isinstance(answers["B/3"], NotConnectedError)
            written = await group.set({"other": 1.0})
            assert written["B/1"] is None
            assert isinstance(written["B/3"], NotConnectedError)

    asyncio.run(scenario())


def test_group_that_is_watched_tells_of_every_device(benches: Processes) -> None:
    _start(benches)

    async def scenario() -> None:
        async with Client() as client:
            group = await client.group("B/*")
            seen: dict[str, Any] = {}
            async with asyncio.timeout(5), group.watch("other") as watch:
                async for update in watch:
                    if isinstance(update, Live):
                        seen |= {update.device_id: dict(update.values)}
                    if len(seen) == len(group):
                        break
            assert {key for values in seen.values() for key in values} == {"other"}

    asyncio.run(scenario())


@pytest.mark.parametrize("server_id", ["S/2", "S/3"])
def test_many_are_written_and_read_where_they_are_now(benches: Processes, server_id: str) -> None:
    second = _start(benches)

    async def scenario() -> None:
        async with Client() as client:
            group = await client.group("B/*")
            await group.read("other")
            await asyncio.to_thread(benches.end, second)
            await asyncio.to_thread(benches.start, server_id, "B/3")
            assert await group.set({"other": 4.0}) == dict.fromkeys(group.devices)
            values = await group.read("other")
            assert [_other(found) for found in values.values()] == [4.0] * 3

    asyncio.run(scenario())
