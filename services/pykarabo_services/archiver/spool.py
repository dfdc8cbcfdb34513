"""The spool: what was received lies on the disk before it is in the database.

A spool is a directory of segments, written by one process and read by another::

    segment = magic 8 bytes | spool id 16 bytes | number of its first record u64 | records
    record  = marker u32 | number u64 | length u32 | crc-32 u32 | payload

Records are numbered without end. What was written is on the disk when `Spool.write` returns: it
waits for the disk once for all records that came meanwhile. A disk that reports an error has
perhaps dropped what it was given and may say so only once, so the segment is closed for good and
the records go into a new one.

Each segment begins with what is needed to understand the rest of it (its preamble). Whoever reads
from the middle begins at the start of that segment.

After a crash the last record may be torn: reading ends at the last good one. A damaged record in
the middle is skipped: the next one is found by its marker, and its number says how many are lost.
"""

import contextlib
import errno
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, cast

from pykarabo.data import sync_path
from pykarabo.errors import DiskFullError

MAGIC: Final = b"pkspool1"
MARKER: Final = 0x9E6B53F1
SUFFIX: Final = ".spool"
SEGMENT_BYTES: Final = 64 << 20
"""A segment is removed as a whole, when all of it is in the database."""
PREAMBLE_SHARE: Final = 8
"""A segment is so many times as long as its preamble at least."""
MAX_RECORD: Final = 256 << 20
HEAD: Final = struct.Struct("<8s16sQ")
RECORD: Final = struct.Struct("<IQII")
_NUMBERED: Final = struct.Struct("<QI")
_MARKER: Final = struct.pack("<I", MARKER)


class Record(NamedTuple):
    """A record and its number."""

    number: int
    payload: bytes


def framed(number: int, payload: bytes) -> bytes:
    """Return a record as it lies in a segment."""
    crc = zlib.crc32(payload, zlib.crc32(_NUMBERED.pack(number, len(payload))))
    return RECORD.pack(MARKER, number, len(payload), crc) + payload


def record_at(content: bytes | memoryview, at: int) -> Record | None:
    """Return the record that begins at a place; None if it is torn or damaged."""
    if len(content) - at < RECORD.size:
        return None
    marker, number, length, crc = RECORD.unpack_from(content, at)
    start = at + RECORD.size
    if marker != MARKER or length > min(MAX_RECORD, len(content) - start):
        return None
    payload = bytes(content[start : start + length])
    good = crc == zlib.crc32(payload, zlib.crc32(_NUMBERED.pack(number, length)))
    return Record(number, payload) if good else None


class Segment(NamedTuple):
    """A file of records.

    Attributes:
        first: the number of its first record.
    """

    first: int
    path: Path


def segments_of(directory: Path) -> list[Segment]:
    """Return the segments of a spool, oldest first."""
    if not directory.is_dir():
        return []
    found = (path for path in directory.iterdir() if path.suffix == SUFFIX)
    return sorted(Segment(int(path.stem.partition("-")[0]), path) for path in found)


class Spool:
    """Writes a spool; only one process may.

    Args:
        preamble: returns the payloads with which a segment begins.
        max_bytes: all segments together; above it `write` refuses.
        sync: waits until a file's content is on the disk.
    """

    def __init__(
        self,
        directory: Path,
        preamble: Callable[[], list[bytes]],
        *,
        max_bytes: int,
        segment_bytes: int = SEGMENT_BYTES,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self._directory = directory
        self._preamble = preamble
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._handle: int | None = None
        self._length = 0
        self._limit = 0
        self._closed_bytes = 0
        self._path = directory
        self.last = 0
        self.sync_errors = 0
        self.spool_id = ""

    @property
    def size(self) -> int:
        """How many bytes all segments have."""
        return self._closed_bytes + self._length

    @property
    def fill(self) -> float:
        """How full it is, 0 to 1."""
        return self.size / self._max_bytes

    def open(self) -> Iterator[list[Record]]:
        """Take what is there; yields the records of the segments, the newest segment first.

        Whoever writes begins a new segment.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        segments = segments_of(self._directory)
        self._closed_bytes = sum(segment.path.stat().st_size for segment in segments)
        self.spool_id = _spool_id(segments) or secrets.token_hex(16)
        self.last = 0
        return self._read_back(segments)

    def _read_back(self, segments: list[Segment]) -> Iterator[list[Record]]:
        for segment in reversed(segments):
            records = list(good_records(segment.path.read_bytes()))
            last = max((record.number for record in records), default=segment.first - 1)
            self.last = max(self.last, last)
            yield records

    def write(self, payloads: list[bytes]) -> int:
        """Write records; they are on the disk when it returns the number of the last one.

        Raises:
            DiskFullError: they would not fit, or the disk is full; none of them was written.
            OSError: the disk takes them in no segment; none of them counts as written.
        """
        try:
            return self._write(payloads)
        except DiskFullError:
            raise
        except OSError:
            self.sync_errors += 1
            self._close()
            return self._write(payloads)

    def _write(self, payloads: list[bytes]) -> int:
        if self._handle is None or self._length >= self._limit:
            payloads = self._begin(payloads)
        numbered = [framed(self.last + i, item) for i, item in enumerate(payloads, 1)]
        try:
            self._append(b"".join(numbered))
        except OSError:
            self._take_back()
            raise
        self.last += len(numbered)
        return self.last

    def _take_back(self) -> None:
        """Remove what a failed write has left: it is written again, under other numbers."""
        with contextlib.suppress(OSError):
            if self._length == HEAD.size:  # without its preamble nobody could read it
                self._close()
                self._path.unlink()
            elif self._handle is not None:
                os.ftruncate(self._handle, self._length)

    def _begin(self, payloads: list[bytes]) -> list[bytes]:
        """Begin a segment; returns what is to be written: its preamble first."""
        self._close()
        preamble = self._preamble()
        self._path = self._directory / f"{self.last + 1:016d}{SUFFIX}"
        head = HEAD.pack(MAGIC, bytes.fromhex(self.spool_id), self.last + 1)
        try:
            self._handle = os.open(
                self._path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600
            )
            _write_all(self._handle, head)
            sync_path(self._directory)
        except OSError as error:
            raise _full(self._directory, error) from None
        self._length = len(head)
        self._limit = max(self._segment_bytes, PREAMBLE_SHARE * sum(map(len, preamble)))
        return [*preamble, *payloads]

    def _append(self, content: bytes) -> None:
        self._require_room(len(content))
        handle = cast(int, self._handle)
        try:
            _write_all(handle, content)
        except OSError as error:
            raise _full(self._directory, error) from None
        self._sync(handle)
        self._length += len(content)

    def _require_room(self, size: int) -> None:
        if self.size + size > self._max_bytes:
            raise DiskFullError(
                f"the spool {self._directory} is full: {self.size} of {self._max_bytes} bytes",
                remedy="bring the database back, or allow the spool more space",
            )

    def trim(self, record: int) -> None:
        """Remove the segments of which every record up to `record` is stored elsewhere."""
        segments = segments_of(self._directory)
        for segment, following in pairwise(segments):
            if following.first > record + 1:
                break
            self._closed_bytes -= segment.path.stat().st_size
            segment.path.unlink()

    def _close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)
            self._closed_bytes += self._length
            self._length = 0

    def close(self) -> None:
        """End writing."""
        self._close()


def _spool_id(segments: list[Segment]) -> str:
    for segment in segments:
        with segment.path.open("rb") as file:
            content = file.read(HEAD.size)
        if len(content) == HEAD.size and content.startswith(MAGIC):
            return bytes(HEAD.unpack(content)[1]).hex()
    return ""


def good_records(content: bytes) -> Iterator[Record]:
    """Yield the records of a segment up to the last good one, damaged ones left out."""
    at = HEAD.size
    while at < len(content):
        record = record_at(content, at)
        if record is None:
            at = next_record(content, at + 1)
            continue
        yield record
        at += RECORD.size + len(record.payload)


def next_record(content: bytes, at: int) -> int:
    """Return where the next good record begins, or the content's end."""
    while (at := content.find(_MARKER, at)) >= 0:
        if record_at(content, at) is not None:
            return at
        at += 1
    return len(content)


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _full(directory: Path, error: OSError) -> OSError | DiskFullError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return DiskFullError(
        f"the disk of the spool {directory} is full: {error}", remedy="make room on that disk"
    )
