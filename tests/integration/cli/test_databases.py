"""`pykarabo db`: the databases of the services, looked after from the command line."""

import io
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pykarabo.client import connect, wait_until
from pykarabo.device import serve
from pykarabo_services.archiver.main import Archiver
from pykarabo_services.kernel.database import (
    declared_store,
    make_engine,
    migrate,
    place_of,
    writer_of,
)
from pykarabo_services.project.main import ProjectStore
from tests.harness.databases import Databases, databases, postgres_server

__all__ = ["databases", "postgres_server"]


def file_of(folder: Path) -> Path:
    return folder / "data" / "pykarabo" / os.environ["PYKARABO_DOMAIN"] / "projects.db"


@pytest.fixture
def stored(short_runtime: Path, tmp_path: Path) -> Path:
    """Have a project store make its database, and return the file."""
    assert short_runtime.exists()
    with serve({"PROJECTS": ProjectStore}):
        pass
    return file_of(tmp_path)


def test_status_before_anything_was_stored(pykarabo: Any, tmp_path: Path) -> None:
    done = pykarabo("db", "status", "projects")
    assert done.code == 0
    assert done.lines[1].split() == ["projects", "not", "made", "yet", str(file_of(tmp_path))]


def test_status_tells_revision_and_the_process_that_writes(
    pykarabo: Any, short_runtime: Path
) -> None:
    with serve({"PROJECTS": ProjectStore}):
        [status] = pykarabo("db", "status", "projects", "--json").json
    assert (status["kind"], status["revision"], status["writer"]) == (
        "current",
        "v0001",
        os.getpid(),
    )
    assert pykarabo("db", "status", "projects", "--json").json[0]["writer"] is None


def test_database_of_a_later_version_is_told_by_all(pykarabo: Any, stored: Path) -> None:
    with sqlite3.connect(stored) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0099'")
    connection.close()
    done = pykarabo("db", "status")
    assert done.code == 7
    assert "unknown revision v0099" in done.out
    done = pykarabo("db", "upgrade")
    assert done.code == 7
    assert "install the pykarabo that made it" in done.err
    assert pykarabo("db", "check").code == 7
    done = pykarabo("doctor")
    [line] = [line for line in done.lines if "FAIL store projects" in line]
    assert "v0099" in line
    at = done.lines.index(line)
    told = " ".join(done.lines[at : at + 3])
    assert "install the pykarabo that made it" in told
    assert "pykarabo db restore projects FILE" in told


def test_archiver_and_doctor_tell_what_to_do_with_an_archive_of_a_later_version(
    pykarabo: Any, short_runtime: Path
) -> None:
    assert short_runtime.exists()
    place = place_of("archive")
    migrate(declared_store("archive"), place)
    with make_engine(place).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v0099'"))
    remedy = "pykarabo db restore archive FILE"
    with serve({"ARCHIVER/1": Archiver}):
        archiver = connect("ARCHIVER/1")
        wait_until(lambda: "v0099" in archiver.database_state, timeout_s=30)
        assert remedy in archiver.database_state
        assert remedy in archiver.status
        [alarm] = archiver.alarms.values()
        assert remedy in alarm["text"]
        told = pykarabo("doctor").out.partition("FAIL archiver ARCHIVER/1")[2]
    assert remedy in told.partition("\nFAIL")[0]


def test_upgrade_and_downgrade_need_the_service_stopped(pykarabo: Any, stored: Path) -> None:
    place = place_of("projects")
    with writer_of(place):
        done = pykarabo("db", "upgrade", "projects")
        assert done.code == 7
        assert f"process {os.getpid()} writes to {stored}" in done.err
    assert "has the newest revision v0001 already" in pykarabo("db", "upgrade").out
    assert "v0001 -> base" in pykarabo("db", "downgrade", "projects", "base", "--yes").out
    assert pykarabo("db", "upgrade", "projects").code == 0
    assert pykarabo("db", "check").out == "projects: ok\n"


def test_backup_and_restore(pykarabo: Any, stored: Path, tmp_path: Path) -> None:
    assert stored.exists()
    done = pykarabo("db", "backup", str(tmp_path / "backups"))
    assert done.code == 0, done.err
    file = tmp_path / "backups" / "projects.db"
    assert file.stat().st_mode & 0o777 == 0o600
    done = pykarabo("db", "backup", str(tmp_path / "backups"))
    assert done.code == 3
    assert "--force" in done.err
    assert pykarabo("db", "backup", str(tmp_path / "backups"), "--force").code == 0
    done = pykarabo("db", "restore", "projects", str(file), "--yes")
    assert done.out == f"projects is what it was in {file}\n"


def test_copy_moves_the_store_to_postgresql(
    pykarabo: Any, stored: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    if databases.kind == "sqlite":
        return
    source = f"sqlite:///{stored.parent}"
    done = pykarabo("db", "copy", source, databases.url)
    assert done.out == "projects: 0 rows in 2 tables\n", done.err
    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)
    [status] = pykarabo("db", "status", "projects", "--json").json
    assert status["kind"] == "current"
    with serve({"PROJECTS": ProjectStore}):
        assert "postgresql" in pykarabo("get", "PROJECTS.database").out
    assert pykarabo("db", "vacuum").code == 0
    assert any("ok   store projects" in line for line in pykarabo("doctor").lines)


def test_vacuum_tells_sizes(pykarabo: Any, stored: Path) -> None:
    assert stored.exists()
    assert "MiB -> " in pykarabo("db", "vacuum").out


def test_server_that_is_not_there_is_told_in_one_line(pykarabo: Any, tmp_path: Path) -> None:
    url = f"postgresql://a@/b?host={tmp_path}"
    done = pykarabo("db", "status", "projects", "--database", url)
    assert done.code == 7
    assert done.lines[1].startswith("projects  cannot be used ")
    assert done.err.startswith("error: the database postgresql://a@/b")
    done = pykarabo("db", "check", "projects", "--database", url)
    assert done.code == 7
    assert len(done.lines) == 1
    done = pykarabo("db", "upgrade", "projects", "--database", url)
    assert done.code == 7
    assert done.err.startswith("error: the database postgresql://a@/b")
    assert done.err.count("\n") == 1


def test_password_on_the_command_line_is_refused(pykarabo: Any) -> None:
    done = pykarabo("db", "status", "--database", "postgresql://a:secret@b/c")
    assert done.code == 3
    assert "~/.pgpass" in done.err
    assert "secret" not in done.err


def test_unknown_store_and_bad_url_are_refused(pykarabo: Any) -> None:
    done = pykarabo("db", "status", "project")
    assert done.code == 3
    assert "did you mean 'projects'?" in done.err
    assert pykarabo("db", "status", "--database", "mysql://a/b").code == 3


def test_who_asked_for_less_changes_no_tables(pykarabo: Any, stored: Path) -> None:
    assert stored.exists()
    done = pykarabo("--role", "operator", "db", "upgrade")
    assert done.code == 3
    assert "needs the role administrator" in done.err


def test_without_the_libraries_one_is_told_what_to_install(
    pykarabo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    done = pykarabo("db", "status")
    assert done.code == 3
    assert "pip install 'pykarabo[services]'" in done.err
    assert not any("store" in line for line in pykarabo("doctor").lines)


def test_nothing_is_done_without_yes(
    pykarabo: Any, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored.read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert pykarabo("db", "downgrade", "projects", "base").code != 0
    assert stored.read_bytes() == before
    assert json.loads(pykarabo("db", "check", "--json").out) == {"projects": []}
