"""Answering what is asked of the devices of one process."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pykarabo.data import Row, Schema, decode, encode, extent, to_row
from pykarabo.errors import ChangedMeanwhileError, LimitExceededError, PykaraboError
from pykarabo.transport import acting_as
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
    check_size,
)

from ._admission import writing
from ._attempt import Attempt
from ._device import Device
from ._hosting import Hosted, Hosting
from ._in_time import require_time
from ._running import guarded, run_command
from ._streams import EventStreams

_MAX_VALUES: Final = 50_000
_MAX_BYTES: Final = 2 * 2**20
"""One answer to `Open` holds so much at most: half of what the other side would refuse."""
_ROW_VALUES: Final = 7
_ROW_BYTES: Final = 80
_NUMBER_BYTES: Final = 9
_NUMBERS: Final = frozenset({float, int, bool})
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
            try:
                fits = room.takes(stream, rows, schema if unknown else None)
            except LimitExceededError as error:
                found.append([None, error.to_wire()])
                continue
            if not fits:
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

    async def answer(self, call: Execute, attempts: Sequence[Attempt]) -> tuple[Any, int]:
        """Answer a write or run a command.

        Args:
            attempts: are told what is written, and which writes of many are refused.

        Raises:
            PykaraboError: what to tell the caller.
        """
        request = call.request
        if isinstance(request, Set):
            hosted = self._hosting.addressed(request.device, call.instance)
            await _write(hosted, request.values, request.expected, attempts[0])
            return None, self._told(hosted)
        if isinstance(request, SetMany):
            pairs = zip(request.writes, attempts, strict=True)
            writes = [self._write_one(attempt, *write) for write, attempt in pairs]
            return list(await asyncio.gather(*writes)), 0
        if not isinstance(request, Call):
            return self.now(call)
        hosted = self._hosting.addressed(request.device, call.instance)
        hosted.require_ours()
        result = await run_command(hosted.device, request.command, request.args, request.kwargs)
        return result, self._told(hosted)

    def _told(self, hosted: Hosted) -> int:
        """Have what was changed leave before the answer does; returns the latest event's number."""
        hosted.device.flush_changes()
        self._streams.release()
        return hosted.source.sequence

    async def _write_one(
        self, attempt: Attempt, device_id: str, instance: bytes, values: dict[str, Any]
    ) -> dict[str, Any] | None:
        try:
            hosted = self._hosting.addressed(device_id, instance)
            await _write(hosted, values, None, attempt)
            self._told(hosted)
        except PykaraboError as error:
            attempt.ended(error)
            return error.to_wire()
        return None


class _Room:
    """What still fits into an answer; the first part does if one message can hold it.

    Attributes:
        full: whether a part did not fit: no other one is prepared in vain.
    """

    def __init__(self) -> None:
        self.full = False
        self._values = _MAX_VALUES
        self._bytes = _MAX_BYTES
        self._empty = True

    def takes(self, stream: str, rows: list[Row], schema: Schema | None) -> bool:
        """Take what a stream shows, and a schema that goes with it, if they fit.

        Raises:
            LimitExceededError: no message could hold them.
        """
        sizes = [_size(row[1]) for row in rows]
        described = 0 if schema is None else len(schema.properties) + len(schema.commands)
        values = sum(count for count, _bytes in sizes) + _ROW_VALUES * len(rows)
        values += _DESCRIPTION_VALUES * described
        size = sum(size for _count, size in sizes) + _ROW_BYTES * len(rows)
        size += _DESCRIPTION_BYTES * described
        fits = values <= self._values and size <= self._bytes
        if self._empty and not fits:
            _require_sendable(stream, rows, schema)
            fits = True
        if fits:
            self._empty = False
            self._values -= values
            self._bytes -= size
        self.full = not fits
        return fits


def _require_sendable(stream: str, rows: list[Row], schema: Schema | None) -> None:
    """Refuse what the other side would; raises `LimitExceededError`."""
    try:
        frames = encode([rows, None if schema is None else schema.to_wire()])
        check_size(frames, "an answer")
        decode(frames)
    except LimitExceededError as error:
        raise LimitExceededError(
            f"all values of '{stream}' together are more than a message holds: {error.message}",
            device=stream,
            remedy="read them by their keys; its author should put the large ones into a pipeline "
            "output",
        ) from None


def _size(value: Any) -> tuple[int, int]:
    """Return about how many values and bytes a property's value is."""
    if type(value) in _NUMBERS:
        return 1, _NUMBER_BYTES
    length, items = extent(value)
    return items, length + _NUMBER_BYTES * items


def needs_waiting(call: Execute) -> bool:
    """Tell whether a call must run as a task of its own."""
    return isinstance(call.request, Set | Call | SetMany)


async def _write(
    hosted: Hosted,
    values: Mapping[str, Any],
    expected: Mapping[str, int] | None,
    attempt: Attempt,
) -> None:
    hosted.require_ours()
    device = hosted.device

    def check_unchanged() -> None:
        require_time(device.clock)
        device.flush()
        _require_unchanged(hosted, expected or {})

    device_id = hosted.source.stream
    with acting_as(device_id), writing(device, values, check_unchanged) as check:
        work = device.write_from_outside(values, check, attempt.changed)
        known = device.schema().properties
        secret = any(key in known and known[key].secret for key in values)
        await guarded(work, device_id, f"writing to '{device_id}'", secret=secret)


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
