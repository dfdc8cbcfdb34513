"""Which of several archivers a device belongs to.

Archivers that write to the same database share the devices that both are to archive. Each one works
out for itself whose a device is, from the ids alone, and all come to the same result: the archiver
with the largest digest of both names. Nobody need agree with anybody, and when one goes, only its
devices move. While two see different archivers, a device may have two for some seconds; both store
the same samples, and the database keeps each of them once.
"""

import hashlib
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import NamedTuple


class Selection(NamedTuple):
    """Which devices an archiver is to archive, by shell patterns."""

    devices: tuple[str, ...]
    excluded: tuple[str, ...]

    def includes(self, device_id: str) -> bool:
        """Tell whether a device is one of them."""
        return _fits(device_id, self.devices) and not _fits(device_id, self.excluded)


class Peer(NamedTuple):
    """Another archiver, as it says of itself; `store_id` is empty until it has opened one."""

    store_id: str
    selection: Selection


def _fits(device_id: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(device_id, pattern) for pattern in patterns)


def owner_of(device_id: str, archivers: Collection[str]) -> str:
    """Return the archiver that a device belongs to; there is at least one."""
    return max(archivers, key=lambda archiver: _weight(device_id, archiver))


def _weight(device_id: str, archiver: str) -> tuple[bytes, str]:
    digest = hashlib.blake2b(f"{archiver}\0{device_id}".encode(), digest_size=8)
    return digest.digest(), archiver
