"""What was written to the spool is read again, whatever happened to the disk or the process."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pykarabo.errors import DiskFullError
from pykarabo_services.archiver.spool import RECORD, Record, Spool, segments_of
from pykarabo_services.archiver.spool_reader import Damage, SpoolReader

PREAMBLE = [b"preamble"]


def _spool(
    directory: Path,
    *,
    max_bytes: int = 1 << 20,
    segment_bytes: int = 1 << 16,
    sync: Callable[[int], None] = os.fdatasync,
) -> Spool:
    spool = Spool(
        directory, lambda: PREAMBLE, max_bytes=max_bytes, segment_bytes=segment_bytes, sync=sync
    )
    for _records in spool.open():
        pass
    return spool


def _all(reader: SpoolReader, up_to: int) -> list[Record | Damage]:
    found: list[Record | Damage] = []
    idle = 0
    while idle < 3:
        some = reader.read(up_to)
        idle = 0 if some else idle + 1
        found += some
    return found


def _payloads(found: list[Record | Damage]) -> list[bytes]:
    records = (item.payload for item in found if isinstance(item, Record))
    return [payload for payload in records if payload not in PREAMBLE]


def test_records_come_back_in_order_over_many_segments(tmp_path: Path) -> None:
    spool = _spool(tmp_path, segment_bytes=200)
    written = [f"record {i}".encode() * 5 for i in range(50)]
    for payload in written:
        spool.write([payload])
    last = spool.last

    assert len(segments_of(tmp_path)) > 5
    found = _all(SpoolReader(tmp_path, after=0), last)
    assert _payloads(found) == written
    assert [item.number for item in found if isinstance(item, Record)] == list(range(1, last + 1))


def test_each_segment_begins_with_what_explains_it(tmp_path: Path) -> None:
    spool = _spool(tmp_path, segment_bytes=200)
    for i in range(20):
        spool.write([b"x" * (50 + i)])
    numbers = {segment.first for segment in segments_of(tmp_path)}
    for record in _all(SpoolReader(tmp_path, after=0), spool.last):
        assert isinstance(record, Record)
        assert (record.payload in PREAMBLE) == (record.number in numbers)


def test_reading_goes_on_at_the_start_of_the_segment(tmp_path: Path) -> None:
    spool = _spool(tmp_path, segment_bytes=300)
    for i in range(20):
        spool.write([bytes([i]) * 50])
    after = spool.last - 3
    found = _all(SpoolReader(tmp_path, after=after), spool.last)
    first = next(item.number for item in found if isinstance(item, Record))

    assert first in {segment.first for segment in segments_of(tmp_path)}
    assert first <= after + 1
    assert found[-1] == Record(spool.last, bytes([19]) * 50)


def test_only_what_is_on_the_disk_is_read(tmp_path: Path) -> None:
    spool = _spool(tmp_path)
    spool.write([b"one"])
    durable = spool.write([b"two"])
    spool.write([b"three"])
    reader = SpoolReader(tmp_path, after=0)

    assert _payloads(_all(reader, durable)) == [b"one", b"two"]
    assert _payloads(_all(reader, spool.last)) == [b"three"]


def test_a_spool_that_is_opened_again_goes_on_with_its_numbers(tmp_path: Path) -> None:
    first = _spool(tmp_path)
    first.write([b"before"])
    second = _spool(tmp_path)
    second.write([b"after"])

    assert second.spool_id == first.spool_id
    assert _payloads(_all(SpoolReader(tmp_path, after=0), second.last)) == [b"before", b"after"]


def test_a6_a_torn_tail_ends_at_the_last_good_record(tmp_path: Path) -> None:
    spool = _spool(tmp_path)
    for i in range(5):
        spool.write([bytes([i]) * 100])
    path = segments_of(tmp_path)[-1].path
    os.truncate(path, path.stat().st_size - 30)

    again = _spool(tmp_path)
    assert again.last == spool.last - 1
    again.write([b"next"])
    found = _all(SpoolReader(tmp_path, after=0), again.last)
    assert _payloads(found) == [bytes([i]) * 100 for i in range(4)] + [b"next"]


@pytest.mark.parametrize("part", ["payload", "length", "marker"])
def test_a6_a_flipped_byte_costs_one_record_and_is_counted(tmp_path: Path, part: str) -> None:
    spool = _spool(tmp_path)
    written = [bytes([i]) * 100 for i in range(9)]
    for payload in written:
        spool.write([payload])
    path = segments_of(tmp_path)[-1].path
    content = bytearray(path.read_bytes())
    place = content.index(written[4])
    content[place + {"payload": 50, "length": 12 - RECORD.size, "marker": -RECORD.size}[part]] ^= 8
    path.write_bytes(content)

    found = _all(SpoolReader(tmp_path, after=0), spool.last)
    assert _payloads(found) == written[:4] + written[5:]
    assert [item for item in found if isinstance(item, Damage)] == [Damage(7, 1)]


def test_a6_a_disk_error_makes_a_new_segment_and_nothing_is_acknowledged_before(
    tmp_path: Path,
) -> None:
    failing = [False]
    synced: list[int] = []

    def sync(handle: int) -> None:
        if failing[0]:
            failing[0] = False
            raise OSError(errno.EIO, "the disk has an error")
        os.fdatasync(handle)
        synced.append(os.fstat(handle).st_ino)

    spool = _spool(tmp_path, sync=sync)
    spool.write([b"one"])
    failing[0] = True
    last = spool.write([b"two"])

    assert spool.sync_errors == 1
    assert len(set(synced)) == 2, "the file that has failed is not trusted again"
    assert _payloads(_all(SpoolReader(tmp_path, after=0), last)) == [b"one", b"two"]


def test_a6_a_disk_that_fails_for_good_acknowledges_nothing(tmp_path: Path) -> None:
    def sync(handle: int) -> None:
        raise OSError(errno.EIO, "the disk has an error")

    spool = _spool(tmp_path, sync=sync)
    with pytest.raises(OSError, match="the disk has an error"):
        spool.write([b"one"])
    assert spool.last == 0


def test_a5_a_full_spool_refuses_and_goes_on_when_it_was_emptied(tmp_path: Path) -> None:
    spool = _spool(tmp_path, max_bytes=2000, segment_bytes=500)
    while spool.size + 100 + RECORD.size <= 2000:
        spool.write([b"x" * 100])
    with pytest.raises(DiskFullError, match="is full"):
        spool.write([b"x" * 100])
    assert 0.8 < spool.fill <= 1

    spool.trim(spool.last)
    assert spool.fill < 0.4
    spool.write([b"y" * 100])
    assert _payloads(_all(SpoolReader(tmp_path, after=0), spool.last))[-1] == b"y" * 100
    assert spool.size == sum(segment.path.stat().st_size for segment in segments_of(tmp_path))


def test_only_segments_that_are_stored_elsewhere_are_removed(tmp_path: Path) -> None:
    spool = _spool(tmp_path, segment_bytes=300)
    for i in range(20):
        spool.write([bytes([i]) * 50])
    stored = spool.last // 2
    spool.trim(stored)
    left = {
        item.number
        for item in _all(SpoolReader(tmp_path, after=stored), spool.last)
        if isinstance(item, Record)
    }
    assert left >= set(range(stored + 1, spool.last + 1))


def test_a_record_of_many_megabytes_is_read_whole(tmp_path: Path) -> None:
    spool = _spool(tmp_path, max_bytes=1 << 26)
    large = os.urandom(9 << 20)
    spool.write([b"small", large, b"last"])
    assert _payloads(_all(SpoolReader(tmp_path, after=0), spool.last)) == [b"small", large, b"last"]
