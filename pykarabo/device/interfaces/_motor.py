"""Motors, alone and several on one controller."""

from typing import ClassVar

from pykarabo.data import Bool, Configurable, Float64, State, StateProperty, VectorString
from pykarabo.device import command

from ._interface import Interface


class Motor(Interface):
    """One axis that goes to a position.

    Setting `target_position` moves nothing; `move` does, and its state is MOVING before it
    returns. A class with another unit declares both positions anew.
    """

    interface_name: ClassVar[str] = "Motor"

    target_position = Float64(unit="mm", description="Where `move` goes.")
    actual_position = Float64(unit="mm", read_only=True, description="Where it is.")
    is_on_target = Bool(read_only=True, description="Whether it rests at the target.")
    is_cw_limit = Bool(read_only=True, description="Whether the upper limit switch is pressed.")
    is_ccw_limit = Bool(read_only=True, description="Whether the lower limit switch is pressed.")

    @command(allowed_states={State.ON})
    async def move(self) -> None:
        """Begin to move to the target; returns when the state is MOVING."""
        self.not_implemented("move")

    @command()
    async def stop(self) -> None:
        """End the motion wherever it is."""
        self.not_implemented("stop")


class Axis(Configurable):
    """One axis of several."""

    target_position = Float64(unit="mm", description="Where `move` goes.")
    actual_position = Float64(unit="mm", read_only=True, description="Where it is.")
    is_on_target = Bool(read_only=True, description="Whether it rests at the target.")
    is_cw_limit = Bool(read_only=True, description="Whether the upper limit switch is pressed.")
    is_ccw_limit = Bool(read_only=True, description="Whether the lower limit switch is pressed.")
    state = StateProperty(read_only=True, description="What this axis is doing.")


class MultiAxisMotor(Interface):
    """Several axes with a common `move`: a node derived from `Axis` for each name in `axes`."""

    interface_name: ClassVar[str] = "MultiAxisMotor"

    axes = VectorString(read_only=True, description="The names of the nodes of its axes.")

    @command(allowed_states={State.ON})
    async def move(self) -> None:
        """Begin to move every axis to its target; returns when the state is MOVING."""
        self.not_implemented("move")

    @command()
    async def stop(self) -> None:
        """End every motion wherever it is."""
        self.not_implemented("stop")
