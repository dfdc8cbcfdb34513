"""Ending one connection of many from the listening side, over real sockets."""

import asyncio
import contextlib
import functools
import os
import random
import resource
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pykarabo.transport import (
    NO_CONNECTION,
    Binding,
    Connection,
    DealerPort,
    RouterPort,
    ZmqTransport,
)
from pykarabo.transport._connections import LEAST_RESERVE
from pykarabo.wire import Frame
from tests.harness import record

_TOPIC = b"T/1\0"
_PATIENCE_S = 10.0

pytestmark = pytest.mark.parametrize("host", [None, "127.0.0.1"], ids=["unix", "tcp"])


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not true():
            await asyncio.sleep(0.001)


@dataclass
class Peer:
    """A client's connection that knows whether it is up."""

    port: DealerPort | None = None
    up: bool = False
    down: str = ""
    answers: list[bytes] = field(default_factory=list[bytes])

    def connected(self) -> None:
        self.up = True

    def received(self, frames: list[Frame]) -> None:
        self.answers += [bytes(frame) for frame in frames]

    def disconnected(self, reason: str) -> None:
        self.up, self.down = False, reason

    def say(self, text: bytes) -> None:
        assert self.port is not None
        self.port.send([text])


@dataclass
class Listener:
    """A router that knows on which connection each peer spoke last, and echoes."""

    transport: ZmqTransport
    router: RouterPort | None = None
    speaks: dict[bytes, Connection] = field(default_factory=dict[bytes, Connection])

    def received(self, peer: bytes, frames: list[Frame]) -> None:
        assert self.router is not None
        self.speaks[bytes(frames[0])] = self.router.identify()
        self.router.send(peer, frames)


@contextlib.asynccontextmanager
async def _listening(path: Path, host: str | None) -> AsyncGenerator[Listener, None]:
    transport = ZmqTransport(Binding(path, "s", host=host))
    listener = Listener(transport)
    listener.router = transport.bind_router("rpc", listener.received)
    try:
        yield listener
    finally:
        transport.close()


async def _connected(transport: ZmqTransport, listener: Listener, name: bytes) -> Peer:
    """Return a peer that has said its name and was heard."""
    assert listener.router is not None
    peer = Peer()
    peer.port = await transport.connect_dealer(listener.router.endpoint, peer)
    await _until(lambda: peer.up or peer.down)
    peer.say(name)
    await _until(lambda: name in listener.speaks)
    return peer


def _run(path: Path, host: str | None, work: Callable[..., Awaitable[None]]) -> None:
    async def scenario() -> None:
        clients = ZmqTransport()
        try:
            async with _listening(path, host) as listener:
                await work(listener, clients)
        finally:
            clients.close()

    asyncio.run(scenario())


def test_the_connection_that_is_cut_ends_and_no_other(
    short_runtime: Path, host: str | None
) -> None:
    async def work(listener: Listener, clients: ZmqTransport) -> None:
        names = [b"%d" % number for number in range(20)]
        peers = {name: await _connected(clients, listener, name) for name in names}
        victim = listener.speaks[b"7"]
        assert victim in listener.transport.connections
        listener.transport.cut(victim, "this is a test")
        await _until(lambda: peers[b"7"].down)
        await _until(lambda: victim not in listener.transport.connections)
        assert listener.transport.counts.cut == 1
        assert "this is a test" in listener.transport.counts.last
        listener.transport.cut(victim, "it is over")  # and nobody else's
        for name in names:
            if name != b"7":
                listener.speaks.clear()
                peers[name].say(b"again")
                await _until(lambda: b"again" in listener.speaks)
        assert [name for name, peer in peers.items() if peer.down] == [b"7"]
        assert listener.transport.counts.cut == 1
        assert listener.transport.counts.open == 19

    _run(short_runtime, host, work)


def test_whose_descriptor_is_another_ones_by_now_is_not_cut(
    short_runtime: Path, host: str | None
) -> None:
    async def work(listener: Listener, clients: ZmqTransport) -> None:
        first = await _connected(clients, listener, b"first")
        old = listener.speaks[b"first"]
        assert first.port is not None
        first.port.close()
        await _until(lambda: not listener.transport.connections)
        second = await _connected(clients, listener, b"second")
        new = listener.speaks[b"second"]
        assert (new.fd, new.number > old.number) == (old.fd, True)
        door = listener.router.door  # type: ignore[union-attr]
        door.cut(old, "a late wish")
        second.say(b"still here")
        await _until(lambda: b"still here" in listener.speaks)
        assert not second.down
        door.cut(new, "a wish in time")
        await _until(lambda: second.down)
        assert listener.transport.counts.cut == 1

    _run(short_runtime, host, work)


def test_nobody_else_is_ever_cut_while_connections_come_and_go(
    short_runtime: Path, host: str | None
) -> None:
    rng = random.Random(5)

    async def work(listener: Listener, clients: ZmqTransport) -> None:
        bystanders = [await _connected(clients, listener, b"b%d" % n) for n in range(10)]
        wished: set[bytes] = set()
        ended: set[bytes] = set()

        async def churn(worker: int) -> None:
            for turn in range(30):
                name = b"%d/%d" % (worker, turn)
                peer = await _connected(clients, listener, name)
                connection = listener.speaks[name]
                if rng.random() < 0.5:  # a wish that comes when it may be over
                    assert peer.port is not None
                    peer.port.close()
                    ended.add(name)
                wished.add(name)
                listener.transport.cut(connection, "churn")
                listener.router.door.cut(connection, "churn")  # type: ignore[union-attr]
                if name not in ended:
                    await _until(functools.partial(getattr, peer, "down"))

        await asyncio.gather(*(churn(worker) for worker in range(8)))
        assert [peer.down for peer in bystanders] == [""] * 10
        counts = listener.transport.counts
        assert len(wished) - len(ended) <= counts.cut <= len(wished)
        await _until(lambda: listener.transport.counts.open == 10)
        record(
            f"cut ({'unix' if host is None else 'tcp'})",
            "every one that was there, and no other",
            f"{len(wished)} wishes, {counts.cut} cut, 10 bystanders untouched",
        )

    _run(short_runtime, host, work)


def test_a_subscriber_is_cut_and_the_publisher_knows(short_runtime: Path, host: str | None) -> None:
    async def scenario() -> None:
        transport, clients = ZmqTransport(Binding(short_runtime, "s", host=host)), ZmqTransport()
        seen: list[Connection] = []
        over: list[Connection] = []
        port = transport.bind_publisher(
            "events", lambda _frame, connection: seen.append(connection), over.append
        )
        received: list[Any] = []
        one = await clients.connect_subscriber(port.endpoint, received.append)
        one.subscribe(_TOPIC)
        await _until(lambda: len(seen) == 1)
        other = await clients.connect_subscriber(port.endpoint, received.append)
        other.subscribe(_TOPIC)
        await _until(lambda: len(seen) == 2)
        assert seen[0].number != seen[1].number
        assert NO_CONNECTION not in seen
        transport.cut(seen[0], "this is a test")
        await _until(lambda: over)
        assert over == [seen[0]]
        await _until(lambda: len(seen) == 3)  # its library connects again
        assert seen[2].number not in (seen[0].number, seen[1].number)
        port.publish([_TOPIC, b"hello"])
        await _until(lambda: len(received) == 2)
        assert transport.counts.cut == 1
        clients.close()
        transport.close()

    asyncio.run(scenario())


def test_files_are_kept_free_of_new_connections(
    short_runtime: Path, host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pykarabo.transport._connections.SHARE", 1)  # both ends are this process
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def work(listener: Listener, clients: ZmqTransport) -> None:
        friend = await _connected(clients, listener, b"friend")
        assert listener.router is not None
        limit = len(os.listdir("/proc/self/fd")) + 150
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        with contextlib.ExitStack() as stack:
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            for count in range(1, 75):
                stack.enter_context(_raw(listener.router.endpoint))
                counts = listener.transport
                await _until(lambda: counts.counts.open + counts.counts.refused > count)  # noqa: B023
            assert listener.transport.counts.refused
            assert "files and connections are in use" in listener.transport.counts.last
            await _until(lambda: len(os.listdir("/proc/self/fd")) < limit - LEAST_RESERVE + 4)
            friend.say(b"still here")
            await _until(lambda: b"still here" in listener.speaks)
            assert not friend.down

    _run(short_runtime, host, work)


def test_a_program_has_so_many_connections_and_no_more(
    short_runtime: Path, host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr("pykarabo.transport._connections.SHARE", limit // 10)

    async def work(listener: Listener, clients: ZmqTransport) -> None:
        friend = await _connected(clients, listener, b"friend")
        assert listener.router is not None
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(_raw(listener.router.endpoint))
            await _until(lambda: listener.transport.counts.refused >= 19)
            assert listener.transport.counts.open <= 12
            assert "connections already" in listener.transport.counts.last
        assert not friend.down

    _run(short_runtime, host, work)


def _raw(endpoint: str) -> socket.socket:
    """Return a connection of bytes."""
    parts = urlsplit(endpoint)
    if parts.scheme == "ipc":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(parts.path)
        return connection
    assert parts.hostname
    return socket.create_connection((parts.hostname, parts.port or 0))
