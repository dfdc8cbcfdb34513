"""What a command gives back, and what a command of a node can reach."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pykarabo.client import AsyncDeviceProxy
from pykarabo.data import Configurable, Float64, Node
from pykarabo.device import Device, command, device_of
from pykarabo.errors import BadConfigurationError, RemoteError
from pykarabo.testing import run_device


class _Axis(Configurable):
    position = Float64(unit="mm", read_only=True)

    @command()
    async def home(self) -> str:
        """Go to zero."""
        stage = device_of(self)
        assert isinstance(stage, _Stage)
        stage.homed += 1
        self.position = stage.zero
        return stage.context.device_id


class _Stage(Device):
    zero = Float64(unit="mm", default=3.5)
    axis = Node(_Axis)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.homed = 0

    @command()
    async def count(self, result: Any) -> int:
        """Give something back that should be a number."""
        return result  # type: ignore[no-any-return]

    @command()
    def nothing(self, result: Any) -> None:
        """Give something back that should not be there."""
        return result  # type: ignore[no-any-return]

    @command()
    async def maybe(self, result: Any) -> float | None:
        """Give a number back, or nothing."""
        return result  # type: ignore[no-any-return]

    @command()
    async def image(self) -> npt.NDArray[np.uint16]:
        """Give an array back."""
        return np.arange(6, dtype=np.uint16).reshape(2, 3)

    @command()
    async def anything(self, result: Any):  # type: ignore[no-untyped-def]
        """Declare nothing."""
        return result

    @command(job=True)
    async def work(self, result: Any) -> int:
        """Take long."""
        return result  # type: ignore[no-any-return]


def _with(check: Callable[[_Stage, AsyncDeviceProxy], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with run_device(_Stage, "STAGE/1") as stage:
            await check(stage, await stage.client.device("STAGE/1"))

    asyncio.run(scenario())


def test_a_result_is_what_was_declared() -> None:
    async def check(_stage: _Stage, proxy: AsyncDeviceProxy) -> None:
        assert await proxy.count(7) == 7
        assert await proxy.nothing(None) is None
        assert await proxy.maybe(None) is None
        assert await proxy.maybe(2) == 2.0
        assert (await proxy.image()).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert await proxy.anything("as it is") == "as it is"

    _with(check)


@pytest.mark.parametrize(
    ("name", "result"),
    [("count", "seven"), ("count", 1.5), ("count", None), ("nothing", 0), ("maybe", "much")],
)
def test_another_result_is_an_error_that_says_that_the_command_has_run(
    name: str, result: Any
) -> None:
    async def check(_stage: _Stage, proxy: AsyncDeviceProxy) -> None:
        with pytest.raises(
            RemoteError, match=rf"'STAGE/1\.{name}' has run, but its result is not as declared"
        ) as caught:
            await getattr(proxy, name)(result)
        assert caught.value.remedy

    _with(check)


def test_the_result_of_a_job_is_checked_too() -> None:
    async def check(_stage: _Stage, proxy: AsyncDeviceProxy) -> None:
        good = await proxy.work(3)
        assert await good.result() == 3
        bad = await proxy.work("three")
        with pytest.raises(RemoteError, match="not as declared"):
            await bad.result()

    _with(check)


def test_a_command_of_a_node_reaches_its_device() -> None:
    async def check(stage: _Stage, proxy: AsyncDeviceProxy) -> None:
        assert await proxy.axis.home() == "STAGE/1"
        assert stage.homed == 1
        assert stage.axis.position == 3.5
        assert device_of(stage) is stage

    _with(check)


def test_what_is_no_node_has_no_device() -> None:
    with pytest.raises(BadConfigurationError, match="_Axis is no node of a device"):
        device_of(_Axis())
