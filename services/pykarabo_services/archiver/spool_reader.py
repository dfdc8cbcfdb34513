"""Reading a spool while it is written, from wherever the reader was."""

from pathlib import Path
from typing import Final, NamedTuple

from pykarabo_services.archiver.spool import (
    HEAD,
    RECORD,
    Record,
    Segment,
    next_record,
    record_at,
    segments_of,
)

READ_BYTES: Final = 4 << 20
"""What is read at a time; a longer record is read whole."""


class Damage(NamedTuple):
    """Records that cannot be read.

    Attributes:
        before: the number of the record that follows.
        lost: how many records are missing before it.
    """

    before: int
    lost: int


class SpoolReader:
    """Reads the records of a spool in order.

    Args:
        after: the number of the last record that was read before. Reading begins with the segment
            that holds it, since the segment's beginning explains the rest; the records up to
            `after` are handed out again for that, and are known by their numbers.
    """

    def __init__(self, directory: Path, *, after: int) -> None:
        self._directory = directory
        self._segment = self._first_segment(after)
        self._at = HEAD.size
        self._last = self._segment.first - 1 if self._segment else 0
        self._seen_end = 0

    def _first_segment(self, after: int) -> Segment | None:
        segments = segments_of(self._directory)
        before = [segment for segment in segments if segment.first <= after + 1]
        return before[-1] if before else next(iter(segments), None)

    def read(self, up_to: int) -> list[Record | Damage]:
        """Return the next records, none if there are none yet.

        Args:
            up_to: the number of the last record that is on the disk; later ones may vanish yet.
        """
        if self._segment is None:
            self._segment = self._first_segment(0)
            if self._segment is None:
                return []
            self._last = self._segment.first - 1
        found: list[Record | Damage] = []
        while not found:
            # Looked for before reading: if it is there, this segment is complete.
            following = self._following(self._segment)
            self._at += self._take(self._content(self._segment), up_to, found)
            if found or following is None or following.first > up_to:
                break
            self._segment, self._at = following, HEAD.size
            found = self._skipped_to(following.first)
        return found

    def _skipped_to(self, number: int) -> list[Record | Damage]:
        lost = number - self._last - 1
        self._last = max(self._last, number - 1)
        return [Damage(number, lost)] if lost > 0 else []

    def _following(self, segment: Segment) -> Segment | None:
        later = (item for item in segments_of(self._directory) if item.first > segment.first)
        return next(later, None)

    def _content(self, segment: Segment) -> bytes:
        """Return what follows in a segment; all of it, if the next record is long or damaged."""
        try:
            with segment.path.open("rb") as file:
                file.seek(self._at)
                content = file.read(READ_BYTES)
                if len(content) == READ_BYTES and record_at(content, 0) is None:
                    content += file.read()
        except FileNotFoundError:
            return b""
        return content

    def _take(self, content: bytes, up_to: int, found: list[Record | Damage]) -> int:
        """Take the good records at the beginning of `content`; returns how much was used."""
        at = 0
        while at < len(content):
            record = record_at(content, at)
            if record is None:
                if found:  # read again from here: perhaps only the end of what was read is torn
                    break
                after = next_record(content, at + 1)
                if after == len(content):
                    break
                at = after
                continue
            if record.number > up_to:
                break
            at += RECORD.size + len(record.payload)
            if record.number > self._last:  # not one of a segment that could not be removed
                found.extend(self._skipped_to(record.number))
                self._last = record.number
                found.append(record)
        return at
