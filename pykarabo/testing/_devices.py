"""Devices for tests: started in memory, without processes, ports or files."""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pykarabo.client import Client, DirectoryAccess, TopologyCache
from pykarabo.device import Device, DeviceClasses, Server
from pykarabo.transport import Clock, MemoryNetwork, MemoryTransport

_D = TypeVar("_D", bound=Device)


@dataclass(frozen=True, slots=True)
class MemoryFacility:
    """A domain in memory: one server with a directory, and a client."""

    network: MemoryNetwork
    server: Server
    client: Client

    def new_client(self) -> Client:
        """Return another client of the same domain; close it yourself."""
        return Client(transport=MemoryTransport(self.network), directory=self.server.record().rpc)


@contextlib.asynccontextmanager
async def run_facility(
    classes: Mapping[str, type[Device]],
    *,
    clock: Clock | None = None,
    time_source: str | None = None,
) -> AsyncGenerator[MemoryFacility, None]:
    """Run a domain in memory whose server can instantiate `classes` (class id to class)."""
    network = MemoryNetwork()
    transport = MemoryTransport(network)
    own = Client(transport=transport, clock=clock, directory="memory://")
    server = Server(
        "TEST/SERVER",
        transport=transport,
        client=own,
        classes=DeviceClasses(["Directory"], more=classes),
        clock=clock,
        time_source=time_source,
    )
    own.access = DirectoryAccess([server.record().rpc], TopologyCache())
    try:
        await server.start(directory=True)
        client = Client(transport=MemoryTransport(network), directory=server.record().rpc)
        async with client:
            yield MemoryFacility(network, server, client)
    finally:
        await server.aclose()
        await own.aclose()


@contextlib.asynccontextmanager
async def run_device(
    cls: type[_D],
    device_id: str = "TEST/1",
    configuration: Mapping[str, Any] | None = None,
    *,
    clock: Clock | None = None,
) -> AsyncGenerator[_D, None]:
    """Start one device in memory and return it; `device.client` reaches it as others would.

    Raises:
        PykaraboError: what starting it raised.
    """
    async with run_facility({cls.__name__: cls}, clock=clock) as facility:
        device = await facility.server.instantiate(cls.__name__, device_id, configuration)
        yield cast(_D, device)
