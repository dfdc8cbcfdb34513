"""The rules of a directory replica, at the times that a test says."""

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pykarabo.client import PAGE, DeviceRecord, ServerRecord
from pykarabo.errors import DuplicateDeviceError, UnknownDeviceError
from pykarabo.wire import GONE_AFTER_S, SUSPECT_AFTER_S
from pykarabo_services.directory.model import DirectoryModel

S: Final = 10**9
A: Final = "a" * 32
B: Final = "b" * 32
X: Final = "T/X"


def _server(instance: str, epoch: int = 1) -> ServerRecord:
    return ServerRecord(
        f"T/{instance[0].upper()}", instance, epoch, "host", 42, "user", "0",
        f"rpc of {instance}", "events", "data",
    )  # fmt: skip


def _device(instance: str, device_id: str = X, *, fence: int = 1, version: int = 1) -> DeviceRecord:
    return DeviceRecord(
        device_id, "Motor", f"T/{instance[0].upper()}", instance, 1, state="ON", rpc="rpc",
        fence=fence, version=version,
    )  # fmt: skip


def _with(*instances: str, fence: int = 0) -> DirectoryModel:
    model = DirectoryModel(fence)
    for instance in instances:
        model.register(_server(instance), [], {}, 0)
    return model


def _start(model: DirectoryModel, instance: str, device_id: str = X, now_ns: int = 0) -> int:
    fence = model.claim(instance, device_id, now_ns)
    model.renew(instance, [_device(instance, device_id, fence=fence)], 0.0, now_ns)
    return fence


def test_a_claimed_device_is_found_once_its_record_is_there() -> None:
    model = _with(A)
    model.claim(A, X, 0)
    with pytest.raises(UnknownDeviceError):
        model.resolve(X)
    _start(model, A)
    assert model.resolve(X).instance == A


def test_an_id_is_granted_to_one_server_and_the_refusal_names_it() -> None:
    model = _with(A, B)
    _start(model, A)
    with pytest.raises(DuplicateDeviceError, match="server 'T/A' on host host, process 42"):
        model.claim(B, X, 0)
    assert model.claim(A, X, 0) == 1


def test_every_grant_has_a_larger_number_than_any_before_a_restart_included() -> None:
    model = _with(A, fence=1_000)
    assert model.claim(A, X, 0) == 1_001
    assert model.claim(A, "T/Y", 0) == 1_002
    model.register(_server(B), [], {"T/Z": 5_000}, 0)
    assert model.claim(A, "T/W", 0) == 5_001


def test_an_id_is_free_when_it_is_released_and_when_its_holder_is_gone() -> None:
    model = _with(A, B)
    first = _start(model, A)
    model.release(A, [X], 0)
    second = model.claim(B, X, 0)
    assert second > first
    model = _with(A)
    _start(model, A)
    late_ns = int(GONE_AFTER_S * S)
    model.register(_server(B), [], {}, late_ns)
    assert model.claim(B, X, late_ns) == 2


def test_a_later_version_wins_and_an_earlier_one_changes_nothing() -> None:
    model = _with(A)
    model.claim(A, X, 0)
    new = replace(_device(A, version=3), state="MOVING")
    assert model.renew(A, [new], 0.0, 0)[1] is not None
    assert model.renew(A, [_device(A, version=2)], 0.0, 0) == (True, None)
    assert model.resolve(X).state == "MOVING"


def test_a_record_of_somebody_elses_device_is_that_of_a_twin() -> None:
    model = _with(A, B)
    fence = _start(model, A)
    twin = _device(B, fence=fence + 1, version=9)
    assert model.renew(B, [twin], 0.0, S) == (True, None)
    assert model.resolve(X).instance == A
    model.renew(A, [], 0.0, 2 * S)
    assert [error.device for error in model.lost(B, 2 * S)] == [X]
    assert model.lost(A, 2 * S) == []


def test_a_device_that_the_other_replicas_granted_is_known_by_its_record() -> None:
    model = _with(A, B)
    assert model.renew(A, [_device(A, fence=7)], 0.0, 0)[1] is not None
    assert model.resolve(X).instance == A
    with pytest.raises(DuplicateDeviceError, match="T/X"):
        model.claim(B, X, 0)
    assert model.claim(B, "T/Y", 0) == 8
    model.release(A, [X], 0)
    assert model.devices() == []


def test_an_unknown_server_is_asked_to_register() -> None:
    assert DirectoryModel().renew(A, [], 0.0, 0) == (False, None)


def test_what_a_server_does_not_name_when_it_registers_it_holds_no_more() -> None:
    model = _with(A, B)
    _start(model, A)
    update = model.register(_server(A), [], {}, 0)
    assert update is not None
    assert update.gone == (X,)
    assert model.claim(B, X, 0) == 2


def test_a_silent_server_is_suspect_then_gone_and_comes_back() -> None:
    model = _with(A)
    _start(model, A)
    seen: list[str] = []
    for silent_s in (SUSPECT_AFTER_S - 0.1, SUSPECT_AFTER_S, GONE_AFTER_S):
        model.check(int(silent_s * S))
        seen.append(model.resolve(X).status)
    model.renew(A, [], 0.0, 20 * S)
    model.check(20 * S)
    assert [*seen, model.resolve(X).status] == ["online", "suspect", "gone", "online"]


def test_a_late_event_loop_makes_devices_busy() -> None:
    model = _with(A)
    _start(model, A)
    model.renew(A, [], 3.0, 0)
    assert model.check(0) is not None
    assert model.resolve(X).status == "busy"
    assert model.statuses() == {"T/A": "busy"}


def test_a_frozen_directory_forgives_the_silence_of_its_servers() -> None:
    model = _with(A)
    _start(model, A)
    model.forgive(20)
    assert model.check(20 * S) is None


def test_devices_of_the_dead_are_forgotten_after_a_while() -> None:
    model = _with(A)
    _start(model, A)
    assert model.forget_the_dead(int((GONE_AFTER_S + 4) * S), after_s=5) is None
    update = model.forget_the_dead(int((GONE_AFTER_S + 6) * S), after_s=5)
    assert update is not None
    assert update.gone == (X,)
    assert model.server_count == 0


def test_a_server_that_answers_where_another_did_has_taken_its_place() -> None:
    model = _with(A)
    _start(model, A)
    newer = replace(_server(B, 2), rpc=_server(A).rpc)
    update = model.register(newer, [], {}, 0)
    assert update is not None
    assert [record.status for record in update.devices] == ["gone"]
    assert model.claim(B, X, 0) == 2
    model.register(_server(A), [], {}, 0)
    assert model.server(B) == newer


# -- twins ------------------------------------------------------------------------------------


def _twins(fence_a: int, fence_b: int) -> DirectoryModel:
    """Let two servers meet that were given one id on two sides of a partition."""
    model = DirectoryModel()
    model.register(_server(A, 1), [_device(A, fence=fence_a)], {X: fence_a}, 1)
    model.register(_server(B, 2), [_device(B, fence=fence_b)], {X: fence_b}, 2)
    return model


@pytest.mark.parametrize(
    ("fence_a", "fence_b", "winner"), [(3, 7, A), (7, 3, B), (5, 5, A), (0, 9, B), (0, 0, A)]
)
def test_of_twins_the_older_grant_wins(fence_a: int, fence_b: int, winner: str) -> None:
    model = _twins(fence_a, fence_b)
    for instance in (A, B):
        model.renew(instance, [], 0.0, 3)
    assert model.resolve(X).instance == winner
    loser = B if winner == A else A
    assert model.lost(winner, 3) == []
    (error,) = model.lost(loser, 3)
    assert (error.device, error.details["server"]) == (X, f"T/{winner[0].upper()}")


def test_the_order_in_which_twins_register_does_not_matter() -> None:
    other = DirectoryModel()
    other.register(_server(B, 2), [_device(B, fence=7)], {X: 7}, 1)
    other.register(_server(A, 1), [_device(A, fence=3)], {X: 3}, 2)
    assert other.resolve(X) == _twins(3, 7).resolve(X)


def test_a_server_that_was_not_heard_since_has_no_twin() -> None:
    model = _twins(3, 7)
    assert model.lost(B, 3) == []
    model.renew(A, [], 0.0, 3)
    assert len(model.lost(B, 3)) == 1


def test_the_twin_of_one_that_is_gone_is_shown_and_not_refused() -> None:
    model = _twins(3, 7)
    model.renew(A, [], 0.0, 3)
    late_ns = int((GONE_AFTER_S + 1) * S)
    model.renew(B, [], 0.0, late_ns)
    model.check(late_ns)
    assert model.resolve(X).instance == B
    assert model.lost(B, late_ns) == []


def test_a_twin_that_gives_the_id_back_leaves_the_other_alone() -> None:
    model = _twins(3, 7)
    model.renew(A, [], 0.0, 3)
    model.release(A, [X], 3)
    assert model.lost(B, 3) == []
    assert model.resolve(X).instance == B


# -- pages ------------------------------------------------------------------------------------


def test_a_topology_comes_in_pages_that_leave_nothing_out() -> None:
    model = _with(A)
    ids = [f"T/{index}" for index in range(2 * PAGE + 1)]
    fences = dict.fromkeys(ids, 1)
    records = [_device(A, name) for name in ids]
    update = model.register(_server(A), records, fences, 0)
    assert update is not None
    assert update.to_wire()["complete"] is False
    pages = [model.devices()]
    while len(pages[-1]) == PAGE:
        pages.append(model.devices(after=pages[-1][-1].device_id))
    assert [record.device_id for page in pages for record in page] == sorted(ids)
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]


# -- any order of events ----------------------------------------------------------------------

_INSTANCES: Final = st.sampled_from([A, B, "c" * 32])
_IDS: Final = st.sampled_from([X, "T/Y"])


class Facility(RuleBasedStateMachine):
    """One replica and servers that claim, release, fall silent and come back."""

    @initialize()
    def begin(self) -> None:
        self.model = DirectoryModel()
        self.now_ns = 0
        self.held: dict[str, dict[str, int]] = {}
        self.heard_ns: dict[str, int] = {}
        self.largest = 0

    def _hear(self, instance: str) -> None:
        known, _update = self.model.renew(instance, [], 0.0, self.now_ns)
        if not known:
            claims = self.held.setdefault(instance, {})
            records = [_device(instance, name, fence=fence) for name, fence in claims.items()]
            self.model.register(_server(instance), records, claims, self.now_ns)
        self.heard_ns[instance] = self.now_ns

    def _lives(self, instance: str) -> bool:
        return self.now_ns - self.heard_ns[instance] < GONE_AFTER_S * S

    @rule(instance=_INSTANCES)
    def renew(self, instance: str) -> None:
        self._hear(instance)
        for error in self.model.lost(instance, self.now_ns):
            assert error.device is not None
            del self.held[instance][error.device]
            self.model.release(instance, [error.device], self.now_ns)

    @rule(instance=_INSTANCES, device_id=_IDS)
    def claim(self, instance: str, device_id: str) -> None:
        self._hear(instance)
        rivals = [
            name
            for name, claims in self.held.items()
            if name != instance and device_id in claims and self._lives(name)
        ]
        try:
            fence = self.model.claim(instance, device_id, self.now_ns)
        except DuplicateDeviceError:
            assert rivals
            return
        assert not rivals
        if device_id not in self.held[instance]:
            assert fence > self.largest
        self.largest = max(self.largest, fence)
        self.held[instance][device_id] = fence
        record = _device(instance, device_id, fence=fence)
        self.model.renew(instance, [record], 0.0, self.now_ns)

    @rule(instance=_INSTANCES, device_id=_IDS)
    def release(self, instance: str, device_id: str) -> None:
        self.model.release(instance, [device_id], self.now_ns)
        self.held.get(instance, {}).pop(device_id, None)

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * S)
        self.model.check(self.now_ns)

    @rule()
    def restart(self) -> None:
        self.model = DirectoryModel(self.largest)
        for instance in self.held:
            self._hear(instance)

    @invariant()
    def what_is_held_is_shown(self) -> None:
        shown = {record.device_id for record in self.model.devices()}
        assert shown == {name for claims in self.held.values() for name in claims}

    @invariant()
    def a_living_holder_is_shown_rather_than_a_gone_one(self) -> None:
        self.model.check(self.now_ns)
        for record in self.model.devices():
            holders = [name for name, claims in self.held.items() if record.device_id in claims]
            alive = [name for name in holders if self._lives(name)]
            assert record.instance in (alive or holders)


Facility.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestFacility = Facility.TestCase
