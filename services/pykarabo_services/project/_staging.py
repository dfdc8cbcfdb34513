"""Saves that are too large for one message: they come in parts and are done as one."""

from dataclasses import dataclass
from typing import Final

from pykarabo.errors import LimitExceededError, UnknownItemError

from .model import Changes

MAX_BYTES: Final = 256 * 2**20
"""Of all saves under way: several large projects at once."""
KEEP_NS: Final = 300 * 10**9
"""Who sends no more for five minutes has gone."""
MAX_TOKEN: Final = 64
_ITEM_BYTES: Final = 1_000
"""What an item costs besides its text."""
_UUID_BYTES: Final = 100


@dataclass(slots=True)
class _Part:
    changes: Changes
    nbytes: int
    touched_ns: int


class Staging:
    """Parts of saves, by whoever sends them and by a token of his."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], _Part] = {}

    @property
    def nbytes(self) -> int:
        """How much is kept."""
        return sum(part.nbytes for part in self._parts.values())

    def add(self, owner: str, token: str, changes: Changes, now_ns: int) -> None:
        """Keep one more part.

        Raises:
            LimitExceededError: too much is under way.
        """
        self._forget(now_ns)
        nbytes = sum(len(item.text or "") + _ITEM_BYTES for item in changes.items)
        nbytes += _UUID_BYTES * sum(len(children) for children in changes.order.values())
        nbytes += _UUID_BYTES * (len(changes.removed) + len(changes.parents))
        if self.nbytes + nbytes > MAX_BYTES or not 0 < len(token) <= MAX_TOKEN:
            raise LimitExceededError(
                f"more than {MAX_BYTES >> 20} MiB of saves are under way",
                remedy="try again in some minutes, or save less at once",
            )
        known = self._parts.get((owner, token))
        if known is None:
            self._parts[owner, token] = _Part(changes, nbytes, now_ns)
        else:
            known.changes += changes
            known.nbytes += nbytes
            known.touched_ns = now_ns

    def take(self, owner: str, token: str, now_ns: int) -> Changes:
        """Return all parts of a save, and forget them.

        Raises:
            UnknownItemError: none has come, or too long ago.
        """
        self._forget(now_ns)
        part = self._parts.pop((owner, token), None)
        if part is None:
            raise UnknownItemError(
                "the first parts of this save are not there any more", remedy="save again"
            )
        return part.changes

    def _forget(self, now_ns: int) -> None:
        late = [key for key, part in self._parts.items() if now_ns - part.touched_ns > KEEP_NS]
        for key in late:
            del self._parts[key]
