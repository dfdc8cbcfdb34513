"""Noticing at once that a server process has died.

A lease takes nine seconds to run out; the operating system closes the connections of a process
in the moment of its death. The directory therefore keeps one to every server, and asks who still
answers there when it ends.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from pykarabo.client import Client, ServerRecord
from pykarabo.errors import DeniedError, NotConnectedError
from pykarabo.transport import TaskOwner
from pykarabo.wire import Frame

from .probe import is_dead

AGAIN_S: Final = 1.0
"""A living server whose connection has ended is connected to again after this."""


class _Tether:
    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connected(self) -> None:
        """The server listens: nothing is asked."""

    def received(self, frames: list[Frame]) -> None:
        """Nothing is asked, so nothing is answered."""

    def disconnected(self, reason: str) -> None:
        """The server, or the way to it, is gone."""
        del reason
        if not self.ended.done():
            self.ended.set_result(None)


class Tethers:
    """A connection to each server of the domain.

    Args:
        client: whose transport is used.
        died: called with the instance of a server that is dead for certain.
    """

    def __init__(self, client: Client, died: Callable[[str], None]) -> None:
        self._client = client
        self._died = died
        self._tasks = TaskOwner("tethers")
        self._held: dict[str, asyncio.Task[None]] = {}

    def hold(self, server: ServerRecord) -> None:
        """Keep a connection to a server from now on."""
        if server.instance not in self._held:
            self._held[server.instance] = self._tasks.spawn(
                self._hold(server), name=f"tether of {server.server_id}"
            )

    def release(self, instance: str) -> None:
        """End the connection to a server that is to be forgotten."""
        task = self._held.pop(instance, None)
        if task is not None:
            task.cancel()

    async def aclose(self) -> None:
        """End every connection."""
        self._held.clear()
        await self._tasks.aclose()

    async def _hold(self, server: ServerRecord) -> None:
        while True:
            await self._until_it_ends(server.rpc)
            if await is_dead(self._client, server.rpc, server.instance):
                break
            await asyncio.sleep(AGAIN_S)
        del self._held[server.instance]
        self._died(server.instance)

    async def _until_it_ends(self, rpc: str) -> None:
        tether = _Tether()
        try:
            port = await self._client.transport.connect_dealer(rpc, tether)
        except (NotConnectedError, DeniedError):
            return
        try:
            await tether.ended
        finally:
            port.close()
