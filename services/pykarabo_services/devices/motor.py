"""A motor on a simulated axis."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from pykarabo.data import Bool, Float64, State
from pykarabo.device import command
from pykarabo.device.interfaces import Motor
from pykarabo.errors import OutOfRangeError

from .axis import AxisReading, AxisSettings, SimulatedAxis

_AT_REST: Final = frozenset({State.ON})
_BUILT: Final = ("velocity", "acceleration", "backlash", "low_switch", "high_switch")


class SimulatedMotor(Motor):
    """A linear motor with acceleration, limits, limit switches and backlash, in software.

    Setting `target_position` does not move it; `move` does.
    """

    target_position = Float64(unit="mm", description="Where `move` goes.")
    actual_position = Float64(unit="mm", read_only=True, description="Where the load is.")
    encoder_position = Float64(
        unit="mm", read_only=True, description="Where the screw is; differs by the backlash."
    )
    actual_velocity = Float64(unit="mm/s", read_only=True, description="Present velocity.")
    velocity = Float64(
        unit="mm/s", default=5.0, minimum_exclusive=0.0, description="Highest velocity."
    )
    acceleration = Float64(
        unit="mm/s**2", default=20.0, minimum_exclusive=0.0, description="Of start and stop."
    )
    backlash = Float64(unit="mm", default=0.02, minimum=0.0, description="Play of the screw.")
    sw_limit_low = Float64(unit="mm", default=-100.0, description="Lowest target allowed.")
    sw_limit_high = Float64(unit="mm", default=100.0, description="Highest target allowed.")
    low_switch = Float64(
        unit="mm", default=-110.0, init_only=True, description="Where the lower switch is."
    )
    high_switch = Float64(
        unit="mm", default=110.0, init_only=True, description="Where the upper switch is."
    )
    epsilon = Float64(
        unit="mm", default=0.001, minimum=0.0, description="Distance that counts as on target."
    )
    step_length = Float64(unit="mm", default=1.0, description="Of `step_up` and `step_down`.")
    update_rate = Float64(
        unit="Hz",
        default=10.0,
        minimum=0.1,
        maximum=100.0,
        description="How often the position is published while moving.",
    )
    is_on_target = Bool(read_only=True, description="Whether it rests at the target.")
    is_cw_limit = Bool(read_only=True, description="Whether the upper switch is pressed.")
    is_ccw_limit = Bool(read_only=True, description="Whether the lower switch is pressed.")
    is_sw_limit_high = Bool(read_only=True, description="Whether it rests at the upper limit.")
    is_sw_limit_low = Bool(read_only=True, description="Whether it rests at the lower limit.")

    async def on_initialize(self) -> None:
        """Set the axis up at rest, at the configured target."""
        self._axis = SimulatedAxis(self._settings(), self.target_position)
        self._motion: asyncio.Task[Any] | None = None
        self._check_limits({})
        self._show(self._axis.at(self._now_s()))
        self.set_values({"state": State.ON, "status": "at rest"})

    def _settings(self) -> AxisSettings:
        return AxisSettings(**{name: getattr(self, name) for name in _BUILT})

    def _now_s(self) -> float:
        return self.clock.monotonic_ns() / 1e9

    async def on_set(self, values: Mapping[str, Any]) -> None:
        """Refuse limits that contradict each other and targets beyond them."""
        self._check_limits(values)

    def _check_limits(self, values: Mapping[str, Any]) -> None:
        low = values.get("sw_limit_low", self.sw_limit_low)
        high = values.get("sw_limit_high", self.sw_limit_high)
        target = values.get("target_position", self.target_position)
        name = self.context.device_id
        if low > high:
            raise OutOfRangeError(
                f"'{name}.sw_limit_low' ({low:g} mm) is above sw_limit_high ({high:g} mm)",
                device=name,
                key="sw_limit_low",
                remedy="set both in one go",
            )
        if not low <= target <= high:
            raise OutOfRangeError(
                f"'{name}.target_position' cannot be {target:g} mm: the software limits are "
                f"{low:g} to {high:g} mm",
                device=name,
                key="target_position",
                remedy="choose a target between them, or move the limits",
            )

    async def after_set(self, values: Mapping[str, Any]) -> None:
        """Give new settings to the axis; they hold for the next motion."""
        if values.keys() & set(_BUILT):
            self._axis.settings = self._settings()
        if "target_position" in values:
            self._show(self._axis.at(self._now_s()))

    @command(allowed_states=_AT_REST, units={"position": "mm"})
    async def move(self, position: float | None = None) -> None:
        """Begin to move to `position`, or to the target set; returns at once."""
        if position is not None:
            self._check_limits({"target_position": position})
            self.target_position = position
        self._begin(self.target_position)

    @command(allowed_states=_AT_REST)
    async def step_up(self) -> None:
        """Begin to move up by the step length."""
        await self.move(self.actual_position + self.step_length)

    @command(allowed_states=_AT_REST)
    async def step_down(self) -> None:
        """Begin to move down by the step length."""
        await self.move(self.actual_position - self.step_length)

    @command(allowed_states=_AT_REST)
    async def home(self) -> None:
        """Begin to move to zero."""
        await self.move(0.0)

    @command()
    async def stop(self) -> None:
        """Decelerate and rest wherever that ends."""
        if self.state == State.MOVING:
            self._axis.stop(self._now_s())

    @command(allowed_states={State.ERROR})
    async def reset(self) -> None:
        """Leave the error: back off from a limit switch."""
        reading = self._axis.at(self._now_s())
        inside = min(max(reading.screw, self.sw_limit_low), self.sw_limit_high)
        self.target_position = inside
        self._begin(inside)

    def _begin(self, target: float) -> None:
        self._axis.move(target, self._now_s())
        self.set_values(
            {"state": State.MOVING, "status": f"moving to {target:g} mm", "is_on_target": False}
        )
        self._motion = self.spawn(self._follow(), name="motion")

    async def _follow(self) -> None:
        """Publish the position until the axis rests."""
        while True:
            reading = self._axis.at(self._now_s())
            self._show(reading)
            if not reading.moving:
                self._rest(reading)
                return
            await asyncio.sleep(1.0 / self.update_rate)

    def _rest(self, reading: AxisReading) -> None:
        if reading.hit:
            which = "upper (cw)" if reading.hit > 0 else "lower (ccw)"
            status = (
                f"the {which} limit switch stopped it at {reading.screw:g} mm: "
                "call reset to back off"
            )
            self.set_values({"state": State.ERROR, "status": status})
        else:
            self.set_values({"state": State.ON, "status": "at rest"})

    def _show(self, reading: AxisReading) -> None:
        near = self.epsilon
        self.set_values(
            {
                "actual_position": reading.load,
                "encoder_position": reading.screw,
                "actual_velocity": reading.velocity,
                "is_cw_limit": reading.high_switch,
                "is_ccw_limit": reading.low_switch,
                "is_on_target": not reading.moving
                and abs(reading.load - self.target_position) <= near,
                "is_sw_limit_high": reading.load >= self.sw_limit_high - near,
                "is_sw_limit_low": reading.load <= self.sw_limit_low + near,
            }
        )
