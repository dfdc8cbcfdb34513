"""The model driver against a controller in a process of its own, with all that can go wrong."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import pytest

from pykarabo.client import AsyncDeviceProxy
from pykarabo.data import Quality, State
from pykarabo.errors import (
    BadConfigurationError,
    OutOfRangeError,
    RemoteError,
    StateForbidsError,
)
from pykarabo.testing import async_test, collected, device, no_leaks, served, until, until_blocking
from pykarabo_services.devices import MotionController


class _Simulator(Protocol):
    port: int

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def do(self, method: str, *parameters: Any) -> Any: ...
    def get(self, attribute: str) -> Any: ...
    def set(self, attribute: str, value: Any) -> None: ...


@contextlib.asynccontextmanager
async def _motion(
    controller: _Simulator, **configuration: Any
) -> AsyncGenerator[AsyncDeviceProxy, None]:
    """Run the driver, with its first readings taken."""
    settings = {
        "hostname": "127.0.0.1",
        "port": controller.port,
        "timeout": 5.0,
        "update_rate": 50.0,
        "reconnect_interval": 0.05,
        "axis1": {"velocity": 20.0},
        **configuration,
    }
    async with device(MotionController, settings) as motion:
        await until(lambda: motion.state == State.ON, timeout_s=20.0)
        yield motion


@async_test
async def test_axis_moves_and_says_so_before_the_call_returns(controller: _Simulator) -> None:
    async with _motion(controller) as motion, collected(motion, "axis1") as updates:
        await motion.move(1, 10.0)
        assert (await motion.get("axis1.state", "state")) == {
            "axis1.state": State.MOVING,
            "state": State.MOVING,
        }
        await until(lambda: motion.axis1.state == State.ON, timeout_s=10.0)
        assert motion.axis1.actual_position == 10.0
        assert motion.axis2.actual_position == 0.0
        assert controller.do("position", 1) == 10_000.0
        positions = updates.values("axis1.actual_position")
    assert positions == sorted(positions)
    assert len(set(positions)) > 3
    assert updates.values("axis1.actual_velocity")[-1] == 0.0


@async_test
async def test_values_have_units_of_the_gear(controller: _Simulator) -> None:
    async with _motion(controller, axis2={"steps_per_mm": 250.0, "velocity": 8.0}) as motion:
        assert controller.do("speed", 2) == 2000.0
        await motion.set({"axis2.velocity": 12.0})
        assert controller.do("speed", 2) == 3000.0
        await motion.move(2, "0.2 cm")
        await until(lambda: motion.axis2.state == State.ON and motion.axis2.actual_position)
        assert motion.axis2.actual_position == 2.0
        assert controller.do("position", 2) == 500.0


@async_test
async def test_stop_stops_every_axis_where_it_is(controller: _Simulator) -> None:
    async with _motion(controller, axis2={"velocity": 5.0}) as motion:
        await motion.move(1, 90.0)
        await motion.move(2, -90.0)
        await until(lambda: motion.axis1.actual_position > 0.5)
        await motion.stop()
        assert motion.schema.commands["stop"].idempotent
        assert not controller.do("moving")
        await until(lambda: motion.state == State.ON)
        assert 0.5 < motion.axis1.actual_position < 90.0
        there = pytest.approx(controller.do("position", 1) / 1000, abs=0.001)
        assert motion.axis1.actual_position == there


@async_test
async def test_home_finds_the_reference(controller: _Simulator) -> None:
    controller.do("put", 3, 40_000)
    async with _motion(controller) as motion:
        assert not motion.axis3.is_homed
        assert motion.axis3.actual_position == 40.0
        await motion.home(3)
        assert (await motion.get("state"))["state"] == State.HOMING
        await until(lambda: motion.axis3.is_homed, timeout_s=20.0)
        assert motion.axis3.actual_position == 0.0
        assert motion.state == State.ON


@async_test
async def test_software_limits_refuse_before_anything_is_sent(controller: _Simulator) -> None:
    async with _motion(controller) as motion:
        with pytest.raises(OutOfRangeError, match=r"limits are -100 to 100 mm - choose a target"):
            await motion.move(1, 100.5)
        with pytest.raises(OutOfRangeError, match="has no axis 5"):
            await motion.move(5, 0.0)
        await motion.set({"axis1.sw_limit_high": 1.0})
        with pytest.raises(OutOfRangeError, match="cannot go to 2 mm"):
            await motion.move(1, 2.0)
        assert controller.get("orders") == 0


@async_test
async def test_limits_that_contradict_each_other_are_refused(controller: _Simulator) -> None:
    async with _motion(controller) as motion:
        with pytest.raises(BadConfigurationError, match=r"sw_limit_low' \(101 mm\) is above"):
            await motion.set({"axis1.sw_limit_low": 101.0})
        await motion.set({"axis1.sw_limit_low": 101.0, "axis1.sw_limit_high": 102.0})
    with pytest.raises(BadConfigurationError, match="axis4"):
        async with _motion(controller, axis4={"sw_limit_low": 1e6}):
            pass


@async_test
async def test_switch_is_shown_and_travel_is_the_controllers_to_refuse(
    controller: _Simulator,
) -> None:
    controller.do("put", 1, 200_000)
    limits = {"sw_limit_low": -1000.0, "sw_limit_high": 1000.0}
    async with _motion(controller, axis1=limits) as motion:
        assert motion.axis1.is_cw_limit
        assert not motion.axis1.is_ccw_limit
        with pytest.raises(OutOfRangeError, match=r"refused 'MOVE 1 200001': beyond travel"):
            await motion.move(1, 200.001)
        assert motion.state == State.ON


@async_test
async def test_refusals_of_the_controller_arrive_as_what_they_mean(controller: _Simulator) -> None:
    async with _motion(controller) as motion:
        await motion.move(1, 90.0)
        with pytest.raises(StateForbidsError, match=r"axis is moving - wait until the axis"):
            await motion.move(1, 0.0)


@async_test
async def test_fault_of_a_drive_is_an_error_until_it_is_reset(controller: _Simulator) -> None:
    async with _motion(controller) as motion:
        await motion.move(1, 90.0)
        controller.do("trip", 1)
        await until(lambda: motion.state == State.ERROR)
        assert motion.axis1.state == State.ERROR
        assert motion.axis2.state == State.ON
        assert "the drive of axis 1 tripped" in motion.status
        with pytest.raises(StateForbidsError, match="drive fault - find out why"):
            await motion.move(1, 0.0)
        await motion.reset()
        await until(lambda: motion.state == State.ON)
        assert motion.status == "connected"


@async_test
async def test_temperature_warns_and_alarms(controller: _Simulator) -> None:
    async with _motion(controller) as motion:
        for degrees, quality in (
            (30.0, Quality.VALID),
            (61.0, Quality.WARN),
            (80.0, Quality.ALARM),
        ):
            controller.set("temperature", degrees)
            await until(lambda at=degrees: motion.temperature == at)  # type: ignore[misc]
            assert motion.live_value("temperature").quality == quality


@async_test
async def test_connection_lost_in_mid_move_is_unknown_and_then_the_truth(
    controller: _Simulator,
) -> None:
    async with _motion(controller) as motion:
        await motion.move(1, 90.0)
        controller.kill()
        await until(lambda: motion.state == State.UNKNOWN)
        assert motion.axis1.state == State.UNKNOWN
        assert "controller at 127.0.0.1" in motion.status
        with pytest.raises(StateForbidsError):
            await motion.move(1, 0.0)
        with pytest.raises(StateForbidsError, match="no connection to the controller"):
            await motion.stop()
        with pytest.raises(StateForbidsError):
            await motion.set({"axis1.velocity": 30.0})
        assert (await motion.get("axis1.velocity"))["axis1.velocity"] == 20.0
        controller.start()
        await until(lambda: motion.state == State.ON, timeout_s=20.0)
        assert motion.axis1.actual_position == 0.0, "the controller has forgotten where it was"
        assert controller.do("speed", 1) == 20_000.0, "what is set here holds again"
        assert motion.connection_losses == 1


@async_test
async def test_controller_that_falls_silent_is_unknown_and_comes_back(
    controller: _Simulator,
) -> None:
    async with _motion(controller, timeout=1.0) as motion:
        await motion.move(1, 90.0)
        controller.freeze()
        await until(lambda: motion.state == State.UNKNOWN, timeout_s=10.0)
        controller.thaw()
        await until(lambda: motion.state in (State.MOVING, State.ON), timeout_s=10.0)
        await motion.stop()
        assert controller.get("orders") == 1


@async_test
async def test_order_without_an_answer_is_not_known_to_be_done(controller: _Simulator) -> None:
    async with _motion(controller, update_rate=0.1, timeout=1.0) as motion:
        controller.set("silent", 1)
        with pytest.raises(RemoteError, match=r"did not answer 'MOVE 1 90000': it took too"):
            await motion.move(1, 90.0)
        assert controller.do("moving"), "it has obeyed"


@async_test
async def test_answer_that_is_none_to_an_order_is_not_known_to_be_done(
    controller: _Simulator,
) -> None:
    async with _motion(controller, update_rate=0.1) as motion:
        controller.set("spoilt", 1)
        with pytest.raises(RemoteError, match="answered 'MOVE 1 90000' with"):
            await motion.move(1, 90.0)
        assert controller.get("orders") == 1


@async_test
async def test_nonsense_is_never_shown_as_a_value(controller: _Simulator) -> None:
    async with _motion(controller) as motion, collected(motion) as updates:
        for _time in range(3):
            controller.set("spoilt", 1)
            await until(lambda: motion.state == State.UNKNOWN)
            await until(lambda: motion.state == State.ON, timeout_s=10.0)
        assert set(updates.values("axis1.actual_position")) == {0.0}
        assert set(updates.values("temperature")) == {30.0}
        assert any("with nonsense" in status for status in updates.values("status"))
        assert motion.connection_losses == 3


@async_test
async def test_many_commands_at_once_keep_the_line_in_step(controller: _Simulator) -> None:
    async with _motion(controller) as motion:
        async with asyncio.TaskGroup() as group:
            for number in (1, 2, 3, 4):
                group.create_task(motion.call("move", number, float(number)))
        await until(lambda: motion.state == State.ON, timeout_s=20.0)
        found = [getattr(motion, f"axis{number}").actual_position for number in (1, 2, 3, 4)]
        assert found == [1.0, 2.0, 3.0, 4.0]
        assert motion.connection_losses == 0


@async_test
async def test_controller_that_is_off_may_be_switched_on_later(controller: _Simulator) -> None:
    controller.kill()
    settings = {"hostname": "127.0.0.1", "port": controller.port, "reconnect_interval": 0.05}
    async with device(MotionController, settings) as motion:
        await until(lambda: "cannot be reached" in motion.status)
        assert motion.state == State.UNKNOWN
        assert motion.connection_losses == 0
        controller.start()
        await until(lambda: motion.state == State.ON, timeout_s=20.0)
        assert motion.firmware == "MC4 1.2"


def test_device_that_is_shut_down_leaves_the_axes_at_rest_and_nothing_open(
    controller: _Simulator,
) -> None:
    settings = {"hostname": "127.0.0.1", "port": controller.port, "axis1": {"velocity": 5.0}}
    with no_leaks(), served(MotionController, settings) as motion:
        until_blocking(lambda: motion.state == State.ON, timeout_s=20.0)
        motion.move(1, 90.0)
        assert controller.do("moving")
    assert not controller.do("moving")
