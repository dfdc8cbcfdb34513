"""What clients can do with the devices of a domain besides calling them: both kinds alike."""

import time
from collections.abc import AsyncIterator, Generator, Mapping
from typing import TYPE_CHECKING, Any, Unpack, cast

from ._identity import START_S, STOP_S

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._blocking_proxy import DeviceProxy
    from ._client import Client
    from ._finding import DeviceFilter
    from ._population import DeviceNews
    from ._proxy import AsyncDeviceProxy
    from ._records import DeviceRecord, ServerRecord
    from ._steps import AsyncCaller, Caller


class Administration:
    """Finds, starts and stops devices; the part of `BlockingClient` that `Client` has as well."""

    def find_devices(
        self: "Caller", pattern: str = "*", /, **wanted: "Unpack[DeviceFilter]"
    ) -> "list[DeviceRecord]":
        """Return the devices that match a shell pattern and all else that is wanted, by id.

        A state is what the directory heard last: about a second old.

        Args:
            wanted: see `DeviceFilter`.
        """
        from ._finding import finding_devices
        from ._steps import carry_out

        return carry_out(self, finding_devices(pattern, wanted))

    def find_servers(
        self: "Caller", pattern: str = "*", /, *, class_id: str | None = None, host: str = "*"
    ) -> "list[ServerRecord]":
        """Return the device servers that match shell patterns and have a class on offer, by id."""
        from ._finding import finding_servers
        from ._steps import carry_out

        return carry_out(self, finding_servers(pattern, class_id, host))

    def classes(self: "Caller", server: str | None = None) -> list[str]:
        """Return the device classes that a server can instantiate, or that any can."""
        from ._finding import listing_classes
        from ._steps import carry_out

        return carry_out(self, listing_classes(server))

    def instantiate(
        self: "Caller",
        server: str,
        class_id: str,
        device_id: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = START_S,
    ) -> "DeviceProxy":
        """Start a device and return its proxy when it is found and answers.

        Args:
            configuration: initial values by dotted key, or nested maps for nodes; quantities and
                text such as ``"3 mm"`` are converted.

        Raises:
            UnknownClassError, BadInputError: it cannot be; nothing was started.
            DuplicateDeviceError: the id is taken; who holds it is named.
            CallTimeoutError: it did not answer in time.
        """
        from ._finding import starting
        from ._steps import carry_out

        steps = starting(server, class_id, device_id, configuration or {}, timeout_s)
        carry_out(self, steps)
        return cast("BlockingClient", self).device(device_id)

    def shutdown(self: "Caller", device_id: str, *, timeout_s: float = STOP_S) -> None:
        """Stop a device, or a server with all of its devices, and wait until it is gone.

        Raises:
            UnknownDeviceError: there is none.
            CallTimeoutError: it is still there.
        """
        from ._finding import stopping
        from ._steps import carry_out

        carry_out(self, stopping(device_id, timeout_s))

    def devices_changed(
        self: "Caller", pattern: str = "*", *, timeout_s: float | None = None
    ) -> "Generator[DeviceNews, None, None]":
        """Yield which devices come and go; at first, the ones that are there.

        Args:
            timeout_s: end after so long; None never ends.
        """
        from ._population import follow

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return follow(cast("BlockingClient", self), pattern, deadline)


class AsyncAdministration:
    """Finds, starts and stops devices; the part of `Client` that `BlockingClient` has as well."""

    async def find_devices(
        self: "AsyncCaller", pattern: str = "*", /, **wanted: "Unpack[DeviceFilter]"
    ) -> "list[DeviceRecord]":
        """Return the devices that match a shell pattern and all else that is wanted, by id.

        A state is what the directory heard last: about a second old.

        Args:
            wanted: see `DeviceFilter`.
        """
        from ._finding import finding_devices
        from ._steps import acarry_out

        return await acarry_out(self, finding_devices(pattern, wanted))

    async def find_servers(
        self: "AsyncCaller", pattern: str = "*", /, *, class_id: str | None = None, host: str = "*"
    ) -> "list[ServerRecord]":
        """Return the device servers that match shell patterns and have a class on offer, by id."""
        from ._finding import finding_servers
        from ._steps import acarry_out

        return await acarry_out(self, finding_servers(pattern, class_id, host))

    async def classes(self: "AsyncCaller", server: str | None = None) -> list[str]:
        """Return the device classes that a server can instantiate, or that any can."""
        from ._finding import listing_classes
        from ._steps import acarry_out

        return await acarry_out(self, listing_classes(server))

    async def instantiate(
        self: "AsyncCaller",
        server: str,
        class_id: str,
        device_id: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = START_S,
    ) -> "AsyncDeviceProxy":
        """Start a device and return its live proxy when it is found and answers.

        Args:
            configuration: initial values by dotted key, or nested maps for nodes; quantities and
                text such as ``"3 mm"`` are converted.

        Raises:
            UnknownClassError, BadInputError: it cannot be; nothing was started.
            DuplicateDeviceError: the id is taken; who holds it is named.
            CallTimeoutError: it did not answer in time.
        """
        from ._finding import starting
        from ._steps import acarry_out

        steps = starting(server, class_id, device_id, configuration or {}, timeout_s)
        await acarry_out(self, steps)
        return await cast("Client", self).device(device_id)

    async def shutdown(self: "AsyncCaller", device_id: str, *, timeout_s: float = STOP_S) -> None:
        """Stop a device, or a server with all of its devices, and wait until it is gone.

        Raises:
            UnknownDeviceError: there is none.
            CallTimeoutError: it is still there.
        """
        from ._finding import stopping
        from ._steps import acarry_out

        await acarry_out(self, stopping(device_id, timeout_s))

    def devices_changed(self: "AsyncCaller", pattern: str = "*") -> "AsyncIterator[DeviceNews]":
        """Yield which devices come and go; at first, the ones that are there."""
        from ._population import afollow

        return afollow(cast("Client", self), pattern)
