"""`audit show` and `audit verify`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pykarabo.audit import files_of
from pykarabo.client import connect
from pykarabo.errors import PykaraboError
from tests.harness import audit_log

_SERVER = "T/SERVER"


@pytest.fixture
def log(benches: None) -> Path:
    """Have T/BENCH/1 written and commanded, and return its server's file."""
    assert benches is None
    bench = connect("T/BENCH/1")
    bench.position = 1.5
    bench.move(3.0, fast=True)
    with pytest.raises(PykaraboError):
        bench.park()
    connect("T/BENCH/2").name = "two"
    audit_log.wait_for(_SERVER, device="T/BENCH/2")
    (path,) = files_of(audit_log.folder(), _SERVER)
    return path


@pytest.mark.usefixtures("log")
def test_lines_tell_when_who_what_and_how_it_ended(pykarabo: Any) -> None:
    done = pykarabo("audit", "show", "--device", "T/BENCH/1")
    assert done.code == 0
    written, moved, parked = done.lines
    assert written.endswith("  T/BENCH/1 set position: 0.0 -> 1.5  done")
    assert "  T/BENCH/1.move(position=3.0, fast=true)  done" in moved
    assert "T/BENCH/1.park()  refused (state_forbids): command 'T/BENCH/1.park'" in parked
    assert written.startswith("20")
    assert "@" in written


@pytest.mark.usefixtures("log")
def test_lines_are_chosen(pykarabo: Any) -> None:
    assert len(pykarabo("audit", "show").lines) == 5
    assert [line["device"] for line in pykarabo("audit", "show", "--denied", "--json").json] == [
        "T/BENCH/1"
    ]
    assert len(pykarabo("audit", "show", "--device", "T/*").lines) == 4
    assert len(pykarabo("audit", "show", "--since", "1h").lines) == 5
    assert pykarabo("audit", "show", "--since", "2100-01-01").lines == []
    assert pykarabo("audit", "show", "--user", "nobody-of-this-name").lines == []
    (user,) = {line["user"] for line in pykarabo("audit", "show", "--json").json[1:]}
    assert len(pykarabo("audit", "show", "--user", user).lines) == 4


def test_a_wrong_time_is_refused(pykarabo: Any) -> None:
    done = pykarabo("audit", "show", "--since", "yesterday")
    assert done.code == 2
    assert "30m" in done.err


@pytest.mark.usefixtures("log")
def test_new_lines_are_followed() -> None:
    command = [sys.executable, "-m", "pykarabo", "audit", "show", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        try:
            kinds = [json.loads(following.stdout.readline())["kind"] for _ in range(5)]
            connect("T/BENCH/1").count = 8
            line = json.loads(following.stdout.readline())
        finally:
            following.terminate()
    assert kinds == ["begin", "set", "call", "call", "set"]
    assert line["changes"] == {"count": [7, 8]}


def test_a_log_as_it_was_written_is_verified(pykarabo: Any, log: Path) -> None:
    for arguments in ((), (_SERVER,), (str(log),)):
        done = pykarabo("audit", "verify", *arguments)
        assert (done.code, done.err) == (0, "")
        assert done.lines[0].startswith(f"{_SERVER}: 5 lines, as it was written; latest 5:")
    assert pykarabo("audit", "verify", "--json").json["servers"][_SERVER]["wrong"] == []


def test_an_edited_line_is_named(pykarabo: Any, log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"position":3.0', b'"position":4.0'))
    done = pykarabo("audit", "verify")
    assert done.code == 1
    assert f"{_SERVER}.000001.jsonl:3: was changed" in done.out
    assert "a line was changed" in pykarabo("audit", "show").err


def test_a_cut_tail_is_found_because_the_server_lives(pykarabo: Any, log: Path) -> None:
    server = connect(_SERVER)
    audit_log.wait_until(lambda: server.audit_head.startswith("5:"), "the head", 5.0)
    head = server.audit_head
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
    done = pykarabo("audit", "verify", "--json")
    assert done.code == 1
    (wrong,) = done.json["servers"][_SERVER]["wrong"]
    assert "cut: it ends with line 3, but the server has published line 5" in wrong
    assert pykarabo("audit", "verify", _SERVER, "--head", head).code == 1


def test_heads_are_checked_for_what_they_are(pykarabo: Any, log: Path) -> None:
    raw = log.read_bytes().splitlines()[1]
    head = f"2:{json.loads(raw)['hash']}"
    assert pykarabo("audit", "verify", _SERVER, "--head", head).code == 0
    assert pykarabo("audit", "verify", _SERVER, "--head", f"2:{'0' * 64}").code == 1
    assert pykarabo("audit", "verify", _SERVER, "--head", "2").code == 2


def test_unknown_servers_are_refused(pykarabo: Any) -> None:
    done = pykarabo("audit", "verify", "T/NOBODY")
    assert done.code == 3
    assert "T/NOBODY" in done.err
    assert "there is no audit log" in pykarabo("audit", "verify").out


def test_without_servers_the_end_of_a_stopped_one_is_known(pykarabo: Any, log: Path) -> None:
    connect(_SERVER).shutdown()
    audit_log.wait_until(lambda: b'"kind":"end"' in log.read_bytes(), "the end", 10.0)
    done = pykarabo("audit", "verify")
    assert done.code == 0
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    done = pykarabo("audit", "verify")
    assert done.code == 1
    assert "cut after line" in done.out
