"""A motion controller with four axes: the model of a driver for hardware behind a connection.

What to look at, if you write one: the state is what the controller said last and UNKNOWN when
nobody can know; a command is refused unless it can be carried out, and returns when the controller
has obeyed; whatever goes wrong on the line ends in one place, which connects again.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from pykarabo.data import Bool, Configurable, Float64, Int32, Node, State, StateProperty, String
from pykarabo.device import Device, command
from pykarabo.errors import BadConfigurationError, OutOfRangeError, PykaraboError

from .motion_link import AxisFlag, AxisReading, ControllerLink

AXES: Final = (1, 2, 3, 4)
_CONNECTED: Final = frozenset({State.ON, State.MOVING, State.HOMING, State.ERROR})
_RANK: Final = (State.ERROR, State.HOMING, State.MOVING, State.ON)
"""The device's state is the first of these that an axis has."""


class MotionAxis(Configurable):
    """One axis: what it is set to, and what the controller says of it."""

    steps_per_mm = Float64(
        unit="1/mm", default=1000.0, minimum_exclusive=0.0, init_only=True,
        description="Gear of the axis.",
    )  # fmt: skip
    velocity = Float64(
        unit="mm/s", default=1.0, minimum_exclusive=0.0, maximum=50.0,
        description="Of the next moves.",
    )  # fmt: skip
    sw_limit_low = Float64(unit="mm", default=-100.0, description="Lowest target allowed.")
    sw_limit_high = Float64(unit="mm", default=100.0, description="Highest target allowed.")
    state = StateProperty(read_only=True, description="UNKNOWN while there is no connection.")
    actual_position = Float64(unit="mm", read_only=True, description="As read last.")
    actual_velocity = Float64(unit="mm/s", read_only=True, description="As read last.")
    is_homed = Bool(read_only=True, description="Whether zero is the reference.")
    is_cw_limit = Bool(read_only=True, description="Whether the upper switch is pressed.")
    is_ccw_limit = Bool(read_only=True, description="Whether the lower switch is pressed.")


class MotionController(Device):
    """A four-axis motion controller on a line protocol over TCP."""

    hostname = String(required=True, init_only=True, description="Where the controller is.")
    port = Int32(
        default=5025, minimum=1, maximum=65535, init_only=True, description="Its TCP port."
    )
    timeout = Float64(
        unit="s", default=1.0, minimum=0.01, init_only=True,
        description="An answer that takes longer counts as lost.",
    )  # fmt: skip
    update_rate = Float64(
        unit="Hz", default=10.0, minimum=0.1, maximum=100.0, description="Of reading all axes."
    )
    reconnect_interval = Float64(
        unit="s", default=2.0, minimum=0.01, description="Time between attempts to connect."
    )
    firmware = String(read_only=True, description="Name and version, as it tells them.")
    temperature = Float64(
        unit="degC", read_only=True, warn_high=60.0, alarm_high=75.0, description="Of the drives."
    )
    connection_losses = Int32(read_only=True, description="Since the start of the device.")
    axis1 = Node(MotionAxis, description="The first axis.")
    axis2 = Node(MotionAxis, description="The second axis.")
    axis3 = Node(MotionAxis, description="The third axis.")
    axis4 = Node(MotionAxis, description="The fourth axis.")

    async def on_initialize(self) -> None:
        """Check the configuration; the controller itself may come later."""
        self._link = ControllerLink(self.hostname, self.port, timeout_s=self.timeout)
        self._reading = asyncio.Lock()
        self._check_limits({})
        self._show_unknown("connecting")

    async def on_start(self) -> None:
        """Be connected, for ever."""
        while True:
            try:
                await self._link.open()
                await self._take_over()
                while True:
                    await self._read()
                    await asyncio.sleep(1.0 / self.update_rate)
            except PykaraboError as error:
                if self.state != State.UNKNOWN:
                    self.connection_losses += 1
                self._link.close()
                self._show_unknown(str(error))
            await asyncio.sleep(self.reconnect_interval)

    async def on_stop(self) -> None:
        """Leave every axis at rest."""
        try:
            if self.state in (State.MOVING, State.HOMING):
                await self.stop()
        finally:
            self._link.close()

    # -- what the controller says -----------------------------------------------------------------

    async def _take_over(self) -> None:
        """Bring the controller to what is set here: it may have been switched off."""
        firmware = await self._link.ask("ID?")
        for number in AXES:
            await self._send_velocity(number, self._axis(number).velocity)
        self.firmware = firmware

    async def _read(self) -> None:
        """Read everything, and publish it as one change.

        Readings take turns: one that began before a command must not be published after it.
        """
        async with self._reading:
            readings = {number: await self._link.axis(number) for number in AXES}
            self._show(readings, await self._link.temperature())

    def _show(self, readings: Mapping[int, AxisReading], temperature: float) -> None:
        values: dict[str, Any] = {"temperature": temperature}
        for number, reading in readings.items():
            values |= self._values_of(number, reading)
        states = {values[f"axis{number}.state"] for number in AXES}
        state = next(state for state in _RANK if state in states)
        faulty = [str(n) for n, reading in readings.items() if AxisFlag.FAULT in reading.flags]
        status = (
            f"the drive of axis {', '.join(faulty)} tripped: see reset" if faulty else "connected"
        )
        self.set_values(values | {"state": state, "status": status})

    def _values_of(self, number: int, reading: AxisReading) -> dict[str, Any]:
        scale = self._axis(number).steps_per_mm
        return {
            f"axis{number}.actual_position": reading.steps / scale,
            f"axis{number}.actual_velocity": reading.velocity / scale,
            f"axis{number}.state": _state_of(reading.flags),
            f"axis{number}.is_homed": AxisFlag.HOMED in reading.flags,
            f"axis{number}.is_cw_limit": AxisFlag.HIGH_SWITCH in reading.flags,
            f"axis{number}.is_ccw_limit": AxisFlag.LOW_SWITCH in reading.flags,
        }

    def _show_unknown(self, reason: str) -> None:
        """Say that nobody knows what the axes do; positions stay as they were read last."""
        unknown = dict.fromkeys((f"axis{number}.state" for number in AXES), State.UNKNOWN)
        self.set_values({"state": State.UNKNOWN, "status": reason, **unknown})

    # -- what it is told --------------------------------------------------------------------------

    @command(allowed_states=_CONNECTED, units={"position": "mm"})
    async def move(self, axis: int, position: float) -> None:
        """Begin to move an axis (1 to 4); its state is MOVING when this returns."""
        settings = self._axis(axis)
        low, high = settings.sw_limit_low, settings.sw_limit_high
        if not low <= position <= high:
            raise OutOfRangeError(
                f"axis {axis} of '{self.device_id}' cannot go to {position:g} mm: its software "
                f"limits are {low:g} to {high:g} mm",
                device=self.device_id,
                key="move",
                remedy="choose a target between them, or move the limits",
            )
        await self._order(f"MOVE {axis} {round(position * settings.steps_per_mm)}")

    @command(allowed_states=_CONNECTED)
    async def home(self, axis: int) -> None:
        """Begin to look for the reference of an axis; its state is HOMING when this returns."""
        self._axis(axis)
        await self._order(f"HOME {axis}")

    @command(idempotent=True)
    async def stop(self) -> None:
        """Decelerate all axes; tried in every state."""
        problems: list[PykaraboError] = []
        for number in AXES:
            try:
                await self._link.order(f"STOP {number}")
            except PykaraboError as error:  # the others must be stopped all the same
                problems.append(error)
        if problems:
            raise problems[0]
        with contextlib.suppress(PykaraboError):
            await self._read()

    @command(allowed_states={State.ERROR})
    async def reset(self) -> None:
        """Clear the faults of the drives."""
        for number in AXES:
            if self._axis(number).state == State.ERROR:
                await self._order(f"CLEAR {number}")

    async def _order(self, order: str) -> None:
        """Have the controller do something, and show at once what has come of it."""
        await self._link.order(order)
        with contextlib.suppress(PykaraboError):  # it has obeyed: that the line broke, state tells
            await self._read()

    def _axis(self, number: int) -> Any:
        if number not in AXES:
            raise OutOfRangeError(
                f"'{self.device_id}' has no axis {number}",
                device=self.device_id,
                remedy=f"use one of {', '.join(map(str, AXES))}",
            )
        return getattr(self, f"axis{number}")

    # -- settings ---------------------------------------------------------------------------------

    async def on_set(self, values: Mapping[str, Any]) -> None:
        """Refuse limits that contradict each other; a velocity holds when the controller has it."""
        self._check_limits(values)
        for number in AXES:
            if f"axis{number}.velocity" in values:
                await self._send_velocity(number, values[f"axis{number}.velocity"])

    async def _send_velocity(self, number: int, velocity: float) -> None:
        steps = max(1, round(velocity * self._axis(number).steps_per_mm))
        await self._link.order(f"VEL {number} {steps}")

    def _check_limits(self, values: Mapping[str, Any]) -> None:
        for number in AXES:
            low, high = (
                values.get(f"axis{number}.{name}", getattr(self._axis(number), name))
                for name in ("sw_limit_low", "sw_limit_high")
            )
            if low > high:
                raise BadConfigurationError(
                    f"'{self.device_id}.axis{number}.sw_limit_low' ({low:g} mm) is above "
                    f"sw_limit_high ({high:g} mm)",
                    device=self.device_id,
                    key=f"axis{number}.sw_limit_low",
                    remedy="set both in one go",
                )


def _state_of(flags: AxisFlag) -> State:
    if AxisFlag.FAULT in flags:
        return State.ERROR
    if AxisFlag.HOMING in flags:
        return State.HOMING
    return State.MOVING if AxisFlag.MOVING in flags else State.ON
