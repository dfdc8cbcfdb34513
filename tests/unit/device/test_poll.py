"""Methods that are polled: a grid that does not drift, honest counts, failures by policy."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykarabo.data import Float64, State
from pykarabo.device import Device, command, poll
from pykarabo.device._poll import MAX_BACKOFF_S
from pykarabo.errors import BadConfigurationError, UnknownPropertyError, WrongUnitError
from pykarabo.testing import run_device

from .virtual_time import block, run_virtually

_CLOSE = 1e-6


class _Sensor(Device):
    """Reads its hardware again and again."""

    period = Float64(unit="ms", default=250.0)
    pressure = Float64(unit="mbar", read_only=True)

    async def on_initialize(self) -> None:
        self.begun: list[float] = []
        self.slow: list[float] = []
        self.quick: list[float] = []
        self.durations: dict[int, float] = {}
        self.broken = False
        self.told: list[tuple[str, str]] = []
        self.state = State.ON

    async def on_exception(self, what: str, error: Exception) -> None:
        self.told.append((what, str(error)))

    @poll(interval=1.0)
    async def read(self) -> None:
        """Read."""
        self.begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.durations.get(len(self.begun), 0.0))
        if self.broken:
            raise OSError("no answer")

    @poll(interval=10.0, on_failure="retry")
    async def ask(self) -> None:
        """Ask a device that is off at times."""
        self.slow.append(asyncio.get_running_loop().time())
        if self.broken:
            raise OSError("no answer")

    @poll(interval="period")
    async def watch(self) -> None:
        """Follow a property's interval."""
        self.quick.append(asyncio.get_running_loop().time())

    @command()
    async def reset(self) -> None:
        """Try again."""
        self.polling("read").resume()
        self.state = State.ON


def _with(check: Callable[[_Sensor], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with run_device(_Sensor, "SENSOR/1") as sensor:
            await check(sensor)

    run_virtually(scenario())


def _steps(times: list[float]) -> list[float]:
    return [round(after - before, 6) for before, after in itertools.pairwise(times)]


def test_runs_begin_on_a_grid_that_does_not_drift() -> None:
    async def check(sensor: _Sensor) -> None:
        sensor.durations = dict.fromkeys(range(1, 200), 0.3)
        await asyncio.sleep(100.5)
        assert len(sensor.begun) == 101
        assert sensor.begun[-1] - sensor.begun[0] == pytest.approx(100.0, abs=_CLOSE)
        shown = sensor.polling("read").shown()
        assert shown["runs"] == 101
        assert shown["overruns"] == shown["failures"] == 0
        assert shown["duration"] == pytest.approx(0.3)

    _with(check)


def test_missed_points_are_counted_and_not_made_up_for() -> None:
    async def check(sensor: _Sensor) -> None:
        sensor.durations = {2: 2.5, 4: 1.0}
        await asyncio.sleep(9.9)
        first = sensor.begun[0]
        assert [round(at - first, 6) for at in sensor.begun] == [0, 1, 4, 5, 7, 8, 9]
        assert sensor.polling("read").overruns == 3
        await asyncio.sleep(1.1)
        assert sensor.polls["read"]["overruns"] == 3

    _with(check)


def test_points_missed_by_a_blocked_event_loop_are_counted() -> None:
    async def check(sensor: _Sensor) -> None:
        await asyncio.sleep(0.5)
        block(3.2)
        await asyncio.sleep(2.0)
        loop = sensor.polling("read")
        assert loop.runs + loop.overruns == 6
        assert loop.overruns == 2

    _with(check)


def test_a_failure_puts_the_device_into_error_and_it_can_go_on() -> None:
    async def check(sensor: _Sensor) -> None:
        proxy = await sensor.client.device("SENSOR/1", follow=False)
        await asyncio.sleep(1.5)
        sensor.broken = True
        await asyncio.sleep(5)
        assert sensor.state == State.ERROR
        assert "read" in sensor.status
        assert "no answer" in sensor.status
        assert ("read", "no answer") in sensor.told
        shown = sensor.polls["read"]
        assert (shown["failures"], shown["paused"]) == (1, True)
        assert "OSError: no answer" in shown["error"]
        count = len(sensor.begun)
        sensor.broken = False
        await proxy.reset()
        await asyncio.sleep(2.5)
        assert len(sensor.begun) == count + 3
        assert sensor.polling("read").error == ""

    _with(check)


def test_a_loop_that_is_to_go_on_waits_longer_and_longer() -> None:
    async def check(sensor: _Sensor) -> None:
        sensor.polling("read").pause()
        await asyncio.sleep(1)
        sensor.broken = True
        await asyncio.sleep(200)
        assert sensor.state == State.ON
        steps = _steps(sensor.slow)
        assert steps[:3] == [10.0, 10.0, 20.0]
        assert set(steps[3:]) == {MAX_BACKOFF_S}
        failed = len(sensor.slow) - 1
        sensor.broken = False
        await asyncio.sleep(65)
        assert _steps(sensor.slow)[-2:] == [10.0, 10.0]
        loop = sensor.polling("ask")
        assert (loop.failures, loop.error) == (failed, "")

    _with(check)


def test_the_interval_follows_its_property_in_its_unit() -> None:
    async def check(sensor: _Sensor) -> None:
        await asyncio.sleep(1.9)
        assert set(_steps(sensor.quick)) == {0.25}
        sensor.period = 60_000.0
        await asyncio.sleep(20)
        count = len(sensor.quick)
        sensor.period = 100.0
        await asyncio.sleep(1.55)
        assert len(sensor.quick) - count in (10, 11, 12, 13, 14, 15)
        assert set(_steps(sensor.quick[count:])) == {0.1}
        assert sensor.polling("watch").overruns == 0
        sensor.period = 0.0
        await asyncio.sleep(5)
        count = len(sensor.quick)
        await asyncio.sleep(5)
        assert len(sensor.quick) == count
        sensor.period = 500.0
        await asyncio.sleep(5)
        assert len(sensor.quick) in (count + 10, count + 11)

    _with(check)


def test_a_paused_loop_rests_and_begins_a_new_grid() -> None:
    async def check(sensor: _Sensor) -> None:
        loop = sensor.polling("read")
        await asyncio.sleep(2.4)
        loop.pause()
        count = len(sensor.begun)
        await asyncio.sleep(10)
        assert len(sensor.begun) == count
        loop.resume()
        await asyncio.sleep(2.2)
        assert len(sensor.begun) == count + 3
        assert loop.overruns == 0

    _with(check)


def test_a_loop_can_be_begun_later() -> None:
    async def check(sensor: _Sensor) -> None:
        seen: list[float] = []

        async def later() -> None:
            seen.append(asyncio.get_running_loop().time())

        loop = sensor.poll(later, 0.5)
        await asyncio.sleep(2.6)
        assert len(seen) == loop.runs == 6
        assert sensor.polls["later"]["period"] == 0.5
        with pytest.raises(BadConfigurationError, match="polled already"):
            sensor.poll(later, 0.5)

    _with(check)


def test_what_is_polled_is_published_calmly() -> None:
    async def check(sensor: _Sensor) -> None:
        told: list[dict[str, Any]] = []
        sensor.observe("polls", told.append)
        sensor.durations = dict.fromkeys(range(30, 40), 1.5)
        await asyncio.sleep(100)
        assert 10 <= len(told) <= 30
        assert told[-1]["read"]["overruns"] == sensor.polling("read").overruns == 10

    _with(check)


def test_mistakes_are_named() -> None:
    with pytest.raises(BadConfigurationError, match="choose one of error, retry"):
        poll(interval=1.0, on_failure="ignore")

    class _NoProperty(Device):
        """Names a property that is none."""

        @poll(interval="perid")
        async def read(self) -> None:
            """Read."""

    class _NoTime(Device):
        """Names a property that is no time."""

        length = Float64(unit="mm")

        @poll(interval="length")
        async def read(self) -> None:
            """Read."""

    async def start(cls: type[Device]) -> None:
        async with run_device(cls):
            pass

    with pytest.raises(UnknownPropertyError, match="perid"):
        run_virtually(start(_NoProperty))
    with pytest.raises(WrongUnitError, match="interval of read"):
        run_virtually(start(_NoTime))

    async def unknown(sensor: _Sensor) -> None:
        with pytest.raises(BadConfigurationError, match="it polls"):
            sensor.polling("raed")

    _with(unknown)


def test_a_method_that_blocks_runs_in_a_thread() -> None:
    class _Blocking(Device):
        """Blocks."""

        runs = 0

        @poll(interval=0.01)
        def read(self) -> None:
            """Read."""
            self.runs += 1

    async def check() -> None:
        async with run_device(_Blocking) as device, asyncio.timeout(10):
            while device.runs < 3:
                await asyncio.sleep(0.01)

    asyncio.run(check())


@settings(max_examples=25)
@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=20))
def test_every_point_of_the_grid_is_run_or_counted(durations: list[float]) -> None:
    async def check(sensor: _Sensor) -> None:
        sensor.durations = dict(enumerate(durations, 1))
        await asyncio.sleep(30.5)
        loop = sensor.polling("read")
        first = sensor.begun[0]
        for at in sensor.begun:
            assert abs((at - first) - round(at - first)) < _CLOSE
        points = round(sensor.begun[-1] - first) + 1
        under_way = int(asyncio.get_running_loop().time() - sensor.begun[-1])
        assert points <= loop.runs + loop.overruns <= points + under_way

    _with(check)
