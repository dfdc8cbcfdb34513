"""Databases that are away, frozen, restarted, read-only and full; a full spool (A2 to A5, A10)."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import record, wait_until, why_no_disk
from tests.harness.database_troubles import PostgresTrouble, SqliteTrouble, Trouble
from tests.harness.postgres import PostgresServer

from .conftest import ArchivedFacility

DEVICES = ("SPEC/1", "SPEC/2")
ARCHIVER = "ARCHIVER/1"


def _start(site: ArchivedFacility, trouble: Trouble, rate: int, **configuration: object) -> None:
    """Start devices that change, and an archiver."""
    site.use(trouble.kind, trouble.url)
    site.cluster.start_directory()
    site.start_archiver(configuration=configuration)
    site.cluster.start("S/1", *DEVICES, rate=rate)
    site.archive.wait_for(DEVICES[0], 1, timeout_s=60)


def _is_degraded(site: ArchivedFacility) -> bool:
    return bool(site.get(ARCHIVER, "database_state") != "works")


def _alarms(site: ArchivedFacility) -> set[str]:
    """Return what the archiver's alarms are about."""
    return {alarm["source"] for alarm in site.get(ARCHIVER, "alarms").values()}


def _health_s(site: ArchivedFacility) -> float:
    """Return how long the archiver takes to say how it is."""
    begun = time.monotonic()
    site.call(ARCHIVER, "health")
    return time.monotonic() - begun


def _nothing_is_missing(site: ArchivedFacility) -> dict[str, int]:
    totals = site.totals(*DEVICES, timeout_s=300)
    assert totals["reported"] == totals["unknown_gaps"] == 0
    wait_until(lambda: not _is_degraded(site), "a database that works")
    assert site.cluster.errors() == []
    return totals


def _catch_up(site: ArchivedFacility) -> float:
    """Wait until the backlog is gone; returns samples written per second meanwhile."""
    begun, before = time.monotonic(), site.get(ARCHIVER, "written")
    wait_until(lambda: site.get(ARCHIVER, "lag") < 1.0, "the end of the backlog", timeout_s=300)
    return float(site.get(ARCHIVER, "written") - before) / (time.monotonic() - begun)


@pytest.mark.parametrize(
    ("outage_s", "rate"),
    [
        pytest.param(3.0, 500),
        pytest.param(600.0, 2_500, marks=[pytest.mark.nightly, pytest.mark.timeout(1500)]),
    ],
)
def test_A2_database_that_was_away_misses_nothing(
    site: ArchivedFacility, trouble: Trouble, outage_s: float, rate: int
) -> None:
    _start(site, trouble, rate)
    trouble.go_away()
    wait_until(lambda: _is_degraded(site), "the alarm", timeout_s=10)
    assert "database" in _alarms(site)
    time.sleep(outage_s)
    slowest_s = _health_s(site)
    trouble.come_back()
    wait_until(lambda: not _is_degraded(site), "recovery", timeout_s=20)
    speed = _catch_up(site) / (2 * rate)
    totals = _nothing_is_missing(site)

    assert slowest_s < 1.0
    record(
        f"A2 ({outage_s:.0f} s, {trouble.kind})",
        "0 missing, 0 twice, 3 times the rate",
        f"{outage_s:.0f} s without database at {2 * rate} changes/s: {totals['stored']} of "
        f"{totals['produced']} stored, 0 missing, 0 twice, caught up at {speed:.1f} times the rate",
    )


@pytest.mark.parametrize(
    "frozen_s",
    [
        pytest.param(2.0),
        pytest.param(60.0, marks=[pytest.mark.nightly, pytest.mark.timeout(300)]),
    ],
)
def test_A3_frozen_database_holds_up_nobody(
    site: ArchivedFacility, trouble: Trouble, frozen_s: float
) -> None:
    with trouble.able_to_hang() as database:
        _start(site, trouble, 500)
        database.freeze()
        until = time.monotonic() + frozen_s
        slowest_s = 0.0
        while time.monotonic() < until:
            slowest_s = max(slowest_s, _health_s(site))
        degraded = _is_degraded(site)
        database.thaw()
        totals = _nothing_is_missing(site)
        site.close()

    assert slowest_s < 1.0
    assert degraded or frozen_s < 15
    record(
        f"A3 ({frozen_s:.0f} s, {trouble.kind})",
        "answers <= 1 s, 0 missing",
        f"frozen for {frozen_s:.0f} s: slowest answer {slowest_s:.3f} s, {totals['stored']} of "
        f"{totals['produced']} stored, 0 missing, 0 twice",
    )


def test_A4_database_that_is_gone_for_a_moment_costs_nothing(
    site: ArchivedFacility, trouble: Trouble
) -> None:
    _start(site, trouble, 500)
    for _ in range(3):
        trouble.blink()
        site.archive.wait_for(DEVICES[0], site.archive.newest(DEVICES[0], "value") + 300)
    totals = _nothing_is_missing(site)
    record(
        f"A4 ({trouble.kind})",
        "0 missing, 0 twice",
        f"3 times: {totals['stored']} of {totals['produced']} stored, 0 missing, 0 twice",
    )


@pytest.mark.nightly
def test_A5_full_spool_counts_what_it_cannot_take_and_goes_on(
    site: ArchivedFacility, trouble: Trouble
) -> None:
    _start(site, trouble, 1_000, maximum_spool=0.001)
    trouble.go_away()
    seen: set[str] = set()

    def has_alarms(*names: str) -> bool:
        seen.update(_alarms(site))
        return set(names) <= seen

    wait_until(lambda: has_alarms("spool_fill", "spool"), "the alarms", timeout_s=60)
    wait_until(lambda: site.get(ARCHIVER, "missed") > 0, "the count", timeout_s=60)
    trouble.come_back()
    wait_until(lambda: site.get(ARCHIVER, "spool_fill") < 50, "an empty spool", timeout_s=60)
    totals = site.totals(*DEVICES)

    assert totals["unknown_gaps"] == 0
    assert totals["reported"] > 0
    record(
        f"A5 ({trouble.kind})",
        "alarms, then exact counts",
        f"{totals['stored']} stored + {totals['reported']} in gaps = {totals['produced']} produced",
    )


def _degrade_and_mend(
    site: ArchivedFacility, harm: Callable[[], None], mend: Callable[[], None]
) -> float:
    """Harm a database and mend it; returns how long it took until the archiver said so."""
    begun = time.monotonic()
    harm()
    wait_until(lambda: _is_degraded(site), "the alarm", timeout_s=30)
    took_s = time.monotonic() - begun
    writer = site.call(ARCHIVER, "health")["writer_pid"]
    time.sleep(1.0)
    assert site.call(ARCHIVER, "health")["writer_pid"] == writer, "the writer has crashed"
    mend()
    wait_until(lambda: not _is_degraded(site), "recovery", timeout_s=20)
    return took_s


@pytest.mark.nightly
def test_A10_read_only_database_is_waited_for(
    site: ArchivedFacility, own_postgres: PostgresServer
) -> None:
    _start(site, PostgresTrouble(own_postgres), 500)
    took_s = _degrade_and_mend(
        site,
        lambda: own_postgres.set_read_only(on=True),
        lambda: own_postgres.set_read_only(on=False),
    )
    totals = _nothing_is_missing(site)

    assert took_s < 5.0
    record(
        "A10 (read-only, postgresql)",
        "degraded <= 5 s, recovers, 0 missing",
        f"degraded after {took_s:.1f} s; {totals['stored']} of {totals['produced']} stored",
    )


@pytest.mark.nightly
def test_A10_damaged_file_system_is_told_of_and_costs_nothing_once_it_is_repaired(
    site: ArchivedFacility, short_runtime: Path, tmp_path: Path
) -> None:
    del short_runtime
    trouble = SqliteTrouble(tmp_path / "stores", os.environ["PYKARABO_DOMAIN"])
    with trouble.able_to_hang() as disk:
        _start(site, trouble, 500)

        def mend() -> None:
            site.close()  # who repairs a file system must have it to himself
            disk.repair()
            site.start_archiver()

        took_s = _degrade_and_mend(site, disk.break_down, mend)
        totals = _nothing_is_missing(site)
        site.close()

    assert took_s < 5.0
    record(
        "A10 (read-only file system, sqlite)",
        "degraded <= 5 s, ends in order, 0 missing after the repair",
        f"degraded after {took_s:.1f} s; {totals['stored']} of {totals['produced']} stored",
    )


@pytest.mark.nightly
@pytest.mark.skipif(why_no_disk() is not None, reason=why_no_disk() or "")
def test_A10_full_disk_of_the_database_is_waited_for(
    site: ArchivedFacility, trouble: Trouble
) -> None:
    with trouble.able_to_fill() as disk:
        _start(site, trouble, 500)
        took_s = _degrade_and_mend(site, disk.fill, disk.free)
        totals = _nothing_is_missing(site)
        site.close()
    assert took_s < 5.0
    record(
        f"A10 (full disk, {trouble.kind})",
        "degraded <= 5 s, recovers, 0 missing",
        f"degraded after {took_s:.1f} s; {totals['stored']} of {totals['produced']} stored",
    )
