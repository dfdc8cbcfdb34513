"""What a device tells, as entries for the spool: which values are stored, and what is missing."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pykarabo.client import StreamFollower, has_ended
from pykarabo.data import Schema, to_row
from pykarabo.errors import PykaraboError
from pykarabo.wire import (
    Changed,
    DeviceStream,
    GapFound,
    Resumed,
    SchemaChanged,
    StreamOutput,
    Synchronised,
    WentStale,
    number_before,
)
from pykarabo_services.archiver import entries
from pykarabo_services.archiver.entries import event_entry, number_repeats, time_of
from pykarabo_services.archiver.failures import Failures
from pykarabo_services.archiver.model import (
    ELEMENT_BYTES,
    DeviceEvent,
    EventKind,
    SampleFlag,
    is_archived,
    newly_archived,
    size_of,
)
from pykarabo_services.archiver.registry import DeviceState, SeriesState
from pykarabo_services.archiver.sink import Sink
from pykarabo_services.archiver.withheld import LeftOut, Withheld

if TYPE_CHECKING:
    from pykarabo.client import Client

FIRST_S: Final = 946_684_800
"""2000 UTC: a clock that shows less was never set."""
AHEAD_S: Final = 30
"""A clock that is further ahead is wrong, not just another one."""
HEARD_NS: Final = 5_000_000_000
"""All but the last seconds is known of a device that is followed: a silence is noticed in 2.5 s."""
STALL_NS: Final = 1_000_000_000
"""Where this process stood still so long, a silence may not have been noticed yet: for as long
again nobody knows."""
NOTED_NS: Final = 60_000_000_000
"""How often it is noted of a quiet device that nothing was missed."""
SKEW_NS: Final = 1_000_000_000
"""The clocks of two hosts may differ by so much: a gap begins earlier by it."""
_RECEIVED: Final = int(SampleFlag.RECEIVED)
_PRESENT: Final = int(SampleFlag.PRESENT)


class DeviceRecording(StreamFollower):
    """Follows a device and puts into the spool what is to be stored of it.

    Args:
        state: where an earlier process has stopped, or a new one.
        clock_ns: the time in ns since 1970.
    """

    def __init__(
        self,
        client: "Client",
        state: DeviceState,
        sink: Sink,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        stream = DeviceStream(replays=True)
        super().__init__(client, state.device_id, state.device_id, stream, latest=False)
        self.state = state
        self.live = False
        self.stored = 0
        self._sink = sink
        self._clock_ns = clock_ns
        self._away: str | None = None
        self._was_unknown = False
        self._lacks_present = False
        self._wants_all = False
        self._wants_also: set[str] = set()
        self._is_resumed = bool(state.instance)
        self._told_away = False
        self._ticked_ns = self._trusted_ns = clock_ns()
        self._withheld = Withheld(
            state, lambda: sink.limits.rate, self._put_late, self._note_left_out, self._ticked_ns
        )
        self._failures = Failures(state.device_id, self._withheld)

    @property
    def limited(self) -> int:
        """How many values were left out because the device changed too often."""
        return self._withheld.limited

    @property
    def rejected(self) -> int:
        """How many values were left out because they were too large, or could not be recorded."""
        return self._withheld.rejected

    @property
    def errors(self) -> int:
        """How often something could not be recorded because of an error."""
        return self._failures.count

    # -- the stream -----------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Go on after the latest message that is stored; of a new life, before its first one."""
        try:
            await self._prepare()
        except PykaraboError:
            raise
        except Exception as error:
            raise self._failures.note(error, self._clock_ns(), lost=0) from error

    async def _prepare(self) -> None:
        state = self.state
        if self.target.instance != state.instance:
            self._begin_life(self.target.instance, self.target.epoch)
        if state.schema is None:
            self._described(await self._client.schema(self.device_id), state.seq)
        if self._is_resumed:  # the process before may have ended with values that waited
            self._is_resumed = False
            self._lacks_present |= self._may_have_waited()
        self._stream.begin(state.instance, state.seq)

    def _begin_life(self, instance: bytes, epoch: int) -> None:
        state = self.state
        self._withheld.settle(self._clock_ns())
        if state.instance and not state.has_ended:
            self._missing(None, "it was restarted unseen", until_ns=epoch)
        self._is_resumed, self._was_unknown = False, not state.instance
        state.instance, state.epoch = instance, epoch
        self._know_until(epoch)
        state.seq = state.durable = number_before(epoch)
        state.has_ended, state.digest, state.schema = False, "", None
        state.series.clear()
        self._lacks_present = self._wants_all = True
        self._sink.put(state.entry())
        state.noted_ns = state.last_ns
        self._event(EventKind.STARTED, at_ns=epoch)

    def begin_anew(self) -> None:
        """Tell all of the device again, as it is: the database is another one than before."""
        state = self.state
        state.digest = ""
        self._wants_all = True
        if state.epoch:
            self._sink.put(state.entry())
        if state.schema is not None:
            self._described(state.schema, state.seq)
        if self.live:
            self._event(EventKind.BACK)
            self._ask_for_present()
        else:
            self._told_away = self._lacks_present = True

    def stream(self, outputs: list[StreamOutput]) -> None:
        """Take what the stream hands on; what cannot be recorded is noted, and holds up no other.

        Of a change its values are missing. All else decides what becomes of what follows, so the
        device is followed anew as well, from what is stored on, with its schema.
        """
        for output in outputs:
            try:
                self._take(output)
            except Exception as error:  # noqa: BLE001 - the end of one message
                lost = len(output.rows) if isinstance(output, Changed | Synchronised) else 1
                noted = self._failures.note(error, self._clock_ns(), lost=lost)
                if not isinstance(output, Changed):
                    self.state.schema, self.state.digest = None, ""
                    self.stream_failed(noted)
                    return

    def _take(self, output: StreamOutput) -> None:
        if isinstance(output, Changed):
            self._changed(output)
        elif isinstance(output, Synchronised):
            self._synchronise(output)
        elif isinstance(output, Resumed):
            self._back()
        elif isinstance(output, GapFound):
            self._gap(output)
        elif isinstance(output, SchemaChanged):
            self._described(output.schema, self.state.seq + 1)
            if self._lacks_present and self.live and self._stream.is_live:
                self._ask_for_present()
        elif isinstance(output, WentStale):
            self._away = output.reason

    def failed(self, error: PykaraboError) -> None:
        """The device has ended, or cannot be reached."""
        self.reason = error.message
        if has_ended(error) and self.live:
            self.live, self._away = False, None
            self._withheld.settle(self._clock_ns())
            if self._stream.complete:
                self.state.has_ended = True
                self._event(EventKind.STOPPED)
            else:
                self._event(EventKind.AWAY, reason="it has ended, and its last changes are missing")
        elif self.live and self._away is None:
            self._away = error.message

    def _synchronise(self, output: Synchronised) -> None:
        state = self.state
        instance = self._stream.instance or b""
        if instance != state.instance:  # restarted while the connection went on
            self._begin_life(instance, self.target.epoch)
        if output.schema is not None and output.schema is not state.schema:
            self._described(output.schema, output.sequence - 1)
        self._lacks_present = False
        self._store(output.rows, output.sequence, _PRESENT)
        self._know_until(self._clock_ns())
        self._note_known()
        self._back()

    def _changed(self, output: Changed) -> None:
        self._store(output.rows, output.sequence, 0)

    def _gap(self, output: GapFound) -> None:
        if output.recovered:
            return
        if output.missed is None:
            return  # told when the next life begins
        before = "it was there before it was archived"
        lost = "they could not be had any more"
        self._missing(output.missed, before if self._was_unknown else lost)
        self._was_unknown = False

    def _missing(self, lost: int | None, reason: str, *, until_ns: int | None = None) -> None:
        """Note that messages are missing since the last moment of which all is known.

        Args:
            until_ns: when a later life began; by default now.
        """
        state, now_ns = self.state, self._clock_ns()
        until_ns = now_ns if until_ns is None else min(until_ns, now_ns)
        known_ns = min(state.last_ns, now_ns)  # the clock may have been put back
        from_ns = max(known_ns - SKEW_NS, state.epoch, state.gap_ns + 1)
        state.gap_ns = from_ns
        self._event(
            EventKind.GAP,
            at_ns=from_ns,
            until_ns=max(until_ns, from_ns),
            lost=lost,
            reason=reason,
        )

    def _know_until(self, time_ns: int) -> None:
        """Everything that the device has told before a moment is known."""
        self.state.last_ns = max(self.state.last_ns, min(time_ns, self._clock_ns()))

    def _note_known(self) -> None:
        """Bring to the disk until when everything is known."""
        state = self.state
        state.noted_ns = state.last_ns
        self._sink.put([entries.SEEN, state.number, state.seq, state.last_ns])

    def _back(self) -> None:
        self.live = self._synchronised = True
        self._was_unknown = False
        if self._lacks_present:
            self._ask_for_present()
        self._away = None
        if self._told_away:
            self._told_away = False
            self._event(EventKind.BACK)

    def _ask_for_present(self) -> None:
        self._lacks_present = False
        self._client.spawn(self._read_present(), name=f"present values of {self.device_id}")

    def _event(
        self,
        kind: EventKind,
        *,
        at_ns: int | None = None,
        until_ns: int | None = None,
        key: str = "",
        lost: int | None = None,
        reason: str = "",
    ) -> None:
        event = DeviceEvent(
            device_id=self.device_id,
            time_ns=self._clock_ns() if at_ns is None else at_ns,
            until_ns=until_ns,
            kind=kind,
            epoch=self.state.epoch,
            key=key,
            lost=lost,
            reason=reason,
        )
        self._sink.put(event_entry(event))

    # -- the schema -----------------------------------------------------------------------------

    def _described(self, schema: Schema, seq: int) -> None:
        """Take the device's schema: its properties are other series where their type changed."""
        state = self.state
        self._withheld.settle(self._clock_ns())
        self.schema = schema
        self._failures.begin_anew()
        before, state.schema = state.schema, schema
        state.seq = max(state.seq, seq)
        if schema.version != state.digest:
            self._differs(before, schema, seq)
        for key, info in schema.properties.items():
            old = None if before is None else before.properties.get(key)
            if old is not None and old.value_type is not info.value_type:
                reason = f"{old.value_type} becomes {info.value_type}"
                self._event(EventKind.TYPE, key=key, reason=reason)
        state.series.clear()

    def _differs(self, before: Schema | None, schema: Schema, seq: int) -> None:
        """Note another schema than is stored, and since when it may be so.

        The values of properties that are stored from now on are to be read: none may be told soon.
        Where it has changed unseen, nobody knows which these are.
        """
        state = self.state
        # The clock may have been put back: a later schema is the one with the later time.
        state.described_ns = at_ns = max(self._clock_ns(), state.described_ns + 1)
        since_ns = min(state.last_ns, at_ns)
        told = [schema.version, schema.to_wire(), since_ns]
        self._sink.put([entries.SCHEMA, state.number, at_ns, seq, *told])
        is_unseen = before is None and bool(state.digest)
        newly = set[str]() if before is None else newly_archived(before, schema)
        self._wants_all |= is_unseen
        self._wants_also |= newly
        self._lacks_present |= is_unseen or bool(newly)
        state.digest = schema.version

    def _series_of(self, key: str) -> SeriesState | None:
        """Return the series of a property; None if it is not stored."""
        state = self.state
        info = None if state.schema is None else state.schema.properties.get(key)
        if info is None or not is_archived(info):
            state.series[key] = None
            return None
        series, is_new = self._sink.registry.series(state, info)
        state.series[key] = series
        if is_new:
            self._sink.put(self._sink.registry.series_entry(series.number))
        return series

    # -- values ---------------------------------------------------------------------------------

    def _store(self, rows: list[Any], seq: int, flags: int) -> None:
        state = self.state
        state.seq = seq
        now_ns = self._clock_ns()
        known = state.series
        kept: list[Any] = []
        for row in rows:
            key = row[0]
            try:
                series = known[key] if key in known else self._series_of(key)
                found = None if series is None else self._row(series, row, seq, flags, now_ns)
            except Exception as error:  # noqa: BLE001 - the end of one value
                self._failures.note(error, now_ns, key=key)
                continue
            if found is not None:
                kept.append(found)
        if len(kept) > 1:
            number_repeats(kept)
        if kept:
            kept = self._withheld.within_rate(kept, seq, now_ns)
        if kept:
            self.stored += len(kept)
            state.last_ns = max(state.last_ns, min(now_ns, time_of(kept[-1])))
            self._sink.put([entries.VALUES, state.number, seq, kept], len(kept))
        else:
            self._sink.put([entries.SEEN, state.number, seq])

    def _row(
        self, series: SeriesState, row: list[Any], seq: int, flags: int, now_ns: int
    ) -> list[Any] | None:
        """Return a value as it is stored; None if it is not, or not yet."""
        _key, value, seconds, fraction, train_id, quality = row
        if series.present is not None:
            is_stored = _is_same(series.present, row)
            series.present = None
            if is_stored:  # it was read before it was told
                return None
        if not series.is_scalar and self._is_too_large(series, value, now_ns):
            return None
        at = (seconds, fraction)
        if (
            seconds < FIRST_S
            or seconds > now_ns // 10**9 + AHEAD_S
            or (at < series.last and not flags)
        ):
            shown = f"{seconds}.{fraction // 10**9:09d} s since 1970"
            self._withheld.leave_out(EventKind.CLOCK, series.key, f"for example {shown}", now_ns)
            seconds, fraction = divmod(now_ns, 10**9)
            fraction *= 10**9
            flags |= _RECEIVED
        else:
            series.last = at
        found = [series.number, value, seconds, fraction, train_id, quality, flags, 0]
        if series.interval_ns and self._withheld.waits(series, seq, found, now_ns):
            return None
        return found

    def _is_too_large(self, series: SeriesState, value: Any, now_ns: int) -> bool:
        size = size_of(value)
        if size <= self._sink.limits.value_bytes:
            return False
        reason = f"{size} bytes are more than the {self._sink.limits.value_bytes} that are allowed"
        self._withheld.leave_out(EventKind.REJECTED, series.key, reason, now_ns)
        return True

    def _may_have_waited(self) -> bool:
        """Tell whether values of the device wait before they are stored."""
        schema = self.state.schema
        known = {} if schema is None else schema.properties
        waiting = (is_archived(info) and info.archive_interval for info in known.values())
        return self.state.is_limited or any(waiting)

    def _may_lack(self, key: str) -> bool:
        """Tell whether a property's present value may be missing though all messages are here."""
        state = self.state
        info = None if state.schema is None else state.schema.properties.get(key)
        series = state.series.get(key)
        if info is None or not is_archived(info) or (series and series.last != (0, 0)):
            return False
        is_new = self._wants_all or key in self._wants_also
        return is_new or state.is_limited or bool(info.archive_interval)

    async def _read_present(self) -> None:
        """Store the values that have not been told since this process follows the device."""
        state, instance = self.state, self.state.instance
        try:
            values = await self._client.read(self.device_id)
        except PykaraboError:
            self._lacks_present = True  # again when it is back
            return
        if state.instance != instance:
            return
        rows = [to_row(key, value) for key, value in values.items() if self._may_lack(key)]
        self._wants_all = False
        self._wants_also.clear()
        if rows:
            self._store(rows, state.seq, _PRESENT)
            for row in rows:
                present = state.series.get(row[0])
                if present is not None:
                    present.present = row[1:]

    # -- what waits and what is left out --------------------------------------------------------

    def tick(self) -> None:
        """Store what has waited, and note what was left out; to be called often."""
        now_ns = self._clock_ns()
        self._note_away()
        if not 0 <= now_ns - self._ticked_ns < STALL_NS:
            self._trusted_ns = now_ns + STALL_NS
        self._ticked_ns = now_ns
        if self.live and self._stream.is_live and now_ns >= self._trusted_ns:
            state = self.state
            state.last_ns = max(state.last_ns, now_ns - HEARD_NS)
            if state.last_ns - state.noted_ns >= NOTED_NS:
                self._note_known()
        self._withheld.tick(now_ns)

    def end(self) -> None:
        """Store what waits, and note until when everything is known: it is followed no more."""
        self.tick()
        self._withheld.settle(self._clock_ns())
        if self.state.epoch:
            self._note_known()

    def _note_away(self) -> None:
        if self._away is not None and self.live:
            self.live, self._told_away = False, True
            self._event(EventKind.AWAY, reason=self._away)
            self._away = None

    def _put_late(self, seq: int, row: list[Any]) -> None:
        self.stored += 1
        self._sink.put([entries.VALUES, self.state.number, seq, [row]], 1)

    def _note_left_out(self, item: LeftOut) -> None:
        self._event(
            item.kind,
            at_ns=item.first_ns,
            until_ns=item.last_ns,
            key=item.key,
            lost=item.count,
            reason=item.reason,
        )


def _is_same(stored: list[Any], row: list[Any]) -> bool:
    """Tell whether a row tells what is stored; arrays of one moment are taken for the same."""
    if stored[1:] != row[2:]:
        return False
    return bool(stored[0] is row[1] or size_of(row[1]) > ELEMENT_BYTES or stored[0] == row[1])
