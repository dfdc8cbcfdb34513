"""Devices for tests: started in memory, without processes, ports or files."""

import contextlib
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pykarabo.client import AsyncDeviceProxy, Client, DirectoryAccess, TopologyCache
from pykarabo.data import AccessLevel
from pykarabo.device import Device, DeviceClasses, Rights, Server, all_rights
from pykarabo.transport import Clock, MemoryNetwork, MemoryTransport

from ._clock import FakeClock

_D = TypeVar("_D", bound=Device)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MemoryFacility:
    """A domain in memory: one server with a directory, and a client."""

    network: MemoryNetwork
    server: Server
    client: Client

    def new_client(self) -> Client:
        """Return another client of the same domain; close it yourself."""
        return _client(self.network, self.server, self.server.clock)

    async def start(
        self, class_id: str, device_id: str, configuration: Mapping[str, Any] | None = None
    ) -> Device:
        """Start a device; with a `FakeClock`, time passes while it initializes.

        Raises:
            PykaraboError: what starting it raised.
        """
        return await _in_time(
            self.server.clock, self.server.instantiate(class_id, device_id, configuration)
        )


def _client(network: MemoryNetwork, server: Server, clock: Clock | None) -> Client:
    transport = MemoryTransport(network)
    return Client(transport=transport, clock=clock, directory=server.record().rpc)


async def _in_time(clock: Clock, work: Coroutine[Any, Any, _T]) -> _T:
    if isinstance(clock, FakeClock) and clock.drives_loop:
        return await clock.run_through(work)
    return await work


def _driving(clock: Clock | None) -> contextlib.AbstractContextManager[None]:
    if isinstance(clock, FakeClock) and clock.drives_loop:
        return clock.driving()
    return contextlib.nullcontext()


@contextlib.asynccontextmanager
async def run_facility(
    classes: Mapping[str, type[Device]],
    *,
    clock: Clock | None = None,
    time_source: str | None = None,
    rights: Rights = all_rights,
) -> AsyncGenerator[MemoryFacility, None]:
    """Run a domain in memory whose server can instantiate `classes` (class id to class).

    Args:
        clock: of server, devices and client; a `FakeClock` drives the event loop as well, until
            the end of the block.
        time_source: device id of the train clock.
        rights: tells what whoever connects may do.
    """
    network = MemoryNetwork()
    transport = MemoryTransport(network)
    own = Client(
        transport=transport,
        clock=clock,
        directory="memory://",
        role=AccessLevel.ADMINISTRATOR,
    )
    server = Server(
        "TEST/SERVER",
        transport=transport,
        client=own,
        classes=DeviceClasses(["Directory"], more=classes),
        clock=clock,
        time_source=time_source,
        rights=rights,
    )
    own.access = DirectoryAccess([server.record().rpc], TopologyCache())
    try:
        # Stopping goes by the host's time again: nobody lets a fake one pass then.
        with _driving(clock):
            await server.start(directory=True)
            async with _client(network, server, clock) as client:
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
        device = await facility.start(cls.__name__, device_id, configuration)
        yield cast(_D, device)


@contextlib.asynccontextmanager
async def device(
    cls: type[Device],
    configuration: Mapping[str, Any] | None = None,
    *,
    device_id: str = "TEST/1",
    clock: Clock | None = None,
) -> AsyncGenerator[AsyncDeviceProxy, None]:
    """Start one device in memory and return a live proxy of it, as others would have.

    Every call goes through the messages of the wire: what cannot travel, or is refused from
    outside, shows in the test.

    Raises:
        PykaraboError: what starting it raised.
    """
    async with run_facility({cls.__name__: cls}, clock=clock) as facility:
        await facility.start(cls.__name__, device_id, configuration)
        yield await facility.client.device(device_id)
