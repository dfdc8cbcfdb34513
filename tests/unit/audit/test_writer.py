"""The writer: every entry gets a line or is counted in one; nothing on the disk is touched."""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pykarabo.audit import AuditWriter, ChainCheck, Entry, check_server, files_of, parse_line
from pykarabo.audit import _writer as audit_writer
from tests.harness.disk import Disk, why_no_disk

_ID = "LAB/SERVER"
_FACTS = {"domain": "d", "server": _ID, "host": "h", "pid": 1}


class _Note(Entry):
    """Says a number."""

    __slots__ = ("number",)

    def __init__(self, number: int, weight: int = 1) -> None:
        super().__init__()
        self.number = number
        self.weight = weight

    def fields(self) -> dict[str, Any]:
        outcome = "done" if self.is_over else "begun"
        return {"kind": "set", "t": time.time_ns(), "number": self.number, "outcome": outcome}


def _put(writer: AuditWriter, *numbers: int) -> None:
    for number in numbers:
        note = _Note(number)
        writer.put(note)
        writer.end(note)


@contextmanager
def _writing(folder: Path, **options: Any) -> Generator[AuditWriter]:
    writer = AuditWriter(folder, _ID, **options)
    writer.start(_FACTS)
    yield writer
    writer.close()


def _until(condition: Callable[[], Any], *, timeout_s: float = 10.0) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < timeout_s
        time.sleep(0.01)
    return time.monotonic() - begun


def _lines(folder: Path) -> list[dict[str, Any]]:
    """Return all lines that are whole."""
    raws = (raw for path in files_of(folder, _ID) for raw in path.read_bytes().split(b"\n"))
    return [json.loads(raw) for raw in raws if parse_line(raw) is not None]


def _numbers(folder: Path) -> list[int]:
    return [line["number"] for line in _lines(folder) if line["kind"] == "set"]


def _wrong(check: ChainCheck) -> list[str]:
    return [str(finding) for finding in check.findings if finding.is_wrong]


def test_what_is_put_is_on_the_disk_within_a_second_and_nobody_else_may_read_it(
    tmp_path: Path,
) -> None:
    with _writing(tmp_path / "audit") as writer:
        _until(lambda: writer.head is not None)
        _put(writer, 1)
        assert _until(lambda: _numbers(tmp_path / "audit") == [1]) < 1.0
    (path,) = files_of(tmp_path / "audit", _ID)
    assert path == tmp_path / "audit/LAB/SERVER.000001.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [line["kind"] for line in _lines(tmp_path / "audit")] == ["begin", "set", "end"]
    assert check_server(tmp_path / "audit", _ID).findings == []


def test_each_life_begins_a_file_and_the_chain_goes_on(tmp_path: Path) -> None:
    heads = []
    for life in range(3):
        with _writing(tmp_path) as writer:
            _put(writer, life)
        heads.append(writer.head)
    assert len(files_of(tmp_path, _ID)) == 3
    assert [line["n"] for line in _lines(tmp_path)] == list(range(1, 10))
    check = check_server(tmp_path, _ID)
    assert check.findings == []
    assert check.latest == heads[-1]


def test_large_files_are_followed_by_others(tmp_path: Path) -> None:
    with _writing(tmp_path, max_file_bytes=5_000) as writer:
        for first in range(0, 100, 20):
            _put(writer, *range(first, first + 20))
            _until(lambda: len(_numbers(tmp_path)) == first + 20)  # noqa: B023 - called at once
    assert _numbers(tmp_path) == list(range(100))
    assert len(files_of(tmp_path, _ID)) > 2
    assert check_server(tmp_path, _ID).findings == []


def test_threads_that_put_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    with _writing(tmp_path) as writer:
        threads = [
            threading.Thread(target=_put, args=(writer, *range(first, first + 500)))
            for first in range(0, 4_000, 500)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    numbers = _numbers(tmp_path)
    assert sorted(numbers) == list(range(4_000))
    for first in range(0, 4_000, 500):
        mine = [number for number in numbers if first <= number < first + 500]
        assert mine == sorted(mine)
    assert check_server(tmp_path, _ID).findings == []


def test_a_busy_interpreter_does_not_keep_many_lines_waiting(tmp_path: Path) -> None:
    with _writing(tmp_path, max_waiting=5_000) as writer:
        number = 0
        until = time.monotonic() + 3.0
        while time.monotonic() < until:  # of the loop's kind: it never lets go of the interpreter
            _put(writer, *range(number, number + 10))
            number += 10
            busy_until = time.monotonic() + 0.003
            while time.monotonic() < busy_until:
                pass
        _until(lambda: len(_numbers(tmp_path)) == number)
        assert writer.lost == 0
        assert number > 5_000


def test_what_takes_long_has_a_line_when_it_begins_and_one_when_it_ends(tmp_path: Path) -> None:
    with _writing(tmp_path) as writer:
        note = _Note(1)
        writer.put(note)
        _until(lambda: _numbers(tmp_path) == [1])
        writer.end(note)
    begun, done = (line for line in _lines(tmp_path) if line["kind"] == "set")
    assert (begun["outcome"], done["outcome"]) == ("begun", "done")
    assert note.begun == begun["n"]


def test_a_torn_line_is_kept_and_named_by_the_next_life(tmp_path: Path) -> None:
    with _writing(tmp_path) as writer:
        _put(writer, 1, 2)
    (path,) = files_of(tmp_path, _ID)
    lines = path.read_bytes().splitlines(keepends=True)
    torn = b"".join(lines[:-1])[:-20]  # the power went while line 3 was written
    path.write_bytes(torn)
    with _writing(tmp_path) as writer:
        _put(writer, 3)
    assert path.read_bytes() == torn
    second = files_of(tmp_path, _ID)[1]
    begin = parse_line(second.read_bytes().splitlines()[0])
    assert begin is not None
    assert begin.link.number == 3
    assert begin.fields["after"]["ending"] == "torn"
    assert begin.fields["after"]["bytes"] == len(lines[2]) - 20
    check = check_server(tmp_path, _ID)
    assert _wrong(check) == []
    assert "after line 2, or its host failed" in str(check.findings[0])
    path.write_bytes(torn[:-1])
    assert any("another torn end" in text for text in _wrong(check_server(tmp_path, _ID)))


def test_a_file_of_which_not_even_the_first_line_is_whole_does_not_stop_the_chain(
    tmp_path: Path,
) -> None:
    with _writing(tmp_path) as writer:
        _put(writer, 1)
    path = files_of(tmp_path, _ID)[0]
    path.with_name("SERVER.000002.jsonl").write_bytes(b'{"n":4,"ki')
    path.with_name("SERVER.000003.jsonl").write_bytes(b"")
    with _writing(tmp_path) as writer:
        _put(writer, 2)
    assert len(files_of(tmp_path, _ID)) == 4
    assert _wrong(check_server(tmp_path, _ID)) == []


@pytest.mark.parametrize("how", ["changed", "removed", "replaced"])
def test_a_file_that_somebody_touches_is_left_and_told_of(tmp_path: Path, how: str) -> None:
    with _writing(tmp_path) as writer:
        _put(writer, 1)
        _until(lambda: _numbers(tmp_path) == [1])
        (path,) = files_of(tmp_path, _ID)
        if how == "changed":
            os.truncate(path, path.stat().st_size - 30)
        else:
            path.unlink()
        if how == "replaced":
            path.write_bytes(b"")
        _put(writer, 2)
        _until(lambda: writer.incident is not None)
    assert how in str(writer.incident)
    assert _numbers(tmp_path)[-1] == 2
    assert any(f"the file before was {how}" in text for text in _wrong(check_server(tmp_path, _ID)))


def test_a_disk_that_refuses_loses_nothing_below_the_bound_and_counts_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "AGAIN_S", 0.05)
    full = threading.Event()
    write = os.write

    def refusing(handle: int, data: bytes) -> int:
        if full.is_set() and data[:5] == b'{"n":':
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data)

    monkeypatch.setattr(os, "write", refusing)
    with _writing(tmp_path, max_waiting=10) as writer:
        _until(lambda: writer.head is not None)
        full.set()
        _put(writer, 0)
        _until(lambda: writer.problem is not None)
        assert "No space left" in str(writer.problem)
        _put(writer, *range(1, 31))
        assert writer.lost == 20
        full.clear()
        _until(lambda: _numbers(tmp_path) == list(range(11)))
        _until(lambda: writer.problem is None)
        _put(writer, 99)
    assert _numbers(tmp_path) == [*range(11), 99]
    kinds = [line["kind"] for line in _lines(tmp_path)]
    assert kinds == ["begin", *["set"] * 11, "gap", "set", "end"]
    (gap,) = (line for line in _lines(tmp_path) if line["kind"] == "gap")
    assert gap["lost"] == 20
    assert check_server(tmp_path, _ID).findings == []


def test_lines_that_a_disk_takes_in_parts_are_whole_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    with _writing(tmp_path) as writer:
        _put(writer, 1, 2, 3)
    assert _numbers(tmp_path) == [1, 2, 3]
    assert check_server(tmp_path, _ID).findings == []


def test_a_disk_that_fails_to_sync_is_told_of_and_another_file_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "AGAIN_S", 0.05)
    with _writing(tmp_path) as writer:
        _until(lambda: writer.head is not None)
        head = writer.head
        sync = os.fsync

        def failing(handle: int) -> None:
            monkeypatch.setattr(os, "fsync", sync)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", failing)
        _put(writer, 1)
        _until(lambda: writer.incident is not None)
        _until(lambda: writer.head not in (None, head))
    assert "could not be brought to the disk" in str(writer.incident)
    assert len(files_of(tmp_path, _ID)) == 2
    assert _numbers(tmp_path) == [1]
    check = check_server(tmp_path, _ID)
    assert _wrong(check) == []
    assert "could not be brought to the disk" in str(check.findings[0])


def test_the_end_of_a_process_does_not_wait_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _handle: let_go.wait(10.0))
    writer = AuditWriter(tmp_path, _ID)
    writer.start(_FACTS)
    _put(writer, 1, 2)
    begun = time.monotonic()
    assert writer.close(timeout_s=0.3) >= 2
    assert time.monotonic() - begun < 2.0
    let_go.set()
    _until(lambda: not any(thread.name == "audit" for thread in threading.enumerate()))


@pytest.mark.skipif(why_no_disk() is not None, reason=str(why_no_disk()))
def test_a_full_disk_keeps_lines_in_memory_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_writer, "AGAIN_S", 0.05)
    with Disk(tmp_path / "disk") as disk, _writing(disk.folder) as writer:
        _put(writer, 0)
        _until(lambda: _numbers(disk.folder) == [0])
        disk.fill()
        _put(writer, *range(1, 100))  # more than the rest of the file's last page
        _until(lambda: writer.problem is not None)
        assert "No space left on device" in str(writer.problem)
        disk.free()
        _until(lambda: writer.problem is None)
        writer.close()
        assert _numbers(disk.folder) == list(range(100))
        assert check_server(disk.folder, _ID).findings == []
