"""B1, B4, B6: what anybody who reaches a port can do to a server, before any greeting."""

import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import pytest

from pykarabo.cli._doctor import _answers
from pykarabo.client import BlockingClient, connect, wait_until
from pykarabo.errors import BusyError, PykaraboError
from pykarabo.transport._sockets import HANDSHAKE_MS
from tests.harness import record

_MIB: Final = 2**20
_LIMIT_MIB: Final = 300
_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
_PORTS: Final = ("rpc", "events", "data")
_HTTP: Final = b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: scanner\r\n\r\n"
_TLS: Final = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))


def _ready(socket_type: bytes) -> bytes:
    kind = struct.pack(">I", len(socket_type)) + socket_type
    command = b"\x05READY\x0bSocket-Type" + kind
    return bytes([4, len(command)]) + command


def _zmtp_frame(body: bytes, *, more: bool = False) -> bytes:
    return bytes([2 | more]) + struct.pack(">Q", len(body)) + body


def _mutated(rng: random.Random) -> bytes:
    """Return a good beginning of ZMTP with some bytes changed, then cut."""
    call = _zmtp_frame(rng.randbytes(rng.randrange(90)), more=rng.random() < 0.5)
    stream = bytearray(_GREETING + _ready(b"DEALER") + call * rng.randrange(4))
    for _ in range(rng.randrange(6)):
        stream[rng.randrange(len(stream))] = rng.randrange(256)
    return bytes(stream[: rng.randrange(1, len(stream) + 1)])


def _streams(seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    while True:
        yield rng.randbytes(rng.randrange(1, 400))
        yield _HTTP
        yield _TLS
        yield _GREETING[: rng.randrange(1, len(_GREETING))]
        for _ in range(4):
            yield _mutated(rng)


def _throw(target: Any, port: str, stream: bytes, *, reset: bool) -> None:
    with suppress(OSError), target.connect(port) as attack:
        attack.sendall(stream)
        if reset:
            attack.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            attack.shutdown(socket.SHUT_WR)
            attack.settimeout(0.2)
            attack.recv(64)


def _fuzz(target: Any, healthy: Any, *, seconds: float, seed: int) -> int:
    """Throw streams at all ports for a while; returns how many, with the promises asserted."""
    streams = _streams(seed)
    with healthy() as client:
        for stream in [next(streams) for _ in range(300)]:  # so that the growth counted is a leak
            _throw(target, "rpc", stream, reset=True)
        before, thrown = target.rss, 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _throw(target, _PORTS[thrown % 3], next(streams), reset=thrown % 10 != 0)
            thrown += 1
        assert target.alive
        grown = target.rss - before
    assert client.errors == []
    assert client.p99_s < 0.1
    assert grown < 50 * _MIB
    record(
        f"B1 ({seconds:.0f} s)",
        "alive, p99 < 100 ms, RSS +< 50 MB",
        f"{thrown} connections, p99 {client.p99_s * 1e3:.1f} ms, RSS +{grown / _MIB:.1f} MiB",
    )
    return thrown


_on_tcp_and_unix = pytest.mark.parametrize("host", ["127.0.0.1", None], ids=["tcp", "unix"])
"""A stranger gets no further than the greeting on TCP; on Unix sockets he speaks to all of ZMTP."""


@_on_tcp_and_unix
def test_b1_bytes_of_strangers_do_not_disturb_a_server(
    start_target: Any, healthy: Any, host: str | None
) -> None:
    assert _fuzz(start_target(host=host), healthy, seconds=4, seed=1) > 500


@pytest.mark.nightly
@_on_tcp_and_unix
def test_b1_bytes_of_strangers_for_minutes(
    start_target: Any, healthy: Any, host: str | None
) -> None:
    assert _fuzz(start_target(host=host), healthy, seconds=100, seed=2) > 15_000


# -- B4: large messages --------------------------------------------------------------------------


def _shake_hands(attack: socket.socket, socket_type: bytes) -> None:
    """Do the handshake of ZMTP."""
    attack.sendall(_GREETING + _ready(socket_type))
    received = b""
    while len(received) <= len(_GREETING):
        if not (more := attack.recv(4096)):
            raise ConnectionError("the other side has closed the connection")
        received += more


@pytest.mark.parametrize(
    ("port", "socket_type"), [("rpc", b"DEALER"), ("events", b"SUB"), ("data", b"DEALER")]
)
def test_b4_frame_announced_with_a_gigabyte_is_refused(
    start_target: Any, port: str, socket_type: bytes
) -> None:
    target = start_target(host=None)
    before = target.rss
    with target.connect(port) as attack:
        _shake_hands(attack, socket_type)
        attack.sendall(b"\x02" + struct.pack(">Q", 2**30))
        _await_end(attack)
    assert target.rss - before < 8 * _MIB
    assert connect("T/TARGET/1").count() == 1


@pytest.mark.parametrize("port", _PORTS)
def test_b4_over_tcp_who_has_no_key_can_send_nothing_large(start_target: Any, port: str) -> None:
    target = start_target()
    with target.connect(port) as attack, pytest.raises(ConnectionError):
        _shake_hands(attack, b"SUB" if port == "events" else b"DEALER")
    assert connect("T/TARGET/1").count() == 1


def _await_end(attack: socket.socket) -> None:
    """Wait until the other side has closed the connection; raises `TimeoutError`."""
    with suppress(ConnectionError):
        while attack.recv(4096):
            pass


def test_b4_endless_message_is_cut_off_at_the_limit_of_the_process(
    start_target: Any, healthy: Any
) -> None:
    target = start_target(host=None, memory=_LIMIT_MIB)
    part = b"\x03" + struct.pack(">Q", 10**6) + bytes(10**6)
    peak = 0
    with healthy() as client:
        with target.connect("rpc") as attack:
            _shake_hands(attack, b"DEALER")
            with suppress(ConnectionError):
                for _ in range(2 * _LIMIT_MIB):
                    attack.sendall(part)
                    peak = max(peak, target.rss)
                raise AssertionError("nobody cut it off")
        wait_until(lambda: target.rss < _LIMIT_MIB * _MIB // 2, timeout_s=10)
    record(
        "B4",
        "the process keeps its limit",
        f"limit {_LIMIT_MIB} MiB: peak {peak / _MIB:.0f} MiB, p99 {client.p99_s * 1e3:.1f} ms",
    )
    assert peak < _LIMIT_MIB * _MIB
    assert client.errors == []
    assert client.p99_s < 0.25


def test_b4_item_larger_than_a_message_may_be_is_refused_where_it_is_written(
    start_target: Any,
) -> None:
    start_target()
    device = connect("T/TARGET/1")
    with pytest.raises(PykaraboError, match=r"300\.0 MiB") as caught:
        device.call("send", 300 * _MIB, timeout_s=30)
    assert caught.value.device == "T/TARGET/1"
    assert device.send(1_000) == 1


# -- B6: many connections ------------------------------------------------------------------------


def test_b6_idle_connections_are_freed_when_no_handshake_comes(
    start_target: Any, healthy: Any
) -> None:
    target = start_target()
    with healthy() as client, ExitStack() as stack:
        before = target.files
        for _ in range(3_000):
            stack.enter_context(target.connect("rpc"))
        wait_until(lambda: target.files > before + 500, timeout_s=5)
        last = time.monotonic()
        wait_until(lambda: target.files <= before + 1, timeout_s=20)
        freed_s = time.monotonic() - last
    record(
        "B6 (3000 idle)",
        "freed <= 4 s, p99 < 100 ms",
        f"freed after {freed_s:.1f} s, p99 {client.p99_s * 1e3:.1f} ms",
    )
    assert freed_s < HANDSHAKE_MS / 1e3 + 1
    assert client.errors == []
    assert client.p99_s < 0.1


def test_b6_sessions_go_on_when_connections_use_up_the_files(
    start_target: Any, healthy: Any
) -> None:
    target = start_target(files=256)
    with BlockingClient() as watcher, healthy() as client, ExitStack() as stack:
        server = watcher.device("T/SERVER")
        wait_until(lambda: server.get("open_files")["open_files"] > 0, timeout_s=5)
        assert server.get("open_file_limit")["open_file_limit"] == 256
        started, used = time.monotonic(), target.cpu_s
        for number in range(400):
            stack.enter_context(target.connect("rpc", f"127.0.0.{number % 4 + 1}"))
        wait_until(
            lambda: server.read("files_used")["files_used"].quality in ("warn", "alarm"),
            timeout_s=3,
        )
        with pytest.raises(BusyError, match="files and connections"):
            _answers(watcher, "T/SERVER")
        wait_until(lambda: "connections/warn" in server.get("alarms")["alarms"], timeout_s=3)
        wait_until(lambda: target.files < 100, timeout_s=10)
        share = (target.cpu_s - used) / (time.monotonic() - started)
    record(
        "B6 (400 at 256 files)",
        "no errors, p99 < 100 ms",
        f"{len(client.errors)} errors, p99 {client.p99_s * 1e3:.1f} ms, CPU {share:.0%}",
    )
    assert client.errors == []
    assert client.p99_s < 0.1
    assert share < 0.5
    wait_until(lambda: connect("T/TARGET/1").count() > 0, timeout_s=10)
