"""Links to servers that die while they are being closed."""

import asyncio
from typing import Any

from pykarabo.client import BlockingClient, Client


def test_closing_a_link_while_its_server_stops_never_hangs(processes: Any) -> None:
    processes.start("S/0", directory=True)
    for _ in range(5):
        server = processes.start("S/1")
        with BlockingClient() as client:
            client.device("S/1").shutdown()
        assert processes.reap(server) == 0


def test_closing_an_asynchronous_link_while_its_server_stops_never_hangs(processes: Any) -> None:
    processes.start("S/0", directory=True)

    async def stop() -> None:
        async with Client() as client:
            server = await client.device("S/1", follow=False)
            await server.shutdown()

    for _ in range(5):
        server = processes.start("S/1")
        asyncio.run(stop())
        assert processes.reap(server) == 0
