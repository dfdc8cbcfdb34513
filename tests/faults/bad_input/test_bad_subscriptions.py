"""B7: clients that subscribe to more than a server can keep in mind."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

import pytest
import zmq

from pykarabo.client import BlockingClient, connect
from pykarabo.transport import DomainKeys, is_encrypted
from pykarabo.wire import MAX_TOPIC_BYTES, MAX_TOPICS
from tests.harness import record

_MIB: Final = 2**20
_MANY: Final = 200_000
_NEVER: Final = -1
_PATIENCE_S: Final = 20.0

pytestmark = pytest.mark.parametrize("host", ["127.0.0.1", None], ids=["tcp", "unix"])


@contextlib.contextmanager
def _greedy(endpoint: str, topics: Iterator[bytes], *, again: int = _NEVER) -> Generator[Any]:
    """Subscribe to topics from a socket of libzmq; `again` is after how long it comes back."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger, socket.sndhwm, socket.reconnect_ivl = 0, 0, again
        if is_encrypted(endpoint):
            DomainKeys().use(socket, endpoint)
        for topic in topics:
            socket.subscribe(topic)
        socket.connect(endpoint)
        yield socket


def _names(count: int) -> Iterator[bytes]:
    return (b"FLOOD/%06d\0" % number for number in range(count))


def _until(true: Callable[[], object]) -> None:
    """Wait without following the server: on a Unix socket this process may be kept from that."""
    end = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def _count(server: Any, key: str) -> int:
    return int(server.get(key)[key])


def test_b7_200000_topics_are_cut_off_at_the_limit_and_others_do_not_notice(
    start_target: Any, healthy: Any, host: str | None
) -> None:
    target = start_target(host=host)
    with BlockingClient() as watcher, healthy() as client:
        server = watcher.device("T/SERVER")
        before, others = target.rss, _count(server, "subscriptions")
        with _greedy(target.places["events"], _names(_MANY)):
            peak, most = before, 0
            while not _count(server, "cut_connections"):
                peak, most = max(peak, target.rss), max(most, _count(server, "subscriptions"))
            _until(lambda: _count(server, "subscriptions") == others)
            peak = max(peak, target.rss)
        _until(lambda: "subscriptions/warn" in server.get("alarms")["alarms"])
        alarm = server.get("alarms")["alarms"]["subscriptions/warn"]
    record(
        f"B7 ({'unix' if host is None else 'tcp'})",
        "cut at 10 000, RSS +< 20 MB, others unaffected",
        f"RSS +{(peak - before) / _MIB:.1f} MiB, p99 {client.p99_s * 1e3:.1f} ms",
    )
    assert f"{MAX_TOPICS} with" in alarm["text"]
    assert most <= MAX_TOPICS + 100
    assert peak - before < 20 * _MIB
    assert client.errors == []
    assert client.p99_s < 0.1
    assert target.alive


def test_b7_long_topics_are_cut_off_by_their_size(
    start_target: Any, healthy: Any, host: str | None
) -> None:
    target = start_target(host=host)
    with BlockingClient() as watcher, healthy() as client:
        server = watcher.device("T/SERVER")
        before = target.rss
        topics = (name.ljust(250, b"x") for name in _names(_MANY))
        with _greedy(target.places["events"], topics):
            _until(lambda: _count(server, "cut_connections") == 1)
    grown = target.rss - before
    record(
        f"B7 (250 bytes, {'unix' if host is None else 'tcp'})",
        f"cut at {MAX_TOPIC_BYTES // 1024} KiB, others unaffected",
        f"RSS +{grown / _MIB:.1f} MiB, p99 {client.p99_s * 1e3:.1f} ms",
    )
    assert grown < 20 * _MIB
    assert client.errors == []
    assert client.p99_s < 0.1


def test_b7_topic_of_a_megabyte_is_refused(
    start_target: Any, healthy: Any, host: str | None
) -> None:
    target = start_target(host=host)
    with healthy() as client, zmq.Context() as context, context.socket(zmq.XSUB) as socket:
        before = target.rss
        socket.linger, socket.reconnect_ivl = 0, _NEVER
        endpoint = target.places["events"]
        if is_encrypted(endpoint):
            DomainKeys().use(socket, endpoint)
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        socket.connect(endpoint)
        socket.send(b"\2" + bytes(_MIB))  # as a topic it would crash the library of its sender
        assert monitor.poll(5_000)
        socket.disable_monitor()
        monitor.close()
        assert target.rss - before < 5 * _MIB
    assert client.errors == []
    assert connect("T/TARGET/1").count() == 1


def test_b7_who_comes_back_again_and_again_keeps_nobody_from_work(
    start_target: Any, healthy: Any, host: str | None
) -> None:
    target = start_target(host=host)
    with BlockingClient() as watcher, healthy() as client:
        server = watcher.device("T/SERVER")

        def is_often_enough() -> bool:
            return _count(server, "refused_connections") >= 20

        before, used, started = target.rss, target.cpu_s, time.monotonic()
        with _greedy(target.places["events"], _names(_MANY), again=10) as greedy:
            while not is_often_enough():
                greedy.poll(1)  # libzmq subscribes again when its owner looks
        share = (target.cpu_s - used) / (time.monotonic() - started)
        grown = target.rss - before
    record(
        f"B7 (again, {'unix' if host is None else 'tcp'})",
        "others unaffected",
        f"RSS +{grown / _MIB:.1f} MiB, p99 {client.p99_s * 1e3:.1f} ms, CPU {share:.0%}",
    )
    assert grown < 20 * _MIB
    assert client.errors == []
    assert client.p99_s < 0.1
