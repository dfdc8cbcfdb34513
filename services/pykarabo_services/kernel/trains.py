"""Putting together what belongs to one train: pure logic, time is an argument.

A train is announced by a tick. *Control* sources (properties of devices) have exactly one value in
every train: the last one whose train id is not above the train's. *Instrument* sources (outputs of
pipelines) have 0..n items per train, valid for that train only. A train is complete when every
instrument source has passed it, that is, has sent something for a later train; it is given out
then, or when the maximum delay is over. Trains leave in strictly increasing order, and every item
that misses its train is counted with its source and train id.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pykarabo.data import PropertyValue, Timestamp
from pykarabo_services.kernel._controls import ControlValues
from pykarabo_services.kernel._sizes import size_of
from pykarabo_services.kernel.losses import LossCounter, LossReason, LossRecord

# The source named in the losses of the ticks themselves.
TIME_SERVER = "(time server)"
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MatcherSettings:
    """How long a train waits for its data, and how much may wait.

    `settle_s` is waited even when all is complete: a property change travels on another connection
    than the ticks and announces no end. Events leave a server within one turn of its loop, so 0.25
    s also covers a busy one. `maximum_delay_s` bounds what one silent source costs all others.
    `early_trains` is how far ahead of the ticks a source may be before its train is suspect: a tick
    and an item race each other by at most one train. `ahead_trains` is how far ahead is still
    believed (10 s at 10 Hz); beyond it a train id is wrong. `maximum_bytes` bounds what waits, and
    once more what was given out early and not yet fetched.
    """

    maximum_delay_s: float = 2.0
    settle_s: float = 0.25
    maximum_bytes: int = 2 << 30
    early_trains: int = 1
    ahead_trains: int = 100


@dataclass(frozen=True, slots=True, eq=False)
class TrainItem:
    """One item of an instrument source: flat dotted keys and the time it was taken."""

    data: Mapping[str, Any]
    timestamp: Timestamp


@dataclass(frozen=True, slots=True, eq=False)
class Train:
    """Everything that belongs to one train.

    `suspect`: a source sent this train id long before the time server did. `origin`: the source
    that sent it first, None for the time server. `complete`: every instrument source had passed the
    train when it was given out.
    """

    train_id: int
    time_ns: int
    controls: Mapping[str, Mapping[str, PropertyValue]]
    items: Mapping[str, tuple[TrainItem, ...]]
    suspect: bool = False
    origin: str | None = None
    complete: bool = True

    @property
    def nbytes(self) -> int:
        """About how much memory the items hold."""
        return sum(size_of(item.data) for items in self.items.values() for item in items)


@dataclass(slots=True)
class _Pending:
    train_id: int
    time_ns: int
    suspect: bool
    origin: str | None
    seen_ns: int | None = None


@dataclass(slots=True)
class _Arrived:
    """The items of one train id, whether it was ticked already or not."""

    first_source: str
    early: int
    nbytes: int
    items: dict[str, list[TrainItem]]


class TrainMatcher:
    """Joins ticks, property values and pipeline items into trains."""

    def __init__(
        self, *, instruments: Iterable[str] = (), settings: MatcherSettings | None = None
    ) -> None:
        self._settings = settings or MatcherSettings()
        self._losses = LossCounter()
        self._controls = ControlValues(self._losses)
        self._passed: dict[str, int] = dict.fromkeys(instruments, 0)
        self._absent: set[str] = set()
        self._pending: deque[_Pending] = deque()
        self._arrived: dict[int, _Arrived] = {}
        self._ready: list[Train] = []
        self._item_bytes = 0
        self._ready_bytes = 0
        self._first_tick = 0
        self._newest_tick = 0
        self._released = 0
        self._released_early = 0

    @property
    def nbytes(self) -> int:
        """About how much memory the waiting data holds."""
        return self._waiting_bytes + self._ready_bytes

    @property
    def pending(self) -> int:
        """How many ticked trains wait for their data."""
        return len(self._pending)

    @property
    def released_early(self) -> int:
        """How many incomplete trains were given out early because the memory was full."""
        return self._released_early

    def losses(self) -> tuple[LossRecord, ...]:
        """Return what missed its train so far.

        The reason OUTSIDE is no loss: these items came before the first train or after the last.
        """
        return self._losses.records()

    def expect(self, source: str) -> None:
        """Wait for another instrument source from now on."""
        self._passed.setdefault(source, 0)

    def tick(self, train_id: int, time_ns: int) -> None:
        """Announce a train; only announced trains are ever given out."""
        if train_id <= self._newest_tick:
            if train_id != self._newest_tick:
                self._losses.add(TIME_SERVER, LossReason.BACKWARD, train_id=train_id)
            return
        arrived = self._arrived.get(train_id)  # only what came before its tick
        early = arrived.early if arrived else 0
        self._pending.append(
            _Pending(
                train_id=train_id,
                time_ns=time_ns,
                suspect=early > self._settings.early_trains,
                origin=arrived.first_source if arrived else None,
            )
        )
        self._first_tick = self._first_tick or train_id
        self._newest_tick = train_id

    def control(self, device_id: str, values: Mapping[str, PropertyValue]) -> None:
        """Take property values; one without a train id is valid from the newest train on."""
        for key, value in values.items():
            now = max(self._newest_tick, self._released + 1)
            train_id = value.timestamp.train_id or now
            if self._is_ahead(train_id):
                self._losses.add(device_id, LossReason.AHEAD, train_id=train_id, key=key)
                train_id = now
            if self._newest_tick < train_id and self._newest_tick:
                self._arrivals_of(train_id, device_id)
            self._controls.put(device_id, key, value, train_id=train_id, released=self._released)
        self._make_room(0)

    def item(
        self, source: str, train_id: int, data: Mapping[str, Any], timestamp: Timestamp
    ) -> bool:
        """Take a pipeline item; False means that it missed its train and was counted."""
        reason = self._refusal(train_id)
        if reason is not None:
            self._losses.add(source, reason, train_id=train_id)
            return False
        self._absent.discard(source)
        self._passed[source] = max(self._passed.get(source, 0), train_id)
        nbytes = size_of(data)
        if not self._make_room(nbytes):
            self._losses.add(source, LossReason.OVERFLOW, train_id=train_id)
            return False
        if train_id <= self._released:
            self._losses.add(source, LossReason.LATE, train_id=train_id)
            return False
        self._keep(source, train_id, TrainItem(data, timestamp), nbytes)
        return True

    def gap(self, source: str, count: int | None) -> None:
        """Count items that were lost before they came here; None when nobody knows how many."""
        if count is None:
            self._losses.add_unknown(source, LossReason.GAP)
        else:
            self._losses.add(source, LossReason.GAP, count=count)

    def absent(self, source: str) -> None:
        """Do not wait for a source any more, until it sends again."""
        if source in self._passed:
            self._absent.add(source)

    def advance(self, now_ns: int) -> list[Train]:
        """Return the trains that are complete, or too old to wait; `now_ns` never goes back."""
        for pending in reversed(self._pending):
            if pending.seen_ns is not None:
                break
            pending.seen_ns = now_ns
        while self._pending and self._is_due(self._pending[0], now_ns):
            self._release()
        return self._take_ready()

    def next_deadline(self) -> int | None:
        """Return when `advance` must be called again at the latest; None when nothing waits."""
        if not self._pending or self._pending[0].seen_ns is None:
            return None
        complete = self._has_all(self._pending[0].train_id)
        settings = self._settings
        delay_s = settings.settle_s if complete else settings.maximum_delay_s
        return self._pending[0].seen_ns + round(delay_s * NANOSECONDS)

    def finish(self) -> list[Train]:
        """Return every announced train as it is, and count what belongs to none."""
        while self._pending:
            self._release()
        for train_id in sorted(self._arrived):
            self._discard(train_id, LossReason.OUTSIDE)
        return self._take_ready()

    def _refusal(self, train_id: int) -> LossReason | None:
        """Return why an item cannot belong to any train to come, None when it may."""
        if train_id <= 0:
            return LossReason.UNSTAMPED
        if train_id <= self._released:
            return LossReason.LATE
        if train_id < self._first_tick:
            return LossReason.OUTSIDE
        return LossReason.AHEAD if self._is_ahead(train_id) else None

    def _is_ahead(self, train_id: int) -> bool:
        newest = self._newest_tick
        return newest > 0 and train_id > newest + self._settings.ahead_trains

    def _keep(self, source: str, train_id: int, item: TrainItem, nbytes: int) -> None:
        arrived = self._arrivals_of(train_id, source)
        arrived.items.setdefault(source, []).append(item)
        arrived.nbytes += nbytes
        self._item_bytes += nbytes

    def _arrivals_of(self, train_id: int, source: str) -> _Arrived:
        """Return what arrived for a train and remember the `source` that names it first."""
        arrived = self._arrived.get(train_id)
        if arrived is None:
            early = train_id - self._newest_tick if self._newest_tick else 0
            arrived = self._arrived[train_id] = _Arrived(source, max(early, 0), 0, {})
        return arrived

    def _make_room(self, nbytes: int) -> bool:
        """Give out the oldest trains until `nbytes` fit; False when they cannot."""
        limit = self._settings.maximum_bytes
        while self._waiting_bytes + nbytes > limit and self._pending:
            self._release_early()
        return self._waiting_bytes + nbytes <= limit and self._ready_bytes <= limit

    @property
    def _waiting_bytes(self) -> int:
        return self._item_bytes + self._controls.nbytes

    def _release_early(self) -> None:
        if not self._has_all(self._pending[0].train_id):
            self._released_early += 1
        self._release()

    def _has_all(self, train_id: int) -> bool:
        return all(
            passed > train_id or source in self._absent for source, passed in self._passed.items()
        )

    def _is_due(self, pending: _Pending, now_ns: int) -> bool:
        age_ns = now_ns - (now_ns if pending.seen_ns is None else pending.seen_ns)
        if age_ns >= self._settings.maximum_delay_s * NANOSECONDS:
            return True
        settled = age_ns >= self._settings.settle_s * NANOSECONDS
        return settled and self._has_all(pending.train_id)

    def _release(self) -> None:
        pending = self._pending.popleft()
        train_id = pending.train_id
        unticked = LossReason.UNTICKED if self._released else LossReason.OUTSIDE
        for other in sorted(other for other in self._arrived if other < train_id):
            self._discard(other, unticked)
        arrived = self._arrived.pop(train_id, None)
        items: dict[str, tuple[TrainItem, ...]] = {}
        if arrived is not None:
            items = {source: tuple(parts) for source, parts in arrived.items.items()}
            self._item_bytes -= arrived.nbytes
            self._ready_bytes += arrived.nbytes
        self._ready.append(
            Train(
                train_id=train_id,
                time_ns=pending.time_ns,
                controls=self._controls.snapshot(train_id),
                items=items,
                suspect=pending.suspect,
                origin=pending.origin,
                complete=self._has_all(train_id),
            )
        )
        self._released = train_id

    def _discard(self, train_id: int, reason: LossReason) -> None:
        arrived = self._arrived.pop(train_id)
        self._item_bytes -= arrived.nbytes
        for source, items in arrived.items.items():
            self._losses.add(source, reason, train_id=train_id, count=len(items))

    def _take_ready(self) -> list[Train]:
        ready, self._ready = self._ready, []
        self._ready_bytes = 0
        return ready
