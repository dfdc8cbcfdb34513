"""Waiting for conditions: what is seen instead is told."""

import asyncio
from typing import Any

import pytest

from pykarabo.data import Configurable, Float64, Int64, Node, State
from pykarabo.device import Device, command
from pykarabo.errors import OutOfRangeError, UnknownPropertyError
from pykarabo.testing import (
    async_test,
    collected,
    device,
    run_device,
    run_facility,
    until,
    until_blocking,
)


class _Axis(Configurable):
    """An axis."""

    position = Float64(unit="mm")


class _Stage(Device):
    """Counts up slowly."""

    count = Int64(read_only=True, maximum=100)
    axis = Node(_Axis)

    async def on_initialize(self) -> None:
        self.set_values({"state": State.ON, "status": "at rest"})

    @command()
    async def count_to(self, last: int) -> None:
        """Count in the background."""

        async def work() -> None:
            while self.count < last:
                self.count += 1
                await asyncio.sleep(0.001)

        self.spawn(work(), name="counting")


@async_test
async def test_condition_that_comes_true_returns_its_value() -> None:
    async with device(_Stage) as stage:
        await stage.count_to(5)
        assert await until(lambda: stage.count == 5 and stage.count) == 5


@async_test
async def test_failure_tells_the_condition_and_what_the_device_showed() -> None:
    async with device(_Stage) as stage:
        await stage.count_to(3)
        await until(lambda: stage.count == 3)
        with pytest.raises(AssertionError) as caught:
            await until(lambda: stage.count > 4 and stage.axis.position, timeout_s=0.02)
    told = str(caught.value)
    assert "within 0.02 s: await until(lambda: stage.count > 4" in told
    assert "it returned False" in told
    assert "TEST/1.count = 3" in told
    assert "TEST/1.axis.position = 0.0" in told
    assert "TEST/1.state = ON" in told
    assert "TEST/1.status = at rest" in told
    assert "interval" not in told


@async_test
async def test_device_objects_are_read_too() -> None:
    async with run_device(_Stage) as stage:
        with pytest.raises(AssertionError, match=r"TEST/1\.count = 0"):
            await until(lambda: stage.count == 7, timeout_s=0.01)


@async_test
async def test_value_out_of_date_is_waited_for_and_told() -> None:
    async with run_facility({"Stage": _Stage}) as facility:
        await facility.start("Stage", "TEST/1")
        stage = await facility.client.device("TEST/1")
        await facility.server.shut_down("TEST/1")
        await until(lambda: not stage.is_live)
        with pytest.raises(AssertionError) as caught:
            await until(lambda: stage.count == 0, timeout_s=0.01)
    assert "it raised the value of 'TEST/1.count' may be out of date" in str(caught.value)
    assert "TEST/1.count = 0 (out of date)" in str(caught.value)


@async_test
async def test_name_that_there_is_not_fails_at_once() -> None:
    async with device(_Stage) as stage:
        with pytest.raises(UnknownPropertyError, match="did you mean 'count'"):
            await until(lambda: stage.cuont == 0, timeout_s=60.0)


def test_condition_that_is_no_function_of_python_is_named() -> None:
    with pytest.raises(AssertionError, match=r"within 0\.01 s: <method-wrapper '__len__'"):
        until_blocking([].__len__, timeout_s=0.01)


def test_blocking_wait_returns_the_value() -> None:
    seen = iter(range(10))
    assert until_blocking(lambda: next(seen) == 3) is True


@async_test
async def test_updates_are_collected_in_order() -> None:
    async with device(_Stage) as stage, collected(stage, "count") as updates:
        await stage.count_to(20)
        await until(lambda: updates.values("count")[-1] == 20)
        assert updates.values("count") == list(range(21))
        assert len(updates.changes) == 20
        assert updates.gaps == []
        assert updates.values("axis.position") == []


@async_test
async def test_all_properties_are_collected_where_none_is_named() -> None:
    async with device(_Stage) as stage, collected(stage) as updates:
        await stage.set({"axis.position": 2.0})
        await until(lambda: updates.values("axis.position")[-1] == 2.0)
        assert updates.values("state") == [State.ON]


@async_test
async def test_device_in_memory_is_configured_and_checked_as_from_outside() -> None:
    async with device(_Stage, {"axis": {"position": 3.0}}, device_id="LAB/STAGE") as stage:
        assert stage.axis.position == 3.0
        assert stage.device_id == "LAB/STAGE"
        with pytest.raises(UnknownPropertyError):
            await stage.set(speed=1)


@async_test
async def test_start_that_fails_raises_what_the_device_raised() -> None:
    class Broken(_Stage):
        """Refuses to start."""

        async def on_initialize(self) -> None:
            raise OutOfRangeError("no good", device="TEST/1")

    with pytest.raises(OutOfRangeError, match="no good"):
        async with device(Broken):
            pass


@pytest.mark.parametrize("number", [1, 2])
@async_test
async def test_coroutine_gets_its_arguments(number: int, tmp_path: Any) -> None:
    await asyncio.sleep(0)
    assert number in (1, 2)
    assert tmp_path.exists()
