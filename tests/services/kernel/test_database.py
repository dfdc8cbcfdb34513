"""Stores on SQLite and on PostgreSQL: one transaction each, typed refusals, going on by itself."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from pykarabo.errors import (
    BadConfigurationError,
    BusyError,
    DatabaseDamagedError,
    DatabaseInUseError,
    DatabaseReadOnlyError,
    DatabaseUnansweredError,
    DatabaseUnavailableError,
    DiskFullError,
)
from pykarabo.testing import async_test
from pykarabo_services.kernel.database import (
    URL_VARIABLE,
    Database,
    Health,
    Place,
    StoreDeclaration,
    WriterLock,
    make_engine,
    migrate,
    place_of,
)
from pykarabo_services.kernel.database._lane import MAX_ABANDONED, Lane
from tests.harness.databases import Databases
from tests.harness.disk import Disk, why_no_disk
from tests.harness.notes import METADATA, NOTES, PEOPLE, RELAXED, STORE
from tests.harness.postgres import PostgresServer

WELL_S = 10.0


def add_person(connection: Connection, name: str) -> int:
    added = connection.execute(insert(PEOPLE).values(name=name)).inserted_primary_key
    return int(added[0]) if added else 0


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(PEOPLE.c.name).order_by(PEOPLE.c.id)).scalars())


@async_test
async def test_who_reads_sees_one_state_whatever_is_written_meanwhile(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"))
    await database.open()
    await database.write(lambda connection: add_person(connection, "Ada"))
    has_read, is_written = threading.Event(), threading.Event()

    def read_twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = names(connection)
        has_read.set()
        assert is_written.wait(WELL_S)
        return before, names(connection)

    reading = asyncio.ensure_future(database.read(read_twice))
    assert await asyncio.to_thread(has_read.wait, WELL_S)
    await database.write(lambda connection: add_person(connection, "Grace"))
    is_written.set()
    assert await reading == (["Ada"], ["Ada"])
    assert await database.read(names) == ["Ada", "Grace"]
    await database.aclose()


@async_test
async def test_what_is_written_is_there_for_the_next_process(databases: Databases) -> None:
    first = Database(STORE, databases.place("notes"))
    await first.open()
    await first.write(lambda connection: add_person(connection, "Ada"))
    await first.aclose()
    second = Database(STORE, databases.place("notes"))
    await second.open()
    assert await second.read(names) == ["Ada"]
    await second.aclose()


@async_test
async def test_work_that_fails_leaves_nothing(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"))
    await database.open()

    def half(connection: Connection) -> None:
        add_person(connection, "Ada")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        await database.write(half)
    assert await database.read(names) == []
    assert database.health.good
    await database.aclose()


@async_test
async def test_error_of_a_statement_names_no_values(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"))
    await database.open()
    note = {"author": 77, "text": "a secret"}
    with pytest.raises(IntegrityError) as caught:
        await database.write(lambda connection: connection.execute(insert(NOTES), [note]))
    assert "secret" not in str(caught.value)
    assert database.health.good
    await database.aclose()


@async_test
async def test_reading_cannot_write(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"))
    await database.open()
    await database.read(lambda connection: add_person(connection, "Ada"))
    assert await database.read(names) == []
    await database.aclose()


@async_test
async def test_references_are_checked_and_cascade(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"))
    await database.open()
    person = await database.write(lambda connection: add_person(connection, "Ada"))
    await database.write(
        lambda connection: connection.execute(insert(NOTES).values(author=person, text="x"))
    )
    await database.write(lambda connection: connection.execute(PEOPLE.delete()))
    assert await database.read(lambda connection: connection.scalar(select(NOTES.c.id))) is None
    await database.aclose()


@async_test
async def test_reads_go_on_beside_a_long_write(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"))
    await database.open()
    loop = asyncio.get_running_loop()
    written, may_end = asyncio.Event(), asyncio.Event()

    def slow(connection: Connection) -> None:
        add_person(connection, "Ada")
        loop.call_soon_threadsafe(written.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(WELL_S)

    writing = asyncio.ensure_future(database.write(slow))
    await written.wait()
    assert await database.read(names) == []
    may_end.set()
    await writing
    assert await database.read(names) == ["Ada"]
    await database.aclose()


@async_test
async def test_two_services_create_the_tables_at_once(databases: Databases) -> None:
    if databases.kind == "sqlite":
        return  # it has one writer
    several = [Database(STORE, databases.place("notes")) for _ in range(4)]
    await asyncio.gather(*(database.open() for database in several))
    await several[0].write(lambda connection: add_person(connection, "Ada"))
    assert await several[3].read(names) == ["Ada"]
    await asyncio.gather(*(database.aclose() for database in several))


@async_test
async def test_stores_of_two_domains_share_a_server_and_nothing_else(databases: Databases) -> None:
    places = [
        place_of("notes", url=databases.url, domain=name) for name in ("a-1.x", databases.domain)
    ]
    if databases.kind == "sqlite":
        assert places[0] == places[1]  # who names a folder has chosen
        return
    one, other = (Database(STORE, place) for place in places)
    await one.open()
    await other.open()
    await one.write(lambda connection: connection.execute(PEOPLE.delete()))
    await one.write(lambda connection: add_person(connection, "Ada"))
    assert await other.read(names) == []
    await one.aclose()
    await other.aclose()


@async_test
async def test_second_writer_is_refused_with_the_process_that_writes(tmp_path: Path) -> None:
    place = Place(tmp_path / "notes.db")
    first = Database(STORE, place)
    await first.open()
    with pytest.raises(DatabaseInUseError, match=str(os.getpid())) as caught:
        await Database(STORE, place).open()
    assert caught.value.details == {"pid": os.getpid()}
    await first.aclose()
    second = Database(STORE, place)
    await second.open()
    await second.aclose()


def test_file_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from pykarabo_services.kernel.database import WriterLock\n"
        "WriterLock(pathlib.Path(sys.argv[1])).take(); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "notes.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(DatabaseInUseError, match=f"process {process.pid} writes to"):
            WriterLock(tmp_path / "notes.db").take()
        process.kill()
    lock = WriterLock(tmp_path / "notes.db")
    lock.take()
    lock.give_back()


@async_test
async def test_reader_of_a_file_needs_no_lock_and_cannot_write(tmp_path: Path) -> None:
    place = Place(tmp_path / "notes.db")
    writer = Database(STORE, place)
    await writer.open()
    await writer.write(lambda connection: add_person(connection, "Ada"))
    reader = Database(STORE, place, read_only=True)
    await reader.open()
    assert await reader.read(names) == ["Ada"]
    with pytest.raises(DatabaseReadOnlyError, match="readonly"):
        await reader.write(lambda connection: add_person(connection, "Bob"))
    await reader.aclose()
    await writer.aclose()


@async_test
async def test_reader_waits_for_the_service_that_makes_the_tables(databases: Databases) -> None:
    reader = Database(STORE, databases.place("notes"), read_only=True)
    await reader.open(required=False)
    assert not reader.health.good
    with pytest.raises(DatabaseUnavailableError):
        await reader.read(names)
    writer = Database(STORE, databases.place("notes"))
    await writer.open()
    await writer.write(lambda connection: add_person(connection, "Ada"))
    await asyncio.wait_for(reader.wait_well(), WELL_S)
    assert await reader.read(names) == ["Ada"]
    await reader.aclose()
    await writer.aclose()


@async_test
async def test_file_and_lock_are_for_their_owner_only(tmp_path: Path) -> None:
    place = Place(tmp_path / "data" / "notes.db")
    database = Database(STORE, place)
    await database.open()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    await database.aclose()


@async_test
async def test_writer_of_a_relaxed_store_syncs_on_demand(databases: Databases) -> None:
    database = Database(RELAXED, databases.place("notes"))
    await database.open()
    await database.write(lambda connection: add_person(connection, "Ada"))
    await database.make_durable()
    if databases.kind == "sqlite":
        level = await database.read(
            lambda connection: connection.scalar(text("PRAGMA synchronous"))
        )
        assert level == 1
    await database.aclose()


@async_test
async def test_damaged_file_is_named_with_what_helps(tmp_path: Path) -> None:
    place = Place(tmp_path / "notes.db")
    (tmp_path / "notes.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(DatabaseDamagedError, match=r"notes.db.*pykarabo db restore"):
        await Database(STORE, place).open()


@async_test
async def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailableError, match=r"file/notes\.db cannot be made"):
        await Database(STORE, Place(tmp_path / "file" / "notes.db")).open()


@pytest.mark.skipif(bool(why_no_disk()), reason=str(why_no_disk()))
@async_test
async def test_full_disk_refuses_writes_lets_read_and_recovers(tmp_path: Path) -> None:
    with Disk(tmp_path / "disk") as disk:
        seen: list[Health] = []
        database = Database(STORE, Place(disk.folder / "notes.db"), on_health=seen.append)
        await database.open()
        await database.write(lambda connection: add_person(connection, "Ada"))
        disk.fill()
        with pytest.raises(DiskFullError, match=r"notes.db.*is full"):
            await database.write(
                lambda connection: [add_person(connection, f"{n}") for n in range(10_000)]
            )
        assert not database.health.good
        assert (await database.read(names))[0] == "Ada"
        with pytest.raises(DiskFullError):
            await database.write(lambda connection: add_person(connection, "Bob"))
        disk.free()
        await asyncio.wait_for(database.wait_well(), WELL_S)
        await database.write(lambda connection: add_person(connection, "Bob"))
        assert [health.good for health in seen][-2:] == [False, True]
        await database.aclose()


@async_test
async def test_calls_that_find_no_room_are_refused(tmp_path: Path) -> None:
    database = Database(STORE, Place(tmp_path / "notes.db"))
    await database.open()
    may_end = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_: Connection) -> None:
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(WELL_S)

    running = asyncio.gather(*(database.read(wait) for _ in range(258)), return_exceptions=True)
    await asyncio.sleep(0)
    may_end.set()
    refused = [outcome for outcome in await running if outcome is not None]
    assert refused
    assert all(isinstance(error, BusyError) for error in refused)
    await database.aclose()


@async_test
async def test_statement_that_takes_too_long_is_given_up(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"), deadline_s=0.3)
    await database.open()
    forever = (
        "SELECT pg_sleep(30)"
        if databases.kind == "postgresql"
        else "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match=r"did not answer|statement timeout"):
        await database.read(lambda connection: connection.execute(text(forever)))
    assert time.monotonic() - began < 2
    await asyncio.wait_for(database.wait_well(), WELL_S)
    assert await database.read(names) == []
    await database.aclose()


@async_test
async def test_restart_of_the_server_is_not_noticed(own_postgres: PostgresServer) -> None:
    database = Database(STORE, place_of("notes", url=own_postgres.url, domain="d"))
    await database.open()
    await database.write(lambda connection: add_person(connection, "Ada"))
    own_postgres.stop(immediate=True)
    reading = asyncio.ensure_future(database.read(names))
    await asyncio.to_thread(own_postgres.start)
    assert await reading == ["Ada"]
    await database.write(lambda connection: add_person(connection, "Bob"))
    assert database.health.good
    await database.aclose()


@async_test
async def test_frozen_server_costs_one_deadline_and_heals_by_itself(
    own_postgres: PostgresServer,
) -> None:
    place = place_of("notes", url=own_postgres.url, domain="d")
    database = Database(STORE, place, deadline_s=1.0)
    await database.open()
    own_postgres.freeze()
    with pytest.raises(DatabaseUnavailableError, match="did not answer within 1 s"):
        await database.write(lambda connection: add_person(connection, "Ada"))
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailableError):
        await database.read(names)
    assert time.monotonic() - began < 0.2, "the second call did not wait"
    own_postgres.thaw()
    await asyncio.wait_for(database.wait_well(), WELL_S)
    assert await database.read(names) == [], "what was refused is not there"
    await database.aclose()


@async_test
async def test_commit_that_is_not_answered_leaves_the_outcome_open(
    own_postgres: PostgresServer,
) -> None:
    place = place_of("notes", url=own_postgres.url, domain="d")
    database = Database(STORE, place, deadline_s=1.0)
    await database.open()

    def freeze_before_the_commit(connection: Connection) -> None:
        add_person(connection, "Ada")
        own_postgres.freeze()

    with pytest.raises(DatabaseUnansweredError, match="nobody knows whether it has written"):
        await database.write(freeze_before_the_commit)
    own_postgres.thaw()
    await asyncio.wait_for(database.wait_well(), WELL_S)
    assert await database.read(names) in ([], ["Ada"])
    await database.aclose()


@async_test
async def test_work_with_a_deadline_of_its_own_may_take_so_long(databases: Databases) -> None:
    database = Database(STORE, databases.place("notes"), deadline_s=0.5)
    await database.open()

    def slow(connection: Connection) -> None:
        if databases.kind == "postgresql":
            connection.execute(text("SELECT pg_sleep(0.8)"))
        else:
            time.sleep(0.8)
        add_person(connection, "Ada")

    await database.write(slow, deadline_s=5.0)
    assert await database.read(names) == ["Ada"]
    await database.aclose()


@async_test
async def test_store_of_a_frozen_server_is_closed_in_time(own_postgres: PostgresServer) -> None:
    database = Database(STORE, place_of("notes", url=own_postgres.url, domain="d"))
    await database.open()
    own_postgres.freeze()
    waiting = asyncio.ensure_future(database.read(names))
    await asyncio.sleep(0)
    began = time.monotonic()
    await database.aclose()
    assert time.monotonic() - began < 4
    waiting.cancel()
    own_postgres.thaw()


@async_test
async def test_threads_that_hang_are_few(tmp_path: Path) -> None:
    may_end = threading.Event()
    place = Place(tmp_path / "notes.db")
    migrate(STORE, place)
    lane = Lane("test", make_engine(place), place, writes=False, deadline_s=0.1)
    for _ in range(MAX_ABANDONED):
        with pytest.raises(DatabaseUnavailableError, match=r"did not answer within 0\.1 s"):
            await lane.run(lambda _: may_end.wait(), deadline_s=0.1)
    with pytest.raises(DatabaseUnavailableError, match="4 threads wait for it"):
        await lane.run(names, deadline_s=0.1)
    may_end.set()
    assert await asyncio.to_thread(lane.close, timeout_s=WELL_S)
    assert lane.abandoned == 0


@pytest.mark.skipif(bool(why_no_disk()), reason=str(why_no_disk()))
@async_test
async def test_full_disk_of_the_server_refuses_writes_lets_read_and_recovers(
    own_postgres: PostgresServer,
) -> None:
    with Disk(own_postgres.folder / "disk", size_kib=20 * 1024) as disk:
        url = await asyncio.to_thread(own_postgres.database_on, disk.folder, "small")
        database = Database(STORE, place_of("notes", url=url, domain="d"))
        await database.open()
        author = await database.write(lambda connection: add_person(connection, "Ada"))
        disk.fill()
        rows = [{"author": author, "text": "x" * 4000} for _ in range(5000)]
        with pytest.raises(DiskFullError, match="No space left on device"):
            await database.write(lambda connection: connection.execute(insert(NOTES), rows))
        assert await database.read(names) == ["Ada"]
        disk.free()
        await asyncio.wait_for(database.wait_well(), WELL_S)
        await database.write(lambda connection: connection.execute(insert(NOTES), rows[:10]))
        await database.aclose()
        await asyncio.to_thread(own_postgres.stop)


@async_test
async def test_server_that_is_down_at_the_start_is_waited_for(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    place = place_of("notes", url=own_postgres.url, domain="d")
    with pytest.raises(DatabaseUnavailableError, match="connection"):
        await Database(STORE, place).open()
    database = Database(STORE, place)
    await database.open(required=False)
    assert not database.health.good
    with pytest.raises(DatabaseUnavailableError):
        await database.read(names)
    await asyncio.to_thread(own_postgres.start)
    await asyncio.wait_for(database.wait_well(), WELL_S)
    await database.write(lambda connection: add_person(connection, "Ada"))
    await database.aclose()


@async_test
async def test_read_only_server_is_read_from_and_waited_for(own_postgres: PostgresServer) -> None:
    place = place_of("notes", url=own_postgres.url, domain="d")
    database = Database(STORE, place)
    await database.open()
    await asyncio.to_thread(own_postgres.set_read_only, on=True)
    with pytest.raises(DatabaseReadOnlyError, match="read-only"):
        await database.write(lambda connection: add_person(connection, "Ada"))
    assert await database.read(names) == []
    await asyncio.to_thread(own_postgres.set_read_only, on=False)
    await asyncio.wait_for(database.wait_well(), WELL_S)
    await database.aclose()


def test_place_is_a_file_of_the_domain_by_default(short_runtime: Path, tmp_path: Path) -> None:
    del short_runtime
    domain = os.environ["PYKARABO_DOMAIN"]
    assert place_of("notes") == Place(tmp_path / "data" / "pykarabo" / domain / "notes.db")


def test_place_comes_from_the_environment_and_from_a_file(
    short_runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del short_runtime
    folder = tmp_path / "config" / "pykarabo" / os.environ["PYKARABO_DOMAIN"]
    folder.mkdir(parents=True)
    (folder / "database.url").write_text("postgresql://me:secret@db/x\n")
    (folder / "database.url").chmod(0o644)
    with pytest.raises(BadConfigurationError, match="has a password in it and others may read it"):
        place_of("notes")
    (folder / "database.url").chmod(0o600)
    place = place_of("notes")
    assert place.schema == f"{os.environ['PYKARABO_DOMAIN']}_notes"
    assert "secret" not in str(place)
    monkeypatch.setenv(URL_VARIABLE, "sqlite:////var/x")
    assert place_of("notes").path == Path("/var/x/notes.db")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://a@b/c", "kind 'mysql' cannot be used"),
        ("sqlite:///relative", "no absolute folder"),
        ("no url: secret", "the URL of the database is none"),
    ],
)
def test_bad_url_is_refused(url: str, reason: str) -> None:
    with pytest.raises(BadConfigurationError, match=reason) as caught:
        place_of("notes", url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Notes", "a_b", "x" * 25])
def test_name_of_a_store_is_letters(name: str) -> None:
    with pytest.raises(BadConfigurationError, match="cannot be the name of a store"):
        StoreDeclaration(name=name, metadata=METADATA, migrations="x")


def test_lock_may_be_taken_twice_and_given_back_twice(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "a.db")
    lock.take()
    lock.take()
    lock.give_back()
    lock.give_back()
    other = WriterLock(tmp_path / "a.db")
    other.take()
    other.give_back()
