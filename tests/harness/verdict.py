"""Judges a mix of faults: callers by what was executed, watchers by what was done when."""

import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .auditor import DONE, NOT_EXECUTED, UNKNOWN

RECOVERY_S: Final = 5.0
"""A call that fails so long after the end of a fault of its server or its caller is excused."""
GRACE_S: Final = 0.25
LONGEST_CALL_S: Final = 5.0
_DEADLY: Final = ("kill", "abort")
_SILENT: Final = ("freeze", "cut")
_HARMLESS: Final = ("jump", "disk")


@dataclass(slots=True)
class Fault:
    """What was done to whom, and when on the host's monotonic clock."""

    kind: str
    target: str
    begun: float
    ended: float = float("inf")


@dataclass(frozen=True, slots=True)
class NotedCall:
    """A call from the journal of a caller; without an end if the caller was killed."""

    key: str
    caller: str
    device_id: str
    begun: float
    ended: float = float("inf")
    outcome: str = ""
    code: str = ""
    late_s: float = 0.0

    @property
    def life(self) -> str:
        """The one life of the caller's process that made it."""
        return self.key.rpartition("-")[0].removesuffix(f"-{self.device_id}")

    @property
    def deadline(self) -> float:
        """Until when it might run, if its end did not say anything else."""
        return self.ended - self.late_s


def read_calls(caller: str, journal: Iterable[list[Any]]) -> list[NotedCall]:
    """Return the calls that all lives of a caller have noted."""
    found: dict[str, NotedCall] = {}
    for verb, *facts in journal:
        if verb == "begun":
            key, device_id, begun = facts
            found[key] = NotedCall(key, caller, device_id, begun)
        elif verb == "ended":
            found[facts[0]] = NotedCall(facts[0], caller, *facts[1:])
    return list(found.values())


class Faults:
    """What was done, by target."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._by_target: dict[str, list[Fault]] = {}
        for fault in faults:
            self._by_target.setdefault(fault.target, []).append(fault)

    def touch(
        self,
        target: str,
        begun: float,
        ended: float,
        *,
        after_s: float = 0.0,
        but: object = None,
        kinds: Collection[str] = (),
    ) -> bool:
        """Tell whether a fault of a target, or the time after it, was in a span of time.

        Args:
            kinds: those that count; default are all that do any harm.
        """
        return any(
            fault.begun <= ended and fault.ended + after_s >= begun
            for fault in self._by_target.get(target, ())
            if fault is not but and (fault.kind in kinds if kinds else fault.kind not in _HARMLESS)
        )

    def killed_within(self, target: str, begun: float, seconds: float) -> bool:
        """Tell whether a target was killed within so many seconds.

        A fault is noted a moment before it is done: what began between the two is within.
        """
        return any(
            fault.kind in _DEADLY and fault.begun <= begun + seconds and begun <= fault.ended
            for fault in self._by_target.get(target, ())
        )


@dataclass(slots=True)
class CallVerdict:
    """What became of the calls of a mix.

    Attributes:
        unanswered: calls of living callers that never ended.
        ghosts: executed although "not executed" was reported.
        late_executions: executed although the call's end had told that it would not: after its
            deadline, or after the caller heard from the same server again.
        unprovoked: failed while nothing was done to the server or the caller.
        worst_late_s: the latest end after a deadline, of callers that nothing was done to.
        p99_s: of the successful calls that no fault touched.
    """

    made: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    unanswered: list[str] = field(default_factory=list[str])
    ghosts: list[str] = field(default_factory=list[str])
    vanished: list[str] = field(default_factory=list[str])
    doubles: list[str] = field(default_factory=list[str])
    strangers: list[str] = field(default_factory=list[str])
    late_executions: list[str] = field(default_factory=list[str])
    unprovoked: list[NotedCall] = field(default_factory=list[NotedCall])
    worst_late_s: float = -LONGEST_CALL_S
    p99_s: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether every call ended, and each with the truth."""
        wrong = (self.unanswered, self.ghosts, self.vanished, self.doubles, self.strangers)
        return not any(wrong)


def judge_calls(
    calls: Iterable[NotedCall],
    executions: Iterable[tuple[str, float]],
    faults: Faults,
    server_of: Mapping[str, str],
) -> CallVerdict:
    """Compare what callers were told with what was executed.

    Args:
        executions: key and time of each.
        server_of: the server of each device.
    """
    known = {call.key: call for call in calls}
    executed: dict[str, list[float]] = {}
    for key, at in executions:
        executed.setdefault(key, []).append(at)
    verdict = CallVerdict(made=len(known))
    verdict.doubles = [key for key, times in executed.items() if len(times) > 1]
    verdict.strangers = [key for key in executed if key not in known]
    quick: list[float] = []
    contacts = _Contacts(known.values(), server_of)
    for call in known.values():
        _judge_truth(verdict, call, executed.get(call.key, []), faults, contacts)
        if call.outcome:
            _judge_time(verdict, call, faults, server_of[call.device_id], quick)
    if len(quick) > 1:
        verdict.p99_s = statistics.quantiles(quick, n=100)[-1]
    return verdict


class _Contacts:
    """When each life of a caller knew for sure that it had reached a server."""

    def __init__(self, calls: Iterable[NotedCall], server_of: Mapping[str, str]) -> None:
        self._server_of = server_of
        self._done: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for call in sorted(calls, key=lambda call: call.begun):
            if call.outcome == DONE:
                self._done.setdefault(self._key(call), []).append((call.begun, call.ended))

    def _key(self, call: NotedCall) -> tuple[str, str]:
        return call.life, self._server_of[call.device_id]

    def may_run_until(self, call: NotedCall) -> float:
        """Return until when a call may be executed.

        Who is told "outcome unknown" before the deadline may look at the device: what he sees
        must be the end of it. Until he has reached the server again, the deadline holds.
        """
        if call.outcome != UNKNOWN:
            return call.ended + GRACE_S
        done = self._done.get(self._key(call), [])
        later = done[bisect_left(done, (call.ended, 0.0)) :]
        return min([call.deadline + GRACE_S, *(ended for _begun, ended in later)])


def _judge_truth(
    verdict: CallVerdict,
    call: NotedCall,
    executed: list[float],
    faults: Faults,
    contacts: _Contacts,
) -> None:
    if not call.outcome:
        if not faults.killed_within(call.caller, call.begun, LONGEST_CALL_S + RECOVERY_S * 2):
            verdict.unanswered.append(f"{call.key} begun {call.begun:.3f}")
        return
    verdict.outcomes[f"{call.outcome} {call.code}".strip()] += 1
    if call.outcome == NOT_EXECUTED and executed:
        verdict.ghosts.append(call.key)
    if call.outcome == DONE and not executed:
        verdict.vanished.append(call.key)
    if any(at > contacts.may_run_until(call) for at in executed):
        verdict.late_executions.append(
            f"{call.key} begun {call.begun:.3f}, ended {call.ended:.3f} {call.outcome} "
            f"{call.code}, executed {executed}"
        )


def _judge_time(
    verdict: CallVerdict, call: NotedCall, faults: Faults, server: str, quick: list[float]
) -> None:
    if faults.touch(call.caller, call.begun, call.ended, after_s=GRACE_S):
        return
    verdict.worst_late_s = max(verdict.worst_late_s, call.late_s)
    hurt = any(
        faults.touch(target, call.begun, call.ended, after_s=RECOVERY_S)
        for target in (call.caller, server)
    )
    if hurt:
        return
    if call.outcome == DONE:
        quick.append(call.ended - call.begun)
    else:
        verdict.unprovoked.append(call)


class Sight:
    """When a watcher held each device for live and for stale."""

    def __init__(self, journal: Iterable[list[Any]]) -> None:
        self._times: dict[str, list[float]] = {}
        self._live: dict[str, list[bool]] = {}
        for verb, *facts in journal:
            if verb in ("live", "stale"):
                device_id, at = facts
                self._times.setdefault(device_id, []).append(at)
                self._live.setdefault(device_id, []).append(verb == "live")

    def live_at(self, device_id: str, at: float) -> bool:
        """Tell whether a device was held for live at a time."""
        index = bisect_right(self._times.get(device_id, []), at)
        return index > 0 and self._live[device_id][index - 1]

    def until(self, device_id: str, at: float, *, live: bool) -> float:
        """Return how long after a time a device was held for live, or for stale."""
        if self.live_at(device_id, at) == live:
            return 0.0
        times = self._times.get(device_id, [])
        index = bisect_right(times, at)
        return times[index] - at if index < len(times) else float("inf")


@dataclass(slots=True)
class NoticeVerdict:
    """How soon watchers knew, at worst, by kind of fault; only where nothing else was done.

    Attributes:
        stale: from the fault to "stale".
        back: from the end of the fault to "live".
        judged: of how many of each kind "back" was looked at.
    """

    stale: dict[str, float] = field(default_factory=dict[str, float])
    back: dict[str, float] = field(default_factory=dict[str, float])
    judged: Counter[str] = field(default_factory=Counter[str])


NOTICE_S: Final = 5.0
"""A server that is silent for longer must be held for stale."""
LISTENING_S: Final = 10.0
"""A replica of the directory that was restarted grants no ids for so long."""


def judge_notices(
    faults: Iterable[Fault],
    sights: Mapping[str, Sight],
    servers: Mapping[str, list[str]],
    replicas: Collection[str],
    until: float,
) -> NoticeVerdict:
    """Measure how soon watchers knew of the faults of servers.

    That a server is stale is to be seen whatever becomes of the directory. Its next life can be
    found only if a majority of the replicas grants it its ids.

    Args:
        until: when the watchers were asked; what ended just before is not judged.
    """
    listed = list(faults)
    known = Faults(listed)
    verdict = NoticeVerdict()
    for fault in listed:
        if fault.target not in servers or fault.kind in _HARMLESS:
            continue
        for watcher, sight in sights.items():
            if fault.ended + RECOVERY_S <= until and _alone(fault, known, watcher):
                _judge_stale(verdict, fault, sight, servers[fault.target])
                if _granted(fault, known, replicas):
                    _judge_back(verdict, fault, sight, servers[fault.target])
    return verdict


def _granted(fault: Fault, known: Faults, replicas: Collection[str]) -> bool:
    """Tell whether a majority of the directory's replicas could grant ids after a fault."""
    begun, ended = fault.begun, fault.ended + RECOVERY_S
    granting = [
        name
        for name in replicas
        if not known.touch(name, begun, ended, after_s=LISTENING_S, kinds=_DEADLY)
        and not known.touch(name, begun, ended, kinds=_SILENT)
    ]
    return len(granting) > len(replicas) // 2


def _alone(fault: Fault, known: Faults, watcher: str) -> bool:
    """Tell whether nothing else was done to a fault's target or to a watcher around its time."""
    begun, ended = fault.begun - RECOVERY_S, fault.ended + RECOVERY_S
    return not (
        known.touch(fault.target, begun, ended, but=fault) or known.touch(watcher, begun, ended)
    )


def _judge_stale(verdict: NoticeVerdict, fault: Fault, sight: Sight, devices: list[str]) -> None:
    silent = fault.kind in _DEADLY or (
        fault.kind in ("freeze", "cut") and fault.ended - fault.begun > NOTICE_S
    )
    for device_id in devices:
        if silent and sight.live_at(device_id, fault.begun):
            stale_s = sight.until(device_id, fault.begun, live=False)
            verdict.stale[fault.kind] = max(verdict.stale.get(fault.kind, 0.0), stale_s)


def _judge_back(verdict: NoticeVerdict, fault: Fault, sight: Sight, devices: list[str]) -> None:
    verdict.judged[fault.kind] += 1
    for device_id in devices:
        back_s = sight.until(device_id, fault.ended, live=True)
        verdict.back[fault.kind] = max(verdict.back.get(fault.kind, 0.0), back_s)
