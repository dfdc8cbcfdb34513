"""Compares what sources did with what others were told of it, exactly.

Streams: every change that a life of a device has produced was delivered once and in order, or is
within a reported gap. Calls: every call ended with a result or a typed error that tells the truth
about whether it was executed.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pykarabo.client import Change, Client, Gap, Live, Stale, Update
from pykarabo.data import PropertyValue
from pykarabo.errors import CallTimeoutError, NotExecutedError, OutcomeUnknownError, PykaraboError
from pykarabo.wire import Call

RECORD_VARIABLE: Final = "PYKARABO_RECORD"
"""A file that each case adds its figures to, one JSON object per line."""


def record(case: str, bar: str, figure: object, **details: object) -> None:
    """Add the figures of a case to the file that the environment names, if it does."""
    path = os.environ.get(RECORD_VARIABLE)
    if path:
        line = json.dumps({"case": case, "bar": bar, "figure": figure, **details}, default=str)
        with Path(path).open("a") as file:
            file.write(line + "\n")


# -- streams ------------------------------------------------------------------------------------


@dataclass(slots=True)
class StreamAccount:
    """What became of a device's changes at one watcher.

    Attributes:
        produced: changes between the first values received and the end, of every life seen.
        delivered: of these, how many came as changes.
        missing: of these, how many were reported as missed for good.
        recovered: of those delivered, how many were lost and came late.
        unaccounted: produced but neither delivered nor reported; negative when too many were
            reported. Never to be anything but zero.
        duplicates, disorder: changes that came again, or after a later one.
        unknown_gaps: gaps of unknown size, one for every restart.
        lives: lives of the device that were seen.
        silent_restarts: lives that began without a gap having been reported.
    """

    produced: int = 0
    delivered: int = 0
    missing: int = 0
    recovered: int = 0
    unaccounted: int = 0
    duplicates: int = 0
    disorder: int = 0
    gaps: int = 0
    unknown_gaps: int = 0
    lives: int = 0
    silent_restarts: int = 0
    stale: int = 0

    @property
    def exact(self) -> bool:
        """Whether everything is accounted for."""
        wrong = (self.unaccounted, self.duplicates, self.disorder, self.silent_restarts)
        return not any(wrong)

    def __add__(self, other: "StreamAccount") -> "StreamAccount":
        mine, more = asdict(self), asdict(other)
        return StreamAccount(**{name: mine[name] + more[name] for name in mine})


@dataclass(slots=True)
class _Life:
    instance: str
    first: int
    last: int
    seen: set[int] = field(default_factory=set[int])
    missing: int = 0


class StreamAudit:
    """One watcher of one Specimen: give it every update, in order.

    Attributes:
        value: the latest value received.
        live: whether it was said to be current.
        made_ns: when the device made the latest value, in ns since 1970.
    """

    def __init__(self, device_id: str) -> None:
        self.device_id = device_id
        self.value = 0
        self.made_ns = 0
        self.live = False
        self._lives: list[_Life] = []
        self._account = StreamAccount()
        self._unknown_gap = True

    @property
    def lives(self) -> int:
        """How many lives of the device were seen."""
        return len(self._lives)

    @property
    def age_s(self) -> float:
        """How long ago the device made the latest value."""
        return (time.time_ns() - self.made_ns) / 1e9

    def take(self, update: Update) -> None:
        """Take an update of the device."""
        if isinstance(update, Change):
            if "value" in update.values:
                self._changed(update.values["value"])
        elif isinstance(update, Live):
            self._became_live(update)
        elif isinstance(update, Gap):
            self._gap(update)
        elif isinstance(update, Stale):
            self.live = False
            self._account.stale += 1

    def _changed(self, new: PropertyValue) -> None:
        value = int(new.value)
        life = self._lives[-1]
        if value in life.seen:
            self._account.duplicates += 1
        elif value <= life.last:
            self._account.disorder += 1
        life.seen.add(value)
        life.last = max(life.last, value)
        self.value, self.made_ns = value, new.timestamp.to_ns()

    def _became_live(self, update: Live) -> None:
        value = int(update.values["value"].value)
        instance = str(update.values["life"].value)
        if not self._lives or self._lives[-1].instance != instance:
            if not self._unknown_gap:
                self._account.silent_restarts += 1
            self._lives.append(_Life(instance, value, value))
        life = self._lives[-1]
        if value < life.last:
            self._account.disorder += 1
        life.last = max(life.last, value)
        self.value, self.made_ns = value, update.values["value"].timestamp.to_ns()
        self.live = True
        self._unknown_gap = False

    def _gap(self, gap: Gap) -> None:
        self._account.gaps += 1
        if gap.missed is None:
            self._account.unknown_gaps += 1
            self._unknown_gap = True
        elif gap.recovered:
            self._account.recovered += gap.missed
        elif self._lives:
            self._lives[-1].missing += gap.missed

    def account(self, produced: Mapping[str, int]) -> StreamAccount:
        """Compare with what each life has produced (`Cluster.produced`).

        What the last change delivered of an ended life leaves open is covered by the gap of
        unknown size that follows it; the present life is accounted to its very last change.
        """
        total = StreamAccount(**asdict(self._account))
        total.lives = len(self._lives)
        for life in self._lives:
            present = life is self._lives[-1]
            last = produced[life.instance] if present else life.last
            made = last - life.first
            total.produced += made
            total.delivered += len(life.seen)
            total.missing += life.missing
            total.unaccounted += made - len(life.seen) - life.missing
        return total


class Auditor:
    """Watches devices with a client, until it is told to account.

    Args:
        client: watches.
        devices: are watched, all of them Specimens.
    """

    def __init__(self, client: Client, *devices: str) -> None:
        self.streams = {device_id: StreamAudit(device_id) for device_id in devices}
        self._watch = client.watch(*devices)

    async def run(self) -> None:
        """Read what comes until cancelled."""
        async for update in self._watch:
            self.streams[update.device_id].take(update)

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()

    @property
    def all_live(self) -> bool:
        """Whether every device is said to be current."""
        return all(stream.live for stream in self.streams.values())


# -- calls --------------------------------------------------------------------------------------

DONE: Final = "done"
NOT_EXECUTED: Final = "not executed"
UNKNOWN: Final = "outcome unknown"
OTHER: Final = "other error"


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """How a call ended.

    Attributes:
        outcome: one of DONE, NOT_EXECUTED, UNKNOWN, OTHER.
        late_s: how long after its deadline it ended; negative before it.
    """

    key: str
    outcome: str
    error: PykaraboError | None
    took_s: float
    late_s: float


@dataclass(frozen=True, slots=True)
class CallAccount:
    """What became of calls.

    Attributes:
        ghosts: executed although "not executed" was reported.
        vanished: not executed although a result came.
        doubles: executed more than once.
        strangers: executed and never called.
        worst_late_s: the latest end of a call after its deadline.
    """

    made: int
    unanswered: int
    done: int
    not_executed: int
    unknown: int
    other: int
    ghosts: int
    vanished: int
    doubles: int
    strangers: int
    worst_late_s: float

    @property
    def exact(self) -> bool:
        """Whether every call ended, and each with the truth."""
        wrong = (self.unanswered, self.ghosts, self.vanished, self.doubles, self.strangers)
        return not any(wrong) and not self.other


class CallAudit:
    """Makes numbered calls of a Specimen and notes how each ended."""

    def __init__(self, client: Client, device_id: str, *, prefix: str = "call") -> None:
        self.outcomes: dict[str, CallOutcome] = {}
        self._client = client
        self._device = device_id
        self._prefix = prefix
        self._made = 0

    @property
    def next_key(self) -> str:
        """The key of the call that is made next."""
        return f"{self._prefix}-{self._made + 1}"

    async def call(
        self, *, timeout_s: float = 5.0, duration: float = 0.0, once: bool = False
    ) -> CallOutcome:
        """Make a call with a key of its own; never raises what the call raises.

        Args:
            once: let the client repeat it with its key until the outcome is known.
        """
        key = self.next_key
        self._made += 1
        once_key = key if once else None
        request = Call(self._device, "execute", [key, duration], once=once_key)
        begun = time.monotonic()
        error: PykaraboError | None = None
        try:
            answer = await self._client.request(self._device, request, timeout_s=timeout_s)
            assert answer == key, f"{key} was answered with {answer}"
        except PykaraboError as raised:
            error = raised
        took_s = time.monotonic() - begun
        outcome = CallOutcome(key, _kind(error), error, took_s, took_s - timeout_s)
        self.outcomes[key] = outcome
        return outcome

    def account(self, executions: Counter[str]) -> CallAccount:
        """Compare with what was executed (`Cluster.executions`)."""
        ours = {key: n for key, n in executions.items() if key.startswith(f"{self._prefix}-")}
        ended = self.outcomes.values()
        kinds = Counter(call.outcome for call in ended)
        return CallAccount(
            made=self._made,
            unanswered=self._made - len(self.outcomes),
            done=kinds[DONE],
            not_executed=kinds[NOT_EXECUTED],
            unknown=kinds[UNKNOWN],
            other=kinds[OTHER],
            ghosts=sum(call.outcome == NOT_EXECUTED and call.key in ours for call in ended),
            vanished=sum(call.outcome == DONE and call.key not in ours for call in ended),
            doubles=sum(times > 1 for times in ours.values()),
            strangers=len(ours.keys() - self.outcomes.keys()),
            worst_late_s=max((call.late_s for call in ended), default=0.0),
        )


def _kind(error: PykaraboError | None) -> str:
    if error is None:
        return DONE
    if isinstance(error, NotExecutedError):
        return NOT_EXECUTED
    return UNKNOWN if isinstance(error, OutcomeUnknownError) else OTHER


def timed_out(outcome: CallOutcome) -> bool:
    """Tell whether a call ended at its deadline."""
    return isinstance(outcome.error, CallTimeoutError)


def describe(account: StreamAccount | CallAccount) -> dict[str, Any]:
    """Return an account as a plain map, for the record."""
    return asdict(account)
