"""Checks that a device class keeps the interfaces it derives from: starts it and drives it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.client import AsyncDeviceProxy
from pykarabo.data import CommandInfo, PropertyInfo, State
from pykarabo.device import Device
from pykarabo.device.interfaces import (
    Axis,
    Camera,
    History,
    Instantiator,
    Motor,
    MultiAxisMotor,
    Processor,
    Trigger,
    interfaces_of,
)
from pykarabo.errors import PykaraboError

from ._devices import run_device

_RESTS_S: Final = 0.2
"""A motor that does not begin to move within this time does not move by itself."""
_DEVICE: Final = frozenset(Device.schema().properties) | frozenset(Device.schema().commands)


class ConformanceError(AssertionError):
    """A device class does not keep an interface; every reason is named."""

    def __init__(self, cls: type[Device], reasons: list[str]) -> None:
        lines = "".join(f"\n  - {reason}" for reason in reasons)
        super().__init__(f"class '{cls.__name__}' does not keep its interfaces:{lines}")
        self.reasons = reasons


class _Bench(NamedTuple):
    """A device that runs, how others reach it, every state it has had since, and how to drive it.

    Attributes:
        news: set whenever the state has changed.
        step: how far to move, in the unit of the target.
        timeout_s: how long a motion or acquisition may take.
    """

    device: Device
    proxy: AsyncDeviceProxy
    states: list[State]
    news: asyncio.Event
    step: float
    timeout_s: float

    async def until_on(self, what: str) -> None:
        """Wait for state ON; raises `_FailedError` that says what did not happen."""
        try:
            async with asyncio.timeout(self.timeout_s):
                while self.device.state != State.ON:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise _FailedError(
                f"{what} within {self.timeout_s:g} s; its state is {self.device.state}, its "
                f"status '{self.device.status}'"
            ) from None


class _FailedError(Exception):
    """Why a device does not keep its interface."""


_Drive: TypeAlias = Callable[[_Bench], Awaitable[None]]


def check_interface(
    cls: type[Device],
    configuration: Mapping[str, Any] | None = None,
    *,
    step: float = 1.0,
    timeout_s: float = 10.0,
) -> None:
    """Check that a class keeps the interfaces that it derives from.

    The class is compared with the interface, started in memory and driven: a motor is moved by
    `step`, stopped on the way and moved again; what acquires is started and stopped.

    Args:
        configuration: what the device is started with.
        step: how far to move, in the unit of the target.
        timeout_s: how long a motion or an acquisition may take.

    Raises:
        ConformanceError: it does not keep one of them; every reason is named.
        ValueError: it derives from no interface.
    """
    interfaces = interfaces_of(cls)
    if not interfaces:
        raise ValueError(f"class '{cls.__name__}' derives from no interface")
    reasons = [reason for interface in interfaces for reason in _differences(cls, interface)]
    if not reasons:
        reasons = asyncio.run(_driven(cls, configuration, step, timeout_s))
    if reasons:
        raise ConformanceError(cls, reasons)


# -- the description ------------------------------------------------------------------------------


def _differences(cls: type[Device], interface: type[Device]) -> list[str]:
    """Return what the description of a class lacks of an interface."""
    ours, theirs = cls.schema(), interface.schema()
    found: list[str] = []
    for key, info in theirs.properties.items():
        if key not in _DEVICE:
            found += _property_differences(interface.__name__, info, ours.properties.get(key))
    for name, command in theirs.commands.items():
        if name not in _DEVICE:
            found += _command_differences(interface.__name__, command, ours.commands.get(name))
    return found


def _property_differences(
    interface: str, wanted: PropertyInfo, info: PropertyInfo | None
) -> list[str]:
    if info is None:
        return [f"{interface}: property '{wanted.key}' is missing"]
    found: list[str] = []
    if info.value_type is not wanted.value_type:
        found.append(
            f"{interface}: property '{wanted.key}' is of type {info.value_type}, not "
            f"{wanted.value_type}"
        )
    if info.access_mode is not wanted.access_mode:
        found.append(
            f"{interface}: property '{wanted.key}' is {info.access_mode}, not {wanted.access_mode}"
        )
    return found


def _command_differences(
    interface: str, wanted: CommandInfo, info: CommandInfo | None
) -> list[str]:
    if info is None:
        return [f"{interface}: command '{wanted.name}' is missing: decorate it with @command()"]
    known = {item.name for item in wanted.parameters}
    required = [item.name for item in info.parameters if item.required and item.name not in known]
    if required:
        return [f"{interface}: command '{wanted.name}' needs '{required[0]}': give it a default"]
    return []


# -- the behaviour --------------------------------------------------------------------------------


async def _driven(
    cls: type[Device], configuration: Mapping[str, Any] | None, step: float, timeout_s: float
) -> list[str]:
    """Start a device per interface and drive it; returns why it does not keep them."""
    reasons: list[str] = []
    for interface in interfaces_of(cls):
        drive = _DRIVES.get(interface)
        if drive is None:
            continue
        try:
            async with _bench(cls, configuration, step, timeout_s) as bench:
                await drive(bench)
        except (_FailedError, PykaraboError) as error:
            reasons.append(f"{interface.__name__}: {error}")
    return reasons


@asynccontextmanager
async def _bench(
    cls: type[Device], configuration: Mapping[str, Any] | None, step: float, timeout_s: float
) -> AsyncGenerator[_Bench, None]:
    async with run_device(cls, "CONFORMANCE/1", configuration) as device:
        proxy = await device.client.device("CONFORMANCE/1", follow=False)
        bench = _Bench(device, proxy, [], asyncio.Event(), step, timeout_s)
        loop = asyncio.get_running_loop()
        device.observe("state", bench.states.append)
        device.observe("state", lambda _state: loop.call_soon_threadsafe(bench.news.set))
        await bench.until_on("it does not become ON")
        yield bench


async def _command(bench: _Bench, name: str, state: State) -> None:
    """Run a command that must have brought the device to a state when it returns."""
    bench.states.clear()
    await bench.proxy.call(name)
    if state not in bench.states:
        seen = ", ".join(bench.states) or "no other"
        raise _FailedError(f"the state is not {state} before '{name}' returns, but {seen}")


async def _drive_motor(bench: _Bench) -> None:
    await _drive_axes(bench, [""])
    if bench.device.schema().properties["target_position"].unit != _unit(bench, "actual_position"):
        raise _FailedError("target and actual position have different units")


async def _drive_axes_of(bench: _Bench) -> None:
    names = list(getattr(bench.device, "axes"))  # noqa: B009 - a property of the interface
    if not names:
        raise _FailedError("'axes' is empty: it must name the nodes of the axes")
    known = bench.device.schema().properties
    for name in names:
        for key in Axis.schema().properties:
            if f"{name}.{key}" not in known:
                raise _FailedError(f"axis '{name}' has no property '{key}'")
    await _drive_axes(bench, [f"{name}." for name in names])


def _unit(bench: _Bench, key: str) -> str:
    return bench.device.schema().properties[key].unit


def _value(bench: _Bench, key: str) -> Any:
    return bench.device.values()[key].value


async def _drive_axes(bench: _Bench, prefixes: list[str]) -> None:
    """Set targets, move, stop on the way, and move to the end."""
    start = {prefix: _value(bench, f"{prefix}actual_position") for prefix in prefixes}
    targets = {f"{prefix}target_position": start[prefix] + bench.step for prefix in prefixes}
    bench.states.clear()
    await bench.proxy.set(targets)
    await asyncio.sleep(_RESTS_S)
    moved = any(_value(bench, f"{prefix}actual_position") != start[prefix] for prefix in prefixes)
    if moved or State.MOVING in bench.states:
        raise _FailedError("setting the target moves it: only 'move' may")
    await _command(bench, "move", State.MOVING)
    await bench.proxy.call("stop")
    await bench.until_on("'stop' does not bring it to ON")
    rests = {prefix: _value(bench, f"{prefix}actual_position") for prefix in prefixes}
    await asyncio.sleep(_RESTS_S)
    if any(_value(bench, f"{prefix}actual_position") != rests[prefix] for prefix in prefixes):
        raise _FailedError("it still moves when 'stop' has brought it to ON")
    await _command(bench, "move", State.MOVING)
    await bench.until_on("a motion does not end in ON")
    if not all(_value(bench, f"{prefix}is_on_target") for prefix in prefixes):
        raise _FailedError("'is_on_target' is not true at the end of a motion")


async def _drive_acquisition(bench: _Bench) -> None:
    for _ in range(2):  # what cannot be started again is of no use
        await _command(bench, "start", State.ACQUIRING)
        await bench.proxy.call("stop")
        await bench.until_on("'stop' does not bring it to ON")


async def _drive_nothing(bench: _Bench) -> None:
    """What it does depends on others; it has become ON, which is all that can be asked."""
    del bench


_DRIVES: Final[Mapping[type[Device], _Drive]] = {
    Motor: _drive_motor,
    MultiAxisMotor: _drive_axes_of,
    Camera: _drive_acquisition,
    Trigger: _drive_acquisition,
    Processor: _drive_nothing,
    History: _drive_nothing,
    Instantiator: _drive_nothing,
}
