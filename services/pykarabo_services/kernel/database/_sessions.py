"""Who works on a store in PostgreSQL: its services, all together, or one command alone.

A service holds a shared advisory lock with the connection that writes; who replaces what is there
needs the exclusive one. The server takes a lock back when its connection ends, however it ends.
"""

import zlib
from typing import Final

from sqlalchemy import Connection, text

from pykarabo.errors import DatabaseInUseError

from ._place import Place

_CLASS: Final = 7072
"""Of the advisory locks that are for sessions."""
_HOLDERS: Final = text(
    "SELECT l.pid, a.application_name, host(a.client_addr) AS host "
    "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 "
    "AND l.classid = CAST(:class AS oid) AND l.objid = CAST(:key AS oid) "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND l.pid <> pg_backend_pid() ORDER BY l.pid"
)


def work_together(connection: Connection, place: Place) -> None:
    """Be one of those who write, as long as the connection lasts.

    Raises:
        DatabaseInUseError: somebody replaces what is there.
    """
    _take("pg_try_advisory_lock_shared", connection, place, "wait until that has ended")


def work_alone(connection: Connection, place: Place) -> None:
    """Be the only one who writes, as long as the connection lasts.

    Raises:
        DatabaseInUseError: services do, or another command.
    """
    _take("pg_try_advisory_lock", connection, place, "stop it first: pykarabo down")


def _take(function: str, connection: Connection, place: Place, remedy: str) -> None:
    names = {"class": _CLASS, "key": zlib.crc32(place.schema.encode()) >> 1}
    is_ours = connection.scalar(text(f"SELECT {function}(:class, :key)"), names)
    holders = [] if is_ours else connection.execute(_HOLDERS, names).all()
    connection.rollback()  # the lock is the session's, not the transaction's
    if is_ours:
        return
    shown = [
        f"'{row.application_name}' (from {row.host or 'the same host'}, connection {row.pid})"
        for row in holders
    ]
    raise DatabaseInUseError(
        f"the database {place} is worked on by {', '.join(shown) or 'another connection'}",
        remedy=remedy,
        details={"connections": [row.pid for row in holders]},
    )
