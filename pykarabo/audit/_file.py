"""A file of the audit log that is being written."""

import os
from pathlib import Path
from typing import Final

from pykarabo.data import sync_path

_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


class AuditFile:
    """A new file, which only its owner may read and nobody but this process writes.

    Raises:
        FileExistsError: somebody else has made it.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for folder in reversed(path.parents):
            if not folder.exists():
                folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._handle = os.open(path, flags, _MODE)
        self.size = 0
        try:
            sync_path(path.parent)
        except OSError:
            self.close()
            raise

    def write(self, data: bytes | memoryview) -> int:
        """Write at the end as much as there is room for, and return how much; raises `OSError`."""
        written = os.write(self._handle, data)
        self.size += written
        return written

    def sync(self) -> None:
        """Return when all that was written is on the disk; raises `OSError`."""
        os.fsync(self._handle)

    def interference(self) -> str | None:
        """Say what somebody else has done to the file; None if nothing."""
        own = os.fstat(self._handle)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return "was removed"
        except OSError as error:
            return f"cannot be looked at: {error.strerror}"
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            return "was replaced by another"
        if there.st_size != self.size:
            return f"was changed: it has {there.st_size} bytes where {self.size} were written"
        return None

    def close(self) -> None:
        """Write no more."""
        os.close(self._handle)
