"""Following devices: one follower per device keeps it current, many watchers read along."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pykarabo.data import PropertyValue, Row, Schema, ValueType, from_rows
from pykarabo.errors import PykaraboError
from pykarabo.wire import (
    Changed,
    Choice,
    DeviceStream,
    GapFound,
    Resumed,
    SchemaChanged,
    StreamOutput,
    Synchronised,
)

from ._keeping_on import StreamFollower
from ._updates import Change, Gap, Live, NewSchema, Stale, Update, is_selected

if TYPE_CHECKING:
    from ._client import Client

EVERYTHING: Final = Choice()
MAX_WAITING: Final = 10_000
"""Updates a watcher may leave unread; above it they become a counted gap and present values."""


class Follower(StreamFollower):
    """Keeps the values of one device current, through restarts and lost connections.

    Args:
        choice: what is wanted of the device.
        latest: only present values matter; when this program is too slow, old ones are skipped.
    """

    def __init__(
        self, client: "Client", device_id: str, choice: Choice = EVERYTHING, *, latest: bool = False
    ) -> None:
        only_latest = latest or choice != EVERYTHING
        stream = DeviceStream(replays=not only_latest)
        super().__init__(client, device_id, choice.stream(device_id), stream, latest=only_latest)
        self.values: dict[str, PropertyValue] = {}
        self.live = False
        self._listeners: dict[Callable[[Update], None], None] = {}

    def present(self) -> Update:
        """Return what a watcher must know now: the live values, or that they are stale."""
        if self.live:
            return Live(self.device_id, dict(self.values))
        return Stale(self.device_id, self.reason, dict(self.values))

    def listen(self, listener: Callable[[Update], None]) -> None:
        """Call `listener` with every update; at once with the values if they are current."""
        self._listeners[listener] = None
        if self.live:
            listener(Live(self.device_id, dict(self.values)))

    def forget(self, listener: Callable[[Update], None]) -> bool:
        """Stop calling `listener`; returns whether anybody still listens."""
        self._listeners.pop(listener, None)
        return bool(self._listeners)

    def failed(self, error: PykaraboError) -> None:
        """Tell that the values may be wrong from now on."""
        self._went_stale(str(error))

    def stream(self, outputs: list[StreamOutput]) -> None:
        """Take what the stream hands on."""
        for output in outputs:
            if isinstance(output, Changed):
                for values in _each_value(output.rows, output.sequence):
                    self.values.update(values)
                    self._tell(Change(self.device_id, values, output.sequence))
            elif isinstance(output, Synchronised):
                self._described(output.schema)
                self.values = from_rows(output.rows, output.sequence)
                self.live = self._synchronised = True
                self._tell(Live(self.device_id, dict(self.values)))
            elif isinstance(output, Resumed):
                self.live = self._synchronised = True
                self._tell(Live(self.device_id, dict(self.values)))
            elif isinstance(output, GapFound):
                self._tell(Gap(self.device_id, output.missed, output.recovered))
            elif isinstance(output, SchemaChanged):
                self._described(output.schema)
            else:
                self._went_stale(getattr(output, "reason", "unknown"))

    def _described(self, schema: Schema | None) -> None:
        """Take the device's schema; what it lacks or has of another type has no value any more."""
        known = self.schema
        if schema is None or schema is known:
            return
        self.schema = schema
        if known is not None and known.version != schema.version:
            for key, _kind in _kinds(known).items() - _kinds(schema).items():
                self.values.pop(key, None)
            self._tell(NewSchema(self.device_id, schema))

    def _went_stale(self, reason: str) -> None:
        self.reason = reason
        if self.live:
            self.live = False
            self._tell(Stale(self.device_id, reason, dict(self.values)))

    def _tell(self, update: Update) -> None:
        for listener in list(self._listeners):
            listener(update)


def _kinds(schema: Schema) -> dict[str, tuple[ValueType, bool]]:
    return {key: (info.value_type, info.node) for key, info in schema.properties.items()}


def _each_value(rows: Sequence[Row], sequence: int) -> list[dict[str, PropertyValue]]:
    """Return a message's values; a property that has changed twice in it begins another map."""
    values = from_rows(rows, sequence)
    if len(values) == len(rows):
        return [values] if values else []
    changes: list[dict[str, PropertyValue]] = [{}]
    for row in rows:
        value = from_rows([row], sequence)
        if value.keys() & changes[-1].keys():
            changes.append({})
        changes[-1].update(value)
    return changes


class Watch(AsyncIterator[Update]):
    """The updates of some devices, in order, without loss that is not told.

    Use it as an asynchronous context manager and iterator.

    Args:
        keys: per device the properties of interest (nodes include what is below them); None
            means all of them.
        limits: how often and which part of arrays; its own keys do not count.
        anew: begin with values that are read after this call, not with those that another watch
            has received.
    """

    def __init__(
        self,
        client: "Client",
        keys: Mapping[str, frozenset[str] | None],
        limits: Choice = EVERYTHING,
        *,
        anew: bool = False,
    ) -> None:
        self._client = client
        self._keys = keys
        self._updates: deque[Update] = deque()
        self._news = asyncio.Event()
        self._open = True
        self._followers: dict[str, Follower] = {}
        for device_id, wanted in keys.items():
            choice = limits
            if limits != EVERYTHING and wanted is not None:
                choice = limits._replace(keys=tuple(sorted(wanted)))
            self._followers[device_id] = client.follow(device_id, self._push, choice, anew=anew)

    def _push(self, update: Update) -> None:
        wanted = self._wanted(update)
        if wanted is None:
            return
        self._updates.append(wanted)
        if len(self._updates) > MAX_WAITING:
            self._give_up()
        self._news.set()

    def _give_up(self) -> None:
        """Replace what waits unread by its count and by the present values."""
        missed: dict[str, int | None] = {}
        schemas: dict[str, NewSchema] = {}
        counted: dict[str, int] = {}
        for update in self._updates:
            if isinstance(update, NewSchema):
                schemas[update.device_id] = update
            known = missed.setdefault(update.device_id, 0)
            more = _messages(update)
            if isinstance(update, Change):
                if counted.get(update.device_id) == update.sequence:
                    continue
                counted[update.device_id] = update.sequence
            missed[update.device_id] = None if known is None or more is None else known + more
        self._updates.clear()
        for device_id, count in missed.items():
            self._updates.append(Gap(device_id, count))
            if device_id in schemas:
                self._updates.append(schemas[device_id])
            present = self._wanted(self._followers[device_id].present())
            if present is not None:
                self._updates.append(present)

    def _wanted(self, update: Update) -> Update | None:
        keys = self._keys.get(update.device_id)
        if keys is None or isinstance(update, Gap | NewSchema):
            return update
        values = {key: value for key, value in update.values.items() if _any_selected(key, keys)}
        if len(values) == len(update.values):
            return update
        if isinstance(update, Change):
            return Change(update.device_id, values, update.sequence) if values else None
        if isinstance(update, Live):
            return Live(update.device_id, values)
        return Stale(update.device_id, update.reason, values)

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Update:
        while not self._updates:
            if not self._open:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._updates.popleft()

    def close(self) -> None:
        """Stop watching; what was received can still be read."""
        if self._open:
            self._open = False
            for device_id in self._keys:
                self._client.unfollow(device_id, self._push)
            self._news.set()

    async def __aenter__(self) -> "Watch":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _messages(update: Update) -> int | None:
    """Return for how many of the device's messages an update stands; None when unknown."""
    if isinstance(update, Gap):
        return 0 if update.recovered else update.missed
    return 1 if isinstance(update, Change) else 0


def _any_selected(key: str, keys: frozenset[str]) -> bool:
    return key in keys or any(is_selected(key, wanted) for wanted in keys)
