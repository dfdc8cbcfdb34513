"""Looking after stores: what state they are in, and giving back the space they do not need."""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from pykarabo.errors import DatabaseRevisionError, PykaraboError

from ._blocking import reading, require_file, telling, writer_of
from ._declaration import StoreDeclaration
from ._engine import make_engine
from ._migrating import Revision, RevisionKind, look_at_revision, require_newest, revisions
from ._place import Place


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """A store as one finds it.

    Args:
        exists: whether there is anything.
        size_bytes: on the disk, with its log.
        writer: process that writes to the file; None for none, or where one cannot know.
        answer_s: how long the database took.
        error: why nothing more is known.
    """

    store: str
    place: str
    exists: bool
    revision: Revision | None = None
    size_bytes: int = 0
    writer: int | None = None
    answer_s: float = 0.0
    error: PykaraboError | None = None


def look_at(store: StoreDeclaration, place: Place) -> StoreStatus:
    """Return what state a store is in; it does not raise what the database says."""
    if place.path is not None and not place.path.exists():
        return StoreStatus(store.name, str(place), exists=False)
    revisions(store)  # what is imported for it is not the database's time
    began = time.monotonic()
    try:
        with reading(place) as connection:
            revision = look_at_revision(connection, store)
            size = _size(connection, place)
    except PykaraboError as error:
        return StoreStatus(store.name, str(place), exists=True, error=error)
    return StoreStatus(
        store.name,
        str(place),
        exists=revision.kind is not RevisionKind.EMPTY,
        revision=revision,
        size_bytes=size,
        writer=None if place.path is None else writer_pid(place.path),
        answer_s=time.monotonic() - began,
    )


def _size(connection: Connection, place: Place) -> int:
    if place.path is not None:
        files = (place.path.with_name(place.path.name + end) for end in ("", "-wal"))
        return sum(path.stat().st_size for path in files if path.exists())
    answer = connection.execute(
        text(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c JOIN "
            "pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :name AND c.relkind = 'r'"
        ),
        {"name": place.schema},
    )
    return int(answer.scalar_one())


def writer_pid(path: Path) -> int | None:
    """Return the process that writes to a SQLite file, without disturbing it."""
    try:
        handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text_found = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        return int(text_found) if text_found.isdigit() else None
    finally:
        os.close(handle)
    return None


def check(
    store: StoreDeclaration, place: Place, *, on_progress: Callable[[int, int], None] | None = None
) -> list[str]:
    """Return what is wrong with a store's file, tables, references and what it holds.

    Args:
        on_progress: told how many of how many things the store itself has looked at.

    Raises:
        DatabaseError: it cannot be read at all.
    """
    with reading(place) as connection:
        problems = _check_file(connection) if place.path is not None else []
        revision = look_at_revision(connection, store)
        if revision.kind is RevisionKind.CURRENT:
            differences = _differences(connection, store)
            problems += [f"the tables differ: {item}" for item in differences]
            if store.check is not None and not differences:
                problems += store.check(connection, on_progress or _quietly)
        else:
            problems.append(_in_words(revision, store, place))
    return problems


def _quietly(_done: int, _total: int) -> None:
    """Tell nobody."""


def _in_words(revision: Revision, store: StoreDeclaration, place: Place) -> str:
    words = (
        f"the tables are {revision.kind}: revision {revision.current or 'none'}, and "
        f"{revision.newest} is needed"
    )
    try:
        require_newest(revision, store, place)
    except DatabaseRevisionError as error:
        return f"{words} - {error.remedy}"
    return words


def _check_file(connection: Connection) -> list[str]:
    answers = connection.execute(text("PRAGMA integrity_check(20)")).scalars()
    problems = [str(answer) for answer in answers if answer != "ok"]
    for row in connection.execute(text("PRAGMA foreign_key_check")).fetchmany(20):
        problems.append(f"row {row[1]} of table {row[0]} refers to nothing in {row[2]}")
    return problems


def _differences(connection: Connection, store: StoreDeclaration) -> list[str]:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    options: dict[str, Any] = {"include_name": lambda name, *_: name != "alembic_version"}
    context = MigrationContext.configure(connection, opts=options)
    return [str(item) for item in compare_metadata(context, store.metadata)]


def vacuum(place: Place) -> None:
    """Give back the space of what was removed, and renew what the planner knows. Blocking.

    Raises:
        DatabaseInUseError: a service writes to the file.
    """
    require_file(place)
    # PostgreSQL does it beside those who write.
    alone = writer_of(place) if place.path is not None else contextlib.nullcontext()
    with alone, telling(place):
        engine = make_engine(place)
        with engine.connect() as connection:
            raw = connection.connection.driver_connection
            if isinstance(raw, sqlite3.Connection):
                raw.execute("VACUUM").close()
                raw.execute("ANALYZE").close()
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
                return
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            _vacuum_schema(connection, place)


def _vacuum_schema(connection: Connection, place: Place) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    names = connection.execute(
        text("SELECT tablename FROM pg_tables WHERE schemaname = :name"), {"name": place.schema}
    )
    for name in names.scalars().all():
        connection.execute(text(f"VACUUM (ANALYZE) {quote(place.schema)}.{quote(name)}"))
