"""A device's description changes wholly or not at all, whatever its threads do meanwhile."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pykarabo.client import Change, Live, Watch
from pykarabo.data import Float64, PropertyValue, Quality, String, VectorFloat64
from pykarabo.device import Device
from pykarabo.errors import BadConfigurationError, BadInputError, WrongTypeError
from pykarabo.testing import MemoryFacility, run_facility


class _Pump(Device):
    """A pump."""

    curve = VectorFloat64(default=[1.0, 2.0], warn_high=50.0)
    pressure = Float64(default=1.0, alarm_high=10.0, acknowledge=["alarm_high"])
    flow = Float64(default=1.0)
    note = String()


class _Racing(_Pump):
    """A pump whose thread sets a property in the middle of each change of its description."""

    racing = ""
    thread: threading.Thread | None = None

    def _brought_values(self, *args: Any, **kwargs: Any) -> dict[str, PropertyValue]:
        brought = super()._brought_values(*args, **kwargs)
        if self.racing:
            self.thread = threading.Thread(target=setattr, args=(self, self.racing, 7.0))
            self.thread.start()
            if self.racing not in self._alarms.watched:  # else it waits for the end of the change
                self.thread.join()
        return brought


def _with(check: Callable[[MemoryFacility], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with run_facility({"Pump": _Pump, "Racing": _Racing}) as facility:
            await check(facility)

    asyncio.run(scenario())


async def _start(facility: MemoryFacility, class_id: str = "Pump") -> Any:
    return await facility.server.instantiate(class_id, "PUMP/1")


async def _give(facility: MemoryFacility, attributes: Mapping[str, Any]) -> Any:
    server = await facility.client.device("TEST/SERVER")
    return await server.call("set_attributes", "PUMP/1", attributes)


async def _acknowledge(facility: MemoryFacility, key: str) -> None:
    await (await facility.client.device("PUMP/1")).call("acknowledge_alarm", key)


async def _until_live(watch: Watch) -> None:
    while not isinstance(await anext(watch), Live):
        pass


async def _next(watch: Watch, key: str) -> Any:
    """Return the next value that is told."""
    while not isinstance(change := await anext(watch), Change):
        pass
    return change.values[key].value


def _facts(pump: Any) -> tuple[Any, ...]:
    return (pump.schema().version, pump.given_attributes, list(pump.alarms), pump.alarm_condition)


def test_limits_of_a_vector_with_a_default_change_and_no_alarm_is_lost() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        pump.curve, pump.pressure = [3.0, 4.0], 11.0
        pump.pressure = 1.0
        assert list(pump.alarms) == ["pressure/alarm_high"]
        await _give(facility, {"curve": {"warn_high": 60}})
        assert list(pump.alarms) == ["pressure/alarm_high"]
        pump.curve = [70.0, 1.0]
        assert list(pump.alarms) == ["curve/warn_high", "pressure/alarm_high"]
        pump.inject(extra=Float64())
        pump.update_attributes("flow", warn_high=0.5)
        assert pump.alarms.keys() == {"curve/warn_high", "flow/warn_high", "pressure/alarm_high"}
        await _acknowledge(facility, "pressure")
        assert "pressure/alarm_high" not in pump.alarms

    _with(check)


def test_a_change_that_leaves_the_limits_alone_leaves_the_judgement_alone() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        pump.update_attributes("flow", warn_high=5.0, alarm_delay=60.0)
        pump.flow = 9.0
        await _give(facility, {"flow": {"archive": False}})
        assert pump.values()["flow"].quality is Quality.VALID  # the delay still runs
        assert pump.alarms == {}

    _with(check)


def test_attributes_that_no_property_could_show_are_refused_and_nothing_is_changed() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        pump.pressure = 11.0
        await _give(facility, {"pressure": {"alarm_high": 9}})
        before = _facts(pump)
        text = {"alarm_high": "x" * (4 * 2**20 + 1)}
        with pytest.raises(BadInputError, match=r"'PUMP/1\.given_attributes' cannot hold 4.0 MiB"):
            await _give(facility, {"pressure": {"alarm_high": 20, "limit_info": text}})
        assert _facts(pump) == before
        given = {"pressure": {"limit_info": text}}
        with pytest.raises(BadInputError, match=r"'PUMP/2\.given_attributes'"):
            await facility.server.instantiate("Pump", "PUMP/2", {}, given)
        await _give(facility, {"pressure": {"alarm_high": 20}})
        assert pump.values()["pressure"].quality is Quality.VALID

    _with(check)


def test_what_the_device_changed_itself_and_what_its_class_declares_must_both_fit() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        pump.update_attributes("pressure", alarm_high=20.0)
        with pytest.raises(BadConfigurationError, match=r"alarm_high 10.0 .* its class declares"):
            await _give(facility, {"pressure": {"warn_high": 15}})
        pump.update_attributes("pressure", alarm_high=5.0)
        with pytest.raises(BadConfigurationError, match=r"alarm_high 5.0: the device itself has"):
            await _give(facility, {"pressure": {"warn_high": 8}})
        given = {"pressure": {"warn_high": 15, "alarm_high": 20.0}}
        await _give(facility, given)
        await facility.server.shut_down("PUMP/1")
        await facility.server.instantiate("Pump", "PUMP/1", {}, given)

    _with(check)


@pytest.mark.parametrize("value", [11.0, 1.0], ids=["still beyond", "back"])
def test_an_alarm_that_nobody_has_acknowledged_outlives_its_limit(value: float) -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        pump.pressure = 11.0
        pump.pressure = value
        since = pump.alarms["pressure/alarm_high"]["since"]
        await _give(facility, {"pressure": {"alarm_high": None, "acknowledge": []}})
        for _number in range(2):
            assert pump.values()["pressure"].quality is Quality.VALID
            assert pump.alarms["pressure/alarm_high"]["present"] is False
            pump.inject(extra=Float64())
        pump.pressure = float("nan")  # which is as good as any value where there are no limits
        assert pump.values()["pressure"].quality is Quality.VALID
        pump.pressure = 12.0
        await _give(facility, {})
        told = pump.alarms["pressure/alarm_high"]
        assert (told["present"], told["since"], len(pump.alarms)) == (True, since, 1)
        await _give(facility, {"pressure": {"alarm_high": None, "acknowledge": []}})
        await _acknowledge(facility, "pressure")
        assert (pump.alarms, pump.alarm_condition) == ({}, "none")

    _with(check)


def test_an_alarm_that_needs_no_acknowledgement_ends_with_its_limit() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        pump.curve, pump.pressure = [60.0], 11.0
        await _acknowledge(facility, "pressure")
        given = {"pressure": {"alarm_high": None, "acknowledge": []}, "curve": {"warn_high": None}}
        await _give(facility, given)
        assert (pump.alarms, pump.alarm_condition) == ({}, "none")

    _with(check)


def test_an_alarm_that_nobody_has_acknowledged_outlives_its_property() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        pump.inject(extra=Float64(alarm_high=1.0, acknowledge=["alarm_high"]))
        pump.extra = 2.0
        pump.remove("extra")
        assert list(pump.alarms) == ["extra/alarm_high"]
        await _acknowledge(facility, "extra")
        assert pump.alarms == {}

    _with(check)


@pytest.mark.parametrize("key", ["flow", "pressure"])
def test_what_a_thread_sets_meanwhile_is_kept_judged_and_told(key: str) -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility, "Racing")
        async with facility.client.watch(f"PUMP/1.{key}") as watch:
            await _until_live(watch)
            pump.racing = key
            pump.update_attributes(key, warn_high=5.0)
            pump.thread.join()
            pump.racing = ""
            told: list[PropertyValue] = []
            while not told or told[-1].value != 7.0 or told[-1].quality is not Quality.WARN:
                change = await anext(watch)
                if isinstance(change, Change):
                    told.append(change.values[key])
        kept = pump.values()[key]
        assert (kept.value, kept.quality) == (7.0, Quality.WARN)
        assert list(pump.alarms) == [f"{key}/warn_high"]

    _with(check)


def test_what_a_thread_sets_while_something_else_is_injected_is_told() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility, "Racing")
        async with facility.client.watch("PUMP/1.flow") as watch:
            await _until_live(watch)
            pump.racing = "flow"
            pump.inject(flow_2=Float64())
            assert await _next(watch, "flow") == 7.0

    _with(check)


def test_a_schema_that_nobody_could_receive_is_refused_and_events_go_on() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        before = _facts(pump)
        options = [f"option {number}" for number in range(2000)]
        with pytest.raises(BadConfigurationError, match="'PUMP/1' cannot get") as refused:
            pump.inject({f"choice_{number}": String(options=options) for number in range(60)})
        assert "the schema of 'PUMP/1' cannot travel: " in refused.value.message
        assert refused.value.remedy == "have fewer properties, options and texts"
        assert _facts(pump) == before
        await _sees(facility, pump, 3.0)

    _with(check)


async def _sees(facility: MemoryFacility, pump: Any, flow: float) -> None:
    """Wait until a client sees a value that is set now."""
    async with facility.client.watch("PUMP/1.flow") as watch:
        await _until_live(watch)
        pump.flow = flow
        assert await _next(watch, "flow") == flow


def test_what_cannot_be_told_is_logged_and_stops_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility)
        publish = pump.context.publish

        def failing(device: Device, changes: list[tuple[str, PropertyValue]]) -> None:
            if any(key == "note" for key, _value in changes):
                raise WrongTypeError("no such letters", remedy="use others")
            publish(device, changes)

        pump._context = replace(pump.context, publish=failing)
        async with facility.client.watch("PUMP/1.flow") as watch:
            await _until_live(watch)
            pump.note, pump.flow = "x", 2.0
            assert await _next(watch, "flow") == 2.0
        await _sees(facility, pump, 3.0)

    with caplog.at_level(logging.ERROR, "pykarabo.device.PUMP/1"):
        _with(check)
    assert "a value of 'note' cannot be told: no such letters" in caplog.text
