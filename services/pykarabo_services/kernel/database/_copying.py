"""Copies of whole stores: to a file and back, and from one kind of database to the other.

A backup is a SQLite file, whatever the store is kept in: one can look into it, check it, and
restore it into either kind.
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Integer, Table, func, insert, select, text

from pykarabo.errors import (
    BadConfigurationError,
    DatabaseDamagedError,
    DatabaseRevisionError,
    DatabaseUnavailableError,
)

from ._blocking import (
    reading,
    require_file,
    telling,
    writer_of,
    writing,
)
from ._declaration import StoreDeclaration
from ._engine import create_file
from ._migrating import (
    RevisionKind,
    create_tables,
    look_at_revision,
    migrate,
    require_newest_tables,
)
from ._place import Place

_ROWS: Final = 1000
"""A thousand rows per statement: more is no faster, and blobs may be large."""


def back_up(store: StoreDeclaration, place: Place, file: Path, *, replace: bool = False) -> int:
    """Copy a store into a SQLite file, as it is at one moment; return the file's size.

    The service goes on meanwhile. The file is there when it is complete.

    Raises:
        BadConfigurationError: the file exists already.
        DatabaseError: the store cannot be read.
    """
    if file.exists() and not replace:
        raise BadConfigurationError(f"{file} exists already", remedy="name another, or --force")
    part = Place(file.with_name(f"{file.name}.part"))
    _remove(part)
    try:
        if place.path is not None:
            _copy_file(place, part)
        else:
            _fill(store, place, part)
        _finish(part, file)
    finally:
        _remove(part)
    return file.stat().st_size


def _copy_file(source: Place, destination: Place) -> None:
    """Copy a SQLite file in one step: in several, each write of the service begins it anew."""
    require_file(source)
    create_file(destination)
    with (
        telling(source),
        closing(sqlite3.connect(f"file:{quote(str(source.path))}?mode=ro", uri=True)) as origin,
        closing(sqlite3.connect(str(destination.path))) as target,
    ):
        origin.backup(target)


def _finish(part: Place, file: Path) -> None:
    """Check the copy, bring it to the disk, and give it its name."""
    path = _path(part)
    with closing(sqlite3.connect(str(path))) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != ("ok",):
        raise DatabaseDamagedError(
            f"the copy in {path} is damaged: {answer[0]}", remedy="see what its disk does"
        )
    for name in (path, path.parent):
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    path.replace(file)


def _remove(place: Place) -> None:
    path = _path(place)
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _path(place: Place) -> Path:
    if place.path is None:
        raise TypeError(f"{place} is no file")
    return place.path


def restore(store: StoreDeclaration, place: Place, file: Path) -> None:
    """Make a store what it was when it was backed up; in one transaction, all or nothing.

    An older backup is upgraded on the way; the file itself stays as it is. What is there may be of
    a later version. What the store itself notes of it is part of the transaction; for a SQLite file
    it is noted in a copy beside it, which needs as much space again for a while.

    Raises:
        DatabaseInUseError: the service runs.
        DatabaseRevisionError: the file is no backup of this store, or a later version's.
    """
    source = Place(file)
    require_file(source)
    with reading(source) as connection:
        kind = look_at_revision(connection, store).kind
    with writer_of(place), tempfile.TemporaryDirectory(prefix="pykarabo-") as folder:
        if kind is RevisionKind.OLD:
            source = Place(Path(folder) / "upgraded.db")
            back_up(store, Place(file), Path(folder) / "upgraded.db")
            migrate(store, source)
        with reading(source) as connection:
            _require_ours(connection, store, source)
        if place.path is not None:
            _restore_file(store, source, place)
        else:
            _replace_rows(store, source, place)


def _require_ours(connection: Connection, store: StoreDeclaration, source: Place) -> None:
    """Refuse the backup of another store, whose revision may have the same name."""
    answer = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))
    missing = set(store.metadata.tables) - set(answer.scalars())
    if missing:
        raise DatabaseRevisionError(
            f"{source} is no backup of store {store.name}: it has no table '{min(missing)}'",
            remedy="name the file that pykarabo db backup has written",
        )
    require_newest_tables(connection, store, source)


def _restore_file(store: StoreDeclaration, source: Place, place: Place) -> None:
    """Copy the backup over the file; SQLite does it in one transaction."""
    if store.restored is None:
        _copy_over(source, place)
        return
    path = _path(place)
    # A folder of its own: whatever lies beside the store, under any name, stays as it is.
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.part-", dir=path.parent) as folder:
        noted = Place(Path(folder) / path.name)
        _copy_file(source, noted)
        with writing(noted) as connection:
            store.restored(connection)
        _copy_over(noted, place)


def _copy_over(source: Place, place: Place) -> None:
    with (
        telling(place),
        closing(sqlite3.connect(str(source.path))) as origin,
        closing(sqlite3.connect(str(place.path))) as target,
    ):
        origin.backup(target)


def _replace_rows(store: StoreDeclaration, source: Place, place: Place) -> None:
    with reading(source) as origin, writing(place) as target:
        if look_at_revision(target, store).kind is RevisionKind.UNKNOWN:
            _drop_tables(target, place)
        create_tables(target, store, place)
        for table in reversed(store.metadata.sorted_tables):
            target.execute(table.delete())
        _copy_rows(store, origin, target)
        if store.restored is not None:
            store.restored(target)


def _drop_tables(target: Connection, place: Place) -> None:
    """Remove the tables of a later version, which nobody here knows how to go back from."""
    quote_name = target.dialect.identifier_preparer.quote_identifier
    names = target.execute(
        text("SELECT tablename FROM pg_tables WHERE schemaname = :name"), {"name": place.schema}
    )
    for name in names.scalars().all():
        target.execute(text(f"DROP TABLE {quote_name(place.schema)}.{quote_name(name)} CASCADE"))


def copy_store(store: StoreDeclaration, source: Place, destination: Place) -> dict[str, int]:
    """Copy a store into an empty database of any kind; return how many rows each table has.

    Both services are stopped: what was written to the source afterwards would be missing.

    Raises:
        BadConfigurationError: both are the same, or the destination is not empty.
        DatabaseInUseError: a service writes to one of them.
    """
    if source == destination:
        raise BadConfigurationError(
            f"{source} cannot be copied to itself", remedy="name two databases"
        )
    require_file(source)
    with writer_of(source), writer_of(destination):
        return _fill(store, source, destination)


def _fill(store: StoreDeclaration, source: Place, destination: Place) -> dict[str, int]:
    migrate(store, destination)
    with reading(source) as origin, writing(destination) as target:
        _require_content(origin, store, source)
        for table in store.metadata.sorted_tables:
            if target.execute(select(func.count()).select_from(table)).scalar_one():
                raise BadConfigurationError(
                    f"{destination} is not empty: table '{table.name}' has rows",
                    remedy="name an empty one, or restore a backup over it",
                )
        return _copy_rows(store, origin, target)


def _require_content(origin: Connection, store: StoreDeclaration, source: Place) -> None:
    if look_at_revision(origin, store).kind is RevisionKind.EMPTY:
        raise DatabaseUnavailableError(
            f"there is nothing of store {store.name} in {source}",
            remedy="see the places: pykarabo db status",
        )
    require_newest_tables(origin, store, source)


def _copy_rows(store: StoreDeclaration, origin: Connection, target: Connection) -> dict[str, int]:
    if target.dialect.name == "postgresql":
        target.execute(text("SET CONSTRAINTS ALL DEFERRED"))
    else:
        target.execute(text("PRAGMA defer_foreign_keys=ON"))
    counts = {
        table.name: _copy_table(table, origin, target) for table in store.metadata.sorted_tables
    }
    if target.dialect.name == "postgresql":
        for table in store.metadata.sorted_tables:
            _advance_sequence(table, target)
    return counts


def _copy_table(table: Table, origin: Connection, target: Connection) -> int:
    count = 0
    rows = origin.execution_options(yield_per=_ROWS).execute(select(table))
    for part in rows.mappings().partitions(_ROWS):
        target.execute(insert(table), [dict(row) for row in part])
        count += len(part)
    return count


def _advance_sequence(table: Table, target: Connection) -> None:
    """Have the server number on behind the rows that came with their numbers."""
    column = table.autoincrement_column
    if column is None or not isinstance(column.type, Integer):
        return
    sequence = target.scalar(
        select(func.pg_get_serial_sequence(func.quote_ident(table.name), column.name))
    )
    highest = target.scalar(select(func.max(column)))
    if sequence is not None and highest is not None:
        target.execute(select(func.setval(sequence, highest)))
