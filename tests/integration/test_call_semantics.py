"""Deadlines, keys, expectations, batches and jobs between real processes."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pykarabo.client import AsyncDeviceProxy, AsyncJob, BlockingClient, Client, Job, connect
from pykarabo.errors import (
    CallTimeoutError,
    CancelledByCallerError,
    ChangedMeanwhileError,
    OutcomeUnknownError,
    OutOfRangeError,
    ReadOnlyError,
    RemoteError,
    UnknownJobError,
    UnknownPropertyError,
    WrongInstanceError,
    WrongTypeError,
)
from pykarabo.wire import Call, Set, SetMany


def _run(work: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
    async def scenario() -> Any:
        async with Client() as client:
            return await work(client)

    return asyncio.run(scenario())


def _wait(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


async def _until(
    condition: Callable[[], Coroutine[Any, Any, bool]], timeout_s: float = 5.0
) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.01)


async def _reads(device: AsyncDeviceProxy, key: str, value: Any) -> bool:
    return bool((await device.get(key))[key] == value)


# -- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["forward", "forward_blocking"])
def test_R8_nested_call_has_no_more_time_than_its_caller(benches: Any, command: str) -> None:
    benches.start("S/1", "B/1", directory=True)
    benches.start("S/2", "B/2")
    outer = connect("B/1")
    began = time.monotonic()
    # Both calls end at the same moment: either the outer one's answer is too late, or it tells
    # that the inner one's was.
    with pytest.raises((CallTimeoutError, RemoteError), match="in time"):
        outer.call(command, "B/2", 30.0, timeout_s=1.5)
    assert time.monotonic() - began < 1.75
    assert connect("B/2").executed == 1
    log = benches.log_of("S/1")
    _wait(lambda: f"command 'B/1.{command}' failed" in log.read_text())


def test_write_that_waits_for_longer_than_its_caller_is_not_done(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario(client: Client) -> None:
        device = await client.device("B/1", follow=False)
        slow = asyncio.create_task(device.set(pause=1.0))
        await asyncio.sleep(0.1)
        with pytest.raises(CallTimeoutError):
            await client.request("B/1", Set("B/1", {"other": 5.0}), timeout_s=0.3)
        await slow
        await device.set(pause=0.0)  # writes take turns: the late one would have been done by now
        assert await device.get("other") == {"other": 0.0}

    _run(scenario)


def test_R8_cancelled_caller_stops_the_remote_task_within_100_ms(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario(client: Client) -> float:
        device = await client.device("B/1", follow=False)
        call = asyncio.create_task(device.execute(30.0))
        await _until(lambda: _reads(device, "executed", 1))
        call.cancel()
        began = time.monotonic()
        await _until(lambda: _reads(device, "cancelled", 1))
        return time.monotonic() - began

    assert _run(scenario) < 0.1


@pytest.mark.parametrize("once_key", [None, "a"])
def test_calls_cancelled_before_they_begin_leave_nothing_at_the_server(
    benches: Any, once_key: str | None
) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario(client: Client) -> int:
        device = await client.device("B/1", follow=False)
        for _ in range(300):
            call = asyncio.create_task(device.call("execute", 5.0, once_key=once_key))
            await asyncio.sleep(0)  # it is sent, and its cancellation right behind it
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        return int(await device.call("execute", 0.0, once_key="b"))

    assert _run(scenario) >= 1


def test_repetitions_that_are_cancelled_while_the_first_call_runs_make_room(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario(client: Client) -> int:
        device = await client.device("B/1", follow=False)
        first = asyncio.create_task(device.call("execute", 1.5, once_key="a"))
        while (await device.get("executed"))["executed"] == 0:
            await asyncio.sleep(0.01)
        for _ in range(150):
            call = asyncio.create_task(device.call("execute", 1.5, once_key="a"))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        others = [device.call("execute", 0.0) for _ in range(90)]
        await asyncio.gather(*others)
        assert not first.done()
        await first
        return int((await device.get("executed"))["executed"])

    assert _run(scenario) == 91


def test_background_task_does_not_inherit_the_deadline_of_the_call_that_began_it(
    benches: Any,
) -> None:
    benches.start("S/1", "B/1", "B/2", directory=True)
    connect("B/1").call("start_later", "B/2", timeout_s=0.2)
    other = connect("B/2")
    _wait(lambda: other.executed == 1)


# -- keys ----------------------------------------------------------------------------------------


def test_keyed_call_runs_once_however_often_it_is_made(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    device = connect("B/1")
    assert [device.call("execute", once_key="a") for _ in range(3)] == [1, 1, 1]
    assert device.call("execute", once_key="b") == 2
    with pytest.raises(WrongTypeError, match="used for another call"):
        device.call("execute", 0.1, once_key="a")
    assert device.executed == 2


def test_keyed_calls_at_the_same_time_get_one_answer(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario(client: Client) -> list[int]:
        device = await client.device("B/1", follow=False)
        calls = [device.call("execute", 0.2, once_key="a") for _ in range(5)]
        return list(await asyncio.gather(*calls))

    assert _run(scenario) == [1] * 5


def test_keyed_call_survives_a_lost_connection_and_is_not_run_twice(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario(client: Client) -> tuple[int, int]:
        device = await client.device("B/1", follow=False)
        call = asyncio.create_task(device.call("execute", 0.6, once_key="a"))
        await _until(lambda: _reads(device, "executed", 1))
        link, _target = await client.reach("B/1")
        link.disconnected("cut by the test")
        return await call, (await device.get("executed"))["executed"]

    assert _run(scenario) == (1, 1)


def test_work_goes_on_when_its_caller_has_timed_out(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    device = connect("B/1")
    with pytest.raises(CallTimeoutError):
        device.call("execute", 0.6, once_key="a", timeout_s=0.2)
    assert device.call("execute", 0.6, once_key="a") == 1  # the answer of the first one
    assert (device.executed, device.cancelled) == (1, 0)


def test_keyed_call_is_not_repeated_on_the_next_life_of_its_device(benches: Any) -> None:
    benches.start("S/0", directory=True)
    server = benches.start("S/1", "B/1")

    async def scenario(client: Client) -> int:
        device = await client.device("B/1", follow=False)
        call = asyncio.create_task(device.call("execute", 30.0, once_key="a", timeout_s=15))
        await _until(lambda: _reads(device, "executed", 1))
        benches.end(server, signal.SIGKILL)
        await asyncio.to_thread(benches.start, "S/1", "B/1")
        async with asyncio.timeout(5):  # long before the call's own time is over
            with pytest.raises(OutcomeUnknownError):
                await call
        return int((await device.get("executed"))["executed"])

    assert _run(scenario) == 0


def test_idempotent_command_is_repeated_on_the_next_life(benches: Any) -> None:
    benches.start("S/0", directory=True)
    server = benches.start("S/1", "B/1")

    async def scenario(client: Client) -> int:
        device = await client.device("B/1", follow=False)
        call = asyncio.create_task(device.call("look", 1.0, timeout_s=20))
        await _until(lambda: _reads(device, "executed", 1))
        benches.end(server, signal.SIGKILL)
        await asyncio.to_thread(benches.start, "S/1", "B/1")
        return int(await call)

    assert _run(scenario) == 1


# -- expectations --------------------------------------------------------------------------------


def test_write_that_expects_what_has_changed_is_refused(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    mine, theirs = connect("B/1"), BlockingClient()
    known = mine.read("target", "other")
    mine.set(target=1.0, expected=known)
    theirs.set("B/1", {"other": 5.0})
    with pytest.raises(ChangedMeanwhileError, match=r"B/1\.target"):
        mine.set(target=2.0, expected={"target": known["target"]})
    with pytest.raises(ChangedMeanwhileError, match=r"B/1\.other"):
        mine.set(target=2.0, expected={"other": known["other"]})
    with pytest.raises(UnknownPropertyError):
        mine.set(target=2.0, expected={"tarbet": known["other"]})
    assert mine.target == 1.0
    mine.set(target=2.0, expected=mine.read("target", "other"))
    assert mine.target == 2.0
    theirs.close()


def test_write_that_expects_what_was_read_before_a_restart_is_refused(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    device = connect("B/1")
    for value in (1.0, 2.0, 3.0):
        device.other = value
    known = device.read("target", "other")
    server = connect("S/1")
    server.shutdown_device("B/1")
    server.instantiate("Bench", "B/1")
    with pytest.raises(ChangedMeanwhileError):
        device.set(other=4.0, expected={"other": known["other"]})
    with pytest.raises(ChangedMeanwhileError):
        device.set(other=4.0, expected={"target": known["target"]})
    device.set(other=4.0, expected=device.read("target", "other"))
    assert device.other == 4.0


def test_values_read_from_many_devices_can_be_expected(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    with BlockingClient() as client:
        client.set("B/1", {"other": 1.0})
        known = client.read_many({"B/1": ["other"]})["B/1"]
        assert isinstance(known, dict)
        client.set("B/1", {"other": 2.0}, expected=known)
        with pytest.raises(ChangedMeanwhileError):
            client.set("B/1", {"other": 3.0}, expected=known)


def test_of_many_that_count_up_from_what_they_read_none_is_lost(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def count(client: Client, device: AsyncDeviceProxy) -> None:
        del client
        for _ in range(10):
            while True:
                known = await device.read("other")
                try:
                    await device.set(other=known["other"].value + 1, expected=known)
                except ChangedMeanwhileError:
                    continue
                break

    async def scenario(client: Client) -> float:
        devices = [await client.device("B/1", follow=False) for _ in range(5)]
        await asyncio.gather(*(count(client, device) for device in devices))
        return float((await devices[0].get("other"))["other"])

    assert _run(scenario) == 50.0


# -- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [True, False])
def test_many_devices_are_written_with_one_call_each_all_or_nothing(
    benches: Any, blocking: bool
) -> None:
    benches.start("S/1", "B/1", "B/2", directory=True)
    benches.start("S/2", "B/3")
    wanted: dict[str, dict[str, Any]] = {
        "B/1": {"target": 1.0, "other": 1.0},
        "B/2": {"other": 2.0, "target": 11.0},
        "B/3": {"target": 3.0},
        "B/9": {"target": 9.0},
    }
    with BlockingClient() as client:
        if blocking:
            answers = client.set_many(wanted)
        else:
            answers = _run(lambda other: other.set_many(wanted))
        found = {name: client.read(name, ["target", "other"]) for name in ("B/1", "B/2", "B/3")}
    assert list(answers) == ["B/9", "B/1", "B/2", "B/3"]
    assert answers["B/1"] is answers["B/3"] is None
    assert isinstance(answers["B/2"], OutOfRangeError)
    assert answers["B/9"] is not None
    values = {name: [item.value for item in row.values()] for name, row in found.items()}
    assert values == {"B/1": [1.0, 1.0], "B/2": [0.0, 0.0], "B/3": [3.0, 0.0]}


def test_write_to_many_is_refused_by_the_next_life_of_a_device_and_then_made_for_it(
    benches: Any,
) -> None:
    benches.start("S/1", "B/1", directory=True)
    with BlockingClient() as client:
        client.read("B/1", ["target"])
        server = connect("S/1")
        server.shutdown_device("B/1")
        server.instantiate("Bench", "B/1")
        old = SetMany([["B/1", bytes(16 * [1]), {"target": 2.0}]])
        (refusal,) = client.request("S/1", old)
        assert refusal["code"] == WrongInstanceError.code
        assert client.set_many({"B/1": {"target": 1.0}}) == {"B/1": None}
        assert client.read("B/1", ["target"])["target"].value == 1.0


# -- jobs ----------------------------------------------------------------------------------------


def test_job_returns_at_once_tells_its_progress_and_keeps_its_result(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    device = connect("B/1")
    job = device.scan(20, 0.02)
    assert isinstance(job, Job)
    assert job.status()["state"] == "running"
    with pytest.raises(CallTimeoutError, match="it goes on"):
        job.result(timeout_s=0.05)
    assert job.result() == {"steps": 20}
    assert job.result() == {"steps": 20}
    assert device.jobs[job.job_id] == {
        "command": "scan",
        "state": "done",
        "progress": 1.0,
        "message": "step 19",
    }


def test_job_is_watched_cancelled_and_fails_like_a_call(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario(client: Client) -> list[float]:
        device = await client.device("B/1", follow=False)
        seen: list[float] = []
        async with client.watch("B/1.jobs") as updates:
            job = await device.scan(5, 0.02)
            assert isinstance(job, AsyncJob)
            async for update in updates:
                shown = getattr(update, "values", {})["jobs"].value.get(job.job_id)
                if shown is not None:
                    seen.append(shown["progress"])
                    if shown["state"] == "done":
                        break
        failing = await device.scan(1, 0.0, True)
        with pytest.raises(RemoteError, match="the last step broke"):
            await failing.result()
        endless = await device.scan(10_000, 0.01)
        await endless.cancel()
        with pytest.raises(CancelledByCallerError):
            await endless.result(timeout_s=5)
        with pytest.raises(UnknownJobError):
            await client.request("B/1", Call("B/1", "job_result", ["nonsense", 0.0]))
        return seen

    seen = _run(scenario)
    assert seen == sorted(seen)
    assert {0.0, 0.2, 0.4, 0.6, 0.8, 1.0} <= set(seen)


def test_waiting_for_a_job_survives_a_lost_connection_but_not_a_restart(benches: Any) -> None:
    benches.start("S/0", directory=True)
    server = benches.start("S/1", "B/1")

    async def scenario(client: Client) -> None:
        device = await client.device("B/1", follow=False)
        job = await device.scan(60, 0.02)
        waiting = asyncio.create_task(job.result(timeout_s=20))
        await _until(lambda: _reads(device, "value", 5))
        link, _target = await client.reach("B/1")
        link.disconnected("cut by the test")
        assert await waiting == {"steps": 60}
        job = await device.scan(6_000, 0.01)
        benches.end(server, signal.SIGKILL)
        await asyncio.to_thread(benches.start, "S/1", "B/1")
        with pytest.raises(OutcomeUnknownError, match="restarted"):
            await job.result(timeout_s=20)

    _run(scenario)


def test_jobs_cannot_be_written_from_outside(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)
    with pytest.raises(ReadOnlyError):
        connect("B/1").set(jobs={})
