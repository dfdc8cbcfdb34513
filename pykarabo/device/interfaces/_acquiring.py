"""Devices that acquire, trigger, process and start others."""

from typing import Any, ClassVar

from pykarabo.data import Float64, State
from pykarabo.device import command

from ._interface import Interface


class Trigger(Interface):
    """Acquires for a time, or starts what acquires."""

    interface_name: ClassVar[str] = "Trigger"

    acquisition_time = Float64(
        unit="s", minimum_exclusive=0.0, default=1.0, description="Of one acquisition."
    )

    @command(allowed_states={State.ON})
    async def start(self) -> None:
        """Begin; returns when the state is ACQUIRING."""
        self.not_implemented("start")

    @command()
    async def stop(self) -> None:
        """End; the state is ON again."""
        self.not_implemented("stop")


class Camera(Interface):
    """Takes images from `start` to `stop`; its state is ACQUIRING meanwhile."""

    interface_name: ClassVar[str] = "Camera"

    @command(allowed_states={State.ON})
    async def start(self) -> None:
        """Begin to take images; returns when the state is ACQUIRING."""
        self.not_implemented("start")

    @command()
    async def stop(self) -> None:
        """Take no more images; the state is ON again."""
        self.not_implemented("stop")


class Processor(Interface):
    """Processes what comes to its inputs.

    Its state is PROCESSING from the first item of a stream to the stream's end, and ON else.
    """

    interface_name: ClassVar[str] = "Processor"


class Instantiator(Interface):
    """Starts other devices by rules of its own."""

    interface_name: ClassVar[str] = "Instantiator"

    @command()
    async def start_instantiate(self, device_id: str, class_id: str) -> dict[str, Any]:
        """Start a device of a class and tell where it runs."""
        self.not_implemented("start_instantiate")
