"""Backups, copies from one kind of database to the other, and looking after stores."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text

from pykarabo.errors import (
    BadConfigurationError,
    DatabaseDamagedError,
    DatabaseInUseError,
    DatabaseRevisionError,
    DatabaseUnavailableError,
)
from pykarabo.testing import async_test
from pykarabo_services.kernel.database import (
    Database,
    Place,
    StoreDeclaration,
    back_up,
    check,
    copy_store,
    look_at,
    look_at_revision,
    make_engine,
    migrate,
    new_metadata,
    place_of,
    restore,
    vacuum,
    writer_of,
)
from tests.harness.databases import Databases
from tests.harness.notes import NOTES, PEOPLE, STORE

ROWS = [("Ada", "poetical science"), ("Čeněk", "ß\n\t'\"% \\"), ("Ada", "")]


def fill(place: Place) -> None:
    migrate(STORE, place)
    with make_engine(place).begin() as connection:
        connection.execute(insert(PEOPLE), [{"name": "Ada"}, {"name": "Čeněk"}])
        ids = {row.name: row.id for row in connection.execute(select(PEOPLE))}
        connection.execute(
            insert(NOTES), [{"author": ids[name], "text": note} for name, note in ROWS]
        )


def content(place: Place) -> list[tuple[str, str]]:
    joined = select(PEOPLE.c.name, NOTES.c.text).join(NOTES, NOTES.c.author == PEOPLE.c.id)
    with make_engine(place).connect() as connection:
        return [(row.name, row.text) for row in connection.execute(joined.order_by(NOTES.c.id))]


def other_kind(databases: Databases, tmp_path: Path) -> Place:
    if databases.kind == "sqlite":
        return place_of("notes", url=databases.server.url, domain=databases.domain)
    return Place(tmp_path / "other.db")


def test_backup_is_a_file_that_restores_what_was(databases: Databases, tmp_path: Path) -> None:
    place = databases.place("notes")
    fill(place)
    file = tmp_path / "backup.db"
    assert back_up(STORE, place, file) == file.stat().st_size
    assert content(Place(file)) == ROWS
    assert file.stat().st_mode & 0o777 == 0o600
    with make_engine(place).begin() as connection:
        connection.execute(NOTES.delete())
        connection.execute(insert(PEOPLE).values(name="Bob"))
    restore(STORE, place, file)
    assert content(place) == ROWS
    with make_engine(place).begin() as connection:
        connection.execute(insert(PEOPLE).values(name="Bob"))


def test_a_backup_beside_its_store_stays_whatever_its_name_is(tmp_path: Path) -> None:
    place, backup = Place(tmp_path / "notes.db"), tmp_path / "notes.db.part"
    fill(place)
    back_up(STORE, place, backup)
    restore(replace(STORE, restored=_forget_notes), place, backup)
    assert content(place) == []
    restore(STORE, place, backup)
    assert content(place) == ROWS
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def _forget_notes(connection: Connection) -> None:
    connection.execute(NOTES.delete())


def test_backup_restores_into_the_other_kind_of_database(
    databases: Databases, tmp_path: Path
) -> None:
    fill(databases.place("notes"))
    back_up(STORE, databases.place("notes"), tmp_path / "backup.db")
    other = other_kind(databases, tmp_path)
    restore(STORE, other, tmp_path / "backup.db")
    assert content(other) == ROWS


def test_older_backup_is_upgraded_on_the_way(databases: Databases, tmp_path: Path) -> None:
    old = Place(tmp_path / "old.db")
    fill(old)
    migrate(STORE, old, revision="v0001")
    back_up(STORE, old, tmp_path / "backup.db")
    restore(STORE, databases.place("notes"), tmp_path / "backup.db")
    assert content(databases.place("notes")) == ROWS
    assert check(STORE, databases.place("notes")) == []
    with make_engine(Place(tmp_path / "backup.db")).connect() as connection:
        assert look_at_revision(connection, STORE).current == "v0001"


@async_test
async def test_backup_is_made_while_the_service_writes(
    databases: Databases, tmp_path: Path
) -> None:
    place = databases.place("notes")
    database = Database(STORE, place)
    await database.open()
    await database.write(lambda connection: connection.execute(insert(PEOPLE).values(name="Ada")))
    back_up(STORE, place, tmp_path / "backup.db")
    await database.write(lambda connection: connection.execute(insert(PEOPLE).values(name="Bob")))
    await database.aclose()
    with make_engine(Place(tmp_path / "backup.db")).connect() as connection:
        assert connection.execute(select(PEOPLE.c.name)).scalars().all() == ["Ada"]


def test_backup_does_not_replace_a_file_unasked(databases: Databases, tmp_path: Path) -> None:
    fill(databases.place("notes"))
    (tmp_path / "backup.db").write_text("precious")
    with pytest.raises(BadConfigurationError, match=r"backup\.db exists already"):
        back_up(STORE, databases.place("notes"), tmp_path / "backup.db")
    assert (tmp_path / "backup.db").read_text() == "precious"


def test_backup_of_nothing_is_refused_and_leaves_no_file(
    databases: Databases, tmp_path: Path
) -> None:
    with pytest.raises(DatabaseUnavailableError, match="there is no"):
        back_up(STORE, databases.place("notes"), tmp_path / "backup.db")
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_restoring_something_else_changes_nothing(databases: Databases, tmp_path: Path) -> None:
    place = databases.place("notes")
    fill(place)
    strange = StoreDeclaration(
        name="strange", metadata=new_metadata(), migrations="tests.harness.notes.migrations"
    )
    migrate(strange, Place(tmp_path / "other.db"))
    with make_engine(Place(tmp_path / "other.db")).begin() as connection:
        connection.execute(text("DROP TABLE notes"))
    with pytest.raises(DatabaseRevisionError, match="is no backup of store notes: it has no table"):
        restore(STORE, place, tmp_path / "other.db")
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(DatabaseDamagedError):
        restore(STORE, place, tmp_path / "text")
    assert content(place) == ROWS


@async_test
async def test_who_replaces_a_store_is_refused_while_a_service_runs(
    databases: Databases, tmp_path: Path
) -> None:
    place = databases.place("notes")
    fill(place)
    back_up(STORE, place, tmp_path / "backup.db")
    database = Database(STORE, place)
    await database.open()
    other = other_kind(databases, tmp_path)
    for replacing in (
        lambda: restore(STORE, place, tmp_path / "backup.db"),
        lambda: copy_store(STORE, place, other),
        lambda: copy_store(STORE, Place(tmp_path / "backup.db"), place),
    ):
        with pytest.raises(DatabaseInUseError, match=str(os.getpid())) as caught:
            await asyncio.to_thread(replacing)
        assert caught.value.remedy
    vacuum_needs_it_stopped = databases.kind == "sqlite"
    if not vacuum_needs_it_stopped:
        await asyncio.to_thread(vacuum, place)
    await database.aclose()
    await asyncio.to_thread(restore, STORE, place, tmp_path / "backup.db")


@async_test
async def test_service_does_not_begin_while_its_store_is_replaced(databases: Databases) -> None:
    place = databases.place("notes")
    fill(place)
    database = Database(STORE, place)
    with writer_of(place), pytest.raises(DatabaseInUseError, match=str(os.getpid())):
        await database.open()
    again, beside = Database(STORE, place), Database(STORE, place)
    await again.open()
    if databases.kind == "postgresql":
        await beside.open()
        await beside.write(lambda connection: connection.execute(insert(PEOPLE).values(name="B")))
    await beside.aclose()
    await again.aclose()


def test_backup_replaces_tables_of_a_later_version(databases: Databases, tmp_path: Path) -> None:
    place = databases.place("notes")
    fill(place)
    back_up(STORE, place, tmp_path / "backup.db")
    with make_engine(place).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v0099'"))
        connection.execute(text("CREATE TABLE later (note INTEGER REFERENCES notes (id))"))
    restore(STORE, place, tmp_path / "backup.db")
    assert content(place) == ROWS
    assert check(STORE, place) == []


def test_store_moves_to_the_other_kind_of_database_and_goes_on(
    databases: Databases, tmp_path: Path
) -> None:
    place, other = databases.place("notes"), other_kind(databases, tmp_path)
    fill(place)
    assert copy_store(STORE, place, other) == {"people": 2, "notes": 3}
    assert content(other) == ROWS
    with make_engine(other).begin() as connection:
        connection.execute(insert(PEOPLE).values(name="Bob"))
    with pytest.raises(BadConfigurationError, match="is not empty: table 'people' has rows"):
        copy_store(STORE, place, other)
    with pytest.raises(BadConfigurationError, match="cannot be copied to itself"):
        copy_store(STORE, place, place)


def test_copy_of_older_tables_is_refused(databases: Databases, tmp_path: Path) -> None:
    place = databases.place("notes")
    migrate(STORE, place, revision="v0001")
    with pytest.raises(DatabaseRevisionError, match="db upgrade notes"):
        copy_store(STORE, place, other_kind(databases, tmp_path))


def test_status_tells_revision_size_and_writer(databases: Databases) -> None:
    place = databases.place("notes")
    assert not look_at(STORE, place).exists
    fill(place)
    with writer_of(place):
        status = look_at(STORE, place)
    assert status.exists
    assert status.revision is not None
    assert status.revision.current == "v0002"
    assert status.size_bytes > 4096
    assert status.writer == (os.getpid() if databases.kind == "sqlite" else None)
    assert look_at(STORE, place).writer is None


def test_status_of_a_server_that_is_down_is_its_error(tmp_path: Path) -> None:
    place = place_of("notes", url=f"postgresql://a@/b?host={tmp_path}", domain="d")
    assert isinstance(look_at(STORE, place).error, DatabaseUnavailableError)


def test_check_finds_a_reference_to_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path / "notes.db")
    fill(place)
    assert check(STORE, place) == []
    with make_engine(place, foreign_keys=False).begin() as connection:
        connection.execute(PEOPLE.delete().where(PEOPLE.c.name == "Ada"))
    assert check(STORE, place) == [
        "row 1 of table notes refers to nothing in people",
        "row 3 of table notes refers to nothing in people",
    ]


def test_check_finds_a_damaged_page(tmp_path: Path) -> None:
    place = Place(tmp_path / "notes.db")
    fill(place)
    vacuum(place)
    content_before = (tmp_path / "notes.db").read_bytes()
    damaged = content_before.replace(b"poetical", b"\xff" * 8)
    at = len(damaged) - 4096
    (tmp_path / "notes.db").write_bytes(damaged[:at] + b"\x07" * 64 + damaged[at + 64 :])
    problems: list[str] = []
    try:
        problems = check(STORE, place)
    except DatabaseDamagedError as error:
        problems = [str(error)]
    assert problems


def test_check_finds_tables_that_differ(databases: Databases) -> None:
    place = databases.place("notes")
    fill(place)
    with make_engine(place).begin() as connection:
        connection.execute(text("DROP INDEX ix_notes_author"))
    [problem] = check(STORE, place)
    assert "ix_notes_author" in problem
    migrate(STORE, databases.place("notes"))


def test_check_tells_of_older_tables(databases: Databases) -> None:
    place = databases.place("notes")
    migrate(STORE, place, revision="v0001")
    assert check(STORE, place) == [
        "the tables are old: revision v0001, and v0002 is needed - upgrade it: pykarabo db upgrade "
        "notes"
    ]


def test_vacuum_gives_space_back(databases: Databases) -> None:
    place = databases.place("notes")
    fill(place)
    with make_engine(place).begin() as connection:
        author = connection.scalar(select(PEOPLE.c.id).limit(1))
        rows = [{"author": author, "text": f"x{os.urandom(2000).hex()}"} for _ in range(500)]
        connection.execute(insert(NOTES), rows)
    with make_engine(place).begin() as connection:
        connection.execute(NOTES.delete().where(NOTES.c.text.like("x%")))
    before = look_at(STORE, place).size_bytes
    vacuum(place)
    assert look_at(STORE, place).size_bytes < before / 4
    assert content(place) == ROWS
