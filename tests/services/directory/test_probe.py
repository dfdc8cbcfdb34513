"""What a replica takes for the death of a server, and what it does not."""

import asyncio
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from pykarabo.client import Client
from pykarabo.transport import Binding, ZmqTransport
from pykarabo_services.directory.probe import is_dead

_INSTANCE = "a" * 32


def _judged(rpc: Callable[[ZmqTransport], str], folder: Path) -> bool:
    async def scenario() -> bool:
        transport = ZmqTransport(Binding(folder, "replica"))
        try:
            async with Client(transport=transport, directory="memory://") as client:
                return await is_dead(client, rpc(transport), _INSTANCE)
        finally:
            transport.close()

    return asyncio.run(scenario())


def test_a_socket_that_is_gone_was_of_a_dead_server(short_runtime: Path) -> None:
    assert _judged(lambda _: f"ipc://{short_runtime}/gone.rpc", short_runtime)


def test_a_server_that_lets_nobody_in_any_more_is_not_dead(short_runtime: Path) -> None:
    def shut(transport: ZmqTransport) -> str:
        endpoint = transport.bind_router("rpc", lambda _peer, _frames: None).endpoint
        assert transport._doorkeeper is not None
        transport._doorkeeper.close()
        assert not transport.admits
        return endpoint

    assert not _judged(shut, short_runtime)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a socket of another user")
def test_a_socket_of_another_user_says_nothing(short_runtime: Path) -> None:
    foreign = short_runtime / "foreign.rpc"
    foreign.touch()
    os.chown(foreign, pwd.getpwnam("nobody").pw_uid, -1)
    assert not _judged(lambda _: f"ipc://{foreign}", short_runtime)
