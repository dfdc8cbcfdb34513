"""Following the sources of a domain and giving what they send to a train matcher."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from pykarabo.client import (
    Change,
    Client,
    DeviceRecord,
    Follower,
    Gap,
    Live,
    PipelineReader,
    Stale,
    Update,
)
from pykarabo.data import OutputInfo, PropertyValue, Schema
from pykarabo.errors import PykaraboError, RunStateError
from pykarabo.transport import TaskOwner
from pykarabo_services.kernel.trains import MatcherSettings, TrainMatcher

TRAIN_KEY: Final = "train_id"
PERIOD_KEY: Final = "period"
TRAIN_CLOCK_CLASS: Final = "TrainClock"
# A device that shows no values after this is left out and named.
SYNCHRONISE_S: Final = 5.0
# Ticks that were not published are filled in; a longer jump means that the clock was set anew.
LONGEST_FILL: Final = 1000
# Items of one output that may be under way: 1.6 s at 10 Hz, which rides out a slow disk.
CREDIT: Final = 16
# How often an output that said "no more" is asked whether it goes on.
ENDED_POLL_S: Final = 0.1
_REACHABLE: Final = frozenset({"online", "busy"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which sources belong to the trains: shell patterns of device ids and of `DEVICE:output`."""

    devices: tuple[str, ...] = ("*",)
    outputs: tuple[str, ...] = ("*",)
    excluded: tuple[str, ...] = ()
    train_clock: str = ""

    def has_device(self, device_id: str) -> bool:
        """Whether the properties of a device are wanted."""
        return _matches(device_id, self.devices) and not _matches(device_id, self.excluded)

    def has_output(self, device_id: str, output: str) -> bool:
        """Whether the items of an output are wanted."""
        source = f"{device_id}:{output}"
        excluded = _matches(source, self.excluded) or _matches(device_id, self.excluded)
        return _matches(source, self.outputs) and not excluded


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class FeedDevice:
    """A device that is followed: its schema and its values now."""

    device_id: str
    schema: Schema
    values: Mapping[str, PropertyValue]


@dataclass(slots=True)
class _Followed:
    schema: Schema
    follower: Follower | None = None
    live: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Read:
    reader: PipelineReader
    info: OutputInfo
    interruptions: int = 0


class TrainFeed:
    """Feeds a matcher with properties, pipeline items and ticks, as long as it is open.

    Attributes:
        matcher: what is fed.
        problems: sources that were wanted and are not, or not wholly, followed.
    """

    def __init__(self, client: Client, selection: Selection, settings: MatcherSettings) -> None:
        self.matcher = TrainMatcher(settings=settings)
        self.problems: list[str] = []
        self._client = client
        self._selection = selection
        self._tasks = TaskOwner("train feed")
        self._devices: dict[str, _Followed] = {}
        self._readers: dict[str, _Read] = {}
        self._clock_id = ""
        self._present: frozenset[str] = frozenset()
        self._period_ns = 0
        self._last_tick = 0
        self._newest_item = 0
        self._first_train = 0
        self._ticking = False

    @property
    def train_clock(self) -> str:
        """The device whose ticks are the trains."""
        return self._clock_id

    def devices(self) -> list[FeedDevice]:
        """Return the followed devices with their present values."""
        return [
            FeedDevice(device_id, followed.schema, dict(followed.follower.values))
            for device_id, followed in self._devices.items()
            if followed.follower is not None and followed.live.is_set()
        ]

    def outputs(self) -> dict[str, OutputInfo]:
        """Return the followed outputs by their name `DEVICE:output`."""
        return {name: known.info for name, known in self._readers.items()}

    async def open(self) -> None:
        """Follow every selected source; those that do not answer become problems.

        Raises:
            RunStateError: there is no train clock, or more than one to choose from.
        """
        records = await self._client.topology("*")
        self._clock_id = _train_clock(records, self._selection.train_clock)
        self._present = self._reachable(records)
        await asyncio.gather(*(self._open_device(device_id) for device_id in self._present))
        self._client.follow(self._clock_id, self._clock_update)

    async def is_outdated(self) -> bool:
        """Whether devices have come since `open` that may be wanted."""
        return not self._reachable(await self._client.topology("*")) <= self._present

    def _reachable(self, records: Iterable[DeviceRecord]) -> frozenset[str]:
        return frozenset(
            record.device_id
            for record in records
            if record.status in _REACHABLE
            and not _matches(record.device_id, self._selection.excluded)
        )

    async def aclose(self) -> None:
        """Stop following."""
        self._ticking = False
        if self._clock_id:
            self._client.unfollow(self._clock_id, self._clock_update)
        for device_id, followed in self._devices.items():
            if followed.follower is not None:
                self._client.unfollow(device_id, self._update)
        for known in self._readers.values():
            await known.reader.aclose()
        await self._tasks.aclose()

    def start_trains(self) -> None:
        """Begin with the next train of which nothing has come and gone yet."""
        self._last_tick = 0
        self._first_train = self._newest_item + 1
        self._ticking = True

    def stop_trains(self) -> None:
        """Take no further train; items of those before are still awaited."""
        self._ticking = False

    # Opening

    async def _open_device(self, device_id: str) -> None:
        try:
            schema = await self._client.schema(device_id)
            wanted = [
                name for name in schema.outputs if self._selection.has_output(device_id, name)
            ]
            for name in wanted:
                await self._open_output(device_id, schema.outputs[name])
            if self._selection.has_device(device_id):
                await self._follow(device_id, schema)
        except PykaraboError as error:
            self.problems.append(f"{device_id}: {error}")

    async def _open_output(self, device_id: str, info: OutputInfo) -> None:
        source = f"{device_id}:{info.name}"
        reader = await self._client.input(
            device_id,
            info.name,
            credit=CREDIT,
            on_missed=lambda count: self.matcher.gap(source, count),
        )
        self.matcher.expect(source)
        self._readers[source] = _Read(reader, info)
        self._tasks.spawn(self._read(reader), name=source)
        try:
            async with asyncio.timeout(SYNCHRONISE_S):
                await reader.connected.wait()
        except TimeoutError:
            self.problems.append(f"{source}: it does not let itself be read")

    async def _follow(self, device_id: str, schema: Schema) -> None:
        followed = self._devices[device_id] = _Followed(schema)
        followed.follower = self._client.follow(device_id, self._update)
        try:
            async with asyncio.timeout(SYNCHRONISE_S):
                await followed.live.wait()
        except TimeoutError:
            self.problems.append(f"{device_id}: it sent no values within {SYNCHRONISE_S} s")

    # Updates

    def _update(self, update: Update) -> None:
        device_id = update.device_id
        followed = self._devices[device_id]
        if isinstance(update, Live):
            followed.live.set()
            self.matcher.control(device_id, update.values)
        elif isinstance(update, Change):
            self.matcher.control(device_id, update.values)
        elif isinstance(update, Gap):
            if not update.recovered:
                self.matcher.gap(device_id, update.missed)
        elif isinstance(update, Stale):
            if followed.live.is_set():
                self.matcher.gap(device_id, None)
        else:
            self.problems.append(f"{device_id}: its properties were changed while it was followed")

    def check(self) -> None:
        """Notice outputs that are not connected any more; to be called about once a second."""
        for source, known in self._readers.items():
            if known.reader.interruptions > known.interruptions:
                known.interruptions = known.reader.interruptions
                self.matcher.gap(source, None)
            if not known.reader.connected.is_set():
                self.matcher.absent(source)

    async def _read(self, reader: PipelineReader) -> None:
        while True:
            async for item in reader:
                stamp = item.timestamp
                if self._ticking or self.matcher.pending:
                    self.matcher.item(reader.source, stamp.train_id, item.data, stamp)
                else:
                    self._newest_item = max(self._newest_item, stamp.train_id)
            self.matcher.absent(reader.source)
            await asyncio.sleep(ENDED_POLL_S)

    def _clock_update(self, update: Update) -> None:
        if not isinstance(update, Change | Live):
            return
        period = update.values.get(PERIOD_KEY)
        if period is not None:
            self._period_ns = round(float(period.value) * 1e9)
        tick = update.values.get(TRAIN_KEY)
        if tick is not None and isinstance(update, Change) and self._ticking:
            self._tick(int(tick.value), tick.timestamp.to_ns())

    def _tick(self, train_id: int, time_ns: int) -> None:
        if train_id < self._first_train <= train_id + LONGEST_FILL:
            return
        missing = train_id - self._last_tick - 1
        if self._last_tick and 0 < missing <= LONGEST_FILL:
            for steps in range(missing, 0, -1):
                self.matcher.tick(train_id - steps, time_ns - steps * self._period_ns)
        self.matcher.tick(train_id, time_ns)
        self._last_tick = max(self._last_tick, train_id)


def _train_clock(records: Iterable[DeviceRecord], wanted: str) -> str:
    if wanted:
        return wanted
    found = [record.device_id for record in records if record.class_id == TRAIN_CLOCK_CLASS]
    if len(found) == 1:
        return found[0]
    if not found:
        raise RunStateError(
            "the domain has no train clock",
            remedy=f"start a device of the class {TRAIN_CLOCK_CLASS}",
        )
    raise RunStateError(
        f"the domain has several train clocks: {', '.join(sorted(found))}",
        remedy="name one of them in the property train_clock",
    )
