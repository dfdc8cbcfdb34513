"""Answering what is asked of the devices of one process."""

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pykarabo.data import CommandInfo, to_row
from pykarabo.errors import (
    BadInputError,
    CancelledByCallerError,
    DeniedError,
    DiskFullError,
    DuplicateDeviceError,
    FrameFileError,
    LimitExceededError,
    PykaraboError,
    RemoteError,
    RunStateError,
    StateForbidsError,
    UnknownDeviceError,
    WrongInstanceError,
    did_you_mean,
)
from pykarabo.wire import (
    Call,
    EventSource,
    Execute,
    Get,
    GetSchema,
    Locate,
    ReadMany,
    Set,
)

from ._device import Device

_log: Final = logging.getLogger(__name__)
_MEANT_AS_SAID: Final = (
    BadInputError,
    DeniedError,
    DiskFullError,
    DuplicateDeviceError,
    FrameFileError,
    LimitExceededError,
    RemoteError,
    RunStateError,
    StateForbidsError,
)
"""Errors that a command may raise to its caller as they are. Any other would be misread, and so
would these if another device had answered them: a command that itself could not reach a device,
or was refused by one, has run, so its caller must not take it for "not executed"."""
_TRACEBACK_LINES: Final = 20


@dataclass(slots=True)
class Hosted:
    """A device with its event stream."""

    device: Device
    source: EventSource


class Hosting:
    """The devices of one process, by id."""

    def __init__(self, server_id: str) -> None:
        self._server_id = server_id
        self._hosted: dict[str, Hosted] = {}

    @property
    def devices(self) -> list[Device]:
        """Every device, in the order of their starts."""
        return [hosted.device for hosted in self._hosted.values()]

    def add(self, device: Device, source: EventSource) -> None:
        """Make a device reachable."""
        self._hosted[source.device_id] = Hosted(device, source)

    def remove(self, device_id: str) -> Device:
        """Make a device unreachable and return it; raises `UnknownDeviceError`."""
        hosted = self.require(device_id)
        del self._hosted[device_id]
        return hosted.device

    def __contains__(self, device_id: str) -> bool:
        return device_id in self._hosted

    def require(self, device_id: str) -> Hosted:
        """Return a device; raises `UnknownDeviceError` with near matches."""
        hosted = self._hosted.get(device_id)
        if hosted is None:
            raise UnknownDeviceError(
                f"server '{self._server_id}' has no device '{device_id}'",
                device=device_id,
                remedy=did_you_mean(device_id, self._hosted) or "see 'pykarabo devices'",
            )
        return hosted

    def addressed(self, device_id: str, instance: bytes) -> Hosted:
        """Return the device that a call names, if it is the very instance that is meant.

        Raises:
            WrongInstanceError: the device has ended, moved or been restarted; nothing was done.
        """
        hosted = self._hosted.get(device_id)
        if hosted is None or hosted.source.instance != instance:
            raise WrongInstanceError(
                f"device '{device_id}' was restarted or moved; nothing was executed",
                device=device_id,
                remedy="connect to it again",
            )
        return hosted

    # -- what needs no waiting ------------------------------------------------------------------

    def answer_now(self, call: Execute) -> tuple[Any, int]:
        """Answer a request that needs no waiting; returns the result and the event number."""
        request = call.request
        if isinstance(request, Get):
            hosted = self.addressed(request.device, call.instance)
            return _rows(hosted.device, request.keys), hosted.source.sequence
        if isinstance(request, GetSchema):
            hosted = self.addressed(request.device, call.instance)
            return hosted.device.schema().to_wire(), hosted.source.sequence
        if isinstance(request, ReadMany):
            return [self._read(*target) for target in request.targets], 0
        if isinstance(request, Locate):
            return [self._locate(device_id) for device_id in request.devices], 0
        raise TypeError(f"{type(request).__name__} needs waiting")

    def _read(self, device_id: str, keys: list[str] | None) -> list[Any]:
        try:
            return [_rows(self.require(device_id).device, keys), None]
        except PykaraboError as error:
            return [None, error.to_wire()]

    def _locate(self, device_id: str) -> list[Any] | None:
        hosted = self._hosted.get(device_id)
        return None if hosted is None else [hosted.source.instance, hosted.source.epoch]

    # -- what does ------------------------------------------------------------------------------

    async def answer(self, call: Execute) -> tuple[Any, int]:
        """Answer a write or run a command.

        Raises:
            PykaraboError: what to tell the caller.
        """
        request = call.request
        if isinstance(request, Set):
            hosted = self.addressed(request.device, call.instance)
            what = f"writing to '{request.device}'"
            await guarded(hosted.device.write_from_outside(request.values), request.device, what)
            return None, hosted.source.sequence
        if not isinstance(request, Call):
            return self.answer_now(call)
        hosted = self.addressed(request.device, call.instance)
        result = await run_command(hosted.device, request.command, request.args, request.kwargs)
        return result, hosted.source.sequence


def needs_waiting(call: Execute) -> bool:
    """Tell whether a call must run as a task of its own."""
    return isinstance(call.request, Set | Call)


def _rows(device: Device, keys: list[str] | None) -> list[Any]:
    values = device.values()
    if keys is None:
        return [to_row(key, value) for key, value in values.items()]
    rows: list[Any] = []
    for key in keys:
        value = values.get(key)
        if value is not None:
            rows.append(to_row(key, value))
        else:
            rows.extend(_node_rows(device, key))
    return rows


def _node_rows(device: Device, key: str) -> list[Any]:
    """Return the properties below a node; raises `UnknownPropertyError` for any other name."""
    device.schema().require_property(key, device.context.device_id)
    below = f"{key}."
    return [
        to_row(name, value) for name, value in device.values().items() if name.startswith(below)
    ]


async def run_command(device: Device, name: str, args: list[Any], kwargs: Mapping[str, Any]) -> Any:
    """Check a command's name, state and arguments, and run it.

    Raises:
        UnknownCommandError, StateForbidsError, BadInputError: it did not run.
        RemoteError: it ran and failed.
    """
    device_id = device.context.device_id
    info = device.schema().require_command(name, device_id)
    _check_state(device, info)
    bound = info.bind(args, kwargs, device_id)
    method = device.command_method(name)
    return await guarded(_run(method, bound), device_id, f"command '{device_id}.{name}'")


def _check_state(device: Device, info: CommandInfo) -> None:
    if info.allowed_states is not None and device.state not in info.allowed_states:
        allowed = " or ".join(sorted(info.allowed_states))
        device_id = device.context.device_id
        raise StateForbidsError(
            f"command '{device_id}.{info.name}' is not allowed in state {device.state}",
            device=device_id,
            key=info.name,
            remedy=f"bring the device to {allowed} first",
        )


async def _run(method: Callable[..., Any], bound: Mapping[str, Any]) -> Any:
    if inspect.iscoroutinefunction(method):
        return await method(**bound)
    return await asyncio.to_thread(method, **bound)


async def guarded(work: Awaitable[Any], device_id: str, what: str) -> Any:
    """Await work of a device's author; whatever it raises becomes an error for the caller."""
    try:
        return await work
    except asyncio.CancelledError:
        raise CancelledByCallerError(
            f"{what} was cancelled",
            device=device_id,
            remedy="it may be half done: read the device before you repeat it",
        ) from None
    except Exception as error:
        if isinstance(error, _MEANT_AS_SAID) and not error.foreign:
            raise
        reason = str(error) if isinstance(error, PykaraboError) else _reason(error)
        lines = traceback.format_exception(error)[-_TRACEBACK_LINES:]
        _log.error("%s failed", what, exc_info=error)
        raise RemoteError(
            f"{what} failed: {reason}",
            device=device_id,
            remedy="the device's log has the details",
            details={"type": type(error).__name__, "traceback": "".join(lines)},
        ) from error


def _reason(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
