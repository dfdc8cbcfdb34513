"""Interfaces of devices: announced, compared, and driven; what does not keep one is told why."""

import asyncio
from typing import Any

import pytest

from pykarabo.data import Bool, Float64, Int64, Node, State
from pykarabo.device import Device, command
from pykarabo.device.interfaces import Axis, Camera, Motor, MultiAxisMotor, Processor, Trigger
from pykarabo.testing import ConformanceError, check_interface, run_facility
from pykarabo_services.devices import Camera as PowderCamera
from pykarabo_services.devices import SimulatedMotor


class _Rotator(Motor):
    """A motor that keeps the interface, in degrees."""

    target_position = Float64(unit="deg")
    actual_position = Float64(unit="deg", read_only=True)

    async def on_initialize(self) -> None:
        self.motion: asyncio.Task[Any] | None = None
        self.state = State.ON

    @command(allowed_states={State.ON})
    async def move(self) -> None:
        """Turn."""
        self.begin()

    def begin(self) -> None:
        self.state = State.MOVING
        self.is_on_target = False
        self.motion = self.spawn(self._turn(), name="motion")

    async def _turn(self) -> None:
        start = self.actual_position
        for part in range(1, 11):
            await asyncio.sleep(0.02)
            self.actual_position = start + (self.target_position - start) * part / 10
        self.arrive()

    def arrive(self) -> None:
        self.is_on_target = True
        self.state = State.ON

    @command()
    async def stop(self) -> None:
        """Stop turning."""
        if self.motion is not None:
            self.motion.cancel()
        self.state = State.ON


class _Eager(_Rotator):
    """Moves when its target is set."""

    async def after_set(self, values: Any) -> None:
        self.begin()


class _Late(_Rotator):
    """Is not MOVING when `move` returns."""

    @command(allowed_states={State.ON})
    async def move(self) -> None:
        """Turn."""
        asyncio.get_running_loop().call_later(0.05, self.begin)


class _Deaf(_Rotator):
    """Does not stop."""

    @command()
    async def stop(self) -> None:
        """Say that it stops."""
        self.state = State.ON


class _Unsure(_Rotator):
    """Does not know that it has arrived."""

    def arrive(self) -> None:
        self.state = State.ON


class _Stuck(_Rotator):
    """Never ends."""

    def arrive(self) -> None:
        """Stay."""


class _Plain(_Rotator):
    """Forgot the decorator."""

    async def move(self) -> None:
        """Turn."""


class _Demanding(_Rotator):
    """Wants an argument."""

    @command(allowed_states={State.ON})
    async def move(self, speed: float) -> None:  # type: ignore[override]
        """Turn."""


class _Typed(_Rotator):
    """Has other types."""

    target_position = Int64()
    is_on_target = Bool()


class _Units(_Rotator):
    """Mixes units."""

    actual_position = Float64(unit="mm", read_only=True)


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (_Eager, "setting the target moves it"),
        (_Late, "the state is not MOVING before 'move' returns"),
        (_Deaf, "still moves when 'stop'"),
        (_Unsure, "'is_on_target' is not true"),
        (_Stuck, "a motion does not end in ON within 1 s"),
        (_Plain, "command 'move' is missing: decorate it"),
        (_Demanding, "command 'move' needs 'speed'"),
        (_Typed, "'target_position' is of type int64, not float64"),
        (_Typed, "'is_on_target' is reconfigurable, not read_only"),
        (_Units, "different units"),
        (Motor, "it does not become ON within 1 s"),
    ],
)
def test_what_does_not_keep_an_interface_is_told_why(cls: type[Device], reason: str) -> None:
    with pytest.raises(ConformanceError, match=reason) as caught:
        check_interface(cls, timeout_s=1.0)
    assert f"class '{cls.__name__}'" in str(caught.value)
    assert all(line.startswith("Motor: ") for line in caught.value.reasons)


@pytest.mark.parametrize("cls", [_Rotator, SimulatedMotor, PowderCamera])
def test_what_keeps_its_interface_passes(cls: type[Device]) -> None:
    check_interface(cls)


class _Table(MultiAxisMotor):
    """Two axes."""

    x = Node(Axis)
    y = Node(Axis)

    async def on_initialize(self) -> None:
        self.motion: asyncio.Task[Any] | None = None
        self.axes = ["x", "y"]
        self.state = State.ON

    @command(allowed_states={State.ON})
    async def move(self) -> None:
        """Move."""
        self.state = State.MOVING
        self.motion = self.spawn(self._go(), name="motion")

    async def _go(self) -> None:
        await asyncio.sleep(0.05)
        for axis in (self.x, self.y):
            axis.actual_position = axis.target_position
            axis.is_on_target = True
        self.state = State.ON

    @command()
    async def stop(self) -> None:
        """Stop."""
        if self.motion is not None:
            self.motion.cancel()
        self.state = State.ON


class _NoAxes(_Table):
    """Names no axes."""

    async def on_initialize(self) -> None:
        await super().on_initialize()
        self.axes = []


class _WrongAxes(_Table):
    """Names an axis that is none."""

    async def on_initialize(self) -> None:
        await super().on_initialize()
        self.axes = ["x", "z"]


def test_motors_with_several_axes_are_driven_too() -> None:
    check_interface(_Table)
    with pytest.raises(ConformanceError, match="'axes' is empty"):
        check_interface(_NoAxes)
    with pytest.raises(ConformanceError, match="axis 'z' has no property"):
        check_interface(_WrongAxes)


class _Detector(Camera, Trigger, Processor):
    """Keeps three interfaces."""

    async def on_initialize(self) -> None:
        self.state = State.ON

    @command(allowed_states={State.ON})
    async def start(self) -> None:
        """Begin."""
        self.state = State.ACQUIRING

    @command()
    async def stop(self) -> None:
        """End."""
        self.state = State.ON


class _Lame(_Detector):
    """Cannot be stopped."""

    @command()
    async def stop(self) -> None:
        """End."""


def test_a_class_may_keep_several_interfaces() -> None:
    check_interface(_Detector)
    with pytest.raises(ConformanceError) as caught:
        check_interface(_Lame, timeout_s=0.2)
    assert [reason.partition(":")[0] for reason in caught.value.reasons] == ["Camera", "Trigger"]


def test_a_class_without_an_interface_cannot_be_checked() -> None:
    with pytest.raises(ValueError, match="derives from no interface"):
        check_interface(Device)


def test_devices_and_directory_tell_the_interfaces() -> None:
    async def scenario() -> None:
        async with run_facility({"Detector": _Detector}) as facility:
            device = await facility.server.instantiate("Detector", "DET/1")
            names = ["Camera", "Trigger", "Processor"]
            assert list(device.interfaces) == names
            (record,) = await facility.client.topology("DET/1")
            assert list(record.tags) == [f"interface:{name}" for name in names]

    asyncio.run(scenario())
