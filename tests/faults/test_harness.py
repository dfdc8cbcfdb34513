"""The harness itself: its faults do what they say, its auditors see what is wrong."""

import asyncio
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest

from pykarabo.client import Change, Client, Gap, Live, Update
from pykarabo.data import PropertyValue, Timestamp
from pykarabo.errors import CallTimeoutError, NotConnectedError, PykaraboError
from pykarabo.wire import Call
from tests.harness import (
    PROXY_HOST,
    SERVER_HOST,
    CallAudit,
    Cluster,
    Namespace,
    Proxy,
    StreamAudit,
    why_not,
)

PIECE = bytes(range(256)) * 4

# -- the proxy ----------------------------------------------------------------------------------


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Serve one connection after the other that gets back what it sends."""
    listener = socket.create_server((SERVER_HOST, 0))

    def serve() -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    while piece := connection.recv(65_536):
                        connection.sendall(piece)
                except ConnectionResetError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _connect(port: int) -> socket.socket:
    return socket.create_connection((PROXY_HOST, port), timeout=5)


def _echo(connection: socket.socket, sent: bytes = PIECE) -> bytes:
    connection.sendall(sent)
    got = b""
    while len(got) < len(sent):
        got += connection.recv(65_536)
    return got


def test_a_proxy_without_a_fault_changes_nothing(echo_port: int) -> None:
    with Proxy([echo_port]) as proxy, _connect(echo_port) as connection:
        assert _echo(connection) == PIECE
        assert proxy.forwarded == 2 * len(PIECE)


def test_a_reset_reaches_the_client_as_one(echo_port: int) -> None:
    with Proxy([echo_port]) as proxy, _connect(echo_port) as connection:
        _echo(connection)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert proxy.resets == 1


def test_each_piece_has_one_flipped_bit(echo_port: int) -> None:
    with Proxy([echo_port]) as proxy, _connect(echo_port) as connection:
        proxy.flip(1.0)
        got = _echo(connection)
        wrong = sum((one ^ other).bit_count() for one, other in zip(got, PIECE, strict=True))
        assert wrong in (proxy.flipped, proxy.flipped - 2)  # a second flip may undo the first
        assert proxy.flipped >= 2


def test_latency_is_added_in_each_direction(echo_port: int) -> None:
    with Proxy([echo_port]) as proxy, _connect(echo_port) as connection:
        proxy.delay(0.1)
        begun = time.monotonic()
        _echo(connection, b"x")
        assert time.monotonic() - begun >= 0.2


def test_bandwidth_is_limited(echo_port: int) -> None:
    with Proxy([echo_port]) as proxy, _connect(echo_port) as connection:
        proxy.limit(100_000)
        begun = time.monotonic()
        _echo(connection, bytes(10_000))
        assert time.monotonic() - begun >= 0.2


def test_a_cut_is_silent_and_healing_delivers(echo_port: int) -> None:
    with Proxy([echo_port]) as proxy, _connect(echo_port) as connection:
        proxy.cut()
        connection.sendall(PIECE)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.heal()
        connection.settimeout(5)
        assert connection.recv(1) == PIECE[:1]


# -- processes and hosts ------------------------------------------------------------------------


def test_a_server_without_file_descriptors_keeps_its_sessions(cluster: Cluster) -> None:
    cluster.start_directory()
    server = cluster.start("S/1", "D/1", open_files=100)

    async def scenario() -> None:
        async with cluster.client() as client:
            taken = await client.request("D/1", Call("D/1", "use_all_files"))
            assert taken > 10
            assert server.open_files() == 100
            assert await client.request("D/1", Call("D/1", "add", [1, 2])) == 3
            await client.request("D/1", Call("D/1", "close_all_files"))
            assert server.open_files() < 100

    asyncio.run(scenario())


@pytest.mark.nightly
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_namespace_is_reached_until_it_is_cut() -> None:
    def answers(address: str) -> bool:
        listening = subprocess.Popen(
            [*namespace.command(), "python3", "-m", "http.server", "--bind", address, "8000"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return _reached(address)
        finally:
            listening.kill()
            listening.wait()

    with Namespace() as namespace:
        assert answers(namespace.far)
        namespace.cut()
        assert not answers(namespace.far)
        namespace.heal()
        assert answers(namespace.far)


def _reached(address: str) -> bool:
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address, 8000), timeout=0.5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


# -- the auditors -------------------------------------------------------------------------------


def _value(number: int) -> PropertyValue:
    return PropertyValue(number, Timestamp.from_ns(time.time_ns()))


def _change(number: int) -> Change:
    return Change("D/1", {"value": _value(number)}, number)


def _live(number: int, life: str = "a") -> Live:
    return Live("D/1", {"value": _value(number), "life": PropertyValue(life, Timestamp(0, 0))})


def _audited(*updates: Update) -> StreamAudit:
    audit = StreamAudit("D/1")
    for update in updates:
        audit.take(update)
    return audit


@pytest.mark.parametrize(
    ("updates", "wrong"),
    [
        ([_live(0), _change(1), _change(2)], {}),
        ([_live(0), _change(1), Gap("D/1", 1), _live(2)], {}),
        ([_live(0), _change(2)], {"unaccounted": 1}),
        ([_live(0), _change(1)], {"unaccounted": 1}),
        ([_live(0), _change(1), _live(2)], {"unaccounted": 1}),
        ([_live(0), Gap("D/1", 3), _live(2)], {"unaccounted": -1}),
        ([_live(0), _change(1), _change(1), _change(2)], {"duplicates": 1}),
        ([_live(0), _change(2), _change(1)], {"disorder": 1}),
        ([_live(2), _live(1)], {"disorder": 1}),
        ([_live(9, "z"), Gap("D/1", None), _live(2)], {}),
        ([_live(9, "z"), _live(2)], {"silent_restarts": 1}),
    ],
)
def test_an_audit_sees_what_is_wrong_with_a_stream(
    updates: list[Update], wrong: dict[str, int]
) -> None:
    account = _audited(*updates).account({"a": 2, "z": 9})
    found = {
        name: getattr(account, name)
        for name in ("unaccounted", "duplicates", "disorder", "silent_restarts")
        if getattr(account, name)
    }
    assert found == wrong
    assert account.exact == (not wrong)


class _Answers:
    """A client whose calls end as told."""

    def __init__(self, *ends: PykaraboError | None) -> None:
        self._ends = list(ends)

    async def request(self, _device_id: str, request: Call, *, timeout_s: float) -> Any:
        del timeout_s
        error = self._ends.pop(0)
        if error is not None:
            raise error
        return request.args[0]


@pytest.mark.parametrize(
    ("executed", "wrong"),
    [
        (["call-1", "call-2"], None),
        (["call-1"], None),
        (["call-2"], "vanished"),
        (["call-1", "call-3"], "ghosts"),
        (["call-1", "call-1"], "doubles"),
        (["call-1", "call-9"], "strangers"),
    ],
)
def test_an_audit_sees_what_is_wrong_with_calls(executed: list[str], wrong: str | None) -> None:
    answers = _Answers(None, CallTimeoutError("late"), NotConnectedError("down"))
    calls = CallAudit(cast(Client, answers), "D/1")

    async def scenario() -> None:
        for _ in range(3):
            await calls.call()

    asyncio.run(scenario())
    account = calls.account(Counter(executed))
    assert (account.done, account.unknown, account.not_executed) == (1, 1, 1)
    assert account.exact == (wrong is None)
    assert wrong is None or getattr(account, wrong) == 1
