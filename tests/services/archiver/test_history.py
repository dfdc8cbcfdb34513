"""Clients ask a reader what devices were; the archive is real, on either database."""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from pykarabo.client import Client, History
from pykarabo.client._history import HistoryPages, HistoryRequest
from pykarabo.client._steps import acarry_out
from pykarabo.data import (
    Quality,
    State,
    Timestamp,
)
from pykarabo.errors import (
    BadInputError,
    DatabaseUnavailableError,
    NotAnOptionError,
    OutOfRangeError,
    UnknownDeviceError,
    UnknownPropertyError,
    WrongTypeError,
)
from pykarabo.testing import run_facility, until
from pykarabo_services.archiver import answering, decimation, reading, tables
from pykarabo_services.archiver.compaction import compact, crowded
from pykarabo_services.archiver.model import (
    CHUNK_SAMPLES,
)
from pykarabo_services.archiver.reader import HistoryReader
from tests.harness.databases import Databases
from tests.services.archiver.pump import (
    COUNT,
    FIRST_TRAIN,
    PUMP,
    SECOND,
    START,
    archive,
    fill,
    moment,
    pressures,
)


@contextlib.asynccontextmanager
async def reading_facility() -> AsyncGenerator[Client]:
    """Run a reader and return a client that can ask it."""
    async with run_facility({"HistoryReader": HistoryReader}) as facility:
        reader = await facility.start("HistoryReader", "ARCHIVE/READER/1")
        await until(lambda: reader.state == State.ON)
        yield facility.client


@pytest.fixture
def ask(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a coroutine function with a client of a domain whose archive is filled."""
    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)
    monkeypatch.setenv("PYKARABO_DOMAIN", databases.domain)

    async def in_facility(work: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
        async with archive(databases.place("archive")) as database:
            await database.write(fill)
            async with reading_facility() as client:
                return await work(client)

    return lambda work: asyncio.run(in_facility(work))


def test_raw_history_is_every_sample_over_chunks_and_rows(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_SAMPLES", 700)  # several pages

    async def work(client: Client) -> History:
        return await client.history(PUMP, "pressure", since=moment(0), until=moment(COUNT))

    found = ask(work)
    expected = pressures()
    assert found.time_ns.tolist() == [item.time_ns for item in expected]
    assert found.values.tolist() == [item.value for item in expected]
    assert found.train_ids.tolist() == [item.train_id for item in expected]
    assert found.qualities.tolist()[:101:100] == ["warn", "warn"]
    assert (found.unit, found.operator, found.before) == ("mbar", "raw", None)
    assert found.rows()[1].timestamp == Timestamp.from_ns(START + SECOND, FIRST_TRAIN + 10)
    gap, end = found.gaps
    assert (gap.kind, gap.lost, gap.reason) == ("gap", 4, "the archiver was restarted")
    assert (end.kind, end.from_ns, end.to_ns) == ("stopped", START + 2900 * SECOND, None)


def test_points_are_what_a_plot_needs_and_the_value_before_is_told(ask: Any) -> None:
    async def work(client: Client) -> History:
        return await client.history(
            PUMP, "pressure", since=moment(99.5), until=moment(2400), points=40
        )

    found = ask(work)
    assert found.operator == "optimized"
    assert 20 <= len(found) <= 40
    assert found.values.max() == max(item.value for item in pressures()[100:2400])
    assert found.before.value == math.sin(99 / 50)
    assert found.unit == "mbar"


def test_buckets_of_a_given_length_begin_at_its_multiples(ask: Any) -> None:
    async def work(client: Client) -> History:
        since = datetime.fromtimestamp(START // SECOND + 10, UTC)
        return await client.history(
            PUMP, "pressure", since=since, until=moment(200), every="1min", operator="statistics"
        )

    found = ask(work)
    assert found["count"].sum() == 190
    assert all(time_ns % (60 * SECOND) == 0 for time_ns in found.time_ns[1:].tolist())
    assert set(found.figures) == {"mean", "std", "min", "max", "count"}


def test_samples_of_a_damaged_chunk_are_a_gap_and_the_rest_is_there(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(connection: Connection) -> None:
        fill(connection)
        data = tables.chunk_data
        first = connection.execute(select(func.min(data.c.first_ns))).scalar_one()
        connection.execute(update(data).where(data.c.first_ns == first).values(data=b"nonsense"))

    async def work() -> tuple[History, History, Any]:
        async with archive(databases.place("archive")) as database:
            await database.write(damage)
            async with reading_facility() as client:
                raw = await client.history(PUMP, "pressure", since=moment(0))
                mean = await client.history(
                    PUMP, "pressure", since=moment(0), until=moment(COUNT), every=7, operator="mean"
                )
                return raw, mean, await client.past(PUMP, moment(50))

    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)
    monkeypatch.setenv("PYKARABO_DOMAIN", databases.domain)
    raw, mean, past = asyncio.run(work())
    (damaged,) = [gap for gap in raw.gaps if gap.kind == "damaged"]
    assert damaged.lost == COUNT - len(raw) == CHUNK_SAMPLES
    assert raw.time_ns[0] == START + CHUNK_SAMPLES * SECOND
    assert "damaged" in {gap.kind for gap in mean.gaps}
    assert "pressure" not in past.values
    assert ["damaged" in gap.reason for gap in past.gaps] == [True]


def test_rows_that_become_chunks_between_two_pages_are_returned_once(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_SAMPLES", 400)
    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)
    monkeypatch.setenv("PYKARABO_DOMAIN", databases.domain)
    later_ns = START + 10 * COUNT * SECOND

    def compress(connection: Connection) -> int:
        found = crowded(connection, later_ns)
        return sum(compact(connection, item, later_ns, later_ns) for item in found)

    async def work() -> tuple[list[int], int]:
        request = HistoryRequest(device_id=PUMP, key="pressure", since=moment(0))
        pages = HistoryPages(request, later_ns, [])
        times: list[int] = []
        gone = 0
        async with archive(databases.place("archive")) as database:
            await database.write(fill)
            async with reading_facility() as client:
                more = True
                while more:
                    found, more = await acarry_out(client, pages.next_page())
                    times += found.time_ns.tolist()
                    if len(times) > COUNT // 2:
                        gone += await database.write(compress)
        return times, gone

    times, gone = asyncio.run(work())
    assert gone > CHUNK_SAMPLES
    assert times == [item.time_ns for item in pressures()]


def test_trains_are_found_without_times(ask: Any) -> None:
    async def work(client: Client) -> tuple[History, History]:
        trains = (FIRST_TRAIN + 12_345, FIRST_TRAIN + 12_380)
        raw = await client.history(PUMP, "pressure", trains=trains)
        mean = await client.history(PUMP, "pressure", trains=trains, operator="mean", points=1)
        with pytest.raises(OutOfRangeError, match="no sample of the trains 1 to 2"):
            await client.history(PUMP, "pressure", trains=(1, 2))
        return raw, mean

    raw, mean = ask(work)
    assert raw.train_ids.tolist() == [
        FIRST_TRAIN + 10 * number for number in (1235, 1236, 1237, 1238)
    ]
    assert mean.values == pytest.approx([raw.values.mean()])


def test_property_that_changed_its_type_has_one_history(ask: Any) -> None:
    async def work(client: Client) -> History:
        return await client.history(PUMP, "speed", since=moment(-1), until=moment(COUNT))

    assert ask(work).values.tolist() == [300, "fast", 600]


@pytest.mark.parametrize("operator", ["raw", "optimized", "last"])
def test_numbers_of_several_types_are_told_to_the_last_digit(ask: Any, operator: str) -> None:
    async def work(client: Client) -> History:
        span: Any = {"since": moment(-1), "until": moment(5)}
        return await client.history(PUMP, "turns", **span, operator=operator, points=600)

    assert repr(ask(work).values.tolist()) == f"[{2**60 + 1}, {2**64 - 1}, 0.5, True]"


def test_vectors_come_as_they_were(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE_BYTES", 1000)

    async def work(client: Client) -> History:
        return await client.history(PUMP, "spectrum", since=moment(0), until=moment(COUNT))

    found = ask(work)
    assert len(found) == 20
    assert found.values[7].tolist() == [7.0, 8.0, 9.0, 10.0, 11.0]


@pytest.mark.parametrize(("operator", "first"), [("last", 4.0), ("optimized", 0.0)])
def test_chosen_vectors_come_in_pages(
    ask: Any, operator: str, first: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (reading, decimation):
        monkeypatch.setattr(module, "PAGE_BYTES", 200)

    async def work(client: Client) -> History:
        span: Any = {"since": moment(0), "until": moment(20)}
        points = 4 if operator == "last" else 1000
        return await client.history(PUMP, "spectrum", **span, operator=operator, points=points)

    found = ask(work)
    assert len(found) == (4 if operator == "last" else 20)
    assert found.values[0][0] == first
    assert found.before is None
    assert set(found.columns) == {"time_ns", "value", "quality", "train_id", "flags"}


def test_past_is_schema_and_values_with_their_age_and_what_is_not_sure(ask: Any) -> None:
    async def work(client: Client) -> Any:
        times = (-10, 50, 105, 120, 2600, 2950)
        return [await client.past(PUMP, moment(second)) for second in times]

    before, early, in_gap, after_gap, later, stopped = ask(work)
    assert (before.present, before.schema, dict(before.values)) == (False, None, {})
    assert "from before" in before.away
    assert (early.present, early.uncertain) == (True, frozenset())
    assert early.values["pressure"].value == math.sin(50 / 50)
    assert early.values["spectrum"].value.tolist() == [19.0, 20.0, 21.0, 22.0, 23.0]
    assert early.values["speed"].value == 300
    assert early.age_s("mode") == 50
    assert set(early.schema.properties) == {"pressure", "mode", "spectrum", "speed"}
    assert early.schema.properties["pressure"].unit == "mbar"
    assert in_gap.uncertain == {"pressure", "mode", "spectrum", "speed"}
    assert in_gap.gaps[0].lost == 4
    assert after_gap.uncertain == frozenset()
    assert set(later.values) == {"pressure", "mode"}
    assert (stopped.present, stopped.away) == (False, "it was stopped")
    assert stopped.values["pressure"].quality is Quality.VALID


def test_a_past_larger_than_a_message_comes_in_pages(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: Client) -> Any:
        return await client.past(PUMP, moment(50))

    whole = ask(work)
    monkeypatch.setattr(answering, "PAGE_BYTES", 1)
    paged = ask(work)
    assert len(paged.values) == len(whole.values) > 3
    assert repr(paged.values) == repr(whole.values)
    assert (paged.schema, paged.gaps) == (whole.schema, whole.gaps)


def test_what_is_wrong_is_told_with_what_is_near(ask: Any) -> None:
    async def work(client: Client) -> None:
        assert await client.archived("VAC/*") == [PUMP]
        assert await client.archived("X*") == []
        with pytest.raises(UnknownDeviceError, match="did you mean 'VAC/PUMP/1'"):
            await client.history("VAC/PUMP/2", "pressure", since="-1h")
        with pytest.raises(UnknownPropertyError, match="did you mean 'pressure'"):
            await client.history(PUMP, "presure", since="-1h")
        with pytest.raises(UnknownDeviceError, match="VAC/PUMP/1"):
            await client.past("VAC/PUMP", "now")
        with pytest.raises(NotAnOptionError, match="did you mean mean"):
            await client.history(PUMP, "pressure", since="-1h", operator="mea")
        with pytest.raises(OutOfRangeError, match="its end is not after its beginning"):
            await client.history(PUMP, "pressure", since="now", until="-1h")
        with pytest.raises(WrongTypeError, match="has no numbers that 'mean'"):
            await client.history(PUMP, "mode", since=moment(0), operator="mean")
        with pytest.raises(WrongTypeError, match="names no moment"):
            await client.history(PUMP, "pressure", since="soon")
        with pytest.raises(BadInputError, match="needs one beginning"):
            await client.history(PUMP, "pressure")
        with pytest.raises(UnknownDeviceError, match="there is no run recorder"):
            await client.history(PUMP, "pressure", run=3)

    ask(work)


def test_reader_waits_for_an_archive_and_says_so(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)
    monkeypatch.setenv("PYKARABO_DOMAIN", databases.domain)

    async def work() -> None:
        async with run_facility({"HistoryReader": HistoryReader}) as facility:
            reader = await facility.start("HistoryReader", "ARCHIVE/READER/1")
            await until(lambda: "archive" in reader.status)
            with pytest.raises(DatabaseUnavailableError, match="has no archive yet"):
                await facility.client.history(PUMP, "pressure", since="-1h")
            async with archive(databases.place("archive")) as database:
                await database.write(fill)
                await until(lambda: reader.state == State.ON)
                found = await facility.client.history(PUMP, "speed", since=moment(0))
                assert len(found) == 3

    asyncio.run(work())


def test_nobody_who_knows_is_told_with_the_remedy() -> None:
    async def work() -> None:
        async with run_facility({}) as facility:
            with pytest.raises(UnknownDeviceError, match="instantiate HistoryReader"):
                await facility.client.history(PUMP, "pressure", since="-1h")

    asyncio.run(work())
