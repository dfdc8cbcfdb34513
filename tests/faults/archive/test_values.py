"""Odd values, changed types, impossible times, policies and floods (cases A7 and A8)."""

import time

import numpy as np

from pykarabo_services.archiver.model import SampleFlag, packed
from tests.harness import record, wait_until
from tests.harness.odd_process import LONG, odd_floats

from .conftest import ArchivedFacility

ODD = "ODD/1"


def _until(facility: ArchivedFacility, key: str, value: object) -> None:
    wait_until(lambda: facility.archive.newest(ODD, key) == value, f"{key} = {value}", timeout_s=30)


def _told(facility: ArchivedFacility, key: str) -> list[object]:
    """Return the values that were told after the first one."""
    samples = sorted(facility.archive.samples(ODD, key), key=lambda item: item.seq)
    return [sample.value for sample in samples][1:]


def _lost(facility: ArchivedFacility, *kinds: str) -> int:
    return sum(event.lost or 0 for event in facility.archive.events(ODD) if event.kind in kinds)


def test_A7_odd_values_are_stored_bit_by_bit_or_noted_and_nothing_else_suffers(
    facility: ArchivedFacility,
) -> None:
    facility.cluster.start_directory()
    facility.start_archiver()
    facility.start_odd(ODD)
    _until(facility, "state", "ON")
    facility.call(ODD, "tell_odd", timeout_s=20)
    _until(facility, "count", 100)
    _every_value_is_there(facility)
    _too_large_ones_are_noted(facility)
    _what_is_kept_out_is_not_there(facility)
    facility.call(ODD, "change_type")
    _until(facility, "kind", 2)
    _another_type_is_another_series(facility)
    begun_ns = time.time_ns()
    facility.call(ODD, "tell_wrong_times")
    _until(facility, "count", 203)
    _wrong_times_are_replaced_and_noted(facility, begun_ns)
    record(f"A7 ({facility.kind})", "bit by bit, or noted", "all kinds stored bit by bit or noted")


def _every_value_is_there(facility: ArchivedFacility) -> None:
    assert [packed(value) for value in _told(facility, "real")] == [
        packed(value) for value in odd_floats()
    ]
    assert _told(facility, "large") == [0, 2**63 - 1, 2**63, 2**64 - 1]
    assert _told(facility, "text") == ["", "a\0b", "µ € \U0001f600", "x" * 100_000]
    vector = np.asarray(_told(facility, "vector")[0])
    assert np.array_equal(vector, np.arange(LONG, dtype=np.float64))
    assert _told(facility, "names") == [[f"{i}" for i in range(1_000)]]
    assert _told(facility, "count") == [*range(len(odd_floats())), 100]


def _too_large_ones_are_noted(facility: ArchivedFacility) -> None:
    wait_until(lambda: _lost(facility, "rejected") == 1, "the note")
    note = next(event for event in facility.archive.events(ODD) if event.kind == "rejected")
    assert note.key == "vector"
    assert "4000000 bytes are more than the 1048576 that are allowed" in note.reason
    assert len(facility.archive.samples(ODD, "vector")) == 2
    wait_until(lambda: facility.get("ARCHIVER/1", "rejected") == 1, "the count")


def _what_is_kept_out_is_not_there(facility: ArchivedFacility) -> None:
    assert facility.archive.samples(ODD, "silent") == []
    assert facility.archive.samples(ODD, "secret") == []
    reasons = facility.get("ARCHIVER/1", "not_archived")
    assert f"{ODD}.silent: its class or its operator says so (archive=False)" in reasons
    assert f"{ODD}.secret: it is secret" in reasons


def _another_type_is_another_series(facility: ArchivedFacility) -> None:
    samples = sorted(facility.archive.samples(ODD, "kind"), key=lambda item: item.seq)
    types = [event.reason for event in facility.archive.events(ODD) if event.kind == "type"]
    assert [value for value in (item.value for item in samples) if value][-3:] == [1, "many", 2]
    assert types == ["int64 becomes string", "string becomes int64"]


def _wrong_times_are_replaced_and_noted(facility: ArchivedFacility, begun_ns: int) -> None:
    samples = {item.value: item for item in facility.archive.samples(ODD, "count")}
    for value, is_wrong in ((200, True), (201, True), (202, False), (203, True)):
        assert bool(samples[value].flags & SampleFlag.RECEIVED) == is_wrong
        assert begun_ns <= samples[value].time_ns <= time.time_ns()
    wait_until(lambda: _lost(facility, "clock") == 3, "the note of three wrong times")


def test_an_archive_interval_stores_one_value_in_so_long_and_the_last(
    facility: ArchivedFacility,
) -> None:
    facility.cluster.start_directory()
    facility.start_archiver()
    facility.start_odd(ODD)
    _until(facility, "state", "ON")
    facility.call(ODD, "tell_slowly", 25, timeout_s=20)
    _until(facility, "slow", 25)
    assert 3 <= len(facility.archive.samples(ODD, "slow")) <= 6


def test_A1_a_value_that_waits_for_its_interval_survives_a_killed_archiver(
    facility: ArchivedFacility,
) -> None:
    facility.cluster.start_directory()
    archiver = facility.start_archiver()
    facility.start_odd(ODD)
    _until(facility, "state", "ON")
    _until(facility, "seldom", 0)
    facility.call(ODD, "tell_seldom", 3)
    _until(facility, "large", 3)
    archiver.kill()
    assert facility.archive.newest(ODD, "seldom") == 0
    facility.start_archiver()
    _until(facility, "seldom", 3)
    assert [item.value for item in facility.archive.samples(ODD, "seldom")] == [0, 3]


def _flooded(facility: ArchivedFacility) -> set[object]:
    return {item.value for item in facility.archive.samples(ODD, "large") if item.value}


def test_A8_a_flood_is_limited_with_its_count_and_others_lose_nothing(
    facility: ArchivedFacility,
) -> None:
    limit, flood_s = 2_000, 2.0
    facility.cluster.start_directory()
    facility.start_archiver(configuration={"maximum_rate": limit})
    facility.start_odd(ODD)
    facility.cluster.start("S/1", "SPEC/1", rate=200)
    _until(facility, "state", "ON")
    begun = time.monotonic()
    made = facility.call(ODD, "flood", 50_000, flood_s, timeout_s=60)
    wait_until(lambda: facility.get("ARCHIVER/1", "limited") > 0, "the alarm", timeout_s=60)
    _until(facility, "large", made)
    took_s = time.monotonic() - begun
    others = facility.totals("SPEC/1")
    wait_until(
        lambda: len(_flooded(facility)) + _lost(facility, "limited", "gap") == made,
        "an exact count",
    )
    stored = _flooded(facility)

    assert others["reported"] == 0
    assert len(stored) <= limit * (took_s + 5) + 10
    record(
        f"A8 ({facility.kind})",
        "others lose nothing; the rest counted exactly",
        f"{made / flood_s:.0f} changes/s: {len(stored)} stored, {made - len(stored)} counted; "
        f"0 of {others['produced']} of another device lost",
    )
