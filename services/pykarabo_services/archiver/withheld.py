"""What of a device's values is not stored as it comes: what waits, and what is left out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pykarabo_services.archiver.model import EventKind
from pykarabo_services.archiver.registry import DeviceState, SeriesState

BURST_S: Final = 5.0
"""A device may change so long faster than allowed, as one that starts or is configured does."""
REPORT_NS: Final = 1_000_000_000
"""How often what was left out is noted."""
_QUALITY: Final = 5
"""Its place in a row of a series."""


@dataclass(slots=True)
class LeftOut:
    """Values that were not stored as they were, until that is noted."""

    kind: EventKind
    key: str
    reason: str
    first_ns: int
    last_ns: int
    count: int = 0


class Withheld:
    """Values of a device that wait for their interval or for the rate, and the rest's count.

    Args:
        rate: tells how many samples per second are stored of the device.
        store: takes a value that has waited: the number of its message, and its row.
        note: takes what is to be noted as left out.
        now_ns: the present time in ns since 1970.

    Attributes:
        limited, rejected: values that were left out because of the rate, or because of their size
            or an error.
    """

    def __init__(
        self,
        state: DeviceState,
        rate: Callable[[], float],
        store: Callable[[int, list[Any]], None],
        note: Callable[[LeftOut], None],
        now_ns: int,
    ) -> None:
        self.limited = 0
        self.rejected = 0
        self._state = state
        self._rate = rate
        self._store = store
        self._note = note
        self._left_out: dict[tuple[EventKind, str], LeftOut] = {}
        self._flooded: dict[int, tuple[int, list[Any]]] = {}
        self._held: dict[int, SeriesState] = {}
        self._credit = rate() * BURST_S
        self._credited_ns = now_ns
        self._reported_ns = 0

    def waits(self, series: SeriesState, seq: int, row: list[Any], now_ns: int) -> bool:
        """Hold a value back, unless its interval has passed or its quality is another one."""
        if row[_QUALITY] == series.quality and now_ns - series.stored_ns < series.interval_ns:
            series.held = (seq, row)
            self._held[series.number] = series
            return True
        series.stored_ns, series.quality, series.held = now_ns, row[_QUALITY], None
        return False

    def leave_out(
        self, kind: EventKind, key: str, reason: str, now_ns: int, *, count: int = 1
    ) -> None:
        """Count values that are not stored as they are."""
        noted = self._left_out.get((kind, key))
        if noted is None:
            noted = self._left_out[kind, key] = LeftOut(kind, key, reason, now_ns, now_ns)
        noted.count += count
        noted.last_ns = now_ns
        if kind is EventKind.REJECTED:
            self.rejected += count

    def within_rate(self, rows: list[Any], seq: int, now_ns: int) -> list[Any]:
        """Return what of a message the device's rate allows; the latest of the rest is kept."""
        rate = self._rate()
        earned = (now_ns - self._credited_ns) * rate / 1e9
        self._credited_ns = now_ns
        self._credit = min(rate * BURST_S, self._credit + earned)
        if self._credit >= len(rows):
            self._credit -= len(rows)
            return rows
        self._state.is_limited = True
        for row in rows:
            self._flooded[row[0]] = (seq, row)
            self.leave_out(EventKind.LIMITED, "", f"more than {rate:g} samples/s", now_ns)
        self.limited += len(rows)
        return []

    def tick(self, now_ns: int) -> None:
        """Store what has waited long enough, and note what was left out."""
        if self._held:
            self._store_due(now_ns)
        if (self._left_out or self._flooded) and now_ns - self._reported_ns >= REPORT_NS:
            self._reported_ns = now_ns
            self._note_left_out()

    def settle(self, now_ns: int) -> None:
        """Store what waits and note what was left out, whether it is due or not."""
        for series in self._held.values():
            self._store_held(series, now_ns)
        self._held.clear()
        if self._left_out or self._flooded:
            self._note_left_out()

    def _store_due(self, now_ns: int) -> None:
        for number, series in list(self._held.items()):
            if series.held is None:
                del self._held[number]
            elif now_ns - series.stored_ns >= series.interval_ns:
                del self._held[number]
                self._store_held(series, now_ns)

    def _store_held(self, series: SeriesState, now_ns: int) -> None:
        if series.held is not None:
            seq, row = series.held
            series.held, series.stored_ns, series.quality = None, now_ns, row[_QUALITY]
            self._store(seq, row)

    def _note_left_out(self) -> None:
        latest, self._flooded = self._flooded, {}
        for seq, row in latest.values():
            self._store(seq, row)
        left_out, self._left_out = self._left_out, {}
        for item in left_out.values():
            if item.kind is EventKind.LIMITED:
                item.count -= len(latest)
                self.limited -= len(latest)
            if item.count > 0:
                self._note(item)
