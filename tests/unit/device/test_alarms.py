"""Alarms of devices: where values are set, what others see of them, who acknowledges them."""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from pykarabo.client import Change, Live
from pykarabo.client._identity import own_identity
from pykarabo.data import AccessLevel, Configurable, Float64, Int32, Node, Quality, VectorFloat64
from pykarabo.device import Device, command
from pykarabo.errors import BadConfigurationError, UnknownAlarmError
from pykarabo.testing import FakeClock, run_device, run_facility


class _Motor(Configurable):
    """A motor."""

    temperature = Float64(read_only=True, unit="degC", warn_high=60, alarm_high=80)


class _Pump(Device):
    """A pump."""

    pressure = Float64(
        unit="mbar",
        warn_high=1e-3,
        alarm_high=1e-2,
        hysteresis=1e-4,
        acknowledge=["alarm_high"],
        limit_info={"alarm_high": "close valve V3"},
    )
    flow = Float64(read_only=True, default=5.0, alarm_low=1.0, alarm_delay=5.0)
    rotation = Float64(read_only=True, deadband=2.0, unit="Hz")
    power = Float64(read_only=True, relative_deadband=0.1, warn_high=100.0)
    profile = VectorFloat64(read_only=True, warn_high=3.0)
    count = Int32(read_only=True)
    motor = Node(_Motor)

    @command()
    def measure(self, pressure: float) -> None:
        """Set the pressure from a thread."""
        self.pressure = pressure

    @command()
    async def raise_it(self, condition: str, text: str) -> None:
        """Raise an alarm."""
        self.raise_alarm(condition, text)


class _Watched:
    """A pump, and what a client that follows it is told."""

    def __init__(self, pump: _Pump, proxy: Any, clock: FakeClock) -> None:
        self.pump = pump
        self.proxy = proxy
        self.clock = clock
        self.updates: list[Any] = []

    def update(self, update: Any) -> None:
        self.updates.append(update)

    def set(self, key: str, *values: Any) -> None:
        """Set a property to one value after the other, each in an event of its own."""
        for value in values:
            self.pump.set_values({key: value})
            self.pump.flush()

    async def told(self, *keys: str) -> list[tuple[str, Any, str]]:
        """Return what was told of some properties since the last time, in its order."""
        self.pump.flush()
        mark = self.pump.count + 1
        self.pump.count = mark
        async with asyncio.timeout(10):
            while not any(_values(item).get("count") == mark for item in self.updates):
                await asyncio.sleep(0.005)
        changes = [item for item in self.updates if isinstance(item, Change)]
        self.updates.clear()
        return [
            (key, value.value, str(value.quality))
            for change in changes
            for key, value in change.values.items()
            if key in keys
        ]

    def alarm(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.pump.alarms[name]
        return found


def _values(update: Any) -> dict[str, Any]:
    return {key: item.value for key, item in getattr(update, "values", {}).items()}


def _with(check: Callable[[_Watched], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        clock = FakeClock(drives_loop=False)
        async with run_facility({"Pump": _Pump}, clock=clock) as facility:
            pump = await facility.server.instantiate("Pump", "P/1")
            assert isinstance(pump, _Pump)
            proxy = await facility.client.device("P/1")
            watched = _Watched(pump, proxy, clock)
            facility.client.follow("P/1", watched.update)
            async with asyncio.timeout(10):
                while not any(isinstance(item, Live) for item in watched.updates):
                    await asyncio.sleep(0.005)
            await check(watched)
            facility.client.unfollow("P/1", watched.update)

    asyncio.run(scenario())


def _quality(pump: Device, key: str) -> Quality:
    return pump.values()[key].quality


# -- values -------------------------------------------------------------------------------------


def test_a_value_beyond_a_limit_is_told_with_its_quality_and_its_alarm_in_one_event() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.pressure = 0.05
        assert await watched.told("pressure", "alarm_condition") == [
            ("pressure", 0.05, "alarm"),
            ("alarm_condition", "alarm_high", "valid"),
        ]
        assert watched.alarm("pressure/alarm_high") == {
            "source": "pressure",
            "condition": "alarm_high",
            "severity": "alarm",
            "value": 0.05,
            "since": "2023-11-14T22:13:20.000000000Z",
            "text": "close valve V3",
            "needs_acknowledge": True,
            "acknowledged_by": "",
            "present": True,
        }

    _with(check)


@pytest.mark.parametrize("way", ["assign", "set_values", "from outside", "thread"])
def test_every_way_of_setting_is_judged(way: str) -> None:
    async def check(watched: _Watched) -> None:
        if way == "assign":
            watched.pump.pressure = 0.005
        elif way == "set_values":
            watched.pump.set_values({"pressure": 0.005, "count": 3})
        elif way == "from outside":
            await watched.proxy.set({"pressure": 0.005})
        else:
            await watched.proxy.measure(0.005)
        assert _quality(watched.pump, "pressure") is Quality.WARN
        assert watched.pump.alarm_condition == "warn_high"

    _with(check)


def test_a_property_of_a_node() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.motor.temperature = 70.0
        assert list(watched.pump.alarms) == ["motor.temperature/warn_high"]
        watched.pump.motor.temperature = 90.0
        assert list(watched.pump.alarms) == ["motor.temperature/alarm_high"]
        watched.pump.motor.temperature = 20.0
        assert (watched.pump.alarms, watched.pump.alarm_condition) == ({}, "none")

    _with(check)


def test_the_worst_of_all_is_the_condition_of_the_device() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.set_values({"motor.temperature": 90.0, "pressure": 0.005})
        assert watched.pump.alarm_condition == "alarm_high"
        watched.pump.raise_alarm("interlock", "door open")
        assert watched.pump.alarm_condition == "interlock"
        watched.pump.clear_alarm()
        watched.pump.motor.temperature = 20.0
        assert watched.pump.alarm_condition == "warn_high"

    _with(check)


def test_nothing_is_told_of_alarms_while_nothing_changes() -> None:
    async def check(watched: _Watched) -> None:
        watched.set("pressure", 0.05, 1.0, 2.0, 3.0)
        told = await watched.told("pressure", "alarms", "alarm_condition")
        assert [key for key, _value, _quality in told].count("alarms") == 1
        assert [key for key, _value, _quality in told].count("alarm_condition") == 1
        watched.pump.pressure = 0.07
        assert await watched.told("alarms", "alarm_condition") == []

    _with(check)


def test_nan_is_invalid_and_ends_no_alarm() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.motor.temperature = 90.0
        watched.pump.motor.temperature = math.nan
        assert _quality(watched.pump, "motor.temperature") is Quality.INVALID
        assert watched.pump.alarm_condition == "alarm_high"

    _with(check)


def test_one_element_of_a_vector_suffices() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.profile = np.array([1.0, 4.0, 2.0])
        assert watched.alarm("profile/warn_high")["value"] == 4.0
        watched.pump.profile = np.array([1.0, 2.0])
        assert watched.pump.alarms == {}

    _with(check)


def test_a_property_without_limits_is_valid_whatever_it_is() -> None:
    class Plain(Device):
        x = Float64()

    async def scenario() -> None:
        async with run_device(Plain) as plain:
            plain.x = math.nan
            assert _quality(plain, "x") is Quality.VALID
            assert plain.alarm_condition == "none"

    asyncio.run(scenario())


def test_initial_values_are_judged_but_need_no_acknowledgement() -> None:
    async def scenario() -> None:
        async with run_device(_Pump, configuration={"pressure": 0.05}) as pump:
            assert _quality(pump, "pressure") is Quality.ALARM
            assert pump.alarms["pressure/alarm_high"]["needs_acknowledge"] is False
            pump.pressure = 0.0
            assert pump.alarms == {}

    asyncio.run(scenario())


# -- delay --------------------------------------------------------------------------------------


def test_the_end_of_a_delay_is_told_without_another_value() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.flow = 0.5
        set_at = watched.pump.values()["flow"].timestamp
        assert await watched.told("flow", "alarm_condition") == [("flow", 0.5, "valid")]
        watched.clock.advance(4.9)
        watched.pump._alarms.look()
        assert await watched.told("flow") == []
        watched.clock.advance(0.1)
        watched.pump._alarms.look()
        assert await watched.told("flow", "alarm_condition") == [
            ("flow", 0.5, "alarm"),
            ("alarm_condition", "alarm_low", "valid"),
        ]
        assert watched.pump.values()["flow"].timestamp == set_at
        assert watched.alarm("flow/alarm_low")["since"] == set_at.iso(9)

    _with(check)


def test_the_clock_of_the_host_can_jump_during_a_delay() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.flow = 0.5
        watched.clock.set_utc(watched.clock.time_ns() + 3600 * 10**9)
        watched.pump._alarms.look()
        assert watched.pump.alarm_condition == "none"

    _with(check)


def test_a_timer_looks_when_the_delay_is_over_and_is_gone_with_the_device() -> None:
    class Quick(Device):
        flow = Float64(default=5.0, alarm_low=1.0, alarm_delay=0.05)

    async def scenario() -> None:
        async with run_device(Quick) as quick:
            quick.flow = 0.5
            assert quick.alarm_condition == "none"
            async with asyncio.timeout(10):
                while quick.alarm_condition == "none":
                    await asyncio.sleep(0.005)
            assert _quality(quick, "flow") is Quality.ALARM
            assert quick._alarms._timer is None
            quick.flow = 5.0
            quick.flow = 0.5
            assert quick._alarms._timer is not None
        assert quick._alarms._timer is None

    asyncio.run(scenario())


def test_an_initial_value_waits_for_its_delay_too() -> None:
    class Low(Device):
        flow = Float64(default=0.5, alarm_low=1.0, alarm_delay=2.0)

    async def scenario() -> None:
        clock = FakeClock(drives_loop=False)
        async with run_device(Low, clock=clock) as low:
            assert _quality(low, "flow") is Quality.VALID
            clock.advance(2.0)
            low._alarms.look()
            assert _quality(low, "flow") is Quality.ALARM

    asyncio.run(scenario())


# -- acknowledgement ----------------------------------------------------------------------------


def test_an_alarm_stays_until_a_client_acknowledges_it_by_name() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.pressure = 0.05
        watched.pump.pressure = 0.0
        assert _quality(watched.pump, "pressure") is Quality.VALID
        assert watched.pump.alarm_condition == "alarm_high"
        assert watched.alarm("pressure/alarm_high")["present"] is False
        await watched.proxy.acknowledge_alarm("pressure")
        assert (watched.pump.alarms, watched.pump.alarm_condition) == ({}, "none")

    _with(check)


def test_who_has_acknowledged_is_told() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.pressure = 0.05
        await watched.proxy.acknowledge_alarm("pressure")
        by = watched.alarm("pressure/alarm_high")["acknowledged_by"]
        identity = own_identity()
        assert by == f"{identity.user}@{identity.host}"
        await watched.pump.acknowledge_alarm("pressure")
        assert watched.alarm("pressure/alarm_high")["acknowledged_by"] == by

    _with(check)


def test_only_operators_acknowledge() -> None:
    info = _Pump.schema().commands["acknowledge_alarm"]
    assert info.access_level is AccessLevel.OPERATOR
    assert info.idempotent


def test_acknowledging_what_is_not_there_names_what_is() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.pressure = 0.05
        with pytest.raises(UnknownAlarmError, match=r"no alarm 'flow' - .*there is: pressure"):
            await watched.proxy.acknowledge_alarm("flow")

    _with(check)


# -- the author's own alarms --------------------------------------------------------------------


def test_an_alarm_of_the_author() -> None:
    async def check(watched: _Watched) -> None:
        await watched.proxy.raise_it("interlock", "door open")
        alarm = watched.alarm("device/interlock")
        assert (alarm["severity"], alarm["text"]) == ("interlock", "door open")
        since = alarm["since"]
        watched.clock.advance(5)
        await watched.proxy.raise_it("interlock", "door wide open")
        assert watched.alarm("device/interlock")["text"] == "door wide open"
        assert watched.alarm("device/interlock")["since"] == since
        watched.pump.raise_alarm("warn", "door ajar")
        assert list(watched.pump.alarms) == ["device/warn"]
        assert watched.alarm("device/warn")["since"] != since
        watched.pump.clear_alarm()
        watched.pump.clear_alarm()
        assert watched.pump.alarms == {}

    _with(check)


def test_several_alarms_of_the_author_that_must_be_acknowledged() -> None:
    async def check(watched: _Watched) -> None:
        watched.pump.raise_alarm("alarm", source="door", needs_acknowledge=True)
        watched.pump.raise_alarm("warn", source="lamp")
        watched.pump.clear_alarm("door")
        watched.pump.clear_alarm("lamp")
        assert list(watched.pump.alarms) == ["door/alarm"]
        await watched.proxy.acknowledge_alarm("door")
        assert watched.pump.alarms == {}

    _with(check)


@pytest.mark.parametrize(
    ("condition", "source", "problem"),
    [
        ("none", "device", "cannot be 'none' - give warn or alarm or interlock"),
        ("warn_high", "device", "cannot be 'warn_high'"),
        ("fire", "device", "cannot be 'fire'"),
        ("warn", "pressure", "name of a property with limits"),
    ],
)
def test_an_alarm_that_the_author_cannot_raise(condition: str, source: str, problem: str) -> None:
    async def check(watched: _Watched) -> None:
        with pytest.raises(BadConfigurationError, match=rf"of 'P/1' .*{problem}"):
            watched.pump.raise_alarm(condition, source=source)
        assert watched.pump.alarms == {}

    _with(check)


# -- dead-bands ---------------------------------------------------------------------------------


def test_small_changes_are_kept_but_not_told() -> None:
    async def check(watched: _Watched) -> None:
        watched.set("rotation", 10.0, 11.0, 12.0, 12.5, 11.0)
        assert await watched.told("rotation") == [
            ("rotation", 10.0, "valid"),
            ("rotation", 12.5, "valid"),
        ]
        assert watched.pump.rotation == 11.0
        assert await watched.proxy.get("rotation") == {"rotation": 11.0}

    _with(check)


def test_another_quality_is_told_however_small_the_change() -> None:
    async def check(watched: _Watched) -> None:
        watched.set("power", 100.0, 101.0, 102.0, 99.0)
        assert await watched.told("power") == [
            ("power", 100.0, "valid"),
            ("power", 101.0, "warn"),
            ("power", 99.0, "valid"),
        ]

    _with(check)


def test_nan_is_told() -> None:
    async def check(watched: _Watched) -> None:
        watched.set("rotation", 10.0, math.nan, math.nan, 10.5)
        told = await watched.told("rotation")
        assert [str(value) for _key, value, _quality in told] == ["10.0", "nan", "10.5"]

    _with(check)


# -- injection ----------------------------------------------------------------------------------


def test_injected_properties_are_judged() -> None:
    async def check(watched: _Watched) -> None:
        pump: Any = watched.pump
        pump.inject(voltage=Float64(default=24.0, warn_low=22.0, deadband=0.5))
        pump.flush()
        watched.set("voltage", 20.0, 20.1)
        assert watched.alarm("voltage/warn_low")["value"] == 20.0
        told = await watched.told("voltage")
        assert [value for _key, value, _quality in told] == [24.0, 20.0]
        pump.remove("voltage")
        assert pump.alarms == {}

    _with(check)


def test_new_limits_judge_the_present_value_and_lose_no_alarm() -> None:
    async def check(watched: _Watched) -> None:
        pump = watched.pump
        pump.pressure = 0.05
        pump.update_attributes("pressure", alarm_high=0.1)
        assert _quality(pump, "pressure") is Quality.WARN
        assert {name: alarm["present"] for name, alarm in pump.alarms.items()} == {
            "pressure/warn_high": True,
            "pressure/alarm_high": False,
        }
        pump.update_attributes("pressure", alarm_high=0.01)
        assert pump.alarms["pressure/alarm_high"]["present"] is True

    _with(check)


# -- the log and threads ------------------------------------------------------------------------


def test_alarms_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def check(watched: _Watched) -> None:
        with caplog.at_level(logging.INFO, "pykarabo.device.P/1"):
            watched.pump.pressure = 0.05
            watched.pump.pressure = 0.0
            await watched.pump.acknowledge_alarm("pressure")
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert lines == [
            ("ERROR", "pressure/alarm_high at 0.05: close valve V3"),
            ("INFO", "pressure/alarm_high is over and waits to be acknowledged"),
            ("INFO", "pressure/alarm_high is over"),
        ]

    _with(check)


def test_threads_and_the_loop_agree_in_the_end() -> None:
    async def check(watched: _Watched) -> None:
        def hammer(number: int) -> None:
            for step in range(100):
                watched.pump.motor.temperature = 90.0 if (number + step) % 2 else 20.0

        await asyncio.gather(*(asyncio.to_thread(hammer, number) for number in range(4)))
        watched.pump.motor.temperature = 90.0
        assert watched.pump.alarm_condition == "alarm_high"
        told = await watched.told("alarm_condition")
        assert told[-1][1] == "alarm_high"

    _with(check)
