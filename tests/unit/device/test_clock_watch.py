"""Clocks that are set are noticed, flagged, and never reorder what a device tells."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.client import Change, Live
from pykarabo.data import Float64, Timestamp, UInt64
from pykarabo.device import Device, Server
from pykarabo.device._clock_watch import JUMP_NS, ClockWatch, OffsetMeter
from pykarabo.testing import FakeClock, run_facility
from pykarabo.transport import now

_S = 10**9
_START_NS = 1_700_000_000 * _S


class _SlowToRead(FakeClock):
    """A clock between whose readings the process may stand still."""

    stall_s = 0.0

    def time_ns(self) -> int:
        found = super().time_ns()
        self.advance(self.stall_s)
        return found


class _Clock(Device):
    """A train clock that ticks when it is told to."""

    period = Float64(unit="s", default=0.1)
    train_id = UInt64(read_only=True)

    def tick(self, train_id: int, time_ns: int) -> None:
        """Announce a train."""
        at = Timestamp.from_ns(time_ns, train_id)
        self.set_values({"train_id": train_id}, timestamp=at)
        self.flush()


class _Sensor(Device):
    """A sensor."""

    value = Float64(read_only=True)


# -- the watch ----------------------------------------------------------------------------------


def test_a_clock_that_goes_on_has_not_jumped() -> None:
    clock = FakeClock(drives_loop=False)
    watch = ClockWatch(clock)
    for seconds in (0.0, 1.0, 3600.0, 0.001):
        clock.advance(seconds)
        assert watch.look() == 0
    assert (watch.jumps, watch.last_jump_ns) == (0, 0)


@pytest.mark.parametrize("step_ns", [3600 * _S, -3600 * _S, JUMP_NS, -JUMP_NS])
def test_a_clock_that_is_set_has_jumped_once(step_ns: int) -> None:
    clock = FakeClock(drives_loop=False)
    watch = ClockWatch(clock)
    watch.look()
    clock.advance(1.0)
    clock.set_utc(clock.time_ns() + step_ns)
    assert watch.look() == step_ns
    clock.advance(1.0)
    assert watch.look() == 0
    assert (watch.jumps, watch.last_jump_ns) == (1, step_ns)


@given(st.lists(st.floats(-500e-6, 500e-6), max_size=200))
def test_a_clock_that_is_corrected_slowly_has_not_jumped(rates: list[float]) -> None:
    clock = FakeClock(drives_loop=False)
    watch = ClockWatch(clock)
    for rate in rates:
        clock.advance(1.0)
        clock.set_utc(clock.time_ns() + round(rate * _S))
        assert watch.look() == 0


def test_a_process_that_stands_still_between_two_readings_sees_no_jump() -> None:
    clock = _SlowToRead()
    watch = ClockWatch(clock)
    watch.look()
    clock.stall_s = 5.0
    assert watch.look() == 0
    clock.stall_s = 0.0
    assert watch.look() == 0
    assert watch.jumps == 0


def test_the_least_delayed_message_tells_the_offset() -> None:
    meter = OffsetMeter()
    for number in range(16):
        assert meter.offset_ns is None
        meter.take(number * _S, number * _S + 7 * _S + (number % 5) * 1000)
    assert meter.offset_ns == 7 * _S
    meter.forget()
    assert meter.offset_ns is None


def test_now_is_utc() -> None:
    first = now()
    assert now().seconds_since(first) >= 0
    assert first.train_id == 0
    assert first.seconds > _START_NS // _S


# -- a server -----------------------------------------------------------------------------------


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def _own(server: Server) -> Any:
    return next(device for device in server.devices if device.context.device_id == "TEST/SERVER")


def test_a_jump_is_flagged_until_somebody_has_seen_it_and_values_keep_their_order() -> None:
    async def scenario() -> None:
        clock = FakeClock(drives_loop=False)
        async with run_facility({"Sensor": _Sensor}, clock=clock) as facility:
            sensor: Any = await facility.server.instantiate("Sensor", "S/1")
            updates: list[Any] = []
            facility.client.follow("S/1", updates.append)
            await _until(lambda: any(isinstance(item, Live) for item in updates))
            facility.server.alerts.look_at_clock()
            for number in range(1, 4):
                sensor.value = number
                sensor.flush()
                if number == 2:
                    clock.set_utc(clock.time_ns() - 3600 * _S)
                    facility.server.alerts.look_at_clock()
            await _until(lambda: len([item for item in updates if isinstance(item, Change)]) >= 3)
            told = [item for item in updates if isinstance(item, Change)]
            assert [item.values["value"].value for item in told] == [1.0, 2.0, 3.0]
            assert [item.sequence for item in told] == sorted(item.sequence for item in told)
            stamps = [item.values["value"].timestamp for item in told]
            assert stamps[2].seconds_since(stamps[1]) == -3600
            own = _own(facility.server)
            own.show_devices()
            assert (own.clock_jumps, own.clock_jump) == (1, -3600.0)
            assert "set by -3600.000 s" in own.alarms["clock/warn"]["text"]
            own.clear_alarm("clock")
            assert own.alarm_condition == "warn"
            await own.acknowledge_alarm("clock")
            facility.client.unfollow("S/1", updates.append)

    asyncio.run(scenario())


def test_without_a_time_source_the_time_is_utc_and_there_are_no_trains() -> None:
    async def scenario() -> None:
        clock = FakeClock(drives_loop=False)
        async with run_facility({"Sensor": _Sensor}, clock=clock) as facility:
            sensor: Any = await facility.server.instantiate("Sensor", "S/1")
            clock.advance(1.5)
            sensor.value = 1.0
            assert sensor.values()["value"].timestamp == Timestamp(1_700_000_001, 5 * 10**17, 0)
            assert sensor.train_reference is None

    asyncio.run(scenario())


def test_train_ids_are_extrapolated_from_the_latest_tick_and_a_reset_is_followed() -> None:
    async def scenario() -> None:
        clock = FakeClock(drives_loop=False)
        classes = {"Clock": _Clock, "Sensor": _Sensor}
        async with run_facility(classes, clock=clock, time_source="T/1") as facility:
            ticking: Any = await facility.server.instantiate("Clock", "T/1")
            sensor: Any = await facility.server.instantiate("Sensor", "S/1")

            async def tick(train_id: int, time_ns: int) -> None:
                ticking.tick(train_id, time_ns)
                await _until(
                    lambda: (
                        sensor.train_reference is not None
                        and sensor.train_reference.train_id == train_id
                    )
                )

            await tick(1000, _START_NS)
            clock.advance(0.25)
            assert sensor.now().train_id == 1002
            clock.advance(3600)
            assert sensor.now().train_id == 37002
            await tick(5, clock.time_ns())
            assert sensor.now() == Timestamp.from_ns(clock.time_ns(), 5)

    asyncio.run(scenario())


def test_a_host_whose_clock_is_not_that_of_the_trains_says_so() -> None:
    async def scenario() -> None:
        clock = FakeClock(drives_loop=False)
        classes = {"Clock": _Clock}
        async with run_facility(classes, clock=clock, time_source="T/1") as facility:
            ticking: Any = await facility.server.instantiate("Clock", "T/1")
            server = facility.server
            await _until(lambda: server._time._follower is not None)
            for train_id in range(1, 1000):
                ticking.tick(train_id, clock.time_ns() - 90 * _S)
                await asyncio.sleep(0.001)
                if server.clock_offset_ns is not None:
                    break
            own = _own(server)
            own.show_devices()
            assert own.clock_offset == 90.0
            assert own.alarms["clock_offset/warn_high"]["value"] == 90.0

    asyncio.run(scenario())
