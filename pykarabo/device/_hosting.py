"""The devices of one process, by id and by life."""

from dataclasses import dataclass, field

from pykarabo.errors import (
    DuplicateDeviceError,
    UnknownDeviceError,
    WrongInstanceError,
    did_you_mean,
)
from pykarabo.wire import EventSource

from ._device import Device


@dataclass(slots=True)
class Hosted:
    """A device with its event stream.

    Attributes:
        changed_at: per property the number of the event that told its latest change.
        began_at: the number before the first event of this life.
        refused: why it takes no writes and commands, None when it does.
    """

    device: Device
    source: EventSource
    changed_at: dict[str, int] = field(default_factory=dict[str, int])
    refused: DuplicateDeviceError | None = None
    began_at: int = field(init=False)

    def __post_init__(self) -> None:
        self.began_at = self.source.sequence

    def require_ours(self) -> None:
        """Raise `DuplicateDeviceError` if the device's id belongs to a twin."""
        if self.refused is not None:
            raise self.refused


class Hosting:
    """The devices of one process, by id."""

    def __init__(self, server_id: str) -> None:
        self._server_id = server_id
        self._hosted: dict[str, Hosted] = {}

    @property
    def devices(self) -> list[Device]:
        """Every device, in the order of their starts."""
        return [hosted.device for hosted in self._hosted.values()]

    def add(self, device: Device, source: EventSource) -> None:
        """Make a device reachable."""
        self._hosted[source.stream] = Hosted(device, source)

    def remove(self, device_id: str) -> Device:
        """Make a device unreachable and return it; raises `UnknownDeviceError`."""
        hosted = self.require(device_id)
        del self._hosted[device_id]
        return hosted.device

    def __contains__(self, device_id: str) -> bool:
        return device_id in self._hosted

    def require(self, device_id: str) -> Hosted:
        """Return a device; raises `UnknownDeviceError` with near matches."""
        hosted = self._hosted.get(device_id)
        if hosted is None:
            raise UnknownDeviceError(
                f"server '{self._server_id}' has no device '{device_id}'",
                device=device_id,
                remedy=did_you_mean(device_id, self._hosted) or "see 'pykarabo devices'",
            )
        return hosted

    def addressed(self, device_id: str, instance: bytes) -> Hosted:
        """Return the device that a call names, if it is the very instance that is meant.

        Raises:
            WrongInstanceError: the device has ended, moved or been restarted; nothing was done.
        """
        hosted = self._hosted.get(device_id)
        if hosted is None or hosted.source.instance != instance:
            raise WrongInstanceError(
                f"device '{device_id}' was restarted or moved; nothing was executed",
                device=device_id,
                remedy="connect to it again",
            )
        return hosted
