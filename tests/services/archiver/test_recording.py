"""What a recording puts into the spool: gaps where nothing else is known, and what has waited."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pytest

from pykarabo.data import PropertyInfo, Schema, ValueType
from pykarabo.errors import NotConnectedError, PykaraboError
from pykarabo.wire import Changed, GapFound, SchemaChanged, Synchronised
from pykarabo_services.archiver import entries
from pykarabo_services.archiver.entries import event_of
from pykarabo_services.archiver.model import DeviceEvent, EventKind, Mark, Position
from pykarabo_services.archiver.recording import DeviceRecording
from pykarabo_services.archiver.registry import DeviceState, Registry
from pykarabo_services.archiver.sink import RecordingLimits
from pykarabo_services.archiver.spool import Spool

SECOND: Final = 10**9
START: Final = 1_790_000_000 * SECOND
LIFE: Final = b"i" * 16
SCHEMA: Final = Schema(
    class_id="Motor",
    description="",
    properties={
        "position": PropertyInfo(key="position", value_type=ValueType.FLOAT64),
        "slow": PropertyInfo(key="slow", value_type=ValueType.FLOAT64, archive_interval=60.0),
    },
    commands={},
    outputs={},
)


class Recorded:
    """A recording of a device, the time, and what has come of it."""

    def __init__(self, limits: RecordingLimits) -> None:
        self.registry = Registry()
        self.limits = limits
        self.entries: list[list[Any]] = []
        self.now_ns = START
        self.state = self.registry.device("MOTOR/1")
        client = cast("Any", None)  # nothing is asked of the device
        self.recording = DeviceRecording(client, self.state, self, clock_ns=lambda: self.now_ns)

    def put(self, entry: list[Any], rows: int = 0) -> None:
        """Take an entry, as a spool would."""
        del rows
        self.entries.append(entry)

    def begin(self, epoch: int = START, instance: bytes = LIFE) -> None:
        """Begin to follow a life of the device."""
        self.recording._begin_life(instance, epoch)
        self.recording._lacks_present = False
        self.recording._described(SCHEMA, self.state.seq)
        stream = self.recording._stream
        stream.begin(instance, self.state.seq)
        stream.echo()
        self.recording.stream(stream.replay([], stream._request, more=False))
        assert self.recording.live

    def after(self, seconds: float) -> None:
        """Let time pass, and look again and again."""
        end_ns = self.now_ns + round(seconds * SECOND)
        while self.now_ns < end_ns:
            self.now_ns = min(self.now_ns + SECOND // 2, end_ns)
            self.recording.tick()

    def told(self, key: str, value: float) -> None:
        """Take a change that the device tells now."""
        seconds, ns = divmod(self.now_ns, SECOND)
        row = [key, value, seconds, ns * SECOND, 0, "valid"]
        self.recording.stream([Changed([row], self.state.seq + 1)])

    def lose(self, messages: int) -> None:
        """Miss messages that nobody has any more: the present values come instead."""
        row = ["position", 0.0, START // SECOND, 0, 0, "valid"]
        sequence = self.state.seq + messages
        self.recording.stream([GapFound(messages, False), Synchronised([row], sequence)])

    def events(self, *kinds: EventKind) -> list[DeviceEvent]:
        """Return what has happened."""
        found = [event_of(entry) for entry in self.entries if entry[0] == entries.EVENT]
        return [event for event in found if event.kind in kinds]

    def values(self) -> list[Any]:
        """Return what is stored."""
        return [row[1] for entry in self.entries if entry[0] == entries.VALUES for row in entry[3]]


@pytest.fixture
def motor() -> Recorded:
    return Recorded(RecordingLimits(rate=1.0))


def test_a_gap_begins_where_the_one_before_it_ended_though_nothing_was_told(
    motor: Recorded,
) -> None:
    motor.begin()
    motor.after(100)
    motor.lose(3)
    motor.after(100)
    motor.lose(4)
    motor.lose(5)
    gaps = motor.events(EventKind.GAP)

    assert [gap.lost for gap in gaps] == [3, 4, 5]
    assert len({gap.time_ns for gap in gaps}) == 3
    spans = [(gap.time_ns - START, (gap.until_ns or 0) - START) for gap in gaps]
    assert spans == [
        (94 * SECOND, 100 * SECOND),
        (194 * SECOND, 200 * SECOND),
        (199 * SECOND, 200 * SECOND),
    ]


def test_a_quiet_device_that_is_killed_has_a_gap_of_seconds(motor: Recorded) -> None:
    motor.begin()
    for _ in range(60):
        motor.after(60)
    motor.begin(epoch=motor.now_ns + 2 * SECOND, instance=b"j" * 16)
    (gap,) = motor.events(EventKind.GAP)

    assert gap.lost is None
    assert (motor.now_ns - gap.time_ns, gap.until_ns) == (6 * SECOND, motor.now_ns)


def test_while_the_archiver_stands_still_nothing_is_known(motor: Recorded) -> None:
    motor.begin()
    motor.after(20)
    motor.now_ns += 100 * SECOND
    motor.recording.tick()
    motor.lose(1)
    (gap,) = motor.events(EventKind.GAP)
    assert gap.time_ns == START + 14 * SECOND


def test_a_clock_that_is_put_back_leaves_no_gap_in_the_future(motor: Recorded) -> None:
    motor.begin()
    motor.after(1000)
    motor.now_ns -= 500 * SECOND
    motor.lose(1)
    (gap,) = motor.events(EventKind.GAP)
    assert gap.time_ns < (gap.until_ns or 0) == START + 500 * SECOND


def test_a_new_life_ends_a_gap(motor: Recorded) -> None:
    motor.begin()
    motor.after(10)
    motor.recording.stream(motor.recording._stream.lost("no sign of life"))
    motor.after(100)
    motor.begin(epoch=START + 70 * SECOND, instance=b"j" * 16)
    (gap,) = motor.events(EventKind.GAP)
    assert (gap.time_ns, gap.until_ns) == (START + 4 * SECOND, START + 70 * SECOND)


def test_what_is_known_of_a_quiet_device_is_on_the_disk_once_a_minute(
    motor: Recorded, tmp_path: Path
) -> None:
    motor.begin()
    motor.entries.clear()
    for _ in range(120):
        motor.after(1)
    known = [entry for entry in motor.entries if entry[0] == entries.SEEN]
    assert [entry[3] - START for entry in known] == [60 * SECOND]

    spool = Spool(tmp_path, motor.registry.preamble, max_bytes=1 << 20)
    list(spool.open())
    spool.write([entries.encode_entries(motor.entries)])
    spool.close()
    later = Registry()
    later.recover(Spool(tmp_path, later.preamble, max_bytes=1 << 20).open())
    assert later.device("MOTOR/1").last_ns >= known[-1][3]


def test_the_last_value_of_an_interval_is_stored_when_nothing_follows(motor: Recorded) -> None:
    motor.begin()
    for value in (1.0, 2.0, 3.0):
        motor.told("slow", value)
        motor.after(1)
    assert motor.values() == [1.0]
    motor.recording.end()
    assert motor.values() == [1.0, 3.0]


@pytest.mark.parametrize("what", ["stopped", "restarted", "another schema"])
def test_what_waits_is_stored_before_what_ends_it(motor: Recorded, what: str) -> None:
    motor.begin()
    motor.told("slow", 1.0)
    motor.after(1)
    motor.told("slow", 2.0)
    if what == "stopped":
        error = NotConnectedError("it was stopped", details={"ended": True})
        motor.recording._stream.lost("it was stopped")
        motor.recording.failed(error)
    elif what == "restarted":
        motor.begin(epoch=motor.now_ns, instance=b"j" * 16)
    else:
        motor.recording._described(SCHEMA, motor.state.seq)
    kinds = [entry[0] for entry in motor.entries]

    assert motor.values() == [1.0, 2.0]
    last = len(kinds) - 1 - kinds[::-1].index(entries.VALUES)
    assert entries.VALUES not in kinds[last + 1 :]
    if what == "restarted":
        assert kinds[last + 1 :].count(entries.DEVICE) == 1


def test_a_flood_that_ends_with_the_archiver_has_its_last_value_and_a_count(
    motor: Recorded,
) -> None:
    motor.begin()
    for number in range(20):
        motor.told("position", float(number))
    motor.recording.end()
    limited = motor.events(EventKind.LIMITED)

    assert motor.values()[-1] == 19.0
    assert len(motor.values()) + sum(event.lost or 0 for event in limited) == 20


def test_another_rate_counts_at_once(motor: Recorded) -> None:
    motor.begin()
    motor.limits = RecordingLimits(rate=1_000.0)
    motor.now_ns += SECOND
    for number in range(20):
        motor.told("position", float(number))

    assert motor.values() == [float(number) for number in range(20)]
    assert motor.recording.limited == 0


def test_the_position_in_the_database_counts_where_it_is_later() -> None:
    state = DeviceState(0, "MOTOR/1", LIFE, epoch=100, seq=7, last_ns=START)
    assert not state.advance(Position(Mark(LIFE.hex(), 100, 7, START), has_ended=False))
    assert not state.advance(Position(Mark("aa" * 16, 99, 50, START), has_ended=True))
    assert state.advance(Position(Mark(LIFE.hex(), 100, 12, START + 5), has_ended=False))
    assert (state.seq, state.durable, state.last_ns) == (12, 12, START + 5)
    assert state.advance(Position(Mark("aa" * 16, 200, 3, START + 9), has_ended=True))
    assert (state.instance, state.epoch, state.seq) == (b"\xaa" * 16, 200, 3)
    assert state.has_ended


# -- what cannot be recorded ----------------------------------------------------------------------


def _with(**attributes: Any) -> Schema:
    """Return the motor's schema with other attributes of its position."""
    position = replace(SCHEMA.properties["position"], **attributes)
    return replace(SCHEMA, properties={**SCHEMA.properties, "position": position})


@pytest.mark.parametrize("interval", [1e300, math.inf])
def test_an_absurd_interval_is_a_long_one(motor: Recorded, interval: float) -> None:
    motor.begin()
    motor.recording._described(_with(archive_interval=interval), motor.state.seq)
    for value in (1.0, 2.0, 3.0):
        motor.told("position", value)
        motor.after(1)
    motor.recording.end()

    assert motor.values() == [1.0, 3.0]
    assert motor.recording.errors == 0


@pytest.mark.parametrize("interval", [math.nan, -1.0])
def test_an_interval_that_is_none_stores_all(motor: Recorded, interval: float) -> None:
    motor.begin()
    motor.recording._described(_with(archive_interval=interval), motor.state.seq)
    motor.told("position", 1.0)

    assert motor.values() == [1.0]


def test_a_value_that_cannot_be_recorded_is_counted_and_holds_up_no_other(
    motor: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    motor.begin()
    motor.recording._described(_with(archive_interval="often"), motor.state.seq)
    for value in range(20):
        seconds = motor.now_ns // SECOND
        rows = [[key, float(value), seconds, 0, 0, "valid"] for key in ("position", "slow")]
        motor.recording.stream([Changed(rows, motor.state.seq + 1)])
        motor.after(0.25)
    motor.recording.end()
    noted = motor.events(EventKind.REJECTED)

    assert motor.values() == [0.0, 19.0]
    assert {event.key for event in noted} == {"position"}
    assert sum(event.lost or 0 for event in noted) == 20
    assert all("could not be recorded: TypeError" in event.reason for event in noted)
    assert (motor.recording.errors, motor.recording.rejected) == (20, 20)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "MOTOR/1.position" in line
    assert "archive=False" in line


def test_a_message_that_cannot_be_recorded_is_counted_and_the_next_one_is_stored(
    motor: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    motor.begin()
    motor.recording.stream([Changed([[], []], motor.state.seq + 1)])
    motor.told("position", 2.0)
    motor.after(2)
    (noted,) = motor.events(EventKind.REJECTED)

    assert (noted.key, noted.lost) == ("", 2)
    assert motor.values() == [2.0]
    assert "what 'MOTOR/1' tells cannot be recorded" in caplog.text


def test_after_a_schema_that_cannot_be_recorded_the_device_is_followed_anew(
    motor: Recorded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    motor.begin()
    told: list[PykaraboError] = []
    monkeypatch.setattr(motor.recording, "stream_failed", told.append)
    seq = motor.state.seq
    row = ["position", 1.0, motor.now_ns // SECOND, 0, 0, "valid"]
    motor.recording.stream([SchemaChanged(cast("Any", None)), Changed([row], seq + 2)])

    assert (motor.state.seq, motor.state.schema, motor.values()) == (seq + 1, None, [])
    assert [error.device for error in told] == ["MOTOR/1"]
    assert told[0].remedy
    assert len(caplog.records) == motor.recording.errors == 1


def test_a_later_schema_has_a_later_time_though_the_clock_was_put_back(motor: Recorded) -> None:
    motor.begin()
    motor.recording._described(_with(archive=False), motor.state.seq)
    motor.now_ns -= 60 * SECOND
    motor.recording._described(SCHEMA, motor.state.seq)
    times = [entry[2] for entry in motor.entries if entry[0] == entries.SCHEMA]

    assert len(times) == 3
    assert times == sorted(set(times))
