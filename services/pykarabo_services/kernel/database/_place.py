"""Where stores are: files below the domain's data directory, or schemas of a PostgreSQL server.

A PostgreSQL database may serve many domains: each store has a schema of its own, named
``<domain>_<store>``. A store's name has no underscore, so no two of them meet.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from pykarabo.errors import BadConfigurationError
from pykarabo.transport import config_directory, data_directory, domain_name

URL_VARIABLE: Final = "PYKARABO_DATABASE_URL"
URL_FILE: Final = "database.url"
_OTHERS: Final = 0o077
_REMEDY: Final = (
    "name a PostgreSQL database, postgresql://USER@HOST/DATABASE, or a folder for SQLite files, "
    "sqlite:////FOLDER"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one store is.

    Args:
        path: the SQLite file; None for PostgreSQL.
        url: the PostgreSQL database.
        schema: the store's schema in it.
    """

    path: Path | None = None
    url: URL | None = None
    schema: str = ""

    def __str__(self) -> str:
        """Return the place in words, without a password."""
        if self.url is None:
            return str(self.path)
        shown = self.url.set(drivername="postgresql").render_as_string(hide_password=True)
        return f"{shown} (schema {self.schema})"


def database_url(domain: str | None = None) -> str | None:
    """Return the URL of the domain's databases that the environment or a file gives; else None.

    The variable PYKARABO_DATABASE_URL comes first, then the file ``database.url`` in the domain's
    configuration directory.

    Raises:
        BadConfigurationError: the file has a password in it that others may read.
    """
    given = os.environ.get(URL_VARIABLE)
    if given:
        return given
    path = config_directory(domain) / URL_FILE
    try:
        text = path.read_text("utf-8").strip()
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfigurationError(f"{path} cannot be read: {error}", remedy=_REMEDY) from None
    if mode & _OTHERS and text and _parse(text).password:
        raise BadConfigurationError(
            f"{path} has a password in it and others may read it (mode {mode:o})",
            remedy=f"chmod 600 {path}",
        )
    return text or None


def place_of(store_name: str, *, domain: str | None = None, url: str | None = None) -> Place:
    """Return where a store is.

    Args:
        url: of the databases; by default that of `database_url`, else a SQLite file in the
            domain's data directory.

    Raises:
        BadConfigurationError: a URL that is none, or of another kind of database.
    """
    name = domain_name(domain)
    text = url or database_url(name)
    if text is None:
        return Place(data_directory(name) / f"{store_name}.db")
    parsed = _parse(text)
    if parsed.get_backend_name() == "sqlite":
        return Place(Path(parsed.database or "") / f"{store_name}.db")
    return Place(url=parsed.set(drivername="postgresql+psycopg"), schema=f"{name}_{store_name}")


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text may hold a password: it is not repeated.
        raise BadConfigurationError("the URL of the database is none", remedy=_REMEDY) from None
    backend = url.drivername.partition("+")[0]
    if backend not in ("sqlite", "postgresql", "postgres"):
        raise BadConfigurationError(
            f"a database of kind '{backend}' cannot be used", remedy=_REMEDY
        )
    if backend == "sqlite" and not Path(url.database or "").is_absolute():
        raise BadConfigurationError(
            f"'{text}' names no absolute folder", remedy="write sqlite:////FOLDER, with four '/'"
        )
    return url.set(drivername="postgresql") if backend == "postgres" else url
