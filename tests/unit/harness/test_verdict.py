"""What the judge of a mix of faults calls wrong."""

from typing import Final

import pytest

from tests.harness.auditor import DONE, NOT_EXECUTED, UNKNOWN
from tests.harness.verdict import (
    CallVerdict,
    Fault,
    Faults,
    NotedCall,
    Sight,
    judge_calls,
    judge_notices,
    read_calls,
)

_SERVERS: Final = {"D/0": "S/0", "D/1": "S/0", "D/2": "S/1"}


def _call(
    number: int,
    outcome: str,
    begun: float,
    ended: float,
    *,
    device: str = "D/0",
    timeout_s: float = 5.0,
    life: str = "caller-0-17",
) -> NotedCall:
    key, late_s = f"{life}-{device}-{number}", ended - begun - timeout_s
    return NotedCall(key, "caller-0", device, begun, ended, outcome, "", late_s)


def _judged(
    calls: list[NotedCall], executed: dict[int, list[float]], *faults: Fault
) -> CallVerdict:
    executions = [
        (call.key, at)
        for call in calls
        for at in executed.get(int(call.key.rpartition("-")[2]), [])
    ]
    return judge_calls(calls, executions, Faults(faults), _SERVERS)


def test_calls_that_ended_with_the_truth_are_exact() -> None:
    calls = [_call(1, DONE, 0, 1), _call(2, NOT_EXECUTED, 0, 1), _call(3, UNKNOWN, 0, 1)]
    verdict = _judged(calls, {1: [0.5], 3: [0.5]})
    assert verdict.exact
    assert verdict.late_executions == []


def test_ghosts_doubles_and_what_vanished_are_seen() -> None:
    calls = [_call(1, DONE, 0, 1), _call(2, NOT_EXECUTED, 0, 1), _call(3, UNKNOWN, 0, 1)]
    verdict = _judged(calls, {2: [0.5], 3: [0.5, 0.6]})
    assert verdict.vanished == [calls[0].key]
    assert verdict.ghosts == [calls[1].key]
    assert verdict.doubles == [calls[2].key]


@pytest.mark.parametrize(("at", "late"), [(4.9, 0), (5.2, 0), (5.3, 1)])
def test_a_call_whose_connection_was_lost_may_run_until_its_deadline(at: float, late: int) -> None:
    verdict = _judged([_call(1, UNKNOWN, 0, 2)], {1: [at]})
    assert len(verdict.late_executions) == late


@pytest.mark.parametrize(
    ("device", "life", "late"),
    [
        ("D/0", "caller-0-17", 1),
        ("D/1", "caller-0-17", 1),
        ("D/2", "caller-0-17", 0),
        ("D/0", "caller-0-18", 0),
    ],
)
def test_it_may_not_run_after_its_caller_has_reached_the_server_again(
    device: str, life: str, late: int
) -> None:
    again = _call(2, DONE, 3.0, 3.1, device=device, life=life)
    verdict = _judged([_call(1, UNKNOWN, 0, 2), again], {1: [3.2], 2: [3.05]})
    assert len(verdict.late_executions) == late


def test_what_was_done_before_a_call_ended_says_nothing_of_it() -> None:
    calls = [_call(1, UNKNOWN, 0, 2), _call(2, DONE, 1.5, 2.5)]
    assert _judged(calls, {1: [3.2], 2: [2.0]}).late_executions == []


@pytest.mark.parametrize(("killed", "unanswered"), [(0.9, 0), (20.0, 1), (-2.0, 1)])
def test_a_call_without_an_end_is_excused_by_the_death_of_its_caller(
    killed: float, unanswered: int
) -> None:
    (call,) = read_calls("caller-0", [["begun", "caller-0-17-D/0-1", "D/0", 1.0]])
    kill = Fault("kill", "caller-0", killed, killed + 1.0)
    assert len(_judged([call], {}, kill).unanswered) == unanswered


_REPLICAS: Final = [f"DIRECTORY/{number}" for number in range(3)]
_KILL: Final = Fault("kill", "S/0", 100.0, 102.0)


@pytest.mark.parametrize(
    ("others", "judged"),
    [
        ([], 1),
        ([Fault("kill", "DIRECTORY/0", 95.0, 97.0)], 1),
        ([Fault("kill", "DIRECTORY/0", 85.0, 89.0), Fault("cut", "DIRECTORY/1", 101.0, 104.0)], 1),
        ([Fault("kill", "DIRECTORY/0", 85.0, 91.0), Fault("cut", "DIRECTORY/1", 101.0, 104.0)], 0),
        ([Fault("disk", "DIRECTORY/0", 99.0, 103.0), Fault("jump", "DIRECTORY/1", 99.0, 103.0)], 1),
    ],
)
def test_a_server_is_to_be_back_where_a_majority_can_grant_its_ids(
    others: list[Fault], judged: int
) -> None:
    sight = Sight([["live", "D/0", 1.0], ["stale", "D/0", 100.5], ["live", "D/0", 106.0]])
    verdict = judge_notices(
        [_KILL, *others], {"watcher": sight}, {"S/0": ["D/0"]}, _REPLICAS, 1_000.0
    )
    assert verdict.stale == {"kill": 0.5}
    assert verdict.back == ({"kill": 4.0} if judged else {})
    assert verdict.judged["kill"] == judged
