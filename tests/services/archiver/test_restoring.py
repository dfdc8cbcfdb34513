"""What is lost by restoring is told, and chunks that are damaged are found."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select, update

from pykarabo.testing import async_test
from pykarabo_services.archiver import restoring, tables
from pykarabo_services.archiver.answering import history, past
from pykarabo_services.archiver.decimation import Question
from pykarabo_services.archiver.model import unpacked
from pykarabo_services.archiver.store import STORE, SeriesKey, SeriesNumbers, store_id
from pykarabo_services.kernel.database import Database, Place, back_up, check, restore
from tests.harness.databases import Databases
from tests.services.archiver.pump import COUNT, PUMP, SECOND, START, archive, fill


@async_test
async def test_what_came_after_the_backup_is_a_gap_in_which_no_value_is_certain(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_ns, restored_ns = START + COUNT * SECOND, START + 2 * COUNT * SECOND
    monkeypatch.setattr(restoring, "time", SimpleNamespace(time_ns=lambda: restored_ns))
    place = databases.place("archive")
    async with archive(place) as database:
        await database.write(fill)
        before = await database.write(store_id)
    back_up(STORE, place, tmp_path / "backup.db")
    restore(STORE, place, tmp_path / "backup.db")
    question = Question(start_ns=START, end_ns=restored_ns + 1, operator="raw")
    async with archive(place) as database:
        assert await database.write(store_id) != before
        told = await database.read(
            lambda connection: history(connection, PUMP, "pressure", question)
        )
        gap = next(item for item in told["gaps"] if "restored" in item[4])
        assert gap[:4] == [last_ns, restored_ns, "gap", None]
        for at_ns in (last_ns + 1, restored_ns - 1):
            assert not any(row[5] for row in await _values_at(database, at_ns)), at_ns
        assert all(row[5] for row in await _values_at(database, START + 5 * SECOND))


@async_test
async def test_a_restore_that_fails_at_its_notes_changes_nothing(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = databases.place("archive")
    async with archive(place) as database:
        back_up(STORE, place, tmp_path / "backup.db")
        await database.write(fill)
        before = await database.write(store_id)

    def stop(_connection: Connection, _events: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(restoring, "write_events", stop)
    with pytest.raises(KeyboardInterrupt):
        restore(STORE, place, tmp_path / "backup.db")
    async with archive(place) as database:
        assert await database.write(store_id) == before
        assert await _values_at(database, START + 5 * SECOND)
    assert _unfinished(tmp_path) == []


@async_test
async def test_writer_asks_a_restored_archive_for_the_numbers_of_its_series(
    databases: Databases, tmp_path: Path
) -> None:
    place = databases.place("archive")
    numbers, later = SeriesNumbers(), SeriesNumbers()
    first, second, third = (SeriesKey(PUMP, key, "float64") for key in ("a", "b", "c"))
    async with archive(place) as database:
        await database.write(store_id)
        numbers.remember(await database.write(lambda c: numbers.find(c, [first])))
        back_up(STORE, place, tmp_path / "backup.db")
        numbers.remember(await database.write(lambda c: numbers.find(c, [second])))
    restore(STORE, place, tmp_path / "backup.db")
    async with archive(place) as database:
        taken = await database.write(lambda c: later.find(c, [third]))
        found = await database.write(lambda c: numbers.find(c, [first, second]))
    assert len({*taken.values(), *found.values()}) == 3


def _unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part*"))


async def _values_at(database: Database, at_ns: int) -> list[Any]:
    answer = await database.read(lambda connection: past(connection, PUMP, at_ns))
    found: list[Any] = unpacked(answer["values"])
    assert found
    return found


def _damage(connection: Connection) -> None:
    data = tables.chunk_data
    query = select(data.c.series_id, data.c.first_ns, data.c.data).order_by(data.c.first_ns)
    at = connection.execute(query.limit(1)).one()
    wrong = at.data[:-9] + bytes([at.data[-9] ^ 1]) + at.data[-8:]
    ours = (data.c.series_id == at.series_id) & (data.c.first_ns == at.first_ns)
    connection.execute(update(data).where(ours).values(data=wrong))


def _lie(connection: Connection) -> None:
    connection.execute(update(tables.chunk).values(count=tables.chunk.c.count + 1))


def _drop_data(connection: Connection) -> None:
    connection.execute(delete(tables.chunk_data))


def _drop_summaries(connection: Connection) -> None:
    connection.execute(delete(tables.chunk))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_damage, "checksum does not fit"),
        (_lie, "its summary says 1025 samples, in it are 1024 from"),
        (_drop_data, "its data is missing"),
        (_drop_summaries, "has lost its summary"),
    ],
    ids=["damaged", "wrong", "without data", "without summary"],
)
@async_test
async def test_check_names_the_chunks_that_are_damaged(
    databases: Databases, spoil: Any, words: str
) -> None:
    place: Place = databases.place("archive")
    seen: list[tuple[int, int]] = []
    async with archive(place) as database:
        await database.write(fill)
        assert check(STORE, place, on_progress=lambda *told: seen.append(told)) == []
        await database.write(spoil)
    problems = check(STORE, place)
    assert seen[-1][0] == seen[-1][1] > 0
    assert words in problems[0]
    assert f"{PUMP}.pressure (float64)" in problems[0]
    assert "2026-" in problems[0]
    assert "pykarabo db restore archive FILE" in problems[0]
