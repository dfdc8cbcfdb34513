"""Finding out at once whether a server process has died.

A lease takes ten seconds to run out. A server that was killed and started again must not wait so
long for its own device ids; nor may a server that is only frozen lose them. The operating system
tells the two apart: a dead process refuses connections, a frozen one does not.
"""

import asyncio
from typing import Final

from pykarabo.errors import NotConnectedError
from pykarabo.transport import Transport
from pykarabo.wire import Frame

PROBE_S: Final = 1.0
"""A living server on a reachable host accepts a connection far sooner."""


class _Probe:
    def __init__(self) -> None:
        self.dead: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connected(self) -> None:
        """Somebody listens there."""
        self._found(dead=False)

    def received(self, frames: list[Frame]) -> None:
        """Nothing is asked, so nothing is answered."""

    def disconnected(self, reason: str) -> None:
        """Nobody listens there."""
        del reason
        self._found(dead=True)

    def _found(self, *, dead: bool) -> None:
        if not self.dead.done():
            self.dead.set_result(dead)


async def is_dead(transport: Transport, rpc: str) -> bool:
    """Tell whether nobody listens at a server's endpoint any more; doubt means alive."""
    probe = _Probe()
    try:
        port = await transport.connect_dealer(rpc, probe)
    except NotConnectedError:
        return False
    try:
        async with asyncio.timeout(PROBE_S):
            return await probe.dead
    except TimeoutError:
        return False
    finally:
        port.close()
