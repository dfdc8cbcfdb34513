"""The functions of interactive work: on the domain of the environment, without a client at hand."""

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from ._blocking_client import shared_client
from ._connect import shared_async_client
from ._finding import DeviceFilter
from ._identity import START_S, STOP_S
from ._records import DeviceRecord, ServerRecord

if TYPE_CHECKING:
    from ._blocking_proxy import DeviceProxy
    from ._population import DeviceNews
    from ._proxy import AsyncDeviceProxy


def find_devices(
    pattern: str = "*", /, *, domain: str | None = None, **wanted: Unpack[DeviceFilter]
) -> list[DeviceRecord]:
    """Return the devices that match a shell pattern and all else that is wanted, by id.

    Args:
        wanted: see `DeviceFilter`: ``class_id``, ``server``, ``host``, ``state``, ``tag``,
            ``interface``, ``has``, ``gone``.
    """
    return shared_client(domain).find_devices(pattern, **wanted)


def find_servers(
    pattern: str = "*",
    /,
    *,
    class_id: str | None = None,
    host: str = "*",
    domain: str | None = None,
) -> list[ServerRecord]:
    """Return the device servers that match shell patterns and have a class on offer, by id."""
    return shared_client(domain).find_servers(pattern, class_id=class_id, host=host)


def classes(server: str | None = None, *, domain: str | None = None) -> list[str]:
    """Return the device classes that a server can instantiate, or that any can."""
    return shared_client(domain).classes(server)


def instantiate(
    server: str,
    class_id: str,
    device_id: str,
    configuration: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = START_S,
    domain: str | None = None,
) -> "DeviceProxy":
    """Start a device and return its proxy; see `BlockingClient.instantiate`."""
    return shared_client(domain).instantiate(
        server, class_id, device_id, configuration, timeout_s=timeout_s
    )


def shutdown(device_id: str, *, timeout_s: float = STOP_S, domain: str | None = None) -> None:
    """Stop a device, or a server with all of its devices, and wait until it is gone."""
    shared_client(domain).shutdown(device_id, timeout_s=timeout_s)


def devices_changed(
    pattern: str = "*", *, timeout_s: float | None = None, domain: str | None = None
) -> "Generator[DeviceNews, None, None]":
    """Yield which devices come and go; at first, the ones that are there."""
    return shared_client(domain).devices_changed(pattern, timeout_s=timeout_s)


async def afind_devices(
    pattern: str = "*", /, *, domain: str | None = None, **wanted: Unpack[DeviceFilter]
) -> list[DeviceRecord]:
    """Return the devices that match; the asynchronous twin of `find_devices`."""
    return await shared_async_client(domain).find_devices(pattern, **wanted)


async def ainstantiate(
    server: str,
    class_id: str,
    device_id: str,
    configuration: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = START_S,
    domain: str | None = None,
) -> "AsyncDeviceProxy":
    """Start a device and return its live proxy; see `Client.instantiate`."""
    return await shared_async_client(domain).instantiate(
        server, class_id, device_id, configuration, timeout_s=timeout_s
    )


async def ashutdown(
    device_id: str, *, timeout_s: float = STOP_S, domain: str | None = None
) -> None:
    """Stop a device or a server, and wait until it is gone."""
    await shared_async_client(domain).shutdown(device_id, timeout_s=timeout_s)
