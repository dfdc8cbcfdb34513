"""Fixtures for stores: a place for them on SQLite, and one on a real PostgreSQL."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pykarabo_services.kernel.database import Place, place_of

from .postgres import PostgresServer


@dataclass(frozen=True, slots=True)
class Databases:
    """Where the stores of one test are.

    Args:
        kind: ``sqlite`` or ``postgresql``.
        url: for PYKARABO_DATABASE_URL, so that processes find them too.
        domain: whose stores they are, where a test has no domain of its own.
        server: the server of all tests, which is not to be stopped.
    """

    kind: str
    url: str
    domain: str
    server: PostgresServer

    def place(self, store_name: str) -> Place:
        """Return where a store is."""
        return place_of(store_name, url=self.url, domain=self.domain)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Return a PostgreSQL server that all tests of this process share."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """Return a PostgreSQL server that the test may stop, freeze and fill."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Databases:
    """Run the test twice: with its stores in SQLite files, and in PostgreSQL."""
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'stores'}" if is_file else postgres_server.url
    return Databases(request.param, url, f"t{secrets.token_hex(6)}", postgres_server)
