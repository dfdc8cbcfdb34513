"""Tables, images, dates and nodes of a device, as its clients see them."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import numpy as np
import pytest

from pykarabo.client import AsyncDeviceProxy
from pykarabo.data import (
    Choice,
    ChoiceOfNodes,
    Configurable,
    DateTime,
    Float64,
    Image,
    ImageData,
    Int32,
    ListOfNodes,
    Node,
    String,
    Table,
    TableValue,
)
from pykarabo.device import Device, command
from pykarabo.errors import BadInputError, InvalidValuesError
from pykarabo.testing import run_device


class _Mode(Enum):
    SLOW = 1
    FAST = 2


class _Row(Configurable):
    name = String(default="rest")
    position = Float64(unit="mm", maximum=5.0)


class _Axis(Configurable):
    speed = Float64(unit="mm/s", default=1.0, maximum=9.0)

    @command()
    async def double(self) -> float:
        """Double the speed."""
        self.speed *= 2
        return self.speed


class _Other(Configurable):
    turns = Int32()


class _Scanner(Device):
    steps = Table(_Row)
    view = Image()
    started = DateTime(nullable=True)
    mode = Choice(_Mode)
    first = Float64(maximum=1.0)
    second = Int32()
    stage = ChoiceOfNodes({"axis": _Axis, "other": _Other})
    axes = ListOfNodes(_Axis)
    node = Node(_Axis)


_CONFIGURATION = {"steps": [{"position": 1.0}], "axes": {"x": {}, "y": {"speed": 3.0}}}


def _with(use: Callable[[_Scanner, AsyncDeviceProxy], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with run_device(_Scanner, "SCAN/1", _CONFIGURATION) as device:
            await use(device, await device.client.device("SCAN/1"))

    asyncio.run(scenario())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_change_of_a_table_is_published_as_the_whole_table() -> None:
    async def check(device: _Scanner, proxy: Any) -> None:
        device.steps.append({"position": 2.0})
        device.steps[0, "name"] = "begin"
        await _until(lambda: proxy.steps == device.steps)
        assert isinstance(proxy.steps, TableValue)
        assert [row["position"] for row in proxy.steps] == [1.0, 2.0]
        table = proxy.steps
        table.append({"position": 3.0})
        assert len(device.steps) == 2
        await proxy.set(steps=table)
        assert device.steps[-1]["position"] == 3.0
        assert (await proxy.get("steps"))["steps"] == device.steps

    _with(check)


def test_rows_that_threads_add_at_once_are_all_kept() -> None:
    async def check(device: _Scanner, _proxy: Any) -> None:
        def fill() -> None:
            for _number in range(20):
                device.steps.append({"position": 0.0})

        threads = [threading.Thread(target=fill) for _number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert len(device.steps) == 81

    _with(check)


def test_images_dates_and_members_arrive_as_they_are() -> None:
    async def check(device: _Scanner, proxy: Any) -> None:
        moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
        image = ImageData(np.arange(6, dtype="uint16").reshape(2, 3), rotation=90)
        await proxy.set(view=image, started=moment, mode="FAST")
        assert (device.view, device.started, device.mode) == (image, moment, _Mode.FAST)
        await _until(lambda: bool(proxy.mode == 2))
        assert (proxy.view, proxy.started) == (image, moment)
        await proxy.set(started=None)
        assert device.started is None
        with pytest.raises(BadInputError, match="MiB"):
            device.view = np.zeros((3000, 3000), "uint16")

    _with(check)


def test_nodes_that_the_configuration_chose_are_used_like_any_other() -> None:
    async def check(device: _Scanner, proxy: Any) -> None:
        assert (proxy.stage.axis.speed, proxy.axes.y.speed) == (1.0, 3.0)
        assert await proxy.axes.y.double() == 6.0
        assert await proxy.stage.axis.double() == device.stage.speed == 2.0
        await proxy.set({"axes.x.speed": 5.0})
        assert [axis.speed for axis in device.axes] == [5.0, 6.0]  # type: ignore[attr-defined]
        assert "stage.other.turns" not in proxy.schema.properties
        device.inject(extra=Int32())
        assert device.axes["x"].speed == 5.0  # type: ignore[index]

    _with(check)


def test_all_that_is_wrong_with_a_write_is_told_at_once_and_nothing_is_written() -> None:
    async def check(device: _Scanner, proxy: Any) -> None:
        values = {"first": 2.0, "second": "x", "third": 1, "device_id": "A", "mode": "SLOW"}
        writes = (
            lambda: proxy.set(values),
            lambda: device.write_from_outside(values, lambda: None, lambda _before, _after: None),
        )
        keys: list[str] = []
        for write in writes:
            with pytest.raises(InvalidValuesError) as caught:
                await write()
            keys = [error["key"] for error in caught.value.details["errors"]]
            assert set(keys) - {"device_id"} == {"first", "second", "third"}
            assert caught.value.device == "SCAN/1"
        assert "device_id" in keys
        assert (device.first, device.second) == (0.0, 0)

    _with(check)


def test_all_that_is_wrong_with_an_initial_configuration_is_told_at_once() -> None:
    async def scenario() -> None:
        wrong = {"first": 2.0, "steps": [{"position": 9}], "axes": {"x": {"speed": 99}}}
        with pytest.raises(InvalidValuesError) as caught:
            async with run_device(_Scanner, "SCAN/1", wrong):
                pass
        keys = {error["key"] for error in caught.value.details["errors"]}
        assert keys == {"first", "steps", "axes.x.speed"}

    asyncio.run(scenario())
