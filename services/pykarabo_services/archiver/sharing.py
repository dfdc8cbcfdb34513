"""Which of several archivers a device belongs to.

Archivers that write to the same database share the devices. Each one works out for itself whose a
device is, from the ids alone, and all come to the same result: the archiver with the largest digest
of both names. Nobody need agree with anybody, and when one goes, only its devices move. While two
see different archivers, a device may have two for some seconds; both store the same samples, and
the database keeps each of them once.
"""

import hashlib
from collections.abc import Collection


def owner_of(device_id: str, archivers: Collection[str]) -> str:
    """Return the archiver that a device belongs to; there is at least one."""
    return max(archivers, key=lambda archiver: _weight(device_id, archiver))


def _weight(device_id: str, archiver: str) -> tuple[bytes, str]:
    digest = hashlib.blake2b(f"{archiver}\0{device_id}".encode(), digest_size=8)
    return digest.digest(), archiver
