"""Devices as they run, and classes as they are today."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pykarabo.client import CALL_TIMEOUT_S, Client, DeviceRecord
from pykarabo.data import PropertyValue, Schema
from pykarabo.errors import (
    BadInputError,
    BusyError,
    HelloRequiredError,
    NotConnectedError,
    OutcomeUnknownError,
    PykaraboError,
    RemoteError,
    UnknownClassError,
    UnknownDeviceError,
    VersionMismatchError,
    WrongInstanceError,
    did_you_mean,
)
from pykarabo.wire import Call
from pykarabo_services.configuration.model import Version
from pykarabo_services.kernel.acting import as_our_answer

_T = TypeVar("_T")
_ON_THE_WAY: Final = (
    BusyError,
    HelloRequiredError,
    NotConnectedError,
    VersionMismatchError,
    WrongInstanceError,
)
"""What our caller would take for a trouble with us, and try again."""


@dataclass(frozen=True, slots=True)
class LiveDevice:
    """A device as it runs.

    Attributes:
        schema: that of its class.
        live: its own, which may have more.
    """

    record: DeviceRecord
    schema: Schema
    live: Schema
    values: Mapping[str, PropertyValue]

    @property
    def plain(self) -> dict[str, Any]:
        """Its values without time stamps."""
        return {key: item.value for key, item in self.values.items()}

    @property
    def home(self) -> tuple[str, bool]:
        """The server that was asked to start it, and whether it has a process of its own."""
        return _home_of(self.record)


def _home_of(record: DeviceRecord) -> tuple[str, bool]:
    suffix = f"/{record.device_id}"
    return record.server_id.removesuffix(suffix), record.server_id.endswith(suffix)


async def ours(work: Awaitable[_T]) -> _T:
    """Await what another device does, and answer for it as our caller must take it.

    Raises:
        NotExecutedError: what it refuses, we refuse: nothing was done.
        RemoteError: nobody knows whether it was done, it has failed, or could not be reached.
    """
    try:
        return await work
    except OutcomeUnknownError as error:
        raise RemoteError(
            f"nobody knows whether it was done: {error.message}",
            device=error.device,
            key=error.key,
            remedy="look at the device before you repeat it",
            details={"code": error.code},
        ) from error
    except _ON_THE_WAY as error:
        raise RemoteError(
            error.message,
            device=error.device,
            key=error.key,
            remedy=error.remedy,
            details={"code": error.code},
        ) from error
    except PykaraboError as error:
        raise as_our_answer(error) from None


async def call(
    client: Client, device_id: str, command: str, *args: Any, timeout_s: float = CALL_TIMEOUT_S
) -> Any:
    """Run a command of another device."""
    request = Call(device_id, command, list(args))
    return await ours(client.request(device_id, request, timeout_s=timeout_s))


class Looker:
    """Asks devices and servers.

    Args:
        client: may be that of the service: everybody may read everything.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def device(self, device_id: str) -> LiveDevice:
        """Return a device as it runs now; raises `UnknownDeviceError`, `NotConnectedError`."""
        client = self._client
        client.forget_record(device_id)
        record = await ours(client.resolve(device_id))
        values = await ours(client.read(device_id))
        live = await ours(client.schema(device_id))
        wire = await call(client, record.server_id, "class_schema", record.class_id)
        return LiveDevice(record, Schema.from_wire(wire), live, values)

    async def home(self, device_id: str) -> tuple[str, bool]:
        """Return server and own process of a device; no server where it does not run."""
        try:
            return _home_of(await ours(self._client.resolve(device_id)))
        except UnknownDeviceError:
            return "", False

    async def class_of(self, version: Version) -> Schema:
        """Return today's schema of a version's class: where the device runs, or is to run."""
        try:
            return (await self.device(version.device_id)).schema
        except BadInputError:  # it does not run
            return await self.class_on_offer(version.class_id, version.server_id)

    async def class_on_offer(self, class_id: str, preferred: str = "") -> Schema:
        """Return the schema of a class that some server offers; raises `UnknownClassError`."""
        servers = await ours(self._client.find_servers(class_id=class_id))
        if not servers:
            known = await ours(self._client.classes())
            raise UnknownClassError(
                f"no server offers class '{class_id}'",
                remedy=did_you_mean(class_id, known) or "start one that does",
            )
        names = [record.server_id for record in servers]
        home = preferred if preferred in names else names[0]
        return Schema.from_wire(await call(self._client, home, "class_schema", class_id))
