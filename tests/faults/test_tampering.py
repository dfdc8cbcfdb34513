"""X5: somebody in the network who records, repeats and changes what passes, over TCP with a key."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from pykarabo.client import Client
from pykarabo.wire import Call
from tests.harness import (
    PROXY_HOST,
    SERVER_HOST,
    Auditor,
    CallAudit,
    Cluster,
    Proxy,
    ServerProcess,
    StreamAccount,
    describe,
    record,
)

_CALLS: Final = 30
_SECONDS: Final = 4.0
_ANSWER_S: Final = 0.5


@contextlib.asynccontextmanager
async def _watching(client: Client, device_id: str) -> AsyncGenerator[Auditor, None]:
    """Audit a device, from its first values on."""
    auditor = Auditor(client, device_id)
    task = asyncio.create_task(auditor.run())
    try:
        await _until(lambda: auditor.all_live)
        yield auditor
    finally:
        task.cancel()
        auditor.close()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


async def _do(client: Client, command: str, *args: object) -> Any:
    return await client.request("D/1", Call("D/1", command, list(args)), timeout_s=60.0)


def _start(cluster: Cluster) -> ServerProcess:
    cluster.start_directory()
    return cluster.start("S/1", "D/1", host=SERVER_HOST, advertise=PROXY_HOST)


def _replay(port: int, stream: bytes) -> bytes:
    """Send a recorded stream to a port as it was; returns what is answered."""
    heard = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((SERVER_HOST, port)) as connection,
    ):
        connection.settimeout(_ANSWER_S)
        connection.sendall(stream)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65_536):
            heard += piece
    return heard


def test_X5_what_was_recorded_does_nothing_when_it_is_sent_again(cluster: Cluster) -> None:
    server = _start(cluster)

    async def scenario(proxy: Proxy) -> None:
        async with cluster.client() as client, _watching(client, "D/1"):
            calls = CallAudit(client, "D/1")
            for _ in range(_CALLS):
                await calls.call()
            assert calls.account(cluster.executions("D/1")).done == _CALLS
        streams = proxy.recorded
        assert sum(len(stream) for _port, stream in streams) > _CALLS * 100
        for port, stream in streams * 3:
            await asyncio.to_thread(_replay, port, stream)
        async with cluster.client() as client:
            after = CallAudit(client, "D/1", prefix="after")
            await after.call()
            assert after.account(cluster.executions("D/1")).done == 1
        account = calls.account(cluster.executions("D/1"))
        record(
            "X5 (replay)",
            "0 executions",
            f"{3 * len(streams)} recorded connections of {_CALLS} calls sent again: "
            f"{account.doubles + account.strangers} executions",
        )
        assert account.exact, account

    with Proxy(server.ports.values()) as proxy:
        asyncio.run(scenario(proxy))


def test_X5_pieces_that_are_repeated_do_nothing_twice(cluster: Cluster) -> None:
    _through_tampering(cluster, "repeated pieces", lambda proxy, share: proxy.repeat(share))


def test_X5_flipped_bits_change_no_call_and_no_value(cluster: Cluster) -> None:
    _through_tampering(cluster, "bit flips", lambda proxy, share: proxy.flip(share))


def _through_tampering(cluster: Cluster, kind: str, tamper: Callable[[Proxy, float], None]) -> None:
    server = _start(cluster)

    async def scenario(proxy: Proxy) -> None:
        async with cluster.client() as client, _watching(client, "D/1") as auditor:
            await _do(client, "produce", int(200 * _SECONDS), 200.0)
            calls = CallAudit(client, "D/1")
            tamper(proxy, 0.01)
            end = time.monotonic() + _SECONDS
            while time.monotonic() < end:
                await calls.call(timeout_s=2.0)
            tamper(proxy, 0.0)
            value = await _do(client, "produced")
            await _until(lambda: auditor.streams["D/1"].value == value)
            events: StreamAccount = auditor.streams["D/1"].account(cluster.produced("D/1"))
            account = calls.account(cluster.executions("D/1"))
            record(
                f"X5 ({kind})",
                "0 executions, 0 wrong values",
                f"{proxy.tampered} in {proxy.forwarded} bytes: of {account.made} calls "
                f"{account.doubles + account.strangers} executed wrongly; of {events.produced} "
                f"changes {events.unaccounted} wrong or unaccounted",
                account=describe(account),
            )
            assert proxy.tampered >= 5
            assert account.done > 0
            assert account.exact, account
            assert events.exact, events

    with Proxy(server.ports.values()) as proxy:
        asyncio.run(scenario(proxy))
