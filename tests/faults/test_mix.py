"""Faults of every kind at random, several at a time, while clients call and watch (case S6).

``PYKARABO_SEED`` repeats the plan of an earlier run, ``PYKARABO_MIX_S`` says how long it lasts.
"""

import asyncio
import contextlib
import secrets
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.harness import Cluster, StreamAccount, record
from tests.harness.mix import Mix, Nemesis, Size, environment_number
from tests.harness.verdict import GRACE_S, NOTICE_S, CallVerdict, Fault, NoticeVerdict

CONVERGED_S: Final = 5.0
"""After the last fault every watcher has the truth by then; partitions are among the faults."""
DEAD_S: Final = 2.0
BACK_S: Final = 3.0
AFTER_PARTITION_S: Final = 5.0
QUICK_S: Final = 0.1


async def _run(mix: Mix, nemesis: Nemesis, duration_s: float) -> dict[str, Any]:
    """Let the nemesis rage and return what is to be judged."""
    await mix.until_live()
    sizes = {name: mix.workload(name).ask("size") for name in mix.watchers}
    looking = asyncio.create_task(mix.look())
    await nemesis.run(duration_s)
    live_s = await mix.until_live()
    until = time.monotonic()
    await mix.finish()
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    return {"live_s": live_s, "until": until, "sizes": sizes}


def _story(faults: list[Fault]) -> list[str]:
    """Return the faults as lines that can be read."""
    first = min((fault.begun for fault in faults), default=0.0)
    return [
        f"{fault.begun - first:7.2f} to {fault.ended - first:7.2f} {fault.kind} {fault.target}"
        for fault in faults
    ]


def _mix(cluster: Cluster, folder: Path, size: Size, seed: int, duration_s: float) -> None:
    print(f"PYKARABO_SEED={seed}")
    with Mix(cluster, folder, size) as mix:
        nemesis = Nemesis(mix, seed)
        ran = asyncio.run(_run(mix, nemesis, duration_s))
        streams, calls, notices = mix.accounts(), mix.calls(), mix.notices(ran["until"])
        sizes = {name: mix.workload(name).ask("size") for name in mix.watchers}
        errors = cluster.errors()
        print("\n".join(_story(mix.faults)))
        unprovoked = [
            f"{call.caller} {call.device_id} {call.begun - mix.faults[0].begun:.2f} to "
            f"{call.ended - mix.faults[0].begun:.2f} {call.code}"
            for call in calls.unprovoked
        ]
        print("\n".join(unprovoked))
        wrong = ("unanswered", "ghosts", "vanished", "doubles", "strangers", "late_executions")
        print(f"first fault at {mix.faults[0].begun:.3f}")
        print({name: getattr(calls, name) for name in wrong})
        record(
            f"S6 ({duration_s} s, seed {seed})",
            "G1-G5, G10, G12",
            f"{sum(nemesis.done.values())} faults {nemesis.done}; converged {ran['live_s']:.2f} s "
            f"after the last; {calls.made} calls: {dict(calls.outcomes)}, at most "
            f"{calls.worst_late_s:.3f} s late, {len(calls.doubles)} double, {len(calls.ghosts)} "
            f"ghosts, {len(calls.late_executions)} executed late, {len(unprovoked)} failed "
            f"unprovoked, p99 of the untouched {calls.p99_s * 1e3:.0f} ms; "
            f"{sum(one.produced for one in streams.values())} events, "
            f"{sum(one.unaccounted for one in streams.values())} unaccounted; stale after "
            f"{notices.stale}, back after {notices.back} of {dict(notices.judged)}",
            unprovoked=unprovoked,
            streams=streams,
            sizes=[ran["sizes"], sizes],
            surprises=mix.surprises,
            errors=errors,
        )
        _assert_streams(streams)
        _assert_calls(calls, unprovoked)
        _assert_notices(notices)
        assert not mix.surprises
        assert not errors, "\n".join(errors)
        assert ran["live_s"] <= CONVERGED_S
        for name, before in ran["sizes"].items():
            assert sizes[name]["tasks"] <= before["tasks"] + 2, (before, sizes[name])
            assert sizes[name]["files"] <= before["files"] + 4, (before, sizes[name])


def _assert_streams(streams: dict[str, StreamAccount]) -> None:
    for name, account in streams.items():
        assert account.exact, (name, account)
        assert account.delivered > 0, (name, account)


def _assert_calls(calls: CallVerdict, unprovoked: list[str]) -> None:
    assert calls.exact, calls
    assert not calls.late_executions
    assert calls.outcomes["done"] > 0
    assert calls.worst_late_s <= GRACE_S
    assert not unprovoked
    assert calls.p99_s <= QUICK_S


def _assert_notices(notices: NoticeVerdict) -> None:
    for kind in ("kill", "abort"):
        assert notices.stale.get(kind, 0.0) <= DEAD_S, notices
    for kind in ("freeze", "cut"):
        assert notices.stale.get(kind, 0.0) <= NOTICE_S, notices
    for kind, back_s in notices.back.items():
        assert back_s <= (AFTER_PARTITION_S if kind == "cut" else BACK_S), notices


def test_S6_mix_of_faults_for_20_s(cluster: Cluster, tmp_path: Path) -> None:
    _mix(cluster, tmp_path, Size(servers=2, watchers=1, callers=1), 7, 20)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_S6_mix_of_faults(cluster: Cluster, tmp_path: Path) -> None:
    seed = environment_number("PYKARABO_SEED", secrets.randbelow(2**31))
    _mix(cluster, tmp_path, Size(), seed, environment_number("PYKARABO_MIX_S", 600))
