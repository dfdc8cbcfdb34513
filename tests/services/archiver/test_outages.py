"""Comings and goings of a device whose clock and that of its archiver differ."""

import asyncio
from typing import Final

import pytest
from sqlalchemy import Connection

from pykarabo.data import ValueType
from pykarabo_services.archiver.model import DeviceEvent, EventKind, Sample
from pykarabo_services.archiver.outages import outages_of
from pykarabo_services.archiver.past import past_device
from pykarabo_services.archiver.store import Batch, SeriesKey, SeriesNumbers, tail_of, write
from pykarabo_services.kernel.database import Place
from tests.harness.databases import Databases
from tests.services.archiver.pump import PUMP, archive

KEY: Final = SeriesKey(PUMP, "pressure", "float64")
STARTED, STOPPED, AWAY = EventKind.STARTED, EventKind.STOPPED, EventKind.AWAY
LATER: Final = 1000
Turn = tuple[EventKind, int, int]


@pytest.fixture
def place(databases: Databases) -> Place:
    return databases.place("archive")


def told(place: Place, turns: list[Turn], time_ns: int) -> tuple[list[tuple[int, int | None]], str]:
    """Return from when to when a device was away, and why it is away at a moment."""

    def fill(connection: Connection) -> None:
        batch = Batch([(KEY, tail_of(ValueType.FLOAT64, Sample(1, 0.5)))])
        batch.events += [
            DeviceEvent(device_id=PUMP, kind=kind, epoch=epoch, time_ns=at)
            for kind, epoch, at in turns
        ]
        write(connection, batch, SeriesNumbers())

    async def work() -> tuple[list[tuple[int, int | None]], str]:
        async with archive(place) as database:
            await database.write(fill)
            found = await database.read(lambda c: outages_of(c, PUMP, 0, LATER))
            past = await database.read(lambda c: past_device(c, PUMP, time_ns))
        return [(gap.from_ns, gap.to_ns) for gap in found], past.away

    return asyncio.run(work())


@pytest.mark.parametrize("end", [STOPPED, AWAY])
def test_a_device_that_starts_within_its_clocks_skew_is_there(place: Place, end: EventKind) -> None:
    turns = [(STARTED, 10, 10), (end, 10, 100), (STARTED, 95, 95)]
    assert told(place, turns, 500) == ([(95, 95)], "")


def test_a_device_that_stops_within_its_clocks_skew_is_gone(place: Place) -> None:
    gaps, away = told(place, [(STARTED, 110, 110), (STOPPED, 110, 105)], 500)
    assert gaps == [(110, None)]
    assert "was stopped" in away


def test_a_device_is_away_from_its_end_to_its_next_start(place: Place) -> None:
    turns = [(STARTED, 10, 10), (STOPPED, 10, 100), (STARTED, 120, 120)]
    assert told(place, turns, 110) == ([(100, 120)], "it was stopped")
