"""One writer per SQLite file: who holds the lock beside it."""

import contextlib
import fcntl
import os
from pathlib import Path

from pykarabo.errors import DatabaseInUseError, DatabaseUnavailableError


class WriterLock:
    """Held by the one process that writes to a file; the kernel takes it back when that ends.

    Two writers of one SQLite file starve each other, and a service that keeps some of its state in
    memory would not see what the other has written.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.lock")
        self._handle: int | None = None

    def take(self) -> None:
        """Become the writer.

        Raises:
            DatabaseInUseError: another process is, or another object of this one.
            DatabaseUnavailableError: the lock's file cannot be made.
        """
        if self._handle is not None:
            return
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseUnavailableError(
                f"{self._path} cannot be opened: {error.strerror}",
                remedy="let this user write to the folder, or choose another for the data",
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise self._in_use(owner) from None
        # A full disk may refuse the number, which is a hint for people; the lock holds.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def _in_use(self, owner: str) -> DatabaseInUseError:
        who = f"process {owner}" if owner.isdigit() else "another process"
        return DatabaseInUseError(
            f"{who} writes to {self._database}; there can be only one",
            remedy="stop it, or let it do the work (see it: ps -fp "
            f"{owner if owner.isdigit() else 'PID'})",
            details={"pid": int(owner)} if owner.isdigit() else {},
        )

    def give_back(self) -> None:
        """Let another process write; without the lock it does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
