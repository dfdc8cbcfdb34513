"""A domain with specimens, an archive on either database, and archivers that may be killed."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pykarabo.wire import Call
from pykarabo_services.kernel.database import URL_VARIABLE, place_of
from tests.harness.archive import Archive, ArchiverProcess
from tests.harness.cluster import Cluster, FaultyProcess
from tests.harness.database_troubles import PostgresTrouble, SqliteTrouble, Trouble
from tests.harness.databases import Databases, databases, own_postgres, postgres_server

ROOT = Path(__file__).parents[3]
__all__ = ["databases", "own_postgres", "postgres_server"]


@dataclass
class ArchivedFacility:
    """A cluster with archivers.

    Attributes:
        kind: of its database.
        url: of its database.
    """

    cluster: Cluster
    folder: Path
    kind: str = ""
    url: str = ""
    _archivers: list[ArchiverProcess] = field(default_factory=list[ArchiverProcess])
    _others: list[FaultyProcess] = field(default_factory=list[FaultyProcess])

    def use(self, kind: str, url: str) -> None:
        """Archive to this database."""
        self.kind, self.url = kind, url

    @property
    def archive(self) -> Archive:
        """What is in the database."""
        domain = os.environ["PYKARABO_DOMAIN"]
        return Archive(place_of("archive", url=self.url, domain=domain))

    def start_archiver(
        self,
        device_id: str = "ARCHIVER/1",
        *,
        environment: Mapping[str, str] | None = None,
        configuration: Mapping[str, object] | None = None,
    ) -> ArchiverProcess:
        """Start an archiver."""
        archiver = ArchiverProcess(
            self.folder,
            device_id,
            configuration=configuration,
            environment={URL_VARIABLE: self.url, **(environment or {})},
        )
        self._archivers.append(archiver)
        return archiver

    def start_odd(self, *devices: str) -> FaultyProcess:
        """Start devices that tell odd values; see `odd_process.py`."""
        command = [sys.executable, "-m", "tests.harness.odd_process", *devices]
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = FaultyProcess(command, variables, self.folder / "odd.log")
        assert json.loads(process.hear())["problems"] == {}
        self._others.append(process)
        return process

    def call(self, device_id: str, command: str, *arguments: Any, timeout_s: float = 5.0) -> Any:
        """Run a command of a device."""

        async def ask() -> Any:
            async with self.cluster.client() as client:
                call = Call(device_id, command, list(arguments))
                return await client.request(device_id, call, timeout_s=timeout_s)

        return asyncio.run(ask())

    def get(self, device_id: str, key: str) -> Any:
        """Return the value of a property."""

        async def ask() -> Any:
            async with self.cluster.client() as client:
                return (await client.get(device_id, [key]))[0][1]

        return asyncio.run(ask())

    def totals(self, *devices: str, timeout_s: float = 60.0) -> dict[str, int]:
        """Stop specimens, wait until all is in the archive; returns what became of all changes."""
        last = {name: self.call(name, "halt") for name in devices}
        totals: dict[str, int] = {}
        for name in devices:
            self.archive.wait_for(name, last[name], timeout_s=timeout_s)
            account = self.archive.account(name, self.cluster.produced(name))
            assert account.exact, (name, account)
            for key, count in account.plain().items():
                totals[key] = totals.get(key, 0) + count
        return totals

    def close(self) -> None:
        """End the archivers in order, so that their writers end too."""
        for archiver in self._archivers:
            if archiver.running:
                archiver.end()
            archiver.close()
        self._archivers.clear()
        for process in self._others:
            process.close()
        self._others.clear()


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[ArchivedFacility]:
    """Return a facility whose database is yet to be named."""
    facility = ArchivedFacility(cluster, tmp_path)
    yield facility
    facility.close()


@pytest.fixture
def facility(site: ArchivedFacility, databases: Databases) -> ArchivedFacility:
    """Return a facility that archives to SQLite, and one that archives to PostgreSQL."""
    site.use(databases.kind, databases.url)
    return site


@pytest.fixture(params=["sqlite", "postgresql"])
def trouble(request: pytest.FixtureRequest, short_runtime: Path, tmp_path: Path) -> Trouble:
    """Run the test twice: with an SQLite file, and with a PostgreSQL server of its own."""
    del short_runtime  # it names the domain
    if request.param == "sqlite":
        return SqliteTrouble(tmp_path / "stores", os.environ["PYKARABO_DOMAIN"])
    return PostgresTrouble(request.getfixturevalue("own_postgres"))
