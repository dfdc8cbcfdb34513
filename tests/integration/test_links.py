"""Links to servers that die while they are being closed."""

import asyncio
import resource
from typing import Any

import psutil

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


def test_a_server_uses_as_many_file_descriptors_as_it_may(processes: Any) -> None:
    server = processes.start("S/0", directory=True)
    soft, hard = psutil.Process(server.pid).rlimit(resource.RLIMIT_NOFILE)
    assert soft >= min(hard, 65_536)
