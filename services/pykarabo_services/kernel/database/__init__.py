"""Where services keep what must last: SQLite by default, PostgreSQL by URL.

A service declares its store in its `store.py`, from which Alembic and the commands of
``pykarabo db`` know it::

    METADATA = new_metadata()
    PROJECTS = Table("projects", METADATA, Column("uuid", String(36), primary_key=True), ...)
    STORE = StoreDeclaration(
        name="projects", metadata=METADATA, migrations="pykarabo_services.project.migrations"
    )

and in `setup.cfg`, where ``pykarabo.stores`` lists it: ``projects =
pykarabo_services.project.store:STORE``. The package of the migrations holds one module for each
revision, `v0001_first.py` and so on, with `revision`, `down_revision`, `upgrade` and `downgrade`
as Alembic has them (`scripts/new_migration.py STORE WORDS` writes one). A test goes up and down
with every declared store, and compares the outcome with its metadata.

Its store object takes a `Database`, reads and writes with functions of a connection, and never sees
where the tables are::

    class ProjectStore:
        def __init__(self, database: Database) -> None: ...

        async def rename(self, uuid: str, name: str) -> None:
            await self._database.write(lambda connection: _rename(connection, uuid, name))

`main.py` makes the `Database` and opens it, with ``required=False`` where the service goes on
without; `on_health` tells it of every change, to be shown as the device's state. Each `Database`
has a thread that writes and one that reads; both are given up when the deadline passes. What the
two kinds of database do differently is `connection.dialect.name`.
"""

from ._blocking import reading, require_file, telling, writer_of
from ._care import StoreStatus, check, look_at, vacuum
from ._copying import back_up, copy_store, restore
from ._database import DEADLINE_S, Database, Health
from ._declaration import StoreDeclaration, declared_store, declared_stores, new_metadata
from ._engine import make_engine
from ._lock import WriterLock
from ._migrating import (
    Revision,
    RevisionKind,
    alembic_config,
    look_at_revision,
    migrate,
    require_newest,
    revisions,
)
from ._place import URL_FILE, URL_VARIABLE, Place, database_url, place_of

__all__ = [
    "DEADLINE_S",
    "URL_FILE",
    "URL_VARIABLE",
    "Database",
    "Health",
    "Place",
    "Revision",
    "RevisionKind",
    "StoreDeclaration",
    "StoreStatus",
    "WriterLock",
    "alembic_config",
    "back_up",
    "check",
    "copy_store",
    "database_url",
    "declared_store",
    "declared_stores",
    "look_at",
    "look_at_revision",
    "make_engine",
    "migrate",
    "new_metadata",
    "place_of",
    "reading",
    "require_file",
    "require_newest",
    "restore",
    "revisions",
    "telling",
    "vacuum",
    "writer_of",
]
