"""Calls between real processes: results, honest errors, never executed twice."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pykarabo.client import BlockingClient, Client, connect
from pykarabo.data import State
from pykarabo.errors import (
    CallTimeoutError,
    ConnectionLostError,
    DuplicateDeviceError,
    NotConnectedError,
    OutcomeUnknownError,
    OutOfRangeError,
    PykaraboError,
    ReadOnlyError,
    RemoteError,
    UnknownCommandError,
    UnknownDeviceError,
    UnknownPropertyError,
    WrongTypeError,
    WrongUnitError,
)
from pykarabo.testing import run_facility


def test_a_blocking_script_reads_writes_and_calls(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    counter.target = "0.5 cm"
    assert counter.target == 5.0
    assert counter.count(3) == 3
    assert counter.value == 3
    assert counter.state == State.ON
    assert counter.get("value", "label") == {"value": 3, "label": "none"}


@pytest.mark.parametrize(
    ("attempt", "error", "words"),
    [
        (lambda d: d.set(target=10.5), OutOfRangeError, "COUNT/1.target"),
        (lambda d: d.set(target="x"), WrongUnitError, "mm"),
        (lambda d: d.set(target=[1.0]), WrongTypeError, "COUNT/1.target"),
        (lambda d: d.set(value=1), ReadOnlyError, "COUNT/1.value"),
        (lambda d: d.set(traget=1), UnknownPropertyError, "'target'"),
        (lambda d: d.traget, AttributeError, "'target'"),
        (lambda d: d.call("cuont"), UnknownCommandError, "'count'"),
        (lambda d: d.count("many"), WrongTypeError, "count"),
        (lambda d: d.count(1, 2, 3), WrongTypeError, "count(steps"),
        (lambda _: connect("COUNT/2"), UnknownDeviceError, "'COUNT/1'"),
    ],
)
def test_bad_input_is_refused_with_its_name_and_the_remedy(
    processes: Any, attempt: Callable[[Any], Any], error: type[Exception], words: str
) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    with pytest.raises(error) as caught:
        attempt(counter)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert counter.target == 0.0


def test_a_write_of_several_properties_is_all_or_nothing(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    with pytest.raises(OutOfRangeError):
        counter.set(label="new", target=11.0)
    assert counter.label == "none"


def test_a_device_id_that_is_held_is_refused_and_its_holder_named(processes: Any) -> None:
    first = processes.start("S/1", "COUNT/1", directory=True)
    second = processes.spawn("S/2", "COUNT/1")
    problems = processes.wait_started(second)
    assert len(problems) == 1
    assert "COUNT/1" in problems[0]
    assert f"process {first.pid}" in problems[0]
    with BlockingClient() as client, pytest.raises(DuplicateDeviceError):
        client.device("S/1").instantiate("Counter", "COUNT/1")


def test_a_call_after_the_server_was_killed_is_not_connected_and_never_runs(
    processes: Any,
) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "COUNT/1")
    counter = connect("COUNT/1")
    processes.end(server, signal.SIGKILL)
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(PykaraboError) as caught:
            counter.execute()
        assert isinstance(caught.value, NotConnectedError | ConnectionLostError)
    assert time.monotonic() - started < 3.0
    processes.start("S/1", "COUNT/1")
    assert counter.executed == 0
    assert counter.execute() == 1


def test_a_call_under_way_when_the_server_is_killed_has_an_unknown_outcome(
    processes: Any,
) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "COUNT/1")

    async def scenario() -> None:
        async with Client() as client:
            proxy = await client.device("COUNT/1")
            calls = [asyncio.create_task(proxy.execute(30.0)) for _ in range(5)]
            await _until(lambda: proxy.executed == 5)
            started = time.monotonic()
            server.kill()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - started < 1.0
            assert all(isinstance(result, OutcomeUnknownError) for result in results)

    asyncio.run(scenario())
    processes.reap(server)


def test_a_frozen_server_is_a_timeout_and_does_not_run_the_call_later(processes: Any) -> None:
    server = processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    assert counter.execute() == 1
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(CallTimeoutError):
        counter.execute(timeout_s=0.5)
    server.send_signal(signal.SIGCONT)
    assert counter.executed == 1


def test_an_error_inside_a_command_is_a_remote_error_even_if_it_was_a_refusal(
    processes: Any,
) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    with pytest.raises(RemoteError) as caught:
        connect("COUNT/1").forward("NOT/HERE")
    assert "NOT/HERE" in str(caught.value)


def test_three_threads_share_a_proxy(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    results: list[int] = []

    def work() -> None:
        results.extend(counter.count() for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(1, 151))


def test_tcp_serves_what_ipc_serves(processes: Any) -> None:
    processes.start("S/0", directory=True)
    processes.start("S/1", "COUNT/1", host="127.0.0.1")
    with BlockingClient() as client:
        assert client.resolve("COUNT/1").rpc.startswith("tcp://127.0.0.1:")
        assert client.device("COUNT/1").count(2) == 2


def test_a_cancelled_call_cancels_the_remote_task(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            proxy = await client.device("COUNT/1")
            call = asyncio.create_task(proxy.count(1000, 0.02))
            await _until(lambda: proxy.value > 2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            before = (await proxy.get("value"))["value"]
            await proxy.call("execute", 0.1)
            assert (await proxy.get("value"))["value"] <= before + 1

    asyncio.run(scenario())


async def _until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_session_that_the_server_has_forgotten_is_greeted_anew() -> None:
    async def scenario() -> None:
        async with run_facility({}) as facility:
            proxy = await facility.client.device("TEST/SERVER", follow=False)
            sessions = facility.server._calls.sessions
            for peer in sessions.probe(0)[0]:
                sessions.forget(peer)
            assert (await proxy.get("state"))["state"] == "ON"

    asyncio.run(scenario())
