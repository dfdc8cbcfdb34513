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
from tests.harness.mix import Fault, Mix, Nemesis, Size, environment_number
from tests.harness.verdict import (
    GRACE_S,
    NOTICE_S,
    CallVerdict,
    Faults,
    NoticeVerdict,
    Sight,
    judge_calls,
    judge_notices,
    read_calls,
)

CONVERGED_S: Final = 5.0
"""After the last fault every watcher has the truth by then; partitions are among the faults."""
DEAD_S: Final = 2.0
BACK_S: Final = 3.0
AFTER_PARTITION_S: Final = 5.0
QUICK_S: Final = 0.1
_LOOK_S: Final = 0.02
_ERRORS: Final = ("Traceback (most recent", "never retrieved", "does not end", "ResourceWarning")


async def _until_live(mix: Mix, timeout_s: float) -> float:
    """Wait until every client holds every device for live; returns how long it took."""
    begun = time.monotonic()
    async with asyncio.timeout(timeout_s):
        for name in (*mix.watchers, *mix.callers):
            while not await asyncio.to_thread(mix.workload(name).ask, "live"):
                await asyncio.sleep(_LOOK_S)
    return time.monotonic() - begun


async def _until_equal(mix: Mix, values: dict[str, int]) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(30):
        for name in (*mix.watchers, *mix.callers):
            while await asyncio.to_thread(mix.workload(name).ask, "values") != values:
                await asyncio.sleep(_LOOK_S)
    return time.monotonic() - begun


async def _calls_over(mix: Mix) -> None:
    """Have callers stop and wait for the ends of the calls under way."""
    for name in mix.callers:
        await asyncio.to_thread(mix.workload(name).ask, "finish")
    for name in mix.callers:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(mix.workload(name).ask, "calling"):
                await asyncio.sleep(_LOOK_S)


async def _run(mix: Mix, nemesis: Nemesis, duration_s: float) -> dict[str, Any]:
    """Let the nemesis rage and return what is to be judged."""
    await _until_live(mix, 20)
    sizes = {name: mix.workload(name).ask("size") for name in mix.watchers}
    looking = asyncio.create_task(mix.look())
    await nemesis.run(duration_s)
    live_s = await _until_live(mix, 30)
    until = time.monotonic()
    await _calls_over(mix)
    values = await asyncio.to_thread(mix.workload(mix.watchers[0]).ask, "halt")
    equal_s = await _until_equal(mix, values)
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    return {"live_s": live_s, "equal_s": equal_s, "until": until, "sizes": sizes}


def _account(cluster: Cluster, mix: Mix, name: str) -> StreamAccount:
    produced = {device: cluster.produced(device) for device in mix.devices}
    accounts = mix.workload(name).ask("account", produced).values()
    return sum((StreamAccount(**account) for account in accounts), StreamAccount())


def _errors(cluster: Cluster) -> list[str]:
    """Return the first lines of what went wrong inside the processes."""
    return [
        f"{name}: {text[max(0, text.find(mark) - 200) :][:3000]}"
        for name, text in cluster.logs().items()
        for mark in _ERRORS
        if mark in text
    ]


def _judge_calls(cluster: Cluster, mix: Mix) -> CallVerdict:
    calls = [call for name in mix.callers for call in read_calls(name, cluster.journal(name))]
    executions = [item for device in mix.devices for item in cluster.execution_times(device)]
    server_of = {device: name for name, devices in mix.servers.items() for device in devices}
    return judge_calls(calls, executions, Faults(mix.faults), server_of)


def _judge_notices(cluster: Cluster, mix: Mix, until: float) -> NoticeVerdict:
    sights = {name: Sight(cluster.journal(name)) for name in mix.watchers}
    return judge_notices(mix.faults, sights, mix.servers, until)


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
        streams = {name: _account(cluster, mix, name) for name in (*mix.watchers, *mix.callers)}
        calls = _judge_calls(cluster, mix)
        notices = _judge_notices(cluster, mix, ran["until"])
        sizes = {name: mix.workload(name).ask("size") for name in mix.watchers}
        errors = _errors(cluster)
        print("\n".join(_story(mix.faults)))
        unprovoked = [
            f"{call.caller} {call.device_id} {call.begun - mix.faults[0].begun:.2f} to "
            f"{call.ended - mix.faults[0].begun:.2f} {call.code}"
            for call in calls.unprovoked
        ]
        print("\n".join(unprovoked))
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
