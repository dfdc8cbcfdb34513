"""Connections for commands of people, who wait themselves and can press Ctrl-C."""

import contextlib
import sqlite3
from collections.abc import Generator

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from pykarabo.errors import DatabaseUnavailableError

from ._engine import WRITE_OPTION, create_file, make_engine
from ._faults import translate
from ._lock import WriterLock
from ._place import Place
from ._sessions import work_alone


@contextlib.contextmanager
def telling(place: Place) -> Generator[None]:
    """Raise what a database says as an error of ours."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        meaning = translate(error, place)
        if meaning is None:
            raise
        raise meaning from error


@contextlib.contextmanager
def writer_of(place: Place) -> Generator[None]:
    """Be the only writer, of a SQLite file or of a schema.

    Raises:
        DatabaseInUseError: a service is.
    """
    if place.path is None:
        with _alone(place):
            yield
        return
    create_file(place)
    lock = WriterLock(place.path)
    lock.take()
    try:
        yield
    finally:
        lock.give_back()


@contextlib.contextmanager
def _alone(place: Place) -> Generator[None]:
    with contextlib.ExitStack() as stack:
        with telling(place):
            connection = stack.enter_context(make_engine(place).connect())
            work_alone(connection, place)
        yield


@contextlib.contextmanager
def reading(place: Place) -> Generator[Connection]:
    """Give a connection that sees one state of the store, and cannot change it.

    Raises:
        DatabaseUnavailableError: nothing is there.
    """
    require_file(place)
    with telling(place), make_engine(place, read_only=True).connect() as connection:
        if place.url is not None:
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextlib.contextmanager
def writing(place: Place, *, foreign_keys: bool = True) -> Generator[Connection]:
    """Give a connection whose transaction is committed at the end."""
    with telling(place):
        engine = make_engine(place, foreign_keys=foreign_keys)
        options = {WRITE_OPTION: True}
        with engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection


def require_file(place: Place) -> None:
    """Refuse a file that is not there: SQLite's own words would not say so.

    Raises:
        DatabaseUnavailableError: it is not there.
    """
    if place.path is not None and not place.path.exists():
        raise DatabaseUnavailableError(
            f"there is no database {place}",
            remedy="the service that needs it makes it; see the places: pykarabo db status",
        )
