"""Connections as we want them, of either kind of database.

SQLite as Python opens it begins transactions late and as readers, so that two writers meet in the
middle of their work and one fails at once. Here a writer begins with BEGIN IMMEDIATE.
"""

import errno
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from pykarabo.errors import DatabaseUnavailableError, DiskFullError, PykaraboError

from ._place import Place

WRITE_OPTION: Final = "pykarabo_write"
"""Execution option of a connection whose transactions write."""
BUSY_S: Final = 5.0
"""A reader that copies the whole file may hold up a checkpoint for seconds."""
CONNECT_S: Final = 3
"""A server that is there answers in milliseconds."""


def make_engine(
    place: Place,
    *,
    read_only: bool = False,
    synchronous: bool = True,
    foreign_keys: bool = True,
    statement_timeout_s: float = 0.0,
) -> Engine:
    """Return an engine that keeps no connections: its users do.

    Errors name no values, which may be secret, or of megabytes.

    Args:
        read_only: refuse to write.
        synchronous: see `StoreDeclaration`.
        foreign_keys: check them; SQLite changes a table by copying it, which must not cascade.
        statement_timeout_s: after which PostgreSQL itself ends a statement; 0 for never.
    """
    if place.url is not None:
        return _postgresql(place, place.url, read_only, statement_timeout_s)
    return _sqlite(place, read_only=read_only, synchronous=synchronous, foreign_keys=foreign_keys)


def _sqlite(place: Place, *, read_only: bool, synchronous: bool, foreign_keys: bool) -> Engine:
    mode = "ro" if read_only else "rw"
    url = URL.create(
        "sqlite", database=f"file:{quote(str(place.path))}", query={"mode": mode, "uri": "true"}
    )
    arguments = {"timeout": BUSY_S, "check_same_thread": False}
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    pragmas = [f"foreign_keys={'ON' if foreign_keys else 'OFF'}"]
    if not read_only:
        pragmas += ["journal_mode=WAL", f"synchronous={'FULL' if synchronous else 'NORMAL'}"]

    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        for pragma in pragmas:
            connection.cursor().execute(f"PRAGMA {pragma}").close()

    def begin(connection: Connection) -> None:
        is_writer = connection.get_execution_options().get(WRITE_OPTION, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


def create_file(place: Place) -> None:
    """Make the SQLite file and its folder, for this user only; nothing where they are.

    Raises:
        DatabaseUnavailableError: they cannot be made.
    """
    if place.path is None:
        return
    try:
        place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not place.path.exists():
            os.close(os.open(place.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseUnavailableError(
            f"{place.path} cannot be made: {error.strerror}",
            remedy="let this user write to the folder, or choose another for the data",
        ) from None


def sync_log(path: Path) -> None:
    """Bring the write-ahead log of a SQLite file to the disk, and all commits with it.

    SQLite locks the file itself and the shared memory beside it, not the log: opening the log once
    more takes no lock away from it.

    Raises:
        DiskFullError, DatabaseUnavailableError: it is not there.
    """
    try:
        handle = os.open(path.with_name(f"{path.name}-wal"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a checkpoint has brought it all into the file, and synced that
    except OSError as error:
        raise _not_synced(path, error) from None
    try:
        os.fdatasync(handle)
    except OSError as error:
        raise _not_synced(path, error) from None
    finally:
        os.close(handle)


def _not_synced(path: Path, error: OSError) -> PykaraboError:
    kind = DiskFullError if error.errno == errno.ENOSPC else DatabaseUnavailableError
    return kind(
        f"what was written to {path} may not survive a power failure: {error.strerror}",
        remedy="see what its disk does",
    )


def _postgresql(place: Place, url: URL, read_only: bool, statement_timeout_s: float) -> Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        "application_name": f"pykarabo {place.schema} {os.getpid()}@{socket.gethostname()}"[:63],
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
    }
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    timeout_ms = round(statement_timeout_s * 1000)

    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        quoted = place.schema.replace('"', '""')
        cursor = connection.cursor()
        cursor.execute(f'SET search_path TO "{quoted}"')
        cursor.execute(f"SET statement_timeout TO {timeout_ms}")
        if read_only:
            cursor.execute("SET default_transaction_read_only TO on")
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", set_up)
    return engine


def interrupt(raw: object) -> None:
    """Wake a thread that waits for a database; callable from another thread.

    A frozen PostgreSQL says nothing and its kernel goes on to acknowledge, so no time-out of the
    library ends the wait: the socket is shut down under it.
    """
    if isinstance(raw, sqlite3.Connection):
        raw.interrupt()
    elif isinstance(raw, psycopg.Connection):
        _shut_down(raw)


def _shut_down(connection: "psycopg.Connection[Any]") -> None:
    try:
        handle = os.dup(connection.fileno())
    except (OSError, psycopg.Error):  # it is closed already
        return
    with socket.socket(fileno=handle) as duplicate:
        try:
            duplicate.shutdown(socket.SHUT_RDWR)
        except OSError:  # nobody is connected any more
            return
