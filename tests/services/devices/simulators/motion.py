"""The peer of the motion controller's driver: four axes that move in real time, made with lewis.

lewis serves the line protocol on TCP, and the device itself to tests over JSON-RPC: there a test
presses switches, trips drives and has answers spoilt.
"""

from typing import Any, ClassVar, Final, TypeAlias, cast

from lewis.adapters.stream import Cmd, StreamInterface
from lewis.devices import Device

_HOME_STEPS_PER_S: Final = 20_000
_REFUSED: Final = "ERR {} {}"
_Answer: TypeAlias = str | bytes | None


class _Axis:
    """One axis, in steps."""

    def __init__(self) -> None:
        self.position = 0.0
        self.target = 0.0
        self.speed = 1000.0
        self.homing = False
        self.homed = False
        self.fault = False

    @property
    def moving(self) -> bool:
        return self.position != self.target

    def go_on(self, dt: float) -> None:
        if not self.moving:
            return
        step = (_HOME_STEPS_PER_S if self.homing else self.speed) * dt
        way = self.target - self.position
        self.position = self.target if abs(way) <= step else self.position + step * (way / abs(way))
        if self.homing and not self.moving:
            self.homing, self.homed = False, True


class MotionDevice(Device):  # type: ignore[misc]  # lewis has no types
    """Four axes between switches at +-200 000 steps.

    Attributes:
        spoilt: so many of the next answers are nonsense.
        silent: so many of the next questions get no answer.
    """

    travel = 200_000

    def __init__(self) -> None:
        super().__init__()
        self._axes = [_Axis() for _ in range(4)]
        self.temperature = 30.0
        self.spoilt = 0
        self.silent = 0
        self.orders = 0

    def process(self, dt: float = 0.0) -> None:
        for axis in self._axes:
            axis.go_on(dt)

    # -- the back door ----------------------------------------------------------------------------

    def trip(self, number: int) -> None:
        """Let the drive of an axis fail where it is."""
        axis = self._axes[number - 1]
        axis.fault, axis.target, axis.homing = True, axis.position, False

    def position(self, number: int) -> float:
        """Return where an axis is, in steps."""
        return self._axes[number - 1].position

    def speed(self, number: int) -> float:
        """Return the speed of an axis, in steps/s."""
        return self._axes[number - 1].speed

    def put(self, number: int, steps: float) -> None:
        """Put an axis somewhere, at rest."""
        axis = self._axes[number - 1]
        axis.position = axis.target = steps

    def moving(self) -> bool:
        """Tell whether any axis moves."""
        return any(axis.moving for axis in self._axes)

    # -- the protocol -----------------------------------------------------------------------------

    def tell(self, number: int) -> str:
        axis = self._axes[number - 1]
        speed = axis.speed if axis.moving else 0
        flags = (
            axis.moving
            + 2 * axis.homing
            + 4 * axis.homed
            + 8 * (axis.position <= -self.travel)
            + 16 * (axis.position >= self.travel)
            + 32 * axis.fault
        )
        return f"{round(axis.position)},{round(speed)},{flags}"

    def move(self, number: int, steps: int) -> str:
        axis = self._axes[number - 1]
        if axis.fault:
            return _REFUSED.format(5, "drive fault")
        if axis.moving:
            return _REFUSED.format(2, "axis is moving")
        if abs(steps) > self.travel:
            return _REFUSED.format(3, "beyond travel")
        self.orders += 1
        axis.target = float(steps)
        return "OK"

    def home(self, number: int) -> str:
        axis = self._axes[number - 1]
        if axis.moving:
            return _REFUSED.format(2, "axis is moving")
        axis.target = 0.0
        axis.homing, axis.homed = axis.moving, not axis.moving
        return "OK"

    def stop(self, number: int) -> str:
        axis = self._axes[number - 1]
        axis.target, axis.homing = axis.position, False
        return "OK"

    def set_speed(self, number: int, steps_per_s: int) -> str:
        self._axes[number - 1].speed = float(steps_per_s)
        return "OK"

    def clear(self, number: int) -> str:
        self._axes[number - 1].fault = False
        return "OK"


class MotionInterface(StreamInterface):  # type: ignore[misc]  # lewis has no types
    """The line protocol."""

    in_terminator = "\n"
    out_terminator = "\n"
    commands: ClassVar[Any] = {
        Cmd("identify", r"^ID\?$"),
        Cmd("tell_temperature", r"^TEMP\?$"),
        Cmd("tell", r"^AX\? ([1-4])$", argument_mappings=(int,)),
        Cmd("move", r"^MOVE ([1-4]) (-?\d+)$", argument_mappings=(int, int)),
        Cmd("home", r"^HOME ([1-4])$", argument_mappings=(int,)),
        Cmd("stop", r"^STOP ([1-4])$", argument_mappings=(int,)),
        Cmd("set_speed", r"^VEL ([1-4]) (\d+)$", argument_mappings=(int, int)),
        Cmd("clear", r"^CLEAR ([1-4])$", argument_mappings=(int,)),
    }

    def identify(self) -> _Answer:
        return self._answer("MC4 1.2")

    def tell_temperature(self) -> _Answer:
        return self._answer(f"{self._motion.temperature:.1f}")

    def tell(self, number: int) -> _Answer:
        return self._answer(self._motion.tell(number))

    def move(self, number: int, steps: int) -> _Answer:
        return self._answer(self._motion.move(number, steps))

    def home(self, number: int) -> _Answer:
        return self._answer(self._motion.home(number))

    def stop(self, number: int) -> _Answer:
        return self._answer(self._motion.stop(number))

    def set_speed(self, number: int, steps_per_s: int) -> _Answer:
        return self._answer(self._motion.set_speed(number, steps_per_s))

    def clear(self, number: int) -> _Answer:
        return self._answer(self._motion.clear(number))

    @property
    def _motion(self) -> MotionDevice:
        return cast(MotionDevice, self.device)

    def _answer(self, answer: str) -> _Answer:
        if self._motion.silent:
            self._motion.silent -= 1
            return None
        if self._motion.spoilt:
            self._motion.spoilt -= 1
            return b"\xff\x00#?,;7"
        return answer

    def handle_error(self, request: object, error: object) -> Any:
        return "ERR 1 unknown command"
