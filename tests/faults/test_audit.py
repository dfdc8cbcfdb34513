"""The audit log when somebody changes it, when its server is killed and when its disk is full."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pykarabo.audit import ChainCheck, Link, check_server, files_of, make_line, parse_line
from pykarabo.client import BlockingClient, connect, wait_until
from pykarabo.errors import DeniedError
from tests.harness import Cluster, audit_log, record
from tests.harness.disk import Disk, why_no_disk

_SERVER: Final = "S/1"
_DEVICE: Final = "A/1"
_ON_FILES: Final = settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_RECOVERY_S: Final = 10.0
_FLOOD_S: Final = 3.0


def _wrong(check: ChainCheck) -> list[str]:
    return [str(finding) for finding in check.findings if finding.is_wrong]


def _await_key(key: str) -> None:
    """Wait until the command with this key is in the log."""
    audit_log.wait_for(_SERVER, arguments={"key": key})


@pytest.fixture
def log(cluster: Cluster) -> Path:
    """Have a real server write a log of two lives, one of them killed, and return its folder."""
    cluster.start_directory()
    server = cluster.start(_SERVER, _DEVICE)
    for life in range(2):
        device = connect(_DEVICE)
        for number in range(8):
            device.execute(f"{life}-{number}")
        _await_key(f"{life}-7")
        if life == 0:
            server.kill()
            server = cluster.restart(server)
        else:
            server.end()
    return audit_log.folder()


_Place: TypeAlias = tuple[int, int]
_Contents: TypeAlias = list[list[bytes]]


def _edit(lines: _Contents, place: _Place, _other: _Place, data: st.DataObject) -> None:
    file, line = place
    raw = bytearray(lines[file][line])
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 64]))
    lines[file][line] = bytes(raw)


def _shorten(lines: _Contents, place: _Place, _other: _Place, data: st.DataObject) -> None:
    file, line = place
    lines[file][line] = lines[file][line][: -data.draw(st.integers(2, 40))] + b"\n"


def _remove(lines: _Contents, place: _Place, _other: _Place, _data: st.DataObject) -> None:
    del lines[place[0]][place[1]]


def _repeat(lines: _Contents, place: _Place, other: _Place, _data: st.DataObject) -> None:
    lines[other[0]].insert(other[1], lines[place[0]][place[1]])


def _exchange(lines: _Contents, place: _Place, other: _Place, _data: st.DataObject) -> None:
    assume(place != other)
    one, two = lines[place[0]][place[1]], lines[other[0]][other[1]]
    lines[place[0]][place[1]], lines[other[0]][other[1]] = two, one


def _cut(lines: _Contents, place: _Place, _other: _Place, _data: st.DataObject) -> None:
    del lines[place[0]][place[1] :]


@pytest.mark.parametrize("touch", [_edit, _shorten, _remove, _repeat, _exchange, _cut])
def test_X10_any_touched_line_of_a_real_log_is_found(
    log: Path, touch: Callable[[_Contents, _Place, _Place, st.DataObject], None]
) -> None:
    files = files_of(log, _SERVER)
    contents = [path.read_bytes().splitlines(keepends=True) for path in files]
    places = [(file, line) for file, lines in enumerate(contents) for line in range(len(lines))]
    assert len(places) >= 19
    head = check_server(log, _SERVER).latest
    assert head is not None

    def wrong(lines: _Contents) -> list[str]:
        check = ChainCheck(head)
        for path, content in zip(files, lines, strict=True):
            check.begin_file(path.name)
            for line in content:
                check.take(line)
        check.finish(is_written=False)
        return _wrong(check)

    assert wrong(contents) == []

    @_ON_FILES
    @given(st.sampled_from(places), st.sampled_from(places), st.data())
    def look(place: _Place, other: _Place, data: st.DataObject) -> None:
        touched = [list(lines) for lines in contents]
        touch(touched, place, other, data)
        found = wrong(touched)
        assert found
        if touch in (_edit, _shorten):
            where = f"{files[place[0]].name}:{place[1] + 1}:"
            assert any(text.startswith(where) for text in found)

    look()


def test_X10_a_log_that_was_made_anew_is_found_by_its_living_server(cluster: Cluster) -> None:
    cluster.start_directory()
    cluster.start(_SERVER, _DEVICE)
    device = connect(_DEVICE)
    device.execute("evil")
    audit_log.wait_for(_SERVER, command="execute")
    (path,) = files_of(audit_log.folder(), _SERVER)
    begin, evil = (parse_line(raw) for raw in path.read_bytes().splitlines())
    assert begin is not None
    assert evil is not None
    server = connect(_SERVER)
    wait_until(lambda: server.audit_head == str(evil.link), timeout_s=5)
    innocent = {key: value for key, value in evil.fields.items() if key not in ("n", "prev")}
    line, _link = make_line(begin.link, innocent | {"arguments": {"key": "innocent"}})
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0] + line)
    head = Link.parse(server.audit_head)
    assert _wrong(check_server(audit_log.folder(), _SERVER, is_written=True)) == []
    (wrong,) = _wrong(check_server(audit_log.folder(), _SERVER, head, is_written=True))
    assert "the server has published" in wrong


def test_X10_a_killed_server_leaves_whole_lines_and_its_next_life_says_so(
    cluster: Cluster,
) -> None:
    cluster.start_directory()
    server = cluster.start(_SERVER, _DEVICE)
    for life in range(3):
        with BlockingClient() as client:
            device = client.device(_DEVICE)
            device.execute(f"before-{life}")
            _await_key(f"before-{life}")
            for number in range(20 * life):
                device.execute(f"last-{life}-{number}")
            server.kill()
        server = cluster.restart(server)
    server.end()
    check = check_server(audit_log.folder(), _SERVER)
    assert _wrong(check) == []
    notes = [str(finding) for finding in check.findings]
    assert len(notes) == 3
    assert all("killed after line" in note for note in notes)
    told = {str(line["arguments"]["key"]) for line in audit_log.attempts(_SERVER)}
    assert {f"before-{life}" for life in range(3)} <= told
    assert cluster.executions(_DEVICE).keys() >= told


@pytest.mark.skipif(why_no_disk() is not None, reason=str(why_no_disk()))
def test_X10_calls_go_on_when_the_disk_is_full_and_no_line_is_lost(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.start_directory()
    with Disk(tmp_path / "disk") as disk:
        where = {"XDG_DATA_HOME": str(disk.folder)}
        server = cluster.start(_SERVER, _DEVICE, environment=where)
        device, own = connect(_DEVICE), connect(_SERVER)
        device.execute("before")
        wait_until(lambda: own.audit_head, timeout_s=5)
        disk.fill()
        for number in range(100):
            assert device.execute(f"full-{number}") == f"full-{number}"
        wait_until(lambda: "audit/alarm" in own.alarms, timeout_s=_RECOVERY_S)
        assert "No space left on device" in own.alarms["audit/alarm"]["text"]
        disk.free()
        wait_until(lambda: "audit/alarm" not in own.alarms, timeout_s=_RECOVERY_S)
        server.end()
        (folder,) = (disk.folder / "pykarabo").glob("*/audit")
        keys = [
            line.fields["arguments"]["key"]
            for path in files_of(folder, _SERVER)
            for raw in path.read_bytes().splitlines()
            if (line := parse_line(raw)) is not None and line.kind == "call"
            and line.fields.get("command") == "execute" and line.fields["outcome"] == "done"
        ]  # fmt: skip
        assert keys == ["before", *(f"full-{number}" for number in range(100))]
        assert check_server(folder, _SERVER).findings == []


def test_a_log_that_cannot_be_written_from_the_start_keeps_nobody_from_working(
    cluster: Cluster,
) -> None:
    audit_log.folder().parent.mkdir(parents=True)
    audit_log.folder().write_text("a file where a folder should be")
    cluster.start_directory()
    cluster.start(_SERVER, _DEVICE)
    own = connect(_SERVER)
    assert connect(_DEVICE).execute("x") == "x"
    wait_until(lambda: "audit/alarm" in own.alarms, timeout_s=_RECOVERY_S)
    audit_log.folder().unlink()
    audit_log.wait_for(_SERVER, timeout_s=_RECOVERY_S, command="execute")
    wait_until(lambda: "audit/alarm" not in own.alarms, timeout_s=_RECOVERY_S)


def _refused_times() -> int:
    found = audit_log.attempts(_SERVER, outcome="refused")
    return sum(line.get("times", 1) for line in found)


def test_X1_a_flood_of_refusals_writes_little_and_each_is_counted(cluster: Cluster) -> None:
    cluster.start_directory()
    cluster.start(_SERVER, _DEVICE)
    calls, begun = 0, time.monotonic()
    with BlockingClient(role="observer") as observer:
        device = observer.device(_DEVICE)
        while time.monotonic() - begun < _FLOOD_S:
            with pytest.raises(DeniedError):
                device.call("execute", f"key {calls}")
            calls += 1
        took_s = time.monotonic() - begun
    audit_log.wait_until(lambda: _refused_times() == calls, "the count of all", 5.0)
    found = audit_log.attempts(_SERVER, outcome="refused")
    written = sum(len(json.dumps(line)) for line in found)
    record(
        "X1 (flood of refusals)",
        "each is counted, little is written",
        f"{calls / took_s:.0f} refusals/s: {written / took_s / 1e3:.1f} kB/s in the log",
    )
    assert written / took_s < 50_000
    assert max(line.get("times", 1) for line in found) > 1
    assert not _wrong(check_server(audit_log.folder(), _SERVER, is_written=True))


def test_X1_what_found_the_server_busy_is_in_the_log(cluster: Cluster) -> None:
    cluster.start_directory()
    cluster.start(_SERVER, _DEVICE)
    flooder = cluster.start_client("flood", _DEVICE, 300)
    assert flooder.hear() == "connected"
    flooder.tell("go")
    assert json.loads(flooder.hear()) == {"done": 100, "busy": 200}
    audit_log.wait_until(
        lambda: len(audit_log.attempts(_SERVER, outcome="done")) == 100, "what was done"
    )
    audit_log.wait_until(lambda: _refused_times() == 200, "what was refused")
    refused = audit_log.attempts(_SERVER, outcome="refused")
    assert {line["error"] for line in refused} == {"busy"}
    assert len(refused) < 50
    assert all(line["program"] and line["user"] for line in refused)


@pytest.mark.parametrize("how", ["cut", "removed"])
def test_X10_a_file_that_is_touched_while_it_is_written_raises_an_alarm(
    cluster: Cluster, how: str
) -> None:
    cluster.start_directory()
    cluster.start(_SERVER, _DEVICE)
    device, own = connect(_DEVICE), connect(_SERVER)
    device.execute("before")
    audit_log.wait_for(_SERVER, command="execute")
    (path,) = files_of(audit_log.folder(), _SERVER)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.unlink()
    device.execute("after")
    wait_until(lambda: "audit-file/alarm" in own.alarms, timeout_s=_RECOVERY_S)
    assert str(path) in own.alarms["audit-file/alarm"]["text"]
    audit_log.wait_for(_SERVER, arguments={"key": "after"})
    assert _wrong(check_server(audit_log.folder(), _SERVER, is_written=True))
