"""`pykarabo config`: configurations are saved, compared and applied from the command line."""

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pykarabo.client import connect, wait_until
from pykarabo.device import serve
from pykarabo_services.cli import _configurations
from pykarabo_services.configuration.main import ConfigurationStore
from pykarabo_services.configuration.store import STORE
from pykarabo_services.kernel.database import place_of

from .conftest import Bench, Run

BENCH = "T/BENCH/1"


@pytest.fixture
def bench(short_runtime: Path) -> Iterator[str]:
    """Serve a bench and a store of configurations; gives the bench's id."""
    assert short_runtime.exists()
    with serve(
        {BENCH: Bench, "T/STORE/1": ConfigurationStore},
        server_id="T/SERVER",
        configurations={BENCH: {"position": 2.0, "axis": {"gap": 3.0}, "words": ["a", "b"]}},
    ):
        yield BENCH


def test_a_configuration_is_saved_shown_compared_and_restored(bench: str, pykarabo: Run) -> None:
    saved = pykarabo("config", "save", bench, "good", "--comment", "as aligned", "--active")
    assert (saved.code, saved.out) == (0, f"{bench}: saved as good@1\n")
    assert pykarabo("config", "list").lines == [bench]
    listed = pykarabo("config", "list", bench).lines
    assert listed[0].split() == [
        "configuration", "version", "active", "priority", "saved", "by", "comment",
    ]  # fmt: skip
    assert "as aligned" in listed[1]
    shown = pykarabo("config", "show", bench, "good").out
    assert "axis.gap: 3.0" in shown
    assert 'words: ["a", "b"]' in shown
    assert pykarabo("config", "diff", bench, "good").code == 0
    connect(bench).position = -1.0
    differ = pykarabo("config", "diff", bench, "good")
    assert differ.code == 1
    assert differ.lines[1].split() == ["position", "2.0", "mm", "-1.0", "mm"]
    dry = pykarabo("config", "restore", bench, "good", "--dry-run")
    assert f"{bench}.position: -1.0 -> 2.0" in dry.out
    assert connect(bench).position == -1.0
    assert pykarabo("config", "restore", bench, "good", "position").code == 0
    assert connect(bench).position == 2.0
    assert "has what good@1 has" in pykarabo("config", "restore", bench, "good").out


def test_a_device_is_started_with_its_active_configuration(bench: str, pykarabo: Run) -> None:
    pykarabo("config", "save", bench, "good", "--active")
    pykarabo("shutdown", bench)
    started = pykarabo("config", "instantiate", bench)
    assert started.code == 0, started.err
    assert "on T/SERVER with good@1, state ON" in started.out
    assert connect(bench).position == 2.0


def test_what_is_deleted_can_be_brought_back(bench: str, pykarabo: Run) -> None:
    pykarabo("config", "save", bench, "good")
    assert "good@2 deleted" in pykarabo("config", "delete", bench, "good").out
    assert pykarabo("config", "list", bench).lines[1:] == []
    assert pykarabo("config", "list", bench, "--deleted").lines[1].split()[:3] == [
        "good", "2", "deleted",
    ]  # fmt: skip
    assert pykarabo("config", "list", "--deleted").code == 2
    gone = pykarabo("config", "show", bench, "good")
    assert gone.code == 3
    assert "undelete" in gone.err
    assert "good@3 restored" in pykarabo("config", "undelete", bench, "good").out
    described = pykarabo("config", "describe", bench, "good", "--priority", "7", "--json").json
    assert (described["priority"], described["number"]) == (7, 4)
    history = pykarabo("config", "history", bench, "good", "--json").json
    assert [item["action"] for item in history] == ["described", "restored", "deleted", "saved"]


def test_devices_of_a_pattern_are_saved_and_servers_are_not(bench: str, pykarabo: Run) -> None:
    saved = pykarabo("config", "save", "T/*", "today", "--json")
    assert saved.code == 0
    assert set(saved.json) == {bench, "T/STORE/1"}
    denied = pykarabo("--role", "observer", "config", "save", bench, "today")
    assert denied.code == 3
    assert "needs the role operator" in denied.err


def test_devices_of_a_pattern_get_priority_and_mark_and_no_device_is_an_error(
    bench: str, pykarabo: Run
) -> None:
    marked = pykarabo("config", "save", "T/BENCH/*", "today", "--priority", "5", "--active")
    assert (marked.code, marked.out) == (0, f"{bench}: saved as today@1\n")
    (named,) = pykarabo("config", "list", bench, "--json").json
    assert (named["priority"], named["active"]) == (5, True)
    none = pykarabo("config", "save", "NOPE*", "today")
    assert (none.code, none.out) == (3, "")
    assert "no device matches 'NOPE*' - see what runs: pykarabo devices" in none.err
    servers = pykarabo("config", "save", "T/SERVER*", "today")
    assert servers.code == 3
    assert "only servers match 'T/SERVER*'" in servers.err


def test_a_device_that_does_not_answer_is_not_saved_and_others_are(
    bench: str, pykarabo: Run, processes: Any
) -> None:
    processes.start("S/1", "T/FROZEN/1").send_signal(signal.SIGSTOP)
    saved = pykarabo("config", "save", "T/*/1", "today")
    assert saved.code == 1
    assert f"{bench}: saved as today@1" in saved.lines
    assert "error: T/FROZEN/1: 'T/FROZEN/1' did not answer within 3 s, and was not saved" in (
        saved.err
    )
    assert pykarabo("config", "list", "T/FROZEN/1").lines[1:] == []


def test_a_device_whose_server_was_killed_is_named_with_the_remedy(
    bench: str, pykarabo: Run, processes: Any
) -> None:
    server = processes.start("S/1", "T/KILLED/1")
    pykarabo("config", "save", "T/KILLED/1", "good", "--active")
    processes.end(server, signal.SIGKILL)
    wait_until(lambda: "is gone with its server 'S/1'" in pykarabo("show", "T/KILLED/1").err)
    told = "error: device 'T/KILLED/1' is gone with its server 'S/1' - start the server: "
    for command in (("save", "good"), ("diff", "good"), ("restore", "good")):
        done = pykarabo("config", command[0], "T/KILLED/1", *command[1:])
        assert done.code == 6
        assert done.err.startswith(told)
    shown = pykarabo("config", "show", "T/KILLED/1", "good")
    assert shown.code == 0
    assert "today's class could not be asked" in shown.out
    bulk = pykarabo("config", "save", "T/[BK]*/1", "today")
    assert (bulk.code, bulk.lines) == (1, [f"{bench}: saved as today@1"])
    assert "error: T/KILLED/1: device 'T/KILLED/1' is gone" in bulk.err


def test_of_a_bulk_that_was_cut_off_it_is_told_what_is_known(
    bench: str, pykarabo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_configurations, "_BULK", 1)
    monkeypatch.setattr(_configurations, "_BULK_S", 1.0)
    path = place_of(STORE.name).path
    assert path is not None
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")  # so that the store waits for its turn to write
        saved = pykarabo("config", "save", "T/*/1", "today", "--json")
    assert saved.code == 1
    errors = {device_id: item["error"] for device_id, item in saved.json.items()}
    assert errors[bench]["code"] == "call_timeout"
    assert errors["T/STORE/1"]["message"] == "it was not tried any more"


def test_the_time_that_is_shown_names_the_version_in_any_zone(
    bench: str, pykarabo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for position in ("1.0", "2.0", "3.0"):
        pykarabo("set", f"{bench}.position={position}")
        pykarabo("config", "save", bench, "good")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        rows = [line.split() for line in pykarabo("config", "history", bench, "good").lines[1:]]
        assert [row[1] for row in rows] == ["3", "2", "1"]
        for row in rows:
            shown = pykarabo("config", "show", bench, f"good@{row[4]}").out
            assert f"good@{row[1]} (Bench), saved {row[4]} by" in shown
        then = pykarabo("config", "diff", bench, f"good@{rows[1][4]}", "good@-0s", "--json")
        assert [item["left"] for item in then.json["differences"]] == [2.0]
        local = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - 3600))
        early = pykarabo("config", "show", bench, f"good@{local}")
        assert early.code == 3
        assert "has no configuration 'good@" in early.err
        assert f"it has the versions 1 to 3, the first of {rows[2][4]}" in early.err
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_long_history_is_shown_whole(
    bench: str, pykarabo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_configurations, "_PAGE", 2)
    for _ in range(5):
        pykarabo("config", "save", bench, "good")
    versions = pykarabo("config", "history", bench, "good", "--json").json
    assert [item["number"] for item in versions] == [5, 4, 3, 2, 1]


def test_a_mark_that_another_one_has_now_is_told_of(bench: str, pykarabo: Run) -> None:
    pykarabo("config", "save", bench, "a", "--active")
    pykarabo("config", "delete", bench, "a")
    assert pykarabo("config", "undelete", bench, "a").lines == [f"{bench}: a@3 restored"]
    pykarabo("config", "delete", bench, "a")
    pykarabo("config", "save", bench, "b", "--active")
    told = pykarabo("config", "undelete", bench, "a").lines
    assert told[1].startswith("note: it was the active one; 'b' is now.")
    assert told[1].endswith(f"pykarabo config describe {bench} a --active")


def test_what_is_shown_moves_no_cursor(bench: str, pykarabo: Run) -> None:
    connect(bench).name = "\x1b[2Jgone"
    pykarabo("config", "save", bench, "good", "--comment", "\x1b]0;title\x07 é\nmore")
    for shown in (
        pykarabo("config", "show", bench, "good"),
        pykarabo("config", "list", bench),
        pykarabo("config", "history", bench, "good"),
        pykarabo("config", "diff", bench, "good", "good@1"),
    ):
        assert shown.code == 0
        assert shown.out.replace("\n", "").isprintable()
    shown = pykarabo("config", "show", bench, "good")
    assert shown.lines[1:3] == ["\\x1b]0;title\\x07 é", "more"]
    connect(bench).name = "a\r\nb"
    assert pykarabo("config", "diff", bench, "good").lines[1].split()[-1] == "a\\r\\nb"
    restored = pykarabo("config", "restore", bench, "good").lines
    assert restored == [f"{bench}.name: a\\r\\nb -> \\x1b[2Jgone"]


@pytest.mark.parametrize(
    "name", ["good@2300-01-01", "good@x", "good@", "x" * 40_000, "good@0", "\x1b", "live"]
)
def test_names_of_nothing_are_refused_in_a_line(bench: str, pykarabo: Run, name: str) -> None:
    pykarabo("config", "save", bench, "good")
    refused = [
        pykarabo("config", "show", bench, name),
        pykarabo("config", "restore", bench, name),
        pykarabo("config", "instantiate", bench, name),
        pykarabo("config", "save", bench, name),
    ]
    for done in refused:
        assert done.code == 3, done.err
        assert done.err.startswith("error: ")
        assert done.err.removesuffix("\n").isprintable()


def test_without_a_store_the_command_that_starts_one_is_named(benches: None, pykarabo: Run) -> None:
    assert benches is None
    missing = pykarabo("config", "list")
    assert missing.code == 3
    assert "pykarabo instantiate ConfigurationStore" in missing.err
