"""What is not archived of a property: from when to when, and what holds afterwards."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest
from sqlalchemy import Connection

from pykarabo.client import Client, History, Past
from pykarabo.data import Float64, PropertyInfo, Quality, State, ValueType
from pykarabo.device import Device, command
from pykarabo.testing import MemoryFacility, async_test, run_facility, until
from pykarabo_services.archiver.answering import history, past
from pykarabo_services.archiver.decimation import Question
from pykarabo_services.archiver.descriptions import Description
from pykarabo_services.archiver.main import Archiver
from pykarabo_services.archiver.model import Sample, packed, unpacked
from pykarabo_services.archiver.reader import HistoryReader
from pykarabo_services.archiver.recording import DeviceRecording
from pykarabo_services.archiver.store import Batch, SeriesNumbers, write
from pykarabo_services.kernel.database import Database
from tests.harness.databases import Databases
from tests.services.archiver.pump import PUMP, SECOND, START, archive, info, samples_of, schema

KEYS: Final = ("pressure", "speed")
LAST: Final = START + 100 * SECOND
TOLD: Final = "its class or its operator says so (archive=False)"


def _schema(time_ns: int, epoch: int = 1, since: int | None = None, **pressure: Any) -> Batch:
    """Return that the pump has another schema; `pressure` are attributes, or None: it has none."""
    properties: list[PropertyInfo] = [info("speed", ValueType.FLOAT64)]
    if pressure != {"gone": True}:
        properties.append(info("pressure", ValueType.FLOAT64, **pressure))
    wire = schema(*properties)
    item = Description(PUMP, time_ns, epoch, wire.version, packed(wire.to_wire()), since)
    return Batch(descriptions=[item])


def _samples(time_ns: int, value: float) -> Batch:
    sample = Sample(time_ns, value, epoch=1, seq=time_ns)
    return Batch([one for key in KEYS for one in samples_of(key, ValueType.FLOAT64, [sample])])


def _write(batch: Batch, connection: Connection) -> None:
    write(connection, batch, SeriesNumbers())


class _Asked:
    """An archive, and what it answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, *batches: Batch) -> None:
        for batch in batches:
            for _twice in range(2):  # a writer that was killed repeats what it has written
                await self._database.write(partial(_write, batch))

    async def filled(self, key: str) -> list[tuple[int, float]]:
        """Return second and value where `last_fill` has one: every ten seconds."""
        question = Question(start_ns=START, end_ns=LAST, operator="last_fill", every_ns=10 * SECOND)
        answer = await self._database.read(lambda c: history(c, PUMP, key, question))
        columns = answer["columns"]
        seconds = (columns["time_ns"] - START) // SECOND
        return list(zip(seconds.tolist(), columns["value"].tolist(), strict=True))

    async def gaps(self, key: str) -> list[list[Any]]:
        question = Question(start_ns=START, end_ns=LAST, operator="raw")
        answer = await self._database.read(lambda c: history(c, PUMP, key, question))
        return [
            [(gap[0] - START) // SECOND, gap[1] and (gap[1] - START) // SECOND, gap[2], gap[4]]
            for gap in answer["gaps"]
        ]

    async def certain(self, second: int) -> dict[str, bool]:
        at_ns = START + second * SECOND
        answer = await self._database.read(lambda c: past(c, PUMP, at_ns))
        return {row[0]: row[5] for row in unpacked(answer["values"])}


@asynccontextmanager
async def asked(databases: Databases, *batches: Batch) -> AsyncGenerator[_Asked]:
    async with archive(databases.place("archive")) as database:
        found = _Asked(database)
        await found.write(_schema(START), _samples(START, 1.0), *batches)
        yield found


def _at(second: int, **more: Any) -> Batch:
    return _schema(START + second * SECOND, **more)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"archive": False}, TOLD),
        ({"secret": True}, "it is secret"),
        ({"gone": True}, "the device does not have it any more"),
    ],
)
@async_test
async def test_what_is_not_archived_any_more_is_not_known_from_then_on(
    databases: Databases, how: dict[str, bool], reason: str
) -> None:
    async with asked(databases, _at(50, **how)) as found:
        assert await found.gaps("pressure") == [[50, None, "unarchived", reason]]
        assert await found.filled("pressure") == [(second, 1.0) for second in range(0, 50, 10)]
        assert await found.gaps("speed") == []
        assert len(await found.filled("speed")) == 10
        assert await found.certain(49) == {"pressure": True, "speed": True}
        later = await found.certain(60)
        assert later.pop("pressure", False) is False
        assert later == {"speed": True}


@async_test
async def test_what_is_archived_again_is_known_again(databases: Databases) -> None:
    again = (_at(50, archive=False), _at(70), _samples(START + 65 * SECOND, 2.0))
    async with asked(databases, *again) as found:
        assert await found.gaps("pressure") == [[50, 70, "unarchived", TOLD]]
        filled = dict(await found.filled("pressure"))
        assert [second for second in range(0, 100, 10) if second not in filled] == [50]
        assert (filled[40], filled[60], filled[90]) == (1.0, 2.0, 2.0)
        assert [(await found.certain(second))["pressure"] for second in (49, 69, 70)] == [
            True,
            False,
            True,
        ]


@async_test
async def test_a_schema_that_changes_something_else_changes_nothing(databases: Databases) -> None:
    async with asked(databases, _at(50, unit="mbar"), _at(60, archive_interval=5.0)) as found:
        assert await found.gaps("pressure") == []
        assert (await found.certain(99))["pressure"]


@async_test
async def test_it_is_unknown_since_the_last_moment_of_which_all_was_known(
    databases: Databases,
) -> None:
    since = START + 30 * SECOND
    async with asked(databases, _at(50, epoch=2, since=since, archive=False)) as found:
        assert await found.gaps("pressure") == [[30, None, "unarchived", TOLD]]
        assert (await found.certain(30))["pressure"] is False


@async_test
async def test_a_schema_that_comes_late_out_of_another_spool_counts(databases: Databases) -> None:
    async with asked(databases, _at(80, unit="mbar"), _at(50, archive=False)) as found:
        assert await found.gaps("pressure") == [[50, 80, "unarchived", TOLD]]


# -- with devices ---------------------------------------------------------------------------------

TANK: Final = "TEST/TANK/1"
KEY: Final = f"{TANK}.level"


class Tank(Device):
    """Has a level that changes when it is told to."""

    level = Float64(default=1.0)
    other = Float64(default=5.0)

    @command()
    async def keep(self, archive: bool) -> None:
        """Have the level archived, or not."""
        self.update_attributes("level", archive=archive)


CLASSES: Final = {"Archiver": Archiver, "HistoryReader": HistoryReader, "Tank": Tank}


class _Domain:
    """A tank, an archiver and a reader."""

    def __init__(self, facility: MemoryFacility) -> None:
        self._facility = facility

    @property
    def client(self) -> Client:
        return self._facility.client

    async def start(self, class_id: str, device_id: str, **attributes: Any) -> None:
        await self._facility.server.instantiate(class_id, device_id, {}, attributes)

    async def stop(self, device_id: str) -> None:
        await self.server("shutdown_device", device_id)

    async def server(self, name: str, *arguments: Any) -> Any:
        server = await self.client.device("TEST/SERVER")
        return await server.call(name, *arguments)

    async def call(self, name: str, *arguments: Any) -> None:
        tank = await self.client.device(TANK)
        await tank.call(name, *arguments)

    async def told(self) -> list[str]:
        """Return what the archiver says it does not archive of the tank."""
        lines = (await self.client.read("ARCHIVE/1", ["not_archived"]))["not_archived"].value
        return [line for line in lines if line.startswith(KEY)]

    async def past(self) -> Past:
        return await self.client.past(TANK, "now")

    async def history(self, **more: Any) -> History:
        return await self.client.history(TANK, "level", since="-1min", **more)

    async def eventually(self, what: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return what is true, as soon as it is."""
        async with asyncio.timeout(20):
            while not (found := await what()):
                await asyncio.sleep(0.05)
        return found

    async def gap(self, *, is_over: bool) -> Any:
        """Return the gap in which the level is not archived."""

        async def look() -> Any:
            gaps = [gap for gap in (await self.history()).gaps if gap.kind == "unarchived"]
            return gaps and (gaps[-1].to_ns is not None) is is_over and gaps[-1]

        return await self.eventually(look)

    async def known(self, value: float) -> None:
        """Wait until the archive is certain of a level."""

        async def look() -> bool:
            found = await self.past()
            is_there = "level" in found.values and found.values["level"].value == value
            return is_there and "level" not in found.uncertain

        await self.eventually(look)


@pytest.fixture
def run(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, short_runtime: Any
) -> Callable[[Callable[[_Domain], Coroutine[Any, Any, None]]], None]:
    """Run a coroutine function with such a domain."""
    assert short_runtime.exists()
    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)

    async def work(check: Callable[[_Domain], Coroutine[Any, Any, None]]) -> None:
        async with run_facility(CLASSES) as facility:
            domain = _Domain(facility)
            await domain.start("Tank", TANK)
            await domain.start("Archiver", "ARCHIVE/1")
            reader = await facility.start("HistoryReader", "ARCHIVE/READER/1")
            await until(lambda: reader.state == State.ON, timeout_s=20)
            await domain.eventually(lambda: domain.client.archived(TANK))
            await domain.known(1.0)
            await check(domain)

    return lambda check: asyncio.run(work(check))


@pytest.mark.parametrize("who", ["operator", "device"])
def test_what_an_operator_or_a_device_keeps_out_at_run_time_is_told(run: Any, who: str) -> None:
    async def keep(domain: _Domain, is_kept: bool) -> None:
        if who == "device":
            await domain.call("keep", is_kept)
        else:
            given = {} if is_kept else {"level": {"archive": False}}
            await domain.server("set_attributes", TANK, given)

    async def work(domain: _Domain) -> None:
        await keep(domain, False)
        await domain.eventually(domain.told)
        assert await domain.told() == [f"{KEY}: {TOLD}"]
        gap = await domain.gap(is_over=False)
        await domain.client.set(TANK, {"level": 2.0})

        filled = await domain.history(operator="last_fill", every="100ms")
        assert filled.time_ns.max() < gap.from_ns
        past = await domain.past()
        assert past.uncertain == {"level"}
        assert any(item.reason == f"level: {TOLD}" for item in past.gaps)

        await keep(domain, True)
        await domain.known(2.0)
        assert (await domain.gap(is_over=True)).from_ns == gap.from_ns
        assert (await domain.history()).values.tolist() == [1.0, 2.0]
        assert await domain.eventually(lambda: _none(domain))

    run(work)


async def _none(domain: _Domain) -> bool:
    return not await domain.told()


def test_what_changes_while_no_archiver_runs_is_told_when_one_is_back(run: Any) -> None:
    async def work(domain: _Domain) -> None:
        await domain.stop("ARCHIVE/1")
        await domain.call("keep", False)
        await domain.client.set(TANK, {"level": 2.0})
        stopped = await domain.history()
        await domain.start("Archiver", "ARCHIVE/1")
        gap = await domain.gap(is_over=False)
        assert gap.from_ns < stopped.end_ns
        assert (await domain.past()).uncertain == {"level"}

        await domain.stop("ARCHIVE/1")
        await domain.call("keep", True)
        await domain.start("Archiver", "ARCHIVE/1")
        await domain.known(2.0)

    run(work)


def test_a_new_life_that_is_not_archived_takes_no_value_from_the_one_before(run: Any) -> None:
    async def work(domain: _Domain) -> None:
        await domain.stop(TANK)
        await domain.start("Tank", TANK, level={"archive": False})
        gap = await domain.gap(is_over=False)
        stopped = [item for item in (await domain.history()).gaps if item.kind == "stopped"]
        assert [item.to_ns for item in stopped] == [gap.from_ns]
        assert (await domain.past()).uncertain == {"level"}
        await domain.stop(TANK)
        await domain.start("Tank", TANK)
        await domain.known(1.0)

    run(work)


def test_a_value_that_cannot_be_recorded_is_a_gap_with_a_warning(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = DeviceRecording._row

    def fail(self: DeviceRecording, series: Any, row: list[Any], *more: Any) -> Any:
        if row[:2] == ["level", 13.0]:
            raise OverflowError("it brings bad luck")
        return record(self, series, row, *more)

    async def work(domain: _Domain) -> None:
        monkeypatch.setattr(DeviceRecording, "_row", fail)
        await domain.client.set(TANK, {"level": 13.0, "other": 6.0})

        async def rejected() -> Any:
            return [gap for gap in (await domain.history()).gaps if gap.kind == "rejected"]

        (gap,) = await domain.eventually(rejected)
        assert (gap.lost, "it brings bad luck" in gap.reason) == (1, True)
        past = await domain.past()
        assert past.values["other"].value == 6.0
        assert past.uncertain == {"level"}

        async def counted() -> Any:
            values = await domain.client.read("ARCHIVE/1", ["recording_errors"])
            return values["recording_errors"].value and values["recording_errors"]

        assert (await domain.eventually(counted)).quality == Quality.WARN
        await domain.client.set(TANK, {"level": 14.0})
        await domain.known(14.0)

    run(work)
