"""Archiving: what an archiver takes from living devices, its parts alone, and reading."""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pykarabo_services.kernel.database import URL_VARIABLE, place_of
from scripts.benchmarks._archive_parts import bytes_per_sample, writer_rates
from scripts.benchmarks._history_parts import history_rows
from scripts.benchmarks._processes import Peer, domain, duration_s, peer
from scripts.benchmarks._report import Reach, Row
from tests.harness.archive import Archive
from tests.harness.postgres import PostgresServer

DEVICES: Final = 20
PROPERTIES: Final = 20
RATE: Final = 50.0
_OFFERED: Final = DEVICES * PROPERTIES * RATE
_ARCHIVER: Final = "ARCHIVER/1"
_SOURCES: Final = "BEAT"
_SETTLE_S: Final = 3.0
_PATIENCE_S: Final = 300.0
_CATCH_UP_RATE: Final = 12.5
"""A quarter of the rate: what is caught up with goes on meanwhile."""


def rows() -> list[Row]:
    """Measure archiving to SQLite and to PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="pk-") as folder, _postgresql() as server:

        def urls(part: str) -> dict[str, str]:
            """Return where a part's databases are; PostgreSQL tells them apart by domain."""
            return {"sqlite": f"sqlite:///{folder}/{part}", "postgresql": server.url}

        return [
            *writer_rates(urls("writer")),
            bytes_per_sample(Path(folder)),
            *history_rows(urls("history")),
            *(row for kind, url in urls("sustained").items() for row in _sustained(kind, url)),
            _catch_up(server),
        ]


@contextmanager
def _postgresql() -> Generator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server
    finally:
        server.close()


# -- living devices -----------------------------------------------------------------------------


@contextmanager
def _archived(url: str, rate: float) -> Generator[tuple[Peer, Archive]]:
    """Run sources and an archiver of them."""
    with domain("serve"):
        os.environ[URL_VARIABLE] = url
        try:
            with peer("archiver", _ARCHIVER) as archiver:
                _heard(archiver)
                _until(lambda: _get("database_state")["database_state"] == "works")
                with peer("beat", _SOURCES, DEVICES, PROPERTIES, rate) as sources:
                    _heard(sources)
                    yield archiver, Archive(place_of("archive", url=url, domain="bench"))
        finally:
            del os.environ[URL_VARIABLE]


def _heard(process: Peer) -> None:
    problems = process.hear()["problems"]
    if problems:
        raise RuntimeError(f"devices were not started: {problems}")


def _get(*keys: str) -> dict[str, Any]:
    from pykarabo.client import Client

    async def ask() -> dict[str, Any]:
        async with Client() as client:
            return {row[0]: row[1] for row in await client.get(_ARCHIVER, list(keys))}

    return asyncio.run(ask())


def _first_s(archive: Archive) -> float:
    """Return how old the first sample of the slowest source was when it was found."""
    begun = time.perf_counter()
    last = f"{_SOURCES}/{DEVICES - 1}"
    while archive.newest(last, "value0") is None:
        if time.perf_counter() - begun > _PATIENCE_S:
            raise RuntimeError("no sample came into the archive")
        time.sleep(0.02)
    return time.perf_counter() - begun


def _sustained(kind: str, url: str) -> list[Row]:
    """Archive for a while; look all the time how old the newest sample in the database is."""
    wanted_s = duration_s(20.0, 600.0)
    with _archived(url, RATE) as (archiver, archive):
        first_s = _first_s(archive)
        time.sleep(_SETTLE_S)
        ages: list[float] = []
        before, begun = _get("written"), time.perf_counter()
        while time.perf_counter() - begun < wanted_s:
            ages.append(archive.age_s(f"{_SOURCES}/0", "value0"))
            time.sleep(0.1)
        took_s = time.perf_counter() - begun
        after = _get("written", "missed", "limited", "lag")
        rate = (after["written"] - before["written"]) / took_s
        profile = _profile_of(archiver)
    what = f"{DEVICES} devices with {PROPERTIES} properties at {RATE:g} Hz to {kind}"
    lost = after["missed"] + after["limited"]
    return [
        Row(
            id=f"sustained_{kind}",
            what=f"{what} for {took_s:.0f} s, {lost} lost",
            value=rate,
            unit="1/s",
            reference="samples that the devices make",
            reference_value=_OFFERED,
            reach=Reach(0.98, ratio=True, least=True),
        ).explained(lambda: profile),
        Row(
            id=f"sustained_{kind}_age",
            what=f"{what}: p99 of the age of the newest sample in the database",
            value=statistics.quantiles(ages, n=100)[-1],
            unit="s",
            reach=Reach(1.0),
        ).explained(lambda: profile),
        Row(
            id=f"first_sample_{kind}",
            what=f"{what}: first sample after the last one was started",
            value=first_s,
            unit="s",
            reach=Reach(1.0),
        ),
    ]


def _profile_of(archiver: Peer) -> list[str]:
    return archiver.profiled(lambda: time.sleep(2.0))


def _catch_up(server: PostgresServer) -> Row:
    """Stop the database for a while, and see how fast the backlog goes."""
    outage_s = duration_s(15.0, 600.0)
    rate = DEVICES * PROPERTIES * _CATCH_UP_RATE
    with _archived(server.url_of("postgres"), _CATCH_UP_RATE) as (archiver, archive):
        _first_s(archive)
        server.stop()
        time.sleep(outage_s)
        server.start()
        _until(lambda: _get("database_state")["database_state"] == "works")
        before, begun = _get("written")["written"], time.perf_counter()
        _until(lambda: _get("lag")["lag"] < 1.0)
        took_s = time.perf_counter() - begun
        after = _get("written", "missed")
        speed = (after["written"] - before) / took_s
        profile = _profile_of(archiver)
    return Row(
        id="catch_up",
        what=f"after {outage_s:.0f} s without PostgreSQL at {rate:.0f} samples/s, "
        f"{after['missed']} lost",
        value=speed,
        unit="1/s",
        reference="samples that the devices make",
        reference_value=rate,
        reach=Reach(3.0, ratio=True, least=True),
    ).explained(lambda: profile)


def _until(condition: Callable[[], bool]) -> None:
    end = time.perf_counter() + _PATIENCE_S
    while not condition():
        if time.perf_counter() > end:
            raise RuntimeError("it took too long")
        time.sleep(0.1)
