"""Calls under faults: each ends in time, with the truth about whether it was executed."""

import asyncio
import time

from pykarabo.errors import ConnectionLostError
from tests.harness import DONE, UNKNOWN, CallAudit, Cluster, describe, record


async def _executed(cluster: Cluster, device_id: str, count: int) -> None:
    async with asyncio.timeout(10):
        while cluster.executions(device_id).total() < count:
            await asyncio.sleep(0.005)


def test_R1_kill_with_calls_in_flight(cluster: Cluster) -> None:
    cluster.start_directory()
    server = cluster.start("S/1", "D/1")

    async def scenario() -> None:
        async with cluster.client() as client:
            calls = CallAudit(client, "D/1")
            under_way = [asyncio.create_task(calls.call(duration=30.0)) for _ in range(5)]
            await _executed(cluster, "D/1", 5)
            await asyncio.to_thread(server.kill)
            killed = time.monotonic()
            outcomes = await asyncio.gather(*under_way)
            noticed_s = time.monotonic() - killed
            again = await asyncio.to_thread(cluster.restart, server)
            restarted = time.monotonic()
            while (await calls.call()).outcome != DONE:
                assert time.monotonic() - restarted < 10
            next_s = time.monotonic() - restarted
            again.end()
            account = calls.account(cluster.executions("D/1"))
            record(
                "R1",
                "5 of 5 outcome unknown <= 0.25 s, none twice, next call <= 1 s",
                f"{account.unknown} in {noticed_s:.3f} s, next call {next_s:.3f} s",
                account=describe(account),
            )
            assert [outcome.outcome for outcome in outcomes] == [UNKNOWN] * 5
            assert all(isinstance(outcome.error, ConnectionLostError) for outcome in outcomes)
            assert noticed_s <= 0.25
            assert next_s <= 1.0
            assert account.exact, account

    asyncio.run(scenario())
