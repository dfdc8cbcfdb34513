"""A spool whose content is damaged, and one whose disk reports errors (case A6)."""

import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from pykarabo_services.archiver.spool import HEAD, RECORD, record_at, segments_of
from tests.harness import record, wait_until
from tests.harness.archive import ArchiverProcess
from tests.harness.database_troubles import Trouble

from .conftest import ArchivedFacility

DEVICES: Final = ("SPEC/1", "SPEC/2")
ARCHIVER: Final = "ARCHIVER/1"
_ERRORS: Final = 5
_ENOUGH_BYTES: Final = 200_000

pytestmark = pytest.mark.nightly


def _start(site: ArchivedFacility, trouble: Trouble, spool: Path) -> ArchiverProcess:
    site.use(trouble.kind, trouble.url)
    site.cluster.start_directory()
    archiver = site.start_archiver(configuration={"spool_directory": str(spool)})
    site.cluster.start("S/1", *DEVICES, rate=500)
    site.archive.wait_for(DEVICES[0], 1, timeout_s=60)
    return archiver


def _why_no_faults() -> str | None:
    """Return why system calls cannot be made to fail here; None when they can."""
    strace = shutil.which("strace")
    if strace is None:
        return "making system calls fail needs the program 'strace'"
    tried = subprocess.run([strace, "-e", "trace=none", "true"], check=False, capture_output=True)
    return None if tried.returncode == 0 else "strace may not trace anybody here"


@contextmanager
def _failing(pid: int, call: str, times: int, log: Path) -> Generator[Path]:
    """Have a system call of a process fail so many times, with EIO; yields what was done."""
    rule = f"inject={call}:error=EIO:when=1..{times}"
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={call}", "-e", rule, "-o", str(log)]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield log
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets go of the process
        tracer.wait(10)


@pytest.mark.skipif(_why_no_faults() is not None, reason=_why_no_faults() or "")
def test_A6_disk_that_reports_errors_costs_nothing(
    site: ArchivedFacility, trouble: Trouble, tmp_path: Path
) -> None:
    archiver = _start(site, trouble, tmp_path / "spool")
    before = segments_of(tmp_path / "spool")[-1]
    with _failing(archiver.pid, "fdatasync", _ERRORS, tmp_path / "calls") as calls:
        wait_until(lambda: calls.exists() and calls.read_text().count("INJECTED") == _ERRORS, "EIO")
    wait_until(lambda: site.get(ARCHIVER, "spool_errors") > 0, "the count")
    newest = site.archive.newest(DEVICES[0], "value")
    site.archive.wait_for(DEVICES[0], newest + 500, timeout_s=60)
    totals = site.totals(*DEVICES)

    assert segments_of(tmp_path / "spool")[-1] != before
    assert totals["reported"] == totals["unknown_gaps"] == 0
    record(
        f"A6 (disk errors, {trouble.kind})",
        "a new segment, nothing that failed is acknowledged, 0 missing",
        f"{_ERRORS} x EIO from fdatasync: {totals['stored']} of {totals['produced']} stored, "
        "0 missing, 0 twice",
    )


def _flip_a_byte_and_tear_the_end(folder: Path) -> None:
    """Damage one record in the middle of the newest segment, and its last one."""
    path = segments_of(folder)[-1].path
    content = bytearray(path.read_bytes())
    at, middle = HEAD.size, 0
    while (found := record_at(memoryview(content), at)) is not None:
        if at < len(content) // 2:
            middle = at
        at += RECORD.size + len(found.payload)
    content[middle + RECORD.size + 20] ^= 0x10
    path.write_bytes(content[:-5])


def test_A6_damaged_spool_loses_one_record_and_counts_it(
    site: ArchivedFacility, trouble: Trouble, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    archiver = _start(site, trouble, folder)
    trouble.go_away()
    grown = _size(folder) + _ENOUGH_BYTES
    wait_until(lambda: _size(folder) > grown, "a backlog", timeout_s=60)
    archiver.kill()
    _flip_a_byte_and_tear_the_end(folder)
    site.start_archiver(configuration={"spool_directory": str(folder)})
    trouble.come_back()
    totals = site.totals(*DEVICES)

    assert totals["unknown_gaps"] == 0
    assert 0 < totals["reported"] < totals["produced"] // 4
    record(
        f"A6 (damage, {trouble.kind})",
        "the record is skipped and counted, the rest is kept",
        f"{totals['stored']} stored + {totals['reported']} in gaps = {totals['produced']} produced",
    )


def _size(folder: Path) -> int:
    return sum(os.path.getsize(segment.path) for segment in segments_of(folder))
