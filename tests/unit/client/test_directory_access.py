"""Which replica is asked, and what holds when none answers; without a network."""

import fcntl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pykarabo.client import (
    CACHED,
    PAGE,
    DeviceRecord,
    DirectoryAccess,
    ServerRecord,
    TopologyCache,
    directory_endpoints,
)
from pykarabo.client._directory import Plan, Query
from pykarabo.errors import (
    CallTimeoutError,
    DeniedError,
    NotConnectedError,
    UnknownDeviceError,
)

_T = TypeVar("_T")
SERVER = ServerRecord("T/SERVER", "5" * 32, 1, "host", 1, "user", "0", "rpc", "ev", "data")
X = DeviceRecord("T/X", "Motor", "T/SERVER", "a" * 32, 1, rpc="rpc", fence=1, version=1)
Y = replace(X, device_id="T/Y", instance="b" * 32)


class Fake:
    """A replica that knows some devices."""

    def __init__(self, *devices: DeviceRecord, complete: bool = True) -> None:
        self.devices = {record.device_id: record for record in devices}
        self.complete = complete
        self.asked = 0

    def answer(self, query: Query) -> Any:
        self.asked += 1
        if query.command == "resolve":
            record = self.devices.get(query.args[0])
            details = {"complete": self.complete}
            return record.to_wire() if record else UnknownDeviceError("unknown", details=details)
        after = query.args[1] if len(query.args) > 1 else ""
        ids = sorted(device_id for device_id in self.devices if device_id > after)[:PAGE]
        return {
            "version": 1,
            "complete": self.complete,
            "devices": [self.devices[device_id].to_wire() for device_id in ids],
            "servers": [SERVER.to_wire()],
            "statuses": {"T/SERVER": "online"},
        }


class Dead(Fake):
    """A replica that does not answer."""

    def answer(self, query: Query) -> Any:
        self.asked += 1
        return CallTimeoutError(f"{query.endpoint} is silent")


def _carry_out(plan: Plan[_T], replicas: Mapping[str, Fake]) -> _T:
    answer: Any = None
    while True:
        try:
            query = plan.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = replicas[query.endpoint].answer(query)


def _access(replicas: Mapping[str, Fake], path: Path | None = None) -> DirectoryAccess:
    return DirectoryAccess(replicas, TopologyCache(path))


def test_endpoints_are_those_of_the_environment_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYKARABO_DIRECTORY", "tcp://a:1, tcp://b:1,,tcp://a:1")
    assert directory_endpoints() == ("tcp://a:1", "tcp://b:1")
    monkeypatch.delenv("PYKARABO_DIRECTORY")
    (endpoint,) = directory_endpoints()
    assert endpoint.startswith("ipc://")


def test_the_first_replica_is_asked_and_the_others_are_left_alone() -> None:
    replicas = {"1": Fake(X), "2": Fake(X)}
    assert _carry_out(_access(replicas).resolve("T/X"), replicas) == X
    assert (replicas["1"].asked, replicas["2"].asked) == (1, 0)


def test_a_silent_replica_is_passed_over_and_asked_last_from_then_on() -> None:
    replicas = {"1": Dead(), "2": Fake(X)}
    access = _access(replicas)
    for _ in range(3):
        assert _carry_out(access.resolve("T/X"), replicas) == X
    assert replicas["1"].asked == 1


def test_what_one_replica_does_not_know_another_is_asked() -> None:
    replicas = {"1": Fake(), "2": Fake(X)}
    access = _access(replicas)
    assert _carry_out(access.resolve("T/X"), replicas) == X
    with pytest.raises(UnknownDeviceError):
        _carry_out(access.resolve("T/Z"), replicas)


def test_a_device_that_one_replica_believes_gone_is_where_another_says() -> None:
    gone = replace(X, status="gone")
    replicas = {"1": Fake(gone), "2": Fake(X)}
    assert _carry_out(_access(replicas).resolve("T/X"), replicas) == X
    replicas = {"1": Fake(gone), "2": Fake(gone)}
    assert _carry_out(_access(replicas).resolve("T/X"), replicas) == gone


def test_an_error_that_is_an_answer_is_handed_on() -> None:
    class Refusing(Fake):
        def answer(self, query: Query) -> Any:
            return DeniedError(f"not {query.command}")

    replicas = {"1": Refusing(), "2": Fake(X)}
    with pytest.raises(DeniedError):
        _carry_out(_access(replicas).resolve("T/X"), replicas)


def test_when_all_are_silent_a_new_client_knows_what_an_earlier_one_has_seen(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cache" / "topology.json"
    replicas: dict[str, Fake] = {"1": Fake(X, Y), "2": Fake(X, Y)}
    _carry_out(_access(replicas, path).topology(), replicas)
    dead = {"1": Dead(), "2": Dead()}
    new = _access(dead, path)
    assert _carry_out(new.resolve("T/X"), dead) == replace(X, status=CACHED)
    found = _carry_out(new.topology("*/Y"), dead)
    assert [record["device_id"] for record in found["devices"]] == ["T/Y"]
    assert (found["answered"], found["statuses"]) == (False, {"T/SERVER": CACHED})
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotConnectedError, match="at 1, 2"):
        _carry_out(new.resolve("T/Z"), dead)


def test_without_a_cache_silence_is_an_error() -> None:
    dead = {"1": Dead(), "2": Dead()}
    for plan in (_access(dead).resolve("T/X"), _access(dead).topology()):
        with pytest.raises(NotConnectedError):
            _carry_out(plan, dead)
    with pytest.raises(CallTimeoutError):
        _carry_out(_access({"1": Dead()}).topology(), dead)


def test_an_empty_replica_after_a_restart_hides_no_device() -> None:
    known = Fake(X, Y)
    restarted = Fake(Y, complete=False)
    replicas: dict[str, Fake] = {"1": known}
    access = _access(replicas)
    _carry_out(access.topology(), replicas)
    replicas["1"] = restarted
    assert _carry_out(access.resolve("T/X"), replicas).status == CACHED
    found = _carry_out(access.topology(), replicas)
    statuses = {record["device_id"]: record["status"] for record in found["devices"]}
    assert statuses == {"T/X": CACHED, "T/Y": "online"}
    replicas["1"] = Fake(Y)
    with pytest.raises(UnknownDeviceError):
        _carry_out(access.resolve("T/X"), replicas)
    assert len(_carry_out(access.topology(), replicas)["devices"]) == 1


def test_answers_of_several_replicas_become_one() -> None:
    later = replace(X, state="MOVING", version=2)
    replicas = {"1": Fake(later, complete=False), "2": Fake(X, Y)}
    found = _carry_out(_access(replicas).topology(), replicas)
    records = [DeviceRecord.from_wire(record) for record in found["devices"]]
    assert records == [later, Y]
    assert len(found["servers"]) == 1


def test_a_large_topology_is_asked_for_page_by_page() -> None:
    many = [replace(X, device_id=f"T/{index}") for index in range(PAGE + 5)]
    replicas = {"1": Fake(*many)}
    found = _carry_out(_access(replicas).topology(), replicas)
    assert len(found["devices"]) == PAGE + 5
    assert replicas["1"].asked == 2


def test_programs_add_to_the_cache_what_they_learn(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    first, second = TopologyCache(path), TopologyCache(path)
    first.learn(X)
    second.learn(Y)
    first.forget("T/X")
    first.save()
    assert [record.device_id for record in TopologyCache(path).devices()] == ["T/Y"]


def test_a_program_that_knows_less_takes_nothing_from_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    ignorant = TopologyCache(path)
    assert not ignorant.knows_any()
    TopologyCache(path).replace("*", {"T/X": X}, [SERVER.to_wire()])
    ignorant.learn(Y)
    ignorant.save()
    after = TopologyCache(path)
    assert [record.device_id for record in after.devices()] == ["T/X", "T/Y"]
    assert after.servers() == [SERVER.to_wire()]
    TopologyCache(path).replace("*", {"T/X": X}, [])
    assert TopologyCache(path).servers() == []


def test_whoever_stops_while_he_writes_the_cache_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    cache = TopologyCache(path)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache.learn(X)
        assert TopologyCache(path).devices() == []
    cache.learn(Y)
    assert [record.device_id for record in TopologyCache(path).devices()] == ["T/X", "T/Y"]


def test_without_any_replica_a_device_that_was_found_alone_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    TopologyCache(path).learn(X)
    replicas: dict[str, Fake] = {"1": Dead(), "2": Dead()}
    found = _carry_out(_access(replicas, path).topology(), replicas)
    assert [record["status"] for record in found["devices"]] == [CACHED]


@pytest.mark.parametrize("content", ["", "[]", '{"devices": [{}], "servers": []}', "\xff"])
def test_a_broken_cache_is_no_cache_and_is_written_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "topology.json"
    path.write_bytes(content.encode("latin-1"))
    cache = TopologyCache(path)
    assert cache.devices() == []
    cache.learn(X)
    assert TopologyCache(path).device("T/X") == replace(X, status=CACHED)


def test_a_cache_that_cannot_be_written_disturbs_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = TopologyCache(tmp_path / "file" / "topology.json")
    cache.learn(X)
    assert cache.device("T/X") is not None
