"""Answering what is asked of the devices of one process."""

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import numpy as np

from pykarabo.data import CommandInfo, Row, Schema, to_row
from pykarabo.errors import (
    BadInputError,
    CancelledByCallerError,
    ChangedMeanwhileError,
    DeniedError,
    DiskFullError,
    DuplicateDeviceError,
    FrameFileError,
    LimitExceededError,
    LockedError,
    PykaraboError,
    RemoteError,
    RunStateError,
    StateForbidsError,
)
from pykarabo.wire import (
    Call,
    Execute,
    Get,
    GetSchema,
    Locate,
    Open,
    ReadMany,
    Replay,
    Set,
    SetMany,
)

from ._device import Device
from ._hosting import Hosted, Hosting
from ._streams import EventStreams

_log: Final = logging.getLogger(__name__)
_MEANT_AS_SAID: Final = (
    BadInputError,
    ChangedMeanwhileError,
    DeniedError,
    DiskFullError,
    DuplicateDeviceError,
    FrameFileError,
    LimitExceededError,
    LockedError,
    RemoteError,
    RunStateError,
    StateForbidsError,
)
"""Errors that a command may raise to its caller as they are. Any other would be misread, and so
would these if another device had answered them: a command that itself could not reach a device,
or was refused by one, has run, so its caller must not take it for "not executed"."""
_TRACEBACK_LINES: Final = 20
_MAX_VALUES: Final = 50_000
_MAX_BYTES: Final = 2 * 2**20
"""One answer to `Open` holds so much at most: half of what the other side would refuse."""
_ROW_VALUES: Final = 7
_ROW_BYTES: Final = 80
_DESCRIPTION_VALUES: Final = 30
_DESCRIPTION_BYTES: Final = 500
"""About what the description of a property or a command takes."""


class Answers:
    """Knows the devices' values and what to do with a request."""

    def __init__(self, hosting: Hosting, streams: EventStreams) -> None:
        self._hosting = hosting
        self._streams = streams

    # -- what needs no waiting ------------------------------------------------------------------

    def now(self, call: Execute) -> tuple[Any, int]:
        """Answer a request that needs no waiting; returns the result and the event number."""
        request = call.request
        if isinstance(request, Get):
            hosted = self._hosting.addressed(request.device, call.instance)
            hosted.device.flush()
            return _rows(hosted.device, request.keys), hosted.source.sequence
        if isinstance(request, GetSchema):
            hosted = self._hosting.addressed(request.device, call.instance)
            hosted.device.flush()
            return hosted.device.schema().to_wire(), hosted.source.sequence
        if isinstance(request, ReadMany):
            return [self._read(*target) for target in request.targets], 0
        if isinstance(request, Locate):
            return [self._locate(device_id) for device_id in request.devices], 0
        if isinstance(request, Open):
            return self._open(request), 0
        if isinstance(request, Replay):
            return self._streams.replay(request.stream, call.instance, request.first), 0
        raise TypeError(f"{type(request).__name__} needs waiting")

    def _read(self, device_id: str, keys: list[str] | None) -> list[Any]:
        try:
            hosted = self._hosting.require(device_id)
            hosted.device.flush()
            return [_rows(hosted.device, keys), None, hosted.source.sequence]
        except PykaraboError as error:
            return [None, error.to_wire(), 0]

    def _locate(self, device_id: str) -> list[Any] | None:
        if device_id not in self._hosting:
            return None
        source = self._hosting.require(device_id).source
        return [source.instance, source.epoch]

    def _open(self, request: Open) -> list[Any]:
        """Return what streams show, as many as fit into one message, and their schemas."""
        known = None if request.schemas is None else set(request.schemas)
        schemas: dict[str, Any] = {}
        found: list[Any] = []
        room = _Room()
        for stream, instance in request.streams:
            if room.full:
                found.append([None, None])
                continue
            try:
                source, hosted, rows = self._streams.shown(stream, instance)
            except PykaraboError as error:
                found.append([None, error.to_wire()])
                continue
            schema = hosted.device.schema()
            unknown = known is not None and schema.version not in known
            if not room.takes(rows, schema if unknown else None):
                found.append([None, None])
                continue
            version = "" if known is None else schema.version
            if known is not None and unknown:
                known.add(version)
                schemas[version] = schema.to_wire()
            shown = [source.sequence, source.instance, source.epoch, version, rows]
            found.append([shown, None])
        return [found, schemas]

    # -- what does ------------------------------------------------------------------------------

    async def answer(self, call: Execute) -> tuple[Any, int]:
        """Answer a write or run a command.

        Raises:
            PykaraboError: what to tell the caller.
        """
        request = call.request
        if isinstance(request, Set):
            hosted = self._hosting.addressed(request.device, call.instance)
            await _write(hosted, request.values, request.expected)
            return None, hosted.source.sequence
        if isinstance(request, SetMany):
            writes = [self._write_one(*write) for write in request.writes]
            return list(await asyncio.gather(*writes)), 0
        if not isinstance(request, Call):
            return self.now(call)
        hosted = self._hosting.addressed(request.device, call.instance)
        hosted.require_ours()
        result = await run_command(hosted.device, request.command, request.args, request.kwargs)
        return result, hosted.source.sequence

    async def _write_one(
        self, device_id: str, instance: bytes, values: dict[str, Any]
    ) -> dict[str, Any] | None:
        try:
            await _write(self._hosting.addressed(device_id, instance), values, None)
        except PykaraboError as error:
            return error.to_wire()
        return None


class _Room:
    """What still fits into an answer; the first part always does.

    Attributes:
        full: whether a part did not fit: no other one is prepared in vain.
    """

    def __init__(self) -> None:
        self.full = False
        self._values = _MAX_VALUES
        self._bytes = _MAX_BYTES
        self._empty = True

    def takes(self, rows: list[Row], schema: Schema | None) -> bool:
        """Take rows, and a schema that goes with them, if they fit."""
        sizes = [_size(row[1]) for row in rows]
        described = 0 if schema is None else len(schema.properties) + len(schema.commands)
        values = sum(count for count, _bytes in sizes) + _ROW_VALUES * len(rows)
        values += _DESCRIPTION_VALUES * described
        size = sum(size for _count, size in sizes) + _ROW_BYTES * len(rows)
        size += _DESCRIPTION_BYTES * described
        fits = self._empty or (values <= self._values and size <= self._bytes)
        if fits:
            self._empty = False
            self._values -= values
            self._bytes -= size
        self.full = not fits
        return fits


def _size(value: Any) -> tuple[int, int]:
    """Return about how many values and bytes a property's value is."""
    if isinstance(value, np.ndarray):
        return 1, int(value.nbytes)
    if isinstance(value, str | bytes):
        return 1, len(value)
    if isinstance(value, list | dict):
        return len(value), 20 * len(value)
    return 1, 9


def needs_waiting(call: Execute) -> bool:
    """Tell whether a call must run as a task of its own."""
    return isinstance(call.request, Set | Call | SetMany)


async def _write(
    hosted: Hosted, values: Mapping[str, Any], expected: Mapping[str, int] | None
) -> None:
    hosted.require_ours()
    device = hosted.device

    def check_unchanged() -> None:
        device.flush()
        _require_unchanged(hosted, expected or {})

    device_id = hosted.source.stream
    work = device.write_from_outside(values, check_unchanged)
    await guarded(work, device_id, f"writing to '{device_id}'")


def _require_unchanged(hosted: Hosted, expected: Mapping[str, int]) -> None:
    device_id = hosted.source.stream
    for key, sequence in expected.items():
        hosted.device.schema().require_property(key, device_id)
        if hosted.changed_at.get(key, hosted.began_at) > sequence:
            raise ChangedMeanwhileError(
                f"'{device_id}.{key}' has changed since you read it, or '{device_id}' was "
                "restarted; nothing was written",
                device=device_id,
                key=key,
                remedy="read it again and decide anew",
            )


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
    work = guarded(_run(method, bound), device_id, f"command '{device_id}.{name}'")
    return {"job": device.jobs_at_work.start(name, work)} if info.job else await work


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
