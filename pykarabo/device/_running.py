"""Running the commands of a device: checks before, honest errors after."""

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pykarabo.data import CommandInfo
from pykarabo.errors import (
    BadInputError,
    CancelledByCallerError,
    ChangedMeanwhileError,
    DatabaseError,
    DeniedError,
    DiskFullError,
    DuplicateDeviceError,
    FrameFileError,
    LimitExceededError,
    LockedError,
    ProviderUnavailableError,
    PykaraboError,
    RemoteError,
    RunStateError,
    StateForbidsError,
)
from pykarabo.transport import acting_as

from ._admission import admit, permit, using
from ._in_time import TOO_LATE, require_time

if TYPE_CHECKING:
    from ._device import Device

_log: Final = logging.getLogger(__name__)
_MEANT_AS_SAID: Final = (
    BadInputError,
    ChangedMeanwhileError,
    DatabaseError,
    DeniedError,
    DiskFullError,
    DuplicateDeviceError,
    FrameFileError,
    LimitExceededError,
    LockedError,
    ProviderUnavailableError,
    RemoteError,
    RunStateError,
    StateForbidsError,
    TOO_LATE,
)
"""Errors that a command may raise to its caller as they are. Any other would be misread, and so
would these if another device had answered them: a command that itself could not reach a device,
or was refused by one, has run, so its caller must not take it for "not executed"."""
_TRACEBACK_LINES: Final = 20


async def run_command(
    device: "Device", name: str, args: list[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Check a command's name, the caller's role, state and arguments, and run it.

    Raises:
        UnknownCommandError, DeniedError, StateForbidsError, BadInputError, LockedError: it did
            not run.
        RemoteError: it ran and failed.
    """
    device_id = device.context.device_id
    info = device.schema().require_command(name, device_id)
    permit(device, info)
    _check_state(device, info)
    bound = info.bind(args, kwargs, device_id)
    what = f"command '{device_id}.{name}'"
    secret = any(item.secret for item in info.parameters)
    await guarded(_permit_arguments(device, info, bound), device_id, what, secret=secret)
    admit(device, info)
    work = guarded(_run(device, info, bound), device_id, what, secret=secret)
    return {"job": device.jobs_at_work.start(name, work)} if info.job else await work


async def _permit_arguments(device: "Device", info: CommandInfo, bound: Mapping[str, Any]) -> None:
    device.permit_arguments(info.name, bound)


def _check_state(device: "Device", info: CommandInfo) -> None:
    if info.allowed_states is not None and device.state not in info.allowed_states:
        allowed = " or ".join(sorted(info.allowed_states))
        device_id = device.context.device_id
        raise StateForbidsError(
            f"command '{device_id}.{info.name}' is not allowed in state {device.state}",
            device=device_id,
            key=info.name,
            remedy=f"bring the device to {allowed} first",
        )


async def _run(device: "Device", info: CommandInfo, bound: Mapping[str, Any]) -> Any:
    method = device.command_method(info.name)
    with acting_as(device.context.device_id), using(device, info), device.command_at_work():
        try:
            if inspect.iscoroutinefunction(method):
                require_time(device.clock)  # a process that is frozen is so in the middle of a line
                result = await method(**bound)
            else:
                result = await asyncio.to_thread(_begun_in_time, device, method, bound)
            return _checked_result(info, result, device.context.device_id)
        except asyncio.CancelledError:
            await device.tell_cancelled(info.name)
            raise
        except Exception as error:
            await device.tell_exception(info.name, error)
            raise


def _checked_result(info: CommandInfo, result: Any, device_id: str) -> Any:
    """Return a result as it was declared: who relies on the description must not be misled."""
    try:
        return info.validate_result(result, device_id)
    except BadInputError as error:
        raise RemoteError(
            f"command '{device_id}.{info.name}' has run, but its result is not as declared: "
            f"{error.message}",
            device=device_id,
            key=info.name,
            remedy="correct the method or its return annotation",
        ) from error


def _begun_in_time(device: "Device", method: Callable[..., Any], bound: Mapping[str, Any]) -> Any:
    require_time(device.clock)  # all threads may have been at work
    return method(**bound)


async def guarded(work: Awaitable[Any], device_id: str, what: str, *, secret: bool = False) -> Any:
    """Await work of a device's author; whatever it raises becomes an error for the caller.

    Args:
        secret: it was given something secret, which may be in the words of what it raises.
    """
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
        if secret:
            _log.error("%s failed: %s, whose words may hold a secret", what, _place(error))
            raise RemoteError(
                f"{what} failed: {type(error).__name__}",
                device=device_id,
                remedy="its words may hold a secret: the device's log has the place",
                details={"type": type(error).__name__},
            ) from None
        reason = str(error) if isinstance(error, PykaraboError) else _reason(error)
        lines = traceback.format_exception(error)[-_TRACEBACK_LINES:]
        _log.error("%s failed", what, exc_info=error)
        raise RemoteError(
            f"{what} failed: {reason}",
            device=device_id,
            remedy="the device's log has the details",
            details={"type": type(error).__name__, "traceback": "".join(lines)},
        ) from error


def _place(error: Exception) -> str:
    """Return what was raised and where, without its words."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _reason(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def initialize_in_time(device: "Device") -> None:
    """Run a device's hook before anybody sees it; raises `RemoteError` if it takes too long."""
    limit_s = device.initialize_timeout_s
    scope = asyncio.timeout(limit_s)
    try:
        async with scope:
            await device.on_initialize()
    except TimeoutError:
        if not scope.expired():
            raise
        device_id = device.context.device_id
        raise RemoteError(
            f"the start of '{device_id}' took longer than {limit_s} s",
            device=device_id,
            remedy="look at its hardware, or move slow work to on_start",
        ) from None
