"""What a service says of its store."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, MetaData

from pykarabo.errors import BadConfigurationError, did_you_mean

ENTRY_POINT_GROUP: Final = "pykarabo.stores"
_NAME: Final = re.compile(r"[a-z]{1,24}")
_NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata() -> MetaData:
    """Return metadata whose constraints have names, by which migrations can drop them."""
    return MetaData(naming_convention=_NAMING)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDeclaration:
    """A store: its tables, and how they came about.

    Args:
        name: letters; the file's name, and part of the schema's in PostgreSQL.
        metadata: the tables as they are now.
        migrations: package with one module per revision, `v0001_...` first.
        synchronous: whether a commit is on the disk when it returns. Without, a power failure may
            take the last commits of SQLite with it (a killed process takes none), until
            `Database.make_durable` has said otherwise. PostgreSQL is always synchronous.
        check: returns what is wrong with what the store holds, beyond its tables; told of its
            progress, it tells how many of how many things it has looked at.
        restored: notes in the store that it is what it was when it was backed up.
    """

    name: str
    metadata: MetaData
    migrations: str
    synchronous: bool = True
    check: Callable[[Connection, Callable[[int, int], None]], list[str]] | None = None
    restored: Callable[[Connection], None] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BadConfigurationError(
                f"'{self.name}' cannot be the name of a store", remedy="use up to 24 letters a-z"
            )

    def migrations_folder(self) -> Path:
        """Return where the modules of the revisions are."""
        spec = find_spec(self.migrations)
        if spec is None or spec.origin is None:
            raise BadConfigurationError(
                f"the migrations of store {self.name} are missing: no package {self.migrations}",
                remedy="install pykarabo again",
            )
        return Path(spec.origin).parent


def declared_stores() -> dict[str, StoreDeclaration]:
    """Return the stores of all installed packages, by name."""
    found: dict[str, StoreDeclaration] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        declaration: StoreDeclaration = point.load()
        found[declaration.name] = declaration
    return found


def declared_store(name: str) -> StoreDeclaration:
    """Return a store by its name.

    Raises:
        BadConfigurationError: there is none.
    """
    stores = declared_stores()
    if name not in stores:
        hint = did_you_mean(name, stores)
        raise BadConfigurationError(
            f"there is no store '{name}'", remedy=hint or f"there are: {', '.join(stores)}"
        )
    return stores[name]
