"""`aconnect`: a proxy in one line of asynchronous code."""

import asyncio
import weakref
from typing import Final

from pykarabo.data import AccessLevel
from pykarabo.transport import domain_name

from ._client import Client
from ._identity import CONNECT_TIMEOUT_S, asked_role
from ._proxy import AsyncDeviceProxy

_clients: Final[
    weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, AccessLevel], Client]]
] = weakref.WeakKeyDictionary()


async def aconnect(
    device_id: str,
    *,
    domain: str | None = None,
    role: AccessLevel | str | None = None,
    timeout_s: float = CONNECT_TIMEOUT_S,
    autodisconnect_s: float | None = None,
) -> AsyncDeviceProxy:
    """Return a live proxy of a device.

    All proxies of one event loop, domain and role share a client, which `adisconnect_all` ends.
    Long programs own a `Client` instead.

    Args:
        role: the highest role to ask for, or its name; see `asked_role`.
        autodisconnect_s: stop following the device when nothing of the proxy was used for so
            long, and go on with the next use.

    Raises:
        UnknownDeviceError: the domain has no such device; near matches are named.
        NotConnectedError: there is no directory, or the device's server is down.
    """
    client = shared_async_client(domain, role)
    return await client.device(device_id, timeout_s=timeout_s, autodisconnect_s=autodisconnect_s)


def shared_async_client(domain: str | None = None, role: AccessLevel | str | None = None) -> Client:
    """Return the client that all of an event loop share who have none of their own."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    kind = domain_name(domain), asked_role(role)
    if kind not in clients:
        clients[kind] = Client(kind[0], role=kind[1])
    return clients[kind]


async def adisconnect_all() -> None:
    """End what `aconnect` has made in this event loop."""
    for client in _clients.pop(asyncio.get_running_loop(), {}).values():
        await client.aclose()
