"""The latest events of a server's devices, for subscribers that have lost some.

The journal is bounded by age and by bytes, whichever comes first, for all devices together. It
dies with its process: what a killed server had published and nobody received is lost, and shows
as a gap of unknown length.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from ._header import Frame

JOURNAL_S: Final = 60.0
"""A subscriber that was away for longer gets the present values instead."""
JOURNAL_BYTES: Final = 64 * 2**20
REPLAY_BYTES: Final = 2 * 2**20
"""One answer holds so much at most; a message above 8 MiB would be refused."""
REPLAY_EVENTS: Final = 4_000
"""One answer holds so many at most: of up to 20 values each, and above 100 000 it is refused."""
_ENTRY_BYTES: Final = 250
"""What an entry costs besides its frames (measured)."""


class Entry(NamedTuple):
    """One event: its number, its kind and its body's frames."""

    sequence: int
    kind: int
    frames: Sequence[Frame]


class Journal:
    """Keeps entries per device instance, and forgets the oldest of all."""

    def __init__(self, *, max_age_s: float = JOURNAL_S, max_bytes: int = JOURNAL_BYTES) -> None:
        self._max_age_ns = int(max_age_s * 1e9)
        self._max_bytes = max_bytes
        self._entries: dict[bytes, deque[Entry]] = {}
        self._order: deque[tuple[bytes, int, int]] = deque()
        self.bytes = 0

    def add(self, instance: bytes, entry: Entry, now_ns: int) -> None:
        """Keep an event."""
        size = _ENTRY_BYTES + sum(map(len, entry.frames))
        entries = self._entries.get(instance)
        if entries is None:
            entries = self._entries[instance] = deque()
        entries.append(entry)
        order = self._order
        order.append((instance, size, now_ns))
        self.bytes += size
        if self.bytes > self._max_bytes or now_ns - order[0][2] > self._max_age_ns:
            self._forget(now_ns)

    def _forget(self, now_ns: int) -> None:
        order = self._order
        oldest_ns = now_ns - self._max_age_ns
        while order and (self.bytes > self._max_bytes or order[0][2] < oldest_ns):
            instance, size, _added_ns = order.popleft()
            self.bytes -= size
            entries = self._entries[instance]
            entries.popleft()
            if not entries:
                del self._entries[instance]

    def since(
        self,
        instance: bytes,
        first: int,
        *,
        max_bytes: int = REPLAY_BYTES,
        max_events: int = REPLAY_EVENTS,
    ) -> tuple[list[Entry], bool] | None:
        """Return an instance's entries from number `first` on, and whether there are more.

        The entries of an instance have consecutive numbers.
        None when `first` was forgotten. At least one entry is returned if there is one.
        """
        entries = self._entries.get(instance)
        if not entries or entries[0].sequence > first:
            return None
        found: list[Entry] = []
        size = 0
        for entry in islice(entries, first - entries[0].sequence, None):
            size += sum(map(len, entry.frames))
            if found and (size > max_bytes or len(found) == max_events):
                return found, True
            found.append(entry)
        return found, False
