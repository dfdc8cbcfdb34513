"""From one revision of a store's tables to another, with Alembic.

An empty database becomes one of the newest revision by itself. What holds something is changed only
where somebody asks for it: an older revision is refused with the command that upgrades it.
"""

import threading
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from pykarabo.errors import DatabaseDamagedError, DatabaseRevisionError

from ._blocking import telling, writing
from ._declaration import StoreDeclaration
from ._engine import create_file
from ._place import Place

if TYPE_CHECKING:
    from alembic.config import Config

_one_at_a_time: Final = threading.Lock()
"""Alembic keeps what it works on in module variables."""


class RevisionKind(StrEnum):
    """How a database stands to the tables that this version of pykarabo knows."""

    EMPTY = "empty"
    CURRENT = "current"
    OLD = "old"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Revision:
    """The revision of a database, and the newest one known here."""

    current: str | None
    newest: str
    kind: RevisionKind


def look_at_revision(connection: Connection, store: StoreDeclaration) -> Revision:
    """Return the revision of the database that a connection leads to."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(alembic_config(store))
    newest = script.get_current_head() or ""
    known = {item.revision for item in script.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    return Revision(current, newest, _kind(connection, current, newest, known))


def _kind(
    connection: Connection, current: str | None, newest: str, known: set[str]
) -> RevisionKind:
    if current is None:
        tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
        return RevisionKind.FOREIGN if tables else RevisionKind.EMPTY
    if current == newest:
        return RevisionKind.CURRENT
    return RevisionKind.OLD if current in known else RevisionKind.UNKNOWN


def require_newest(revision: Revision, store: StoreDeclaration, place: Place) -> None:
    """Refuse what this version of pykarabo cannot work with.

    Raises:
        DatabaseRevisionError: says what to do.
    """
    what = f"the database {place}"
    if revision.kind is RevisionKind.OLD:
        raise DatabaseRevisionError(
            f"{what} has revision {revision.current}, and {revision.newest} is needed",
            remedy=f"upgrade it: pykarabo db upgrade {store.name}",
        )
    if revision.kind is RevisionKind.UNKNOWN:
        raise DatabaseRevisionError(
            f"{what} has revision {revision.current}, which this version of pykarabo does not "
            f"know (newest: {revision.newest})",
            remedy="install the pykarabo that made it, or restore a backup made before: "
            f"pykarabo db restore {store.name} FILE",
        )
    if revision.kind is RevisionKind.FOREIGN:
        raise DatabaseRevisionError(
            f"{what} holds tables that are not those of store {store.name}",
            remedy="name another place for the store",
        )


def require_newest_tables(connection: Connection, store: StoreDeclaration, place: Place) -> None:
    """Refuse to work on tables of another revision.

    Raises:
        DatabaseRevisionError: says what to do.
    """
    require_newest(look_at_revision(connection, store), store, place)


def create_tables(connection: Connection, store: StoreDeclaration, place: Place) -> None:
    """Make the tables in a database that has none or older ones, in the connection's transaction.

    Two services may do so at once: the second one finds what the first has made.
    """
    if place.url is not None:
        _make_schema(connection, place)
    _go_to(connection, store, place, None)


def migrate(store: StoreDeclaration, place: Place, *, revision: str | None = None) -> Revision:
    """Bring a database to a revision, in one transaction; return what it had before.

    The caller is the only writer. Blocking.

    Args:
        revision: by default the newest; ``base`` for none.

    Raises:
        DatabaseRevisionError: the database or the revision is unknown.
    """
    create_file(place)
    with telling(place), writing(place, foreign_keys=False) as connection:
        if place.url is not None:
            _make_schema(connection, place)
        before = look_at_revision(connection, store)
        _go_to(connection, store, place, revision)
        _check_references(connection, place)
    return before


def _make_schema(connection: Connection, place: Place) -> None:
    """Make the schema where it is missing."""
    _lock_schema(connection, place)
    found = connection.execute(
        text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": place.schema}
    )
    if found.first() is None:
        quoted = connection.dialect.identifier_preparer.quote_identifier(place.schema)
        connection.execute(text(f"CREATE SCHEMA {quoted}"))


def _lock_schema(connection: Connection, place: Place) -> None:
    key = zlib.crc32(place.schema.encode())
    connection.execute(text("SELECT pg_advisory_xact_lock(7070, :key)"), {"key": key - (1 << 31)})


def _go_to(
    connection: Connection, store: StoreDeclaration, place: Place, revision: str | None
) -> None:
    from alembic import command
    from alembic.util import CommandError

    before = look_at_revision(connection, store)
    if before.kind in (RevisionKind.UNKNOWN, RevisionKind.FOREIGN):
        require_newest(before, store, place)
    config = alembic_config(store)
    config.attributes["connection"] = connection
    config.attributes["metadata"] = store.metadata
    target = before.newest if revision is None else revision
    try:
        with _one_at_a_time:
            if _goes_back(config, before.current, target):
                command.downgrade(config, target)
            else:
                command.upgrade(config, target)
    except CommandError as error:
        raise DatabaseRevisionError(
            f"the database {place} cannot go to revision '{target}': {error}",
            remedy=f"see the revisions: pykarabo db status {store.name}",
        ) from None


def _goes_back(config: "Config", current: str | None, target: str) -> bool:
    from alembic.script import ScriptDirectory

    if current is None:
        return False
    script = ScriptDirectory.from_config(config)
    behind = {item.revision for item in script.iterate_revisions(current, "base")}
    return target == "base" or (target != current and target in behind)


def _check_references(connection: Connection, place: Place) -> None:
    """Refuse a migration that has left references to nothing; SQLite did not check meanwhile."""
    if place.path is None:
        return
    broken = connection.execute(text("PRAGMA foreign_key_check")).first()
    if broken is not None:
        raise DatabaseDamagedError(
            f"table {broken[0]} of {place} refers to rows of {broken[2]} that are not there",
            remedy="restore a backup: pykarabo db restore",
        )


def revisions(store: StoreDeclaration) -> list[str]:
    """Return the revisions that are known, oldest first."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(alembic_config(store))
    return [item.revision for item in script.walk_revisions()][::-1]


def alembic_config(store: StoreDeclaration) -> "Config":
    from alembic.config import Config

    from . import environment

    config = Config()
    folder = environment.__path__[0]
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    versions = str(store.migrations_folder())
    config.set_main_option("version_locations", versions.replace("%", "%%"))
    return config
