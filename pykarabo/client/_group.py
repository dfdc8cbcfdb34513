"""Groups: what is asked of a group is asked of all of its devices, and each one answers."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pykarabo.errors import PykaraboError, UnknownDeviceError
from pykarabo.wire import Call, Choice

from ._batches import Values
from ._identity import CALL_TIMEOUT_S
from ._records import DeviceRecord
from ._watch import EVERYTHING, Watch

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._client import Client
    from ._display import GroupView

CALLS_AT_ONCE: Final = 50
"""Half of what a server works on for one client at a time."""

Answers: TypeAlias = "dict[str, Any | PykaraboError]"


class AsyncDeviceGroup:
    """The devices whose ids match shell patterns; get one from `Client.group`.

    Each method returns a map with one entry per device: what the device answered, or the error
    why it did not. One that fails keeps no other from answering.

    Attributes:
        patterns: what its devices match.
        devices: their ids, in order, as they were at the last `refresh`.
    """

    def __init__(self, client: "Client", patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self.devices: tuple[str, ...] = ()
        self._states: dict[str, str] = {}
        self._client = client

    async def refresh(self) -> None:
        """Look again which devices there are.

        Raises:
            UnknownDeviceError: a pattern matches none.
        """
        found = [await self._client.topology(pattern) for pattern in self.patterns]
        self.devices = _ids(self.patterns, found)
        self._states = {record.device_id: record.state for some in found for record in some}

    async def read(self, *keys: str) -> dict[str, Values | PykaraboError]:
        """Read some properties of each device, or all, with one call per server."""
        wanted = list(keys) or None
        return await self._client.read_many(dict.fromkeys(self.devices, wanted))

    async def set(self, values: Mapping[str, Any]) -> dict[str, PykaraboError | None]:
        """Write properties of each device, with one call per server.

        Each device takes all of the values or none.
        """
        return await self._client.set_many(dict.fromkeys(self.devices, values))

    async def call(
        self, command: str, *args: Any, timeout_s: float = CALL_TIMEOUT_S, **kwargs: Any
    ) -> Answers:
        """Run a command of each device, of some tens at the same time.

        Args:
            timeout_s: for each of them.
        """
        at_once = asyncio.Semaphore(CALLS_AT_ONCE)

        async def call_one(device_id: str) -> Any | PykaraboError:
            request = Call(device_id, command, list(args), kwargs)
            try:
                async with at_once:
                    return await self._client.request(device_id, request, timeout_s=timeout_s)
            except PykaraboError as error:
                return error

        found = await asyncio.gather(*map(call_one, self.devices))
        return dict(zip(self.devices, found, strict=True))

    def watch(self, *keys: str, limits: Choice = EVERYTHING) -> Watch:
        """Return the updates of some properties of all devices, or of all properties."""
        return self._client.watch(*_targets(self.devices, keys), limits=limits)

    def __len__(self) -> int:
        return len(self.devices)

    def __repr__(self) -> str:
        return _shown(self.patterns, self.devices)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from ._display import group_as_text

        printer.text(repr(self) if cycle or printer.indentation else group_as_text(self._view()))

    def _repr_html_(self) -> str:
        from ._display import group_as_html

        return group_as_html(self._view())

    def _view(self) -> "GroupView":
        from ._display import GroupView

        return GroupView(f"{self!r} as of the last refresh", self._states)


class DeviceGroup:
    """The blocking twin of `AsyncDeviceGroup`; get one from `BlockingClient.group`.

    Attributes:
        patterns: what its devices match.
        devices: their ids, in order, as they were at the last `refresh`.
    """

    def __init__(self, client: "BlockingClient", patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self.devices: tuple[str, ...] = ()
        self._client = client
        self.refresh()

    def refresh(self) -> None:
        """Look again which devices there are.

        Raises:
            UnknownDeviceError: a pattern matches none.
        """
        found = [self._client.topology(pattern) for pattern in self.patterns]
        self.devices = _ids(self.patterns, found)

    def read(self, *keys: str) -> dict[str, Values | PykaraboError]:
        """Read some properties of each device, or all, with one call per server."""
        wanted = list(keys) or None
        return self._client.read_many(dict.fromkeys(self.devices, wanted))

    def set(self, values: Mapping[str, Any]) -> dict[str, PykaraboError | None]:
        """Write properties of each device, with one call per server.

        Each device takes all of the values or none.
        """
        return self._client.set_many(dict.fromkeys(self.devices, values))

    def call(
        self, command: str, *args: Any, timeout_s: float = CALL_TIMEOUT_S, **kwargs: Any
    ) -> Answers:
        """Run a command of each device, one after the other.

        Args:
            timeout_s: for each of them.
        """
        answers: Answers = {}
        for device_id in self.devices:
            request = Call(device_id, command, list(args), kwargs)
            try:
                answers[device_id] = self._client.request(device_id, request, timeout_s=timeout_s)
            except PykaraboError as error:
                answers[device_id] = error
        return answers

    def __len__(self) -> int:
        return len(self.devices)

    def __repr__(self) -> str:
        return _shown(self.patterns, self.devices)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from ._display import group_as_text

        printer.text(repr(self) if cycle or printer.indentation else group_as_text(self._view()))

    def _repr_html_(self) -> str:
        from ._display import group_as_html

        return group_as_html(self._view())

    def _view(self) -> "GroupView":
        from ._display import GroupView

        states = {
            device_id: found.message
            if isinstance(found, PykaraboError)
            else str(found["state"].value)
            for device_id, found in self.read("state").items()
        }
        return GroupView(repr(self), states)


def _ids(patterns: Sequence[str], found: Sequence[Sequence[DeviceRecord]]) -> tuple[str, ...]:
    for pattern, records in zip(patterns, found, strict=True):
        if not records:
            raise UnknownDeviceError(
                f"no device matches '{pattern}'",
                remedy="see 'pykarabo devices'; * stands for any characters, ? for one",
            )
    return tuple(sorted({record.device_id for records in found for record in records}))


def _targets(devices: Sequence[str], keys: Sequence[str]) -> list[str]:
    if not keys:
        return list(devices)
    return [f"{device_id}.{key}" for device_id in devices for key in keys]


def _shown(patterns: Sequence[str], devices: Sequence[str]) -> str:
    return f"<group of {len(devices)} devices: {', '.join(patterns)}>"
