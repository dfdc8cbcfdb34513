"""What can happen to a store's database, whichever it is: it is away, hangs, is full."""

import contextlib
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final, Protocol

import pytest

from pykarabo_services.kernel.database import place_of

from .disk import Disk
from .loop_disk import LoopDisk, why_no_loop_disk
from .postgres import PostgresServer

_MOMENT_S: Final = 0.5
"""How long another program holds an SQLite file: this is the fault, and nothing is waited for."""
_DISK_KIB: Final = 20 * 1024
_LOOP_MIB: Final = 256


class Trouble(Protocol):
    """A database that a test may do things to.

    Attributes:
        kind: ``sqlite`` or ``postgresql``.
        url: for PYKARABO_DATABASE_URL.
    """

    kind: str
    url: str

    def go_away(self) -> None:
        """Have it take no work."""
        ...

    def come_back(self) -> None:
        """Have it take work again."""
        ...

    def blink(self) -> None:
        """Have it lose what it was at, and be back at once."""
        ...

    @contextlib.contextmanager
    def able_to_hang(self) -> "Generator[Hanging]":
        """Return what makes it hang."""
        ...

    @contextlib.contextmanager
    def able_to_fill(self) -> Generator[Disk]:
        """Return the disk that it is on, which can be filled; `url` may be another one."""
        ...


class Hanging(Protocol):
    """Something that can hang."""

    def freeze(self) -> None:
        """Answer nobody, and tell nobody why."""
        ...

    def thaw(self) -> None:
        """Go on."""
        ...


class PostgresTrouble:
    """A PostgreSQL server of the test's own."""

    kind = "postgresql"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.url

    def go_away(self) -> None:
        """Stop it."""
        self._server.stop()

    def come_back(self) -> None:
        """Start it."""
        self._server.start()

    def blink(self) -> None:
        """Start it again as if its host had lost its power."""
        self._server.restart(immediate=True)

    @contextlib.contextmanager
    def able_to_hang(self) -> Generator[PostgresServer]:
        """Return the server: all of its processes can be frozen."""
        yield self._server

    @contextlib.contextmanager
    def able_to_fill(self) -> Generator[Disk]:
        """Use a database whose tables are on a small disk."""
        with Disk(self._server.folder / "disk", size_kib=_DISK_KIB) as disk:
            self.url = self._server.database_on(disk.folder, "small")
            yield disk
            self._server.drop_database_on("small")


class SqliteTrouble:
    """A folder of SQLite files; another program takes the archive's for itself."""

    kind = "sqlite"

    def __init__(self, folder: Path, domain: str) -> None:
        self._folder = folder
        self._domain = domain
        self._other: sqlite3.Connection | None = None
        self.url = f"sqlite:///{folder}"

    def go_away(self) -> None:
        """Take the file, as a program does that writes to it and never ends."""
        path = place_of("archive", url=self.url, domain=self._domain).path
        assert path is not None
        assert path.exists()
        self._other = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._other.execute("BEGIN EXCLUSIVE")

    def come_back(self) -> None:
        """Give the file back."""
        assert self._other is not None
        self._other.execute("ROLLBACK")
        self._other.close()
        self._other = None

    def blink(self) -> None:
        """Take the file for a moment."""
        self.go_away()
        time.sleep(_MOMENT_S)
        self.come_back()

    @contextlib.contextmanager
    def able_to_hang(self) -> Generator[LoopDisk]:
        """Use a file system that can be frozen."""
        reason = why_no_loop_disk()
        if reason is not None:
            pytest.skip(reason)
        with LoopDisk(self._folder.with_name("loop"), size_mib=_LOOP_MIB) as disk:
            self.url = f"sqlite:///{disk.folder / 'stores'}"
            yield disk

    @contextlib.contextmanager
    def able_to_fill(self) -> Generator[Disk]:
        """Use a small disk."""
        with Disk(self._folder.with_name("disk"), size_kib=_DISK_KIB) as disk:
            self.url = f"sqlite:///{disk.folder}"
            yield disk
