"""Limits, dead-bands and archive settings that one device is given, not its class."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import pytest

from pykarabo.client import Change, Live, NewSchema
from pykarabo.data import (
    AccessLevel,
    ChoiceOfNodes,
    Configurable,
    Float64,
    ListOfNodes,
    Quality,
    String,
    UInt8,
)
from pykarabo.device import Device, command
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    ChangedMeanwhileError,
    DeniedError,
    InvalidValuesError,
    LockedError,
    UnknownDeviceError,
    UnknownPropertyError,
    WrongTypeError,
)
from pykarabo.testing import MemoryFacility, run_facility

_QUIET: Final = {"archive": False}


class _Axis(Configurable):
    speed = Float64(unit="mm/s", warn_high=5.0)


class _Pump(Device):
    """A pump."""

    pressure = Float64(unit="mbar", default=6.0, warn_high=5.0, alarm_high=10.0)
    flow = Float64(unit="l/min", warn_low=-1.0)
    level = UInt8(read_only=True)
    note = String()
    axes = ListOfNodes(_Axis)
    drive = ChoiceOfNodes({"slow": _Axis, "fast": _Axis}, default="slow")

    async def on_initialize(self) -> None:
        """Look at what there is already."""
        self.seen = (self.values()["pressure"].quality, self.alarm_condition)

    @command()
    async def learn(self) -> None:
        """Get more properties, and another limit."""
        self.inject(extra=Float64(warn_high=1.0))
        self.update_attributes("flow", warn_low=-2.0)


def _with(check: Callable[[MemoryFacility], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with run_facility({"Pump": _Pump}) as facility:
            await check(facility)

    asyncio.run(scenario())


async def _start(facility: MemoryFacility, attributes: Mapping[str, Any]) -> _Pump:
    configuration: dict[str, Any] = {"axes": {"x": {}}}
    device = await facility.server.instantiate("Pump", "PUMP/1", configuration, attributes)
    assert isinstance(device, _Pump)
    return device


async def _give(facility: MemoryFacility, attributes: Mapping[str, Any], *expected: Any) -> Any:
    server = await facility.client.device("TEST/SERVER")
    return await server.call("set_attributes", "PUMP/1", attributes, *expected)


def test_they_are_in_force_before_the_device_is_initialized_and_seen() -> None:
    async def check(facility: MemoryFacility) -> None:
        given = {"pressure": {"warn_high": 7, "alarm_high": None}, "axes": {"x": {"speed": _QUIET}}}
        pump = await _start(facility, given)
        assert pump.seen == (Quality.VALID, "none")
        proxy = await facility.client.device("PUMP/1", follow=False)
        described = await facility.client.schema("PUMP/1")
        info = described.properties["pressure"]
        assert (info.warn_high, info.alarm_high, info.unit) == (7, None, "mbar")
        assert described.properties["axes.x.speed"].archive is False
        shown = (await proxy.read("given_attributes"))["given_attributes"].value
        assert shown == {
            "pressure": {"warn_high": 7, "alarm_high": None},
            "axes.x.speed": {"archive": False},
        }
        assert _Pump.schema().properties["pressure"].warn_high == 5.0
        plain = await facility.server.instantiate("Pump", "PUMP/2")
        assert isinstance(plain, _Pump)
        assert plain.seen == (Quality.WARN, "warn_high")

    _with(check)


def test_the_command_instantiate_takes_them() -> None:
    async def check(facility: MemoryFacility) -> None:
        server = await facility.client.device("TEST/SERVER")
        given = {"level": {"alarm_high": 200}}
        await server.call("instantiate", "Pump", "PUMP/1", {}, attributes=given)
        described = await facility.client.schema("PUMP/1")
        assert described.properties["level"].alarm_high == 200

    _with(check)


def test_they_change_while_it_runs_and_all_is_judged_anew_at_once() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility, {})
        version = pump.schema().version
        assert await _give(facility, {"pressure": {"warn_high": 7}}) == {}
        async with facility.client.watch("PUMP/1.pressure", "PUMP/1.alarm_condition") as watch:
            while not isinstance(await anext(watch), Live):
                pass
            before = await _give(facility, {"pressure": {"warn_high": 2, "alarm_high": 5.5}})
            described, change = await anext(watch), await anext(watch)
        assert before == {"pressure": {"warn_high": 7}}
        assert isinstance(described, NewSchema)
        assert described.schema.properties["pressure"].alarm_high == 5.5
        assert isinstance(change, Change)
        assert change.values["pressure"].quality is Quality.ALARM
        assert change.values["alarm_condition"].value == "alarm_high"
        assert list(pump.alarms) == ["pressure/alarm_high"]
        assert await _give(facility, {}) == {"pressure": {"warn_high": 2, "alarm_high": 5.5}}
        assert (pump.alarm_condition, pump.given_attributes) == ("warn_high", {})
        assert pump.schema().version == version

    _with(check)


@pytest.mark.parametrize(
    ("attributes", "kind", "words"),
    [
        ({"presure": {"warn_high": 1}}, UnknownPropertyError, "did you mean 'pressure'"),
        ({"pressure": {"warn_hihg": 1}}, BadConfigurationError, "did you mean 'warn_high'"),
        ({"pressure": {"unit": "bar"}}, BadConfigurationError, "its class declares it"),
        ({"pressure": {"warn_high": "7"}}, WrongTypeError, "no number - give a number"),
        ({"pressure": {"archive": 1}}, WrongTypeError, "give true or false"),
        ({"pressure": {"warn_high": 11}}, BadConfigurationError, "above the alarm_high 10"),
        ({"pressure": {"alarm_delay": -1}}, WrongTypeError, "a number from 0 to"),
        ({"pressure": {"alarm_delay": 1e300}}, WrongTypeError, "longer than ten years"),
        ({"note": {"archive_interval": 3.3e8}}, WrongTypeError, "longer than ten years"),
        ({"pressure": {"deadband": -1}}, WrongTypeError, "a number from 0 on"),
        ({"level": {"alarm_high": 256}}, WrongTypeError, "outside of its type uint8"),
        ({"note": {"warn_high": 1}}, BadConfigurationError, "string, which has no limits"),
        (
            {"axes": {"y": {"speed": {"warn_high": 1}}}},
            UnknownPropertyError,
            "did you mean 'axes.x'",
        ),
        (
            {"drive": {"fast": {"speed": {"warn_high": 1}}}},
            UnknownPropertyError,
            "no property 'drive.fast'",
        ),
        ({"pressure": 5}, WrongTypeError, "give a map"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    attributes: dict[str, Any], kind: type[BadInputError], words: str
) -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility, {"flow": {"warn_low": -3}})
        version = pump.schema().version
        with pytest.raises(kind, match=r"PUMP/1") as refused:
            await _give(facility, {"flow": {"warn_low": -4}, **attributes})
        assert words in str(refused.value)
        assert refused.value.device == "PUMP/1"
        assert (pump.schema().version, pump.given_attributes) == (
            version,
            {"flow": {"warn_low": -3}},
        )
        with pytest.raises(kind, match="PUMP/2"):
            await facility.server.instantiate("Pump", "PUMP/2", {"axes": {"x": {}}}, attributes)
        assert not facility.server.hosts("PUMP/2")

    _with(check)


def test_all_that_is_wrong_is_told_at_once() -> None:
    async def check(facility: MemoryFacility) -> None:
        await _start(facility, {})
        with pytest.raises(InvalidValuesError, match="2 values are refused"):
            await _give(facility, {"presure": {}, "flow": {"warn_low": "x"}})
        server = await facility.client.device("TEST/SERVER")
        with pytest.raises(UnknownDeviceError, match="did you mean 'PUMP/1'"):
            await server.call("set_attributes", "PUMP/11", {})

    _with(check)


def test_what_the_device_injects_and_changes_itself_leaves_them_as_they_are() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump: Any = await _start(facility, {"flow": {"warn_low": -3}, "level": {"warn_high": 9}})
        proxy = await facility.client.device("PUMP/1")
        await proxy.learn()

        def limits() -> tuple[Any, ...]:
            known = pump.schema().properties
            return known["flow"].warn_low, known["level"].warn_high, known["extra"].warn_high

        assert limits() == (-3, 9, 1.0)
        pump.inject(extra=Float64(warn_high=2.0))
        assert limits() == (-3, 9, 2.0)
        await _give(facility, {"level": {"warn_high": 8}})
        assert limits() == (-2.0, 8, 2.0)
        with pytest.raises(UnknownPropertyError, match="no property 'extra' whose attributes"):
            await _give(facility, {"extra": {"warn_high": 8}})
        pump.remove("extra")
        assert pump.schema().properties["level"].warn_high == 8

    _with(check)


def test_the_device_cannot_contradict_them() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility, {"pressure": {"alarm_high": 8}})
        with pytest.raises(BadConfigurationError, match=r"was given alarm_high=8.*set_attributes"):
            pump.update_attributes("pressure", warn_high=9.0)
        assert pump.schema().properties["pressure"].warn_high == 5.0
        pump.update_attributes("pressure", warn_high=6.0)
        assert pump.schema().properties["pressure"].alarm_high == 8

    _with(check)


def test_nothing_is_done_if_others_were_given_since() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility, {"flow": {"warn_low": -3}})
        with pytest.raises(ChangedMeanwhileError, match=r"'PUMP/1' have changed meanwhile"):
            await _give(facility, {}, {"flow": {"warn_low": -4}})
        assert pump.given_attributes == {"flow": {"warn_low": -3}}
        assert await _give(facility, {}, {"flow": {"warn_low": -3}}) == {"flow": {"warn_low": -3}}

    _with(check)


def test_only_an_expert_gives_them_and_not_to_what_somebody_else_has_locked() -> None:
    async def check(facility: MemoryFacility) -> None:
        pump = await _start(facility, {})
        client = facility.new_client()
        client.role = AccessLevel.OPERATOR
        client.identity = client.identity._replace(user="op")
        async with client as operator:
            server = await operator.device("TEST/SERVER")
            with pytest.raises(DeniedError, match="needs the role expert"):
                await server.call("set_attributes", "PUMP/1", {"flow": {"warn_low": -3}})
            with pytest.raises(DeniedError, match="needs the role expert"):
                await server.call("instantiate", "Pump", "PUMP/2", {}, attributes={"flow": _QUIET})
            await server.call("instantiate", "Pump", "PUMP/2", {}, attributes={})
            await (await operator.device("PUMP/1")).call("lock")
            with pytest.raises(LockedError, match=r"'PUMP/1' is locked by"):
                await _give(facility, {"flow": {"warn_low": -3}})
        assert pump.given_attributes == {}

    _with(check)


def test_a_servers_own_limits_are_those_of_its_class() -> None:
    async def check(facility: MemoryFacility) -> None:
        server = await facility.client.device("TEST/SERVER")
        for device_id in ("TEST/SERVER", "DIRECTORY"):
            with pytest.raises(BadConfigurationError, match=f"'{device_id}' cannot be given") as no:
                await server.call("set_attributes", device_id, {"status": _QUIET})
            assert no.value.remedy == "give them to the server's devices"
        assert facility.server.own_device.given_attributes == {}

    _with(check)
