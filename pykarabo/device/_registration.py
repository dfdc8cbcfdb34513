"""A server's presence in the directory: claims, records, the lease.

The directory's knowledge is soft and owned by the servers: a server tells it everything, renews
one lease for all its devices, and tells everything again when the directory was restarted.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from pykarabo.client import DIRECTORY_ID, DeviceRecord
from pykarabo.errors import DuplicateDeviceError, NotExecutedError, PykaraboError
from pykarabo.transport import TaskOwner
from pykarabo.wire import RENEW_S

from ._device import Device

if TYPE_CHECKING:
    from ._server import Server

_log: Final = logging.getLogger(__name__)
FIRST_CONTACT_S: Final = 10.0
"""A directory that is being started on the same host is there long before."""
_RETRY_S: Final = 0.1
_GOODBYE_TIMEOUT_S: Final = 1.0


class Registration:
    """Keeps the directory's knowledge of one server up to date."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._fences: dict[str, int] = {}
        self._devices: dict[str, DeviceRecord] = {}
        self._news = asyncio.Event()
        self._changed: dict[str, DeviceRecord] = {}
        self._registered = False
        self.connected = False

    @property
    def _instance(self) -> str:
        return self._server.instance.hex()

    async def _directory(self, command: str, *args: Any) -> Any:
        return await self._server.client.directory(command, *args)

    async def start(self, tasks: TaskOwner) -> None:
        """Register and keep the lease from now on.

        Raises:
            NotConnectedError: no directory answers.
            DuplicateDeviceError: the server's id is taken.
        """
        await self._first_contact()
        await self.claim(self._server.server_id)
        tasks.spawn(self._keep(), name="registration")

    async def _first_contact(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FIRST_CONTACT_S
        while True:
            try:
                await self._register()
            except NotExecutedError:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _register(self) -> None:
        await self._directory(
            "register",
            self._server.record().to_wire(),
            [record.to_wire() for record in self._devices.values()],
        )
        self._registered = self.connected = True

    async def claim(self, device_id: str) -> None:
        """Reserve a device id for this server.

        Raises:
            DuplicateDeviceError: somebody else holds it; host, process and start are named.
        """
        self._fences[device_id] = await self._directory("claim", self._instance, device_id)

    async def publish(self, device: Device) -> None:
        """Make a device known; whoever asks for it finds it from now on."""
        record = self._record(device)
        self._devices[record.device_id] = record
        await self._directory("publish", self._instance, [record.to_wire()])

    def _record(self, device: Device) -> DeviceRecord:
        server = self._server.record()
        context = device.context
        return DeviceRecord(
            device_id=context.device_id,
            class_id=type(device).__name__,
            server_id=server.server_id,
            instance=context.instance.hex(),
            epoch=context.epoch,
            host=server.host,
            pid=server.pid,
            state=str(device.state),
            rpc=server.rpc,
            events=server.events,
            data=server.data,
            fence=self._fences.get(context.device_id, 0),
        )

    def state_changed(self, device: Device) -> None:
        """Have the directory told soon that a device is in another state."""
        known = self._devices.get(device.context.device_id)
        if known is not None and known.state != str(device.state):
            record = self._record(device)
            self._devices[record.device_id] = self._changed[record.device_id] = record
            self._news.set()

    async def release(self, device_id: str) -> None:
        """Give a device id free."""
        self._devices.pop(device_id, None)
        self._changed.pop(device_id, None)
        if self._fences.pop(device_id, None) is None:
            return
        try:
            await self._directory("release", self._instance, device_id)
        except PykaraboError as error:
            _log.warning("'%s' could not be released in the directory: %s", device_id, error)

    async def _keep(self) -> None:
        """Renew the lease, tell news, register again after the directory was restarted."""
        while True:
            try:
                await self._renew()
                self.connected = True
            except PykaraboError as error:
                if self.connected:
                    _log.warning("the directory does not answer: %s", error)
                self.connected = False
            self._news.clear()
            try:
                async with asyncio.timeout(RENEW_S if self.connected else _RETRY_S * 5):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _renew(self) -> None:
        changed, self._changed = self._changed, {}
        try:
            known = await self._directory(
                "renew",
                self._instance,
                [record.to_wire() for record in changed.values()],
                self._server.lag_s,
            )
        except PykaraboError:
            self._changed = changed | self._changed
            raise
        if not known:
            await self._register_again()

    async def _register_again(self) -> None:
        _log.info("the directory was restarted: registering again")
        await self._register()
        for device_id in list(self._fences):
            try:
                await self.claim(device_id)
            except DuplicateDeviceError as error:
                _log.critical("'%s' is claimed by two servers: %s", device_id, error)

    async def aclose(self) -> None:
        """Leave the directory: every device of this server is gone at once."""
        if not self._registered:
            return
        self._registered = False
        if any(device.context.device_id == DIRECTORY_ID for device in self._server.devices):
            return
        try:
            async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
                await self._directory("unregister", self._instance)
        except (PykaraboError, TimeoutError) as error:
            _log.warning("could not say goodbye to the directory: %s", error)
