"""Other devices that a device uses: named by its configuration, connected before it starts."""

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final, overload

from pykarabo.client import AsyncDeviceProxy
from pykarabo.data import Configurable, Property, ValueType, declared_class
from pykarabo.errors import BadConfigurationError, NotConnectedError, PykaraboError

if TYPE_CHECKING:
    from ._device import Device

RETRY_S: Final = 0.5
"""A device that is not there yet is looked for so often."""


class DeviceNode(Property[AsyncDeviceProxy]):
    """Another device that this one needs; its configuration gives the id.

    On a device it is a live `AsyncDeviceProxy`, connected before `on_start` and through the
    restarts of the other device. Reading it before raises `NotConnectedError`.

    Args:
        timeout_s: for how long the other device is waited for; then this one is in state ERROR.
        required: False if the configuration may leave it out; reading it raises then.
    """

    value_type = ValueType.STRING

    def __init__(self, *, timeout_s: float = 60.0, required: bool = True, **arguments: Any) -> None:
        super().__init__(init_only=True, required=required, **arguments)
        self.timeout_s = timeout_s

    @overload
    def __get__(self, instance: None, owner: type) -> Property[AsyncDeviceProxy]: ...

    @overload
    def __get__(self, instance: Configurable, owner: type) -> AsyncDeviceProxy: ...

    def __get__(
        self, instance: Configurable | None, owner: type
    ) -> Property[AsyncDeviceProxy] | AsyncDeviceProxy:
        if instance is None:
            return self
        nodes: DeviceNodes = vars(instance)["_nodes"]
        return nodes.proxy(self.key)


class DeviceNodes:
    """The other devices of one device.

    Raises:
        BadConfigurationError: the configuration does not name one that is required.
    """

    def __init__(self, device: "Device") -> None:
        self._device = device
        self._proxies: dict[str, AsyncDeviceProxy] = {}
        self._wanted: dict[DeviceNode, str] = {}
        for node in _nodes_of(declared_class(type(device))):  # type: ignore[arg-type]  # hashable
            device_id = device.values()[node.key].value
            if device_id:
                self._wanted[node] = device_id
            elif node.info.required:
                raise BadConfigurationError(
                    f"device '{device.context.device_id}' needs to know its '{node.key}'",
                    device=device.context.device_id,
                    key=node.key,
                    remedy=f"give the id of a device as '{node.key}' in its configuration",
                )

    def proxy(self, key: str) -> AsyncDeviceProxy:
        """Return the other device.

        Raises:
            NotConnectedError: it is not connected yet, or none was named.
        """
        if key not in self._proxies:
            me = self._device.context.device_id
            raise NotConnectedError(
                f"'{me}.{key}' is not connected",
                device=me,
                key=key,
                remedy="use it from on_start on; an optional one may not be configured",
            )
        return self._proxies[key]

    async def connect(self) -> None:
        """Connect all at once and wait for them.

        Raises:
            NotConnectedError: one did not come in time.
        """
        if not self._wanted:
            return
        status = f"waits for {', '.join(self._wanted.values())}"
        self._device.set_values({"status": status})
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._connect(*item)) for item in self._wanted.items()]
        problems = [problem for task in tasks if (problem := task.result()) is not None]
        if problems:
            raise problems[0]
        if self._device.status == status:
            self._device.set_values({"status": ""})

    async def _connect(self, node: DeviceNode, device_id: str) -> NotConnectedError | None:
        """Connect one; returns why it did not come."""
        reason = "it does not answer"
        try:
            async with asyncio.timeout(node.timeout_s):
                while node.key not in self._proxies:
                    try:
                        self._proxies[node.key] = await self._device.connect(device_id)
                    except PykaraboError as error:
                        reason = error.message
                        await asyncio.sleep(RETRY_S)
        except TimeoutError:
            me = self._device.context.device_id
            return NotConnectedError(
                f"'{device_id}', the '{node.key}' of '{me}', did not come within "
                f"{node.timeout_s:g} s: {reason}",
                device=me,
                key=node.key,
                remedy=f"start '{device_id}', then start '{me}' anew",
            )
        return None

    def close(self) -> None:
        """Follow the others no more."""
        for proxy in self._proxies.values():
            proxy.disconnect()


@functools.cache
def _nodes_of(cls: type) -> list[DeviceNode]:
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        members.update(vars(base))
    return [member for member in members.values() if isinstance(member, DeviceNode)]
