"""A keyed call runs once, however often it comes."""

import pytest

from pykarabo.data import AccessLevel
from pykarabo.errors import BusyError, DeniedError, RemoteError, StateForbidsError, WrongTypeError
from pykarabo.wire import Call, Execute, OnceMemory, Outcome, Set

_S = 1_000_000_000
_INSTANCE = bytes(range(16))


def _call(number: int = 1, *, instance: bytes = _INSTANCE, value: float = 3.0) -> Execute:
    request = Call("MOTOR/1", "move", [value], {}, "key")
    return Execute(b"peer", bytes([number]) * 16, request, instance, 77, 0)


def test_first_call_is_run_and_its_repetition_gets_the_same_answer() -> None:
    memory = OnceMemory()
    assert memory.begin("key", _call(1), 0) is True
    outcome = Outcome("done", 5)
    assert memory.end("key", outcome) == []
    assert memory.begin("key", _call(2), 0) is outcome


def test_repetition_of_a_running_call_waits_for_its_end() -> None:
    memory = OnceMemory()
    memory.begin("key", _call(1), 0)
    assert memory.begin("key", _call(2), 0) is False
    assert memory.begin("key", _call(3), 0) is False
    assert memory.end("key", Outcome("done")) == [_call(2), _call(3)]


def test_repetition_that_is_given_up_waits_no_more() -> None:
    memory = OnceMemory()
    memory.begin("key", _call(1), 0)
    memory.begin("key", _call(2), 0)
    memory.begin("key", _call(3), 0)
    assert memory.give_up(b"peer", _call(1).call_id) is None
    assert memory.give_up(b"other", _call(2).call_id) is None
    assert memory.give_up(b"peer", _call(2).call_id) == _call(2)
    assert memory.give_up(b"peer", _call(2).call_id) is None
    assert memory.end("key", Outcome("done")) == [_call(3)]
    assert memory.give_up(b"peer", _call(3).call_id) is None


def test_call_that_failed_is_not_run_again() -> None:
    memory = OnceMemory()
    memory.begin("key", _call(1), 0)
    failed = Outcome(error=RemoteError("it broke"))
    memory.end("key", failed)
    assert memory.begin("key", _call(2), 0) is failed


@pytest.mark.parametrize("error", [BusyError("busy"), StateForbidsError("not now")])
def test_call_that_was_not_executed_may_be_tried_again(error: Exception) -> None:
    memory = OnceMemory()
    memory.begin("key", _call(1), 0)
    assert isinstance(error, BusyError | StateForbidsError)
    memory.end("key", Outcome(error=error))
    assert memory.begin("key", _call(2), 0) is True


def test_call_that_another_device_refused_has_run() -> None:
    memory = OnceMemory()
    memory.begin("key", _call(1), 0)
    error = BusyError("the other one is busy")
    error.foreign = True
    memory.end("key", Outcome(error=error))
    assert isinstance(memory.begin("key", _call(2), 0), Outcome)


def test_key_of_another_call_is_refused() -> None:
    memory = OnceMemory()
    memory.begin("key", _call(1), 0)
    other = Execute(b"peer", b"2" * 16, Set("MOTOR/1", {"speed": 1}, "key"), _INSTANCE, 77, 0)
    for call in (_call(2, value=4.0), _call(2, instance=b"2" * 16), other):
        with pytest.raises(WrongTypeError, match="used for another call"):
            memory.begin("key", call, 0)


def test_what_ended_long_ago_is_forgotten_and_what_runs_is_not() -> None:
    memory = OnceMemory()
    memory.begin("old", _call(1), 0)
    memory.begin("running", _call(2), 0)
    memory.end("old", Outcome("done"))
    assert memory.begin("new", _call(3), 601 * _S) is True
    assert memory.begin("running", _call(4), 601 * _S) is False
    assert memory.begin("old", _call(5), 601 * _S) is True


def test_memory_is_bounded() -> None:
    memory = OnceMemory()
    for number in range(10_500):
        memory.begin(f"key {number}", _call(1), number)
        memory.end(f"key {number}", Outcome("done"))
    assert len(memory) <= 10_000


def _as(role: AccessLevel, number: int = 1) -> Execute:
    return _call(number)._replace(role=role)


def test_answer_is_not_for_a_lower_role_than_that_of_the_first_call() -> None:
    memory = OnceMemory()
    memory.begin("key", _as(AccessLevel.EXPERT), 0)
    with pytest.raises(DeniedError, match="with the role expert"):
        memory.begin("key", _as(AccessLevel.OPERATOR, 2), 0)
    assert memory.begin("key", _as(AccessLevel.ADMINISTRATOR, 3), 0) is False
    outcome = Outcome("done")
    assert [call.call_id[0] for call in memory.end("key", outcome)] == [3]
    with pytest.raises(DeniedError):
        memory.begin("key", _as(AccessLevel.OPERATOR, 4), 0)
    assert memory.begin("key", _as(AccessLevel.EXPERT, 5), 0) is outcome
