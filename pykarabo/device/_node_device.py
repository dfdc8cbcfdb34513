"""From a node to the device that it belongs to."""

from pykarabo.data import root_of
from pykarabo.errors import BadConfigurationError

from ._device import Device


def device_of(node: object) -> Device:
    """Return the device to which the `self` of a node's command belongs.

    A node knows its own properties only; what a command needs besides, such as the hardware, the
    log or the other nodes, the device has::

        class Axis(Configurable):
            position = Float64(unit="mm", read_only=True)

            @command()
            async def home(self) -> None:
                controller = cast(Controller, device_of(self))
                self.position = await controller.line.home(self)

    Raises:
        BadConfigurationError: it is no node of a device.
    """
    root = root_of(node)
    if not isinstance(root, Device):
        raise BadConfigurationError(
            f"a {type(node).__name__} is no node of a device",
            remedy="call it with the 'self' of a command in a node's class",
        )
    return root
