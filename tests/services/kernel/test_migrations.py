"""Tables go from revision to revision with what is in them, and strange ones are left alone."""

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text

from pykarabo.errors import BadConfigurationError, DatabaseRevisionError
from pykarabo.testing import async_test
from pykarabo_services.kernel.database import (
    Database,
    Place,
    RevisionKind,
    StoreDeclaration,
    declared_store,
    declared_stores,
    look_at_revision,
    make_engine,
    migrate,
    revisions,
)
from scripts import new_migration
from tests.harness.databases import Databases
from tests.harness.notes import METADATA, NOTES, PEOPLE, STORE

STORES = [STORE, *declared_stores().values()]
every_store = pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)


def differences(store: StoreDeclaration, place: Place) -> list[Any]:
    with make_engine(place).connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, *_: name != "alembic_version", "compare_type": True},
        )
        return list(compare_metadata(context, store.metadata))


def tables(place: Place) -> set[str]:
    with make_engine(place).connect() as connection:
        return set(inspect(connection).get_table_names())


@every_store
def test_migrations_lead_to_the_tables_of_the_metadata(
    store: StoreDeclaration, databases: Databases
) -> None:
    place = databases.place(store.name)
    migrate(store, place)
    assert differences(store, place) == []


@every_store
def test_every_revision_can_be_undone_and_done_again(
    store: StoreDeclaration, databases: Databases
) -> None:
    place = databases.place(store.name)
    for revision in revisions(store):
        migrate(store, place, revision=revision)
        before = tables(place)
        migrate(store, place, revision="base")
        assert tables(place) == {"alembic_version"}
        migrate(store, place, revision=revision)
        assert tables(place) == before
    migrate(store, place)
    assert differences(store, place) == []


def test_rows_and_their_references_survive_going_up_and_down(databases: Databases) -> None:
    place = databases.place("notes")
    migrate(STORE, place, revision="v0001")
    with make_engine(place).begin() as connection:
        connection.execute(insert(PEOPLE).values(id=1, name="Ada"))
        connection.execute(insert(NOTES).values(author=1, text="poetical science"))
    for revision in ("v0002", "v0001", None):
        migrate(STORE, place, revision=revision)
        with make_engine(place).connect() as connection:
            rows = connection.execute(
                select(PEOPLE.c.name, NOTES.c.text).join(NOTES, NOTES.c.author == PEOPLE.c.id)
            ).all()
        assert rows == [("Ada", "poetical science")]


@async_test
async def test_older_tables_are_refused_with_the_command_that_upgrades(
    databases: Databases,
) -> None:
    place = databases.place("notes")
    migrate(STORE, place, revision="v0001")
    with pytest.raises(
        DatabaseRevisionError, match=r"revision v0001, and v0002 is needed.*db upgrade notes"
    ):
        await Database(STORE, place).open()
    migrate(STORE, place)
    database = Database(STORE, place)
    await database.open()
    await database.aclose()


@async_test
async def test_tables_of_a_later_version_are_refused_and_left_alone(databases: Databases) -> None:
    place = databases.place("notes")
    migrate(STORE, place)
    with make_engine(place).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v0099'"))
    with pytest.raises(
        DatabaseRevisionError, match=r"v0099, which this version .* \(newest: v0002"
    ):
        await Database(STORE, place).open()
    with pytest.raises(DatabaseRevisionError, match="v0099"):
        migrate(STORE, place)


@async_test
async def test_tables_of_somebody_else_are_refused_and_left_alone(databases: Databases) -> None:
    place = databases.place("notes")
    migrate(STORE, place, revision="base")
    with make_engine(place).begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(DatabaseRevisionError, match="holds tables that are not those of store"):
        await Database(STORE, place).open()
    with pytest.raises(DatabaseRevisionError, match="not those of store"):
        migrate(STORE, place)
    assert tables(place) == {"theirs"}


def test_migration_that_fails_changes_nothing(databases: Databases) -> None:
    place = databases.place("notes")
    migrate(STORE, place, revision="v0001")
    with make_engine(place).begin() as connection:
        connection.execute(text("DROP INDEX ix_notes_author"))
        connection.execute(text("DROP TABLE notes"))
    with pytest.raises(Exception, match="notes"):
        migrate(STORE, place, revision="base")
    with make_engine(place).connect() as connection:
        assert look_at_revision(connection, STORE).current == "v0001"
    assert "people" in tables(place)


def test_unknown_revision_is_refused(databases: Databases) -> None:
    with pytest.raises(DatabaseRevisionError, match="cannot go to revision 'v0077'"):
        migrate(STORE, databases.place("notes"), revision="v0077")


def test_revision_of_an_empty_database(databases: Databases) -> None:
    place = databases.place("notes")
    assert migrate(STORE, place).kind is RevisionKind.EMPTY
    assert migrate(STORE, place).kind is RevisionKind.CURRENT


def test_script_writes_the_revision_that_the_metadata_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fresh_migrations"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    store = StoreDeclaration(name="notes", metadata=METADATA, migrations=package.name)
    (tmp_path / "empty.db").touch()
    new_migration.write(store, Place(tmp_path / "empty.db"), "v0001", "first", "First tables")
    assert revisions(store) == ["v0001"]
    migrate(store, Place(tmp_path / "made.db"))
    assert differences(store, Place(tmp_path / "made.db")) == []
    migrate(store, Place(tmp_path / "made.db"), revision="base")


def test_missing_migrations_are_named() -> None:
    broken = StoreDeclaration(name="x", metadata=METADATA, migrations="tests.harness.nowhere")
    with pytest.raises(BadConfigurationError, match=r"no package tests\.harness\.nowhere"):
        revisions(broken)


def test_unknown_store_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="there is no store 'nothing'"):
        declared_store("nothing")
