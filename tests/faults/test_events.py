"""Event streams under faults: every change is delivered or reported missing, none is silent."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import pytest

from pykarabo.client import Client
from pykarabo.errors import PykaraboError
from pykarabo.wire import Call
from tests.harness import (
    PROXY_HOST,
    SERVER_HOST,
    Auditor,
    Cluster,
    Namespace,
    Proxy,
    StreamAccount,
    describe,
    record,
    why_not,
)

_ROOT_ONLY: Final = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@contextlib.asynccontextmanager
async def _watching(client: Client, *devices: str) -> AsyncGenerator[Auditor, None]:
    """Audit devices, from their first values on."""
    auditor = Auditor(client, *devices)
    task = asyncio.create_task(auditor.run())
    try:
        await _until(lambda: auditor.all_live)
        yield auditor
    finally:
        task.cancel()
        auditor.close()


async def _until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> float:
    """Wait for a condition; returns how many seconds it took."""
    begun = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - begun


async def _do(client: Client, device_id: str, command: str, *args: object) -> Any:
    request = Call(device_id, command, list(args))
    return await client.request(device_id, request, timeout_s=120.0)


async def _converged(auditor: Auditor, device_id: str, value: int) -> float:
    stream = auditor.streams[device_id]
    return await _until(lambda: stream.live and stream.value == value)


def _account(cluster: Cluster, auditor: Auditor) -> StreamAccount:
    accounts = [
        stream.account(cluster.produced(device_id)) for device_id, stream in auditor.streams.items()
    ]
    return sum(accounts, StreamAccount())


def test_E1_subscriber_stalls_for_3_s(cluster: Cluster) -> None:
    """Four devices take turns; the changes of one alone travel together, and no queue runs over."""
    names = [f"D/{number}" for number in range(4)]
    cluster.start_directory()
    cluster.start("S/1", *names)

    async def scenario() -> None:
        async with cluster.client() as client, _watching(client, *names) as auditor:
            for name in names:
                await _do(client, name, "produce", 50_000, 0.0, 1)
            await _until(lambda: auditor.streams["D/3"].value > 0)
            before = _made(cluster, names)
            time.sleep(3.0)  # noqa: ASYNC251 - the stall
            rate = (_made(cluster, names) - before) / 3.0
            produced = [await _do(client, name, "produced") for name in names]
            resync_s = max(
                [await _converged(auditor, *pair) for pair in zip(names, produced, strict=True)]
            )
            account = _account(cluster, auditor)
            late = account.recovered + account.missing
            record(
                "E1",
                "each missed one comes late or is counted, 10 000 of them per second",
                f"{account.recovered} of {account.produced} late, {account.missing} missed, "
                f"{account.unaccounted} unaccounted, resync {resync_s:.3f} s, {rate:.0f} changes/s "
                "in the stall",
                account=describe(account),
            )
            assert late > 0
            assert account.exact, account
            assert resync_s <= 2.0 + late / 10_000

    asyncio.run(scenario())


def _made(cluster: Cluster, names: list[str]) -> int:
    return sum(made for name in names for made in cluster.produced(name).values())


def test_E2_resets_for_4_s(cluster: Cluster) -> None:
    cluster.start_directory()
    devices = [f"D/{number}" for number in range(10)]
    server = cluster.start("S/1", *devices, host=SERVER_HOST, advertise=PROXY_HOST)

    async def scenario(proxy: Proxy) -> None:
        async with cluster.client() as client, _watching(client, *devices) as auditor:
            for device in devices:
                await _do(client, device, "produce", 800, 200.0)
            proxy.reset_every(0.2)
            await asyncio.sleep(4.2)
            proxy.reset_every(0)
            calm = time.monotonic()
            values = {device: await _do(client, device, "produced") for device in devices}
            for device, value in values.items():
                await _converged(auditor, device, value)
            converged_s = time.monotonic() - calm
            account = _account(cluster, auditor)
            record(
                "E2",
                "final state equal <= 1 s, gaps reported",
                f"equal after {converged_s:.3f} s with {proxy.resets} resets: "
                f"{account.delivered} delivered, {account.missing} reported missing, "
                f"{account.unaccounted} unaccounted",
                account=describe(account),
            )
            assert proxy.resets >= 10
            assert account.exact, account
            assert converged_s <= 1.0

    with Proxy(server.ports.values()) as proxy:
        asyncio.run(scenario(proxy))


async def _one_restart(cluster: Cluster, client: Client, auditor: Auditor, *, same: bool) -> float:
    """Kill the server under way, start it again; returns how soon the watcher is live again."""
    stream = auditor.streams["D/1"]
    server = cluster.servers["S/1"]
    await _do(client, "D/1", "produce", 1_000_000, 500.0)
    value = stream.value
    await _until(lambda: stream.value > value + 20)
    await asyncio.to_thread(server.kill)
    await _until(lambda: not stream.live)
    await asyncio.to_thread(cluster.restart, server, ports=server.ports if same else {})
    return await _until(lambda: stream.live)


def _restarts(cluster: Cluster, times: int) -> None:
    cluster.start_directory()
    cluster.start("S/1", "D/1", host=SERVER_HOST)

    async def scenario() -> None:
        async with cluster.client() as client, _watching(client, "D/1") as auditor:
            took = [
                await _one_restart(cluster, client, auditor, same=number % 2 == 0)
                for number in range(times)
            ]
            await _do(client, "D/1", "produce", 100)
            await _converged(auditor, "D/1", await _do(client, "D/1", "produced"))
            account = _account(cluster, auditor)
            record(
                f"E4 ({times} restarts)",
                "resubscribed <= 2 s each, one gap each",
                f"{max(took):.3f} s at most, {account.unknown_gaps} gaps of unknown size, "
                f"{account.unaccounted} unaccounted",
                account=describe(account),
            )
            assert account.lives == times + 1
            assert account.unknown_gaps == account.gaps == times
            assert account.exact, account
            assert max(took) <= 2.0

    asyncio.run(scenario())


def test_E4_kill_and_restart_3_times(cluster: Cluster) -> None:
    _restarts(cluster, 3)


@pytest.mark.nightly
def test_E4_kill_and_restart_20_times(cluster: Cluster) -> None:
    _restarts(cluster, 20)


def _slow_joiners(cluster: Cluster, times: int) -> None:
    cluster.start_directory()
    cluster.start("S/1", "D/1")

    async def scenario() -> None:
        missed = 0
        async with cluster.client() as setter:
            for number in range(1, times + 1):
                async with cluster.client() as client, client.watch("D/1") as updates:
                    await _do(setter, "D/1", "produce", 1)
                    seen = 0
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(5):
                            while seen < number:
                                update = await anext(updates)
                                if "value" in getattr(update, "values", {}):
                                    seen = update.values["value"].value  # type: ignore[union-attr]
                    missed += seen != number
        record(f"E6 ({times})", "first value never missed", f"{missed} of {times} missed")
        assert missed == 0

    asyncio.run(scenario())


def test_E6_subscribe_and_set_at_once_100_times(cluster: Cluster) -> None:
    _slow_joiners(cluster, 100)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_E6_subscribe_and_set_at_once_1000_times(cluster: Cluster) -> None:
    _slow_joiners(cluster, 1000)


def _of_another_host(cluster: Cluster, namespace: Namespace, *devices: str) -> None:
    """Start a directory here and a device server on the other host, all over TCP."""
    cluster.start_directory(host=namespace.near)
    cluster.start("S/1", *devices, host=namespace.far, namespace=namespace)


@pytest.mark.nightly
@_ROOT_ONLY
def test_E9_30_percent_packet_loss_for_60_s(cluster: Cluster) -> None:
    devices = [f"D/{number}" for number in range(200)]

    async def scenario(namespace: Namespace) -> None:
        async with cluster.client() as client, _watching(client, *devices) as auditor:
            for device in devices:
                await _do(client, device, "produce", 1_000_000, 10.0)
            namespace.lose(0.3)
            ages: list[float] = []
            begun = time.monotonic()
            while time.monotonic() - begun < 60:
                await asyncio.sleep(0.1)
                ages += [stream.age_s for stream in auditor.streams.values() if stream.live]
            namespace.heal()
            healed = time.monotonic()
            values = {device: await _halted(client, device) for device in devices}
            for device, value in values.items():
                await _converged(auditor, device, value)
            converged_s = time.monotonic() - healed
            account = _account(cluster, auditor)
            ages.sort()
            p99_s = ages[len(ages) * 99 // 100] if ages else float("nan")
            shown_live = len(ages) / (200 * 600)
            record(
                "E9",
                "exact accounting, converged <= 2 s, p99 age < 3 s",
                f"{account.unaccounted} unaccounted of {account.produced}, {account.missing} "
                f"reported missing, converged {converged_s:.2f} s after the loss, p99 age "
                f"{p99_s:.2f} s, shown live {shown_live:.0%} of the time",
                account=describe(account),
            )
            assert account.exact, account
            assert converged_s <= 5.0
            assert p99_s < 3.0

    with Namespace() as namespace:
        _of_another_host(cluster, namespace, *devices)
        asyncio.run(scenario(namespace))
        cluster.close()


async def _halted(client: Client, device_id: str) -> Any:
    """Stop a device's production; returns its value."""
    while True:
        try:
            return await _do(client, device_id, "halt")
        except PykaraboError:
            await asyncio.sleep(0.1)


@pytest.mark.nightly
@_ROOT_ONLY
def test_E10_partition_for_25_s(cluster: Cluster) -> None:
    async def scenario(namespace: Namespace) -> None:
        async with cluster.client() as client, _watching(client, "D/1") as auditor:
            stream = auditor.streams["D/1"]
            await _do(client, "D/1", "produce", 1_000_000, 100.0)
            await _until(lambda: stream.value > 100)
            namespace.cut()
            noticed_s = await _until(lambda: not stream.live)
            await asyncio.sleep(7.0 - noticed_s)
            early = await _do(client, "DIRECTORY", "topology", "")
            await asyncio.sleep(18.0)
            assert not stream.live
            namespace.heal()
            live_s = await _until(lambda: stream.live)
            value = await _halted(client, "D/1")
            await _converged(auditor, "D/1", value)
            account = _account(cluster, auditor)
            record(
                "E10",
                "noticed <= 4 s, live <= 2 s after the heal",
                f"noticed {noticed_s:.2f} s, live {live_s:.2f} s, {account.missing} reported "
                f"missing, {account.unaccounted} unaccounted",
                account=describe(account),
            )
            assert early["statuses"]["S/1"] in ("online", "suspect")
            assert account.exact, account
            assert noticed_s <= 4.0
            assert live_s <= 2.0

    with Namespace() as namespace:
        _of_another_host(cluster, namespace, "D/1")
        asyncio.run(scenario(namespace))
        cluster.close()


@pytest.mark.nightly
@_ROOT_ONLY
def test_E11_power_cycle_of_a_host(cluster: Cluster) -> None:
    async def scenario(namespace: Namespace) -> None:
        server = cluster.servers["S/1"]
        async with cluster.client() as client, _watching(client, "D/1") as auditor:
            stream = auditor.streams["D/1"]
            await _do(client, "D/1", "produce", 1_000_000, 100.0)
            await _until(lambda: stream.value > 100)
            namespace.cut()
            server.kill()
            namespace.delete()
            await asyncio.sleep(1.0)
            namespace.create()
            await asyncio.to_thread(cluster.restart, server, ports=server.ports)
            up = time.monotonic()
            await _until(lambda: stream.lives == 2)
            resumed_s = time.monotonic() - up
            await _do(client, "D/1", "produce", 100)
            await _converged(auditor, "D/1", await _do(client, "D/1", "produced"))
            account = _account(cluster, auditor)
            record(
                "E11",
                "resumed <= 3 s after the server is up",
                f"resumed {resumed_s:.2f} s after, {account.unaccounted} unaccounted",
                account=describe(account),
            )
            assert account.exact, account
            assert resumed_s <= 3.0

    with Namespace() as namespace:
        _of_another_host(cluster, namespace, "D/1")
        asyncio.run(scenario(namespace))
        cluster.close()
