"""Waiting for conditions, and saying what was seen instead when they do not come true."""

import asyncio
import inspect
import linecache
import time
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

from pykarabo.client import AsyncDeviceProxy, DeviceProxy
from pykarabo.device import Device
from pykarabo.errors import BadInputError, PykaraboError

from ._clock import clock_of

POLL_S: Final = 0.005
_ALWAYS_TOLD: Final = ("state", "status")


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    """Wait until `condition()` is true and return what it returned.

    In an event loop that a `FakeClock` drives, time passes meanwhile, and `timeout_s` counts its
    seconds. What may pass by itself, such as a value that is not current, is waited for.

    Args:
        condition: reads proxies or devices, for example ``lambda: motor.state == State.ON``.

    Raises:
        AssertionError: it did not come true in time; tells what was last seen of the devices
            that it names.
        BadInputError: it asks for what there is not.
    """
    clock = clock_of(asyncio.get_running_loop())
    attempt = _Attempt(condition, timeout_s)
    if clock is None:
        end_s = time.monotonic() + timeout_s
        while not attempt.succeeds():
            if time.monotonic() >= end_s:
                raise attempt.failure()
            await asyncio.sleep(POLL_S)
        return attempt.result
    end_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
    await clock.settle()
    while not attempt.succeeds():
        if clock.monotonic_ns() >= end_ns:
            raise attempt.failure()
        await clock.run_to_next(end_ns)
    return attempt.result


def until_blocking(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    """Wait as `until` does, in code that blocks."""
    attempt = _Attempt(condition, timeout_s)
    end_s = time.monotonic() + timeout_s
    while not attempt.succeeds():
        if time.monotonic() >= end_s:
            raise attempt.failure()
        time.sleep(POLL_S)
    return attempt.result


class _Attempt:
    """A condition, and what came of it last."""

    def __init__(self, condition: Callable[[], Any], timeout_s: float) -> None:
        self.result: Any = None
        self._condition = condition
        self._timeout_s = timeout_s
        self._error: PykaraboError | None = None

    def succeeds(self) -> bool:
        self._error = None
        try:
            self.result = self._condition()
        except BadInputError:
            raise
        except PykaraboError as error:
            self._error = error
            return False
        return bool(self.result)

    def failure(self) -> AssertionError:
        last = f"it raised {self._error}" if self._error else f"it returned {self.result!r}"
        lines = [
            f"this did not come true within {self._timeout_s:g} s: {_text(self._condition)}",
            f"  at last {last}",
            *(f"  {line}" for line in _seen(self._condition)),
        ]
        return AssertionError("\n".join(lines))


def _text(condition: Callable[[], Any]) -> str:
    """Return the line on which a condition is written."""
    code = getattr(condition, "__code__", None)
    if not isinstance(code, CodeType):
        return repr(condition)
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return line or repr(condition)


def _seen(condition: Callable[[], Any]) -> Iterator[str]:
    """Yield the values of what a condition names of devices, and their states."""
    code = getattr(condition, "__code__", None)
    if not isinstance(code, CodeType):
        return
    names = {*_ALWAYS_TOLD, *code.co_names}
    variables = inspect.getclosurevars(condition)
    for thing in {**variables.globals, **variables.nonlocals}.values():
        if isinstance(thing, AsyncDeviceProxy | DeviceProxy | Device):
            yield from _values(thing, names)


def _values(device: AsyncDeviceProxy | DeviceProxy | Device, names: set[str]) -> Iterator[str]:
    device_id = device.device_id
    schema = device.schema() if isinstance(device, Device) else device.schema
    for key, info in schema.properties.items():
        if not info.node and names.issuperset(key.split(".")):
            yield f"{device_id}.{key} = {_value(device, key)}"


def _value(device: AsyncDeviceProxy | DeviceProxy | Device, key: str) -> str:
    try:
        if isinstance(device, Device):
            value = device.values()[key]
        elif isinstance(device, AsyncDeviceProxy):
            value = device.last_known(key)
        else:
            value = device.read(key)[key]
    except PykaraboError as error:
        return f"unknown: {error}"
    live = not isinstance(device, AsyncDeviceProxy) or device.is_live
    shown = str(value.value) if isinstance(value.value, str) else repr(value.value)
    return shown if live else f"{shown} (out of date)"
