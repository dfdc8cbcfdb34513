"""What records say becomes batches; what is damaged is told with its exact extent."""

from typing import Any

from pykarabo.data import Timestamp
from pykarabo_services.archiver import entries
from pykarabo_services.archiver.intake import Intake
from pykarabo_services.archiver.model import EventKind, SampleFlag, packed
from pykarabo_services.archiver.registry import Registry
from pykarabo_services.archiver.spool import Record
from pykarabo_services.archiver.spool_reader import Damage
from pykarabo_services.archiver.store import SeriesKey

DEVICE = [entries.DEVICE, 0, "MOTOR/1", b"i" * 16, 1_000, 0, 5]
SERIES = [entries.SERIES, 0, 0, "position", "float64"]


def _intake(after: int = 0) -> Intake:
    return Intake("ARCHIVER/1", "spool", after=after, clock_ns=lambda: 99 * 10**9)


def _record(number: int, *found: list[Any]) -> Record:
    return Record(number, entries.encode_entries(list(found)))


def _value(seq: int, value: Any = 0.5, flags: int = 0) -> list[Any]:
    return [entries.VALUES, 0, seq, [[0, value, seq, 7 * 10**9 + 3, 42, "warn", flags, 0]]]


def test_a_value_becomes_a_row_with_time_train_quality_and_origin() -> None:
    intake = _intake()
    intake.take(_record(1, DEVICE, SERIES, [entries.READY]))
    intake.take(_record(2, _value(3)))
    batch = intake.give()

    row = (3 * 10**9 + 7, 1_000, 3, 0, 3, 42, 2, 0, None, 0.5, None, None)
    assert batch.by_series == {SeriesKey("MOTOR/1", "position", "float64"): [row]}
    assert batch.marks["MOTOR/1"].seq == 3
    assert batch.spool == ("spool", "ARCHIVER/1", 2)
    assert intake.give().size == 0


def test_values_that_were_read_are_kept_apart() -> None:
    intake = _intake()
    intake.take(_record(1, DEVICE, SERIES, _value(3, flags=SampleFlag.PRESENT)))
    batch = intake.give()
    assert (len(batch.present), batch.by_series) == (1, {})


def test_what_is_in_the_database_only_explains_the_rest() -> None:
    intake = _intake(after=2)
    intake.take(_record(1, DEVICE, SERIES))
    intake.take(_record(2, _value(1)))
    assert intake.give().size == 0
    intake.take(_record(3, _value(2)))
    assert intake.give().size == 1


def test_a6_a_damaged_record_is_counted_and_the_messages_in_it_are_a_gap() -> None:
    intake = _intake()
    intake.take(_record(1, DEVICE, SERIES, _value(1), _value(2)))
    intake.take(Damage(3, 1))
    intake.take(_record(3, _value(6), _value(7)))
    batch = intake.give()
    damaged, gap = batch.events

    assert (damaged.kind, damaged.device_id, damaged.lost) == (EventKind.DAMAGED, "ARCHIVER/1", 1)
    assert (gap.kind, gap.device_id, gap.lost) == (EventKind.GAP, "MOTOR/1", 3)
    assert (gap.time_ns, gap.until_ns) == (2 * 10**9 + 7, 6 * 10**9 + 7)
    assert batch.size == 4
    assert intake.damaged_records == 1


def test_a6_what_was_explained_in_a_damaged_record_is_noted() -> None:
    intake = _intake()
    intake.take(_record(1, DEVICE))
    intake.take(_record(2, _value(1)))
    events = intake.give().events
    assert [(event.kind, event.lost) for event in events] == [(EventKind.REJECTED, 1)]


def test_a_record_that_is_none_counts_as_damaged() -> None:
    intake = _intake()
    intake.take(Record(1, b"\xc1"))
    assert [event.kind for event in intake.give().events] == [EventKind.DAMAGED]


def test_values_of_any_kind_survive_the_spool() -> None:
    intake = _intake()
    kinds = ["vector_float64", "hash"]
    series = [[entries.SERIES, i, 0, kind, kind] for i, kind in enumerate(kinds)]
    values: list[Any] = [[1.5, float("nan")], {"a": Timestamp(1, 2, 3), "b": b"\0"}]
    rows = [[i, value, 1, 0, 0, "valid", 0, 0] for i, value in enumerate(values)]
    intake.take(_record(1, DEVICE, *series, [entries.VALUES, 0, 1, rows]))
    found = [tails[0][-1] for tails in intake.give().by_series.values()]
    assert found == [packed(value) for value in values]


def test_imported_values_are_samples_without_a_life() -> None:
    intake = _intake()
    intake.take(
        _record(1, [entries.IMPORT, "OLD/1", "p", "int32", [[5, 1, 0, 0, 0], [5, 2, 0, 0, 1]]])
    )
    batch = intake.give()
    assert [tail[:4] for _key, tail in batch.samples] == [(5, 0, 0, 0), (5, 0, 1, 0)]
    assert batch.samples[0][1][7] == SampleFlag.IMPORTED


def test_a_restarted_recorder_knows_the_latest_message_of_each_device() -> None:
    registry = Registry()
    old = [_record(1, DEVICE, SERIES, [entries.READY]), _record(2, _value(4))]
    torn = [
        _record(3, [entries.DEVICE, 0, "MOTOR/1", b"i" * 16, 1_000, 4, 5]),
        _record(4, _value(6)),
    ]
    registry.recover(iter([torn, old, [Record(0, b"never read")]]))
    state = registry.device("MOTOR/1")

    assert (state.instance, state.epoch, state.seq, state.durable) == (b"i" * 16, 1_000, 6, 6)
    assert not state.has_ended
