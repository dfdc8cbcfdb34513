"""What databases say when they cannot, as errors of ours."""

import sqlite3
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError

from pykarabo.errors import (
    DatabaseDamagedError,
    DatabaseReadOnlyError,
    DatabaseUnansweredError,
    DatabaseUnavailableError,
    DiskFullError,
    PykaraboError,
)

from ._place import Place

_SQLITE: Final[dict[str, type[PykaraboError]]] = {
    "SQLITE_FULL": DiskFullError,
    "SQLITE_READONLY": DatabaseReadOnlyError,
    "SQLITE_PERM": DatabaseReadOnlyError,
    "SQLITE_CORRUPT": DatabaseDamagedError,
    "SQLITE_NOTADB": DatabaseDamagedError,
    "SQLITE_BUSY": DatabaseUnavailableError,
    "SQLITE_LOCKED": DatabaseUnavailableError,
    "SQLITE_IOERR": DatabaseUnavailableError,
    "SQLITE_CANTOPEN": DatabaseUnavailableError,
    "SQLITE_INTERRUPT": DatabaseUnavailableError,
    "SQLITE_PROTOCOL": DatabaseUnavailableError,
}
# Conditions of PostgreSQL by SQLSTATE; two characters stand for a whole class.
_POSTGRESQL: Final[dict[str, type[PykaraboError]]] = {
    "08": DatabaseUnavailableError,  # the connection
    "25006": DatabaseReadOnlyError,
    "28": DatabaseUnavailableError,  # password, or no rule in pg_hba.conf
    "3D000": DatabaseUnavailableError,  # no such database
    "40": DatabaseUnavailableError,  # rolled back: deadlock, or not serialisable
    "42501": DatabaseUnavailableError,  # no right to it
    "53100": DiskFullError,
    "53": DatabaseUnavailableError,  # memory, connections
    "55P03": DatabaseUnavailableError,  # a lock
    "57": DatabaseUnavailableError,  # stopping, starting, cancelled
    "58": DatabaseUnavailableError,  # its disk
    "XX001": DatabaseDamagedError,
    "XX002": DatabaseDamagedError,
}
_NO_RIGHT: Final = "42501"
_REMEDIES: Final[dict[type[PykaraboError], str]] = {
    DiskFullError: "free space on the database's disk; the work goes on by itself",
    DatabaseReadOnlyError: "let the database be written to; the work goes on by itself",
    DatabaseUnavailableError: "see that the database runs and this user may use it; "
    "the work goes on by itself",
    DatabaseDamagedError: "restore a backup: pykarabo db restore",
}


def translate(error: BaseException, place: Place) -> PykaraboError | None:
    """Return what an error of the database means; None when it is the fault of the statement."""
    original = error.orig if isinstance(error, DBAPIError) else error
    kind = _kind_of(original)
    if kind is None:
        return None
    reason = " ".join(str(original).split())
    remedy = _REMEDIES[kind]
    if "password" in reason:
        remedy = "put the password into ~/.pgpass (mode 600): HOST:PORT:DATABASE:USER:PASSWORD"
    elif getattr(original, "sqlstate", None) == _NO_RIGHT:
        remedy = "let its owner say: GRANT CREATE ON DATABASE name TO user"
    return kind(f"the database {place} cannot do it: {reason}", remedy=remedy)


def _kind_of(original: BaseException | None) -> type[PykaraboError] | None:
    if isinstance(original, sqlite3.Error):
        name = getattr(original, "sqlite_errorname", None) or ""
        # Extended names go on behind the name: SQLITE_READONLY_DBMOVED.
        return _SQLITE.get("_".join(name.split("_")[:2]))
    if isinstance(original, psycopg.Error):
        return _kind_of_state(original)
    return None


def _kind_of_state(original: psycopg.Error) -> type[PykaraboError] | None:
    state = original.sqlstate
    if state is None:  # libpq itself: no answer, connection refused or closed
        is_lost = isinstance(original, psycopg.OperationalError | psycopg.InterfaceError)
        return DatabaseUnavailableError if is_lost else None
    return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2])


def may_pass(error: BaseException) -> bool:
    """Tell whether the work can go on by itself later."""
    return isinstance(
        error,
        DatabaseUnavailableError | DatabaseUnansweredError | DatabaseReadOnlyError | DiskFullError,
    )
