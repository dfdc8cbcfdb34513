"""`pykarabo config`: configurations are saved, compared and applied from the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pykarabo.client import connect
from pykarabo.device import serve
from pykarabo_services.configuration.main import ConfigurationStore

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


def test_without_a_store_the_command_that_starts_one_is_named(benches: None, pykarabo: Run) -> None:
    assert benches is None
    missing = pykarabo("config", "list")
    assert missing.code == 3
    assert "pykarabo instantiate ConfigurationStore" in missing.err
