"""What is received is on the disk soon; what a spool does not take is told with exact counts."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

from pykarabo_services.archiver import entries
from pykarabo_services.archiver.entries import decode_entries, event_of
from pykarabo_services.archiver.model import EventKind, size_of
from pykarabo_services.archiver.recorder import MAX_WAITING_ROWS, Recorder
from pykarabo_services.archiver.registry import DeviceState, Registry
from pykarabo_services.archiver.service import days_of, shortened
from pykarabo_services.archiver.sink import RecordingLimits
from pykarabo_services.archiver.spool import Record, Spool
from pykarabo_services.archiver.spool_reader import SpoolReader
from pykarabo_services.archiver.writer import WriterSettings


class _Disk:
    """A disk that can be told to fail."""

    def __init__(self) -> None:
        self.fails = False

    def sync(self, handle: int) -> None:
        if self.fails:
            raise OSError(errno.EIO, "the disk has an error")
        os.fdatasync(handle)


def _recorder(folder: Path, disk: _Disk) -> tuple[Recorder, DeviceState, list[int]]:
    registry = Registry()
    spool = Spool(folder, registry.preamble, max_bytes=1 << 24, sync=disk.sync)
    list(spool.open())
    durable: list[int] = []
    recorder = Recorder(
        spool, registry, RecordingLimits(), on_durable=durable.append, clock_ns=lambda: 10**18
    )
    state = registry.device("MOTOR/1")
    state.instance, state.epoch = b"i" * 16, 1_000
    return recorder, state, durable


def _value(seq: int, rows: int = 1) -> list[Any]:
    row = [0, 0.5, seq, 0, 0, "valid", 0, 0]
    return [entries.VALUES, 0, seq, [row] * rows]


def _spooled(folder: Path, up_to: int) -> list[list[Any]]:
    reader = SpoolReader(folder, after=0)
    found: list[list[Any]] = []
    while some := reader.read(up_to):
        for item in some:
            assert isinstance(item, Record)
            found += decode_entries(item.payload)
    return found


def test_what_is_flushed_is_durable_and_told(tmp_path: Path) -> None:
    async def run() -> None:
        recorder, state, durable = _recorder(tmp_path, _Disk())
        recorder.put(_value(1), 1)
        recorder.put([entries.SEEN, 0, 2])
        assert state.durable == 0
        assert await recorder.flush()
        assert (state.durable, recorder.waiting_rows) == (2, 0)
        assert durable == [recorder.spool.last]
        assert [entry[0] for entry in _spooled(tmp_path, durable[-1])][-2:] == [
            entries.VALUES,
            entries.SEEN,
        ]
        await recorder.aclose()

    asyncio.run(run())


def test_a6_nothing_counts_as_stored_while_the_disk_fails_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        disk = _Disk()
        recorder, state, durable = _recorder(tmp_path, disk)
        disk.fails = True
        recorder.put(_value(1), 1)
        assert not await recorder.flush()
        assert (state.durable, durable, recorder.waiting_rows) == (0, [], 1)
        assert "the disk has an error" in str(recorder.problem)
        disk.fails = False
        recorder.put(_value(2), 1)
        assert await recorder.flush()
        assert (state.durable, recorder.problem, recorder.lost) == (2, None, 0)
        values = [
            entry[2] for entry in _spooled(tmp_path, durable[-1]) if entry[0] == entries.VALUES
        ]
        assert values == [1, 2]
        await recorder.aclose()

    asyncio.run(run())


def test_a5_what_is_given_up_is_a_gap_with_the_number_of_its_messages(tmp_path: Path) -> None:
    async def run() -> None:
        disk = _Disk()
        recorder, _state, durable = _recorder(tmp_path, disk)
        disk.fails = True
        for seq in range(1, 12):
            recorder.put(_value(seq, MAX_WAITING_ROWS // 10), MAX_WAITING_ROWS // 10)
        assert not await recorder.flush()
        assert (recorder.lost, recorder.waiting_rows) == (11, 0)
        disk.fails = False
        recorder.put(_value(12), 1)
        assert await recorder.flush()
        found = _spooled(tmp_path, durable[-1])
        gap = next(event_of(entry) for entry in found if entry[0] == entries.EVENT)
        assert (gap.kind, gap.device_id, gap.lost) == (EventKind.GAP, "MOTOR/1", 11)
        assert [entry[2] for entry in found if entry[0] == entries.VALUES] == [12]
        await recorder.aclose()

    asyncio.run(run())


def test_what_a_record_explains_is_said_again_in_the_next_one(tmp_path: Path) -> None:
    async def run() -> None:
        recorder, state, durable = _recorder(tmp_path, _Disk())
        recorder.put(state.entry())
        recorder.put(_value(1), 1)
        await recorder.flush()
        first = durable[-1]
        recorder.put(_value(2), 1)
        await recorder.flush()
        later = [
            item
            for item in SpoolReader(tmp_path, after=0).read(durable[-1])
            if isinstance(item, Record) and item.number > first
        ]
        kinds = [entry[0] for item in later for entry in decode_entries(item.payload)]
        assert kinds == [entries.DEVICE, entries.VALUES]
        await recorder.aclose()

    asyncio.run(run())


def test_sizes_of_values_are_about_right() -> None:
    assert size_of("x" * 1000) == 1000
    assert size_of(bytes(10)) == 10
    assert 10_000 < size_of(["y" * 90] * 100) + size_of([1.0] * 100) < 12_000
    assert size_of({"a": "x" * 500}) > 500


def test_lines_of_retention_are_understood_or_refused() -> None:
    assert days_of("VAC/*=365") == 365
    assert days_of("*.cpu_load=0.5") == 0.5
    assert [days_of(line) for line in ("VAC/*", "=3", "A=b", "A=0", "A=-1")] == [None] * 5
    settings = WriterSettings(recent_s=3.0, retention={"VAC/*": 365.0})
    assert WriterSettings.from_json(settings.to_json()) == settings


def test_long_lists_are_cut_and_say_so() -> None:
    assert shortened(map(str, range(3))) == ["0", "1", "2"]
    assert shortened(map(str, range(150)))[-1] == "and 50 more"
