"""Finding out at once whether a server process has died.

A lease takes nine seconds to run out. A server that was killed and started again must not wait so
long for its own device ids; nor may a server that is only frozen lose them. The operating system
tells the two apart: a dead process refuses connections, a frozen one does not. Somebody else may
have got its port meanwhile, and be it the server's own next life, so who answers is asked his name.
"""

import asyncio
import secrets
from typing import Final

from pykarabo.client import Client
from pykarabo.data import AccessLevel
from pykarabo.errors import DeniedError, NotConnectedError, PykaraboError
from pykarabo.transport import CLOSED, NOBODY_LISTENS, DealerPort
from pykarabo.wire import ClientSession, Frame, Welcomed

PROBE_S: Final = 1.0
"""A living server on a reachable host answers far sooner."""
REFUSED_S: Final = 0.4
"""A host refuses a connection far sooner. An attempt that ends later was given up, because the
host cannot be reached, and that says nothing about its processes."""


class _Probe:
    def __init__(self, client: Client, instance: str) -> None:
        self.dead: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.port: DealerPort | None = None
        self._clock = client.clock
        self._begun_ns = client.clock.monotonic_ns()
        self._instance = instance
        self._session = ClientSession(
            secrets.token_bytes(8), client.identity, role=AccessLevel.OBSERVER
        )

    def connected(self) -> None:
        """Somebody listens there: ask who it is."""
        if self.port is not None:
            self.port.send(self._session.connected(self._clock.monotonic_ns()))

    def received(self, frames: list[Frame]) -> None:
        """He says who he is."""
        try:
            event = self._session.receive(frames, self._clock.monotonic_ns())
        except PykaraboError:
            return
        if isinstance(event, Welcomed):
            self._found(dead=event.welcome.instance.hex() != self._instance)

    def disconnected(self, reason: str) -> None:
        """Nobody listens there, or the host cannot be reached, or somebody lets us not in."""
        waited_s = (self._clock.monotonic_ns() - self._begun_ns) / 1e9
        self._found(dead=waited_s < REFUSED_S and reason in (NOBODY_LISTENS, CLOSED))

    def _found(self, *, dead: bool) -> None:
        if not self.dead.done():
            self.dead.set_result(dead)


async def is_dead(client: Client, rpc: str, instance: str) -> bool:
    """Tell whether a server's life `instance` at `rpc` has ended; doubt means alive."""
    probe = _Probe(client, instance)
    try:
        probe.port = await client.transport.connect_dealer(rpc, probe)
    except (NotConnectedError, DeniedError):
        return False
    try:
        async with asyncio.timeout(PROBE_S):
            return await probe.dead
    except TimeoutError:
        return False
    finally:
        probe.port.close()
