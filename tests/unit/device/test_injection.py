"""Properties, attributes and nodes that one device gets and loses while it runs."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from pykarabo.client import Change, Gap, Live, NewSchema, Watch
from pykarabo.client._watch import MAX_WAITING
from pykarabo.data import (
    Array,
    Bytes,
    Choice,
    Complex128,
    Configurable,
    Float64,
    HashProperty,
    Int64,
    Node,
    Quality,
    State,
    StateProperty,
    String,
    VectorFloat64,
    VectorString,
)
from pykarabo.device import Device, command
from pykarabo.errors import (
    BadConfigurationError,
    OutOfRangeError,
    PykaraboError,
    ReadOnlyError,
    UnknownPropertyError,
)
from pykarabo.testing import run_device, run_facility


class _Axis(Configurable):
    """An axis."""

    position = Float64(unit="mm", minimum=-10, maximum=10)

    @command()
    async def home(self) -> float:
        """Go to zero."""
        self.position = 0.0
        return self.position


class _Stage(Device):
    """A stage."""

    speed = Float64(unit="mm/s", maximum=5, default=1)
    axis = Node(_Axis)

    async def on_initialize(self) -> None:
        self.notes = "mine"

    @command()
    async def stop(self) -> None:
        """Stop."""

    @command()
    def inject_here(self, name: str) -> None:
        """Inject from a thread."""
        self.inject({name: Int64()})


def _with(check: Callable[[_Stage], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with run_device(_Stage, "STAGE/1") as stage:
            await check(stage)

    asyncio.run(scenario())


def _gain() -> Float64:
    return Float64(default=2.5, minimum=0, maximum=10)


def test_an_injected_property_is_one_like_any_other() -> None:
    async def check(stage: _Stage) -> None:
        device: Any = stage
        device.inject(gain=_gain())
        assert device.gain == 2.5
        device.gain = 3
        assert device.values()["gain"].value == 3.0
        with pytest.raises(OutOfRangeError, match=r"STAGE/1\.gain"):
            device.gain = 11
        assert list(device.schema().properties)[-1] == "gain"
        assert isinstance(device, _Stage)

    _with(check)


def test_only_this_device_gets_it() -> None:
    async def check(stage: _Stage) -> None:
        version = _Stage.schema().version
        stage.inject(gain=_gain())
        assert _Stage.schema().version == version != stage.schema().version
        assert "gain" not in _Stage.schema().properties

    _with(check)


def test_below_a_node_and_a_whole_node() -> None:
    async def check(stage: _Stage) -> None:
        device: Any = stage
        axis = device.axis
        device.inject(offset=Float64(unit="mm"), second=Node(_Axis), below="axis")
        axis.offset = "1 cm"
        assert device.axis.offset == 10.0
        assert axis.second.position == 0.0
        device.inject(label=String(), below="axis.second")
        axis.second.label = "inner"
        assert device.values()["axis.second.label"].value == "inner"
        assert axis.position == 0.0
        assert "offset" not in _Axis.schema().properties

    _with(check)


def test_commands_of_an_injected_node_can_be_called() -> None:
    async def check(stage: _Stage) -> None:
        stage.inject(second=Node(_Axis))
        proxy = await stage.client.device("STAGE/1", follow=False)
        await proxy.set({"second.position": 4})
        assert await proxy.call("second.home") == 0.0

    _with(check)


def test_what_was_injected_can_be_removed() -> None:
    async def check(stage: _Stage) -> None:
        device: Any = stage
        device.inject(gain=_gain(), second=Node(_Axis))
        device.inject(offset=Float64(), below="axis")
        axis, second = device.axis, device.second
        device.remove("gain", "second", "axis.offset")
        assert type(device) is _Stage
        assert device.schema().version == _Stage.schema().version
        assert "axis.offset" not in device.values()
        for owner, name in ((device, "gain"), (axis, "offset"), (second, "position")):
            with pytest.raises(AttributeError):
                getattr(owner, name)

    _with(check)


def test_attributes_of_declared_and_injected_properties_can_change() -> None:
    async def check(stage: _Stage) -> None:
        stage.inject(gain=_gain())
        stage.speed = 4.0
        stage.update_attributes("speed", maximum=20, warn_high=3, description="fast")
        assert stage.values()["speed"].quality is Quality.WARN
        stage.speed = 15.0
        stage.update_attributes("axis.position", minimum=0, read_only=True)
        with pytest.raises(OutOfRangeError):
            stage.axis.position = -1.0
        stage.update_attributes("gain", options=[2.5, 5])
        assert stage.schema().properties["gain"].options == (2.5, 5)
        assert stage.schema().properties["speed"].maximum == 20
        assert _Stage.schema().properties["speed"].maximum == 5
        proxy = await stage.client.device("STAGE/1", follow=False)
        with pytest.raises(ReadOnlyError):
            await proxy.set({"axis.position": 1})

    _with(check)


def test_a_replaced_property_keeps_its_value_if_it_fits() -> None:
    async def check(stage: _Stage) -> None:
        device: Any = stage
        device.inject(gain=_gain())
        device.gain = 3.0
        device.inject(gain=Float64(maximum=4))
        assert device.gain == 3.0
        device.inject(gain=Float64(maximum=2))
        assert device.gain == 0.0
        device.inject(gain=String(default="low"))
        assert device.gain == "low"

    _with(check)


@pytest.mark.parametrize(
    ("attempt", "names"),
    [
        (lambda stage: stage.inject(gain=Float64(minimum=3, maximum=2)), "gain"),
        (lambda stage: stage.inject(good=Int64(), gain=Float64(maximum=2, default=5)), "gain"),
        (lambda stage: stage.inject(stop=Int64()), "stop"),
        (lambda stage: stage.inject(notes=Int64()), "notes"),
        (lambda stage: stage.inject(speed=Int64()), "update_attributes"),
        (lambda stage: stage.inject(other=Int64(key="speed")), "speed"),
        (lambda stage: stage.inject({"a.b": Int64()}), "a.b"),
        (lambda stage: stage.inject(fly=command()(lambda self: None)), "commands cannot"),
        (lambda stage: stage.inject(gain=_gain(), below="speed"), "speed"),
        (lambda stage: stage.remove("speed"), "declared"),
        (lambda stage: stage.remove("axis.position"), "declared"),
        (lambda stage: stage.update_attributes("axis.position", minimum=5), "present value"),
        (lambda stage: stage.update_attributes("speed", minimum=7), "7"),
        (lambda stage: stage.inject(gain=String(warn_high=7)), "string"),
        (lambda stage: stage.inject(gain=HashProperty(default={"a": object()})), "travel"),
        (lambda stage: stage.update_attributes("speed", maximal=7), "maximum"),
        (lambda stage: stage.update_attributes("speed", unit="m/s"), "unit"),
        (lambda stage: stage.update_attributes("axis", description="x"), "node"),
    ],
)
def test_contradictions_are_refused_and_nothing_changes(
    attempt: Callable[[Any], None], names: str
) -> None:
    async def check(stage: _Stage) -> None:
        values, version = dict(stage.values()), stage.schema().version
        with pytest.raises(BadConfigurationError, match="device 'STAGE/1'") as refused:
            attempt(stage)
        assert names in str(refused.value)
        assert refused.value.device == "STAGE/1"
        assert (dict(stage.values()), stage.schema().version) == (values, version)
        assert type(stage) is _Stage

    _with(check)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda stage: stage.remove("gain"),
        lambda stage: stage.inject(gain=_gain(), below="axes"),
        lambda stage: stage.update_attributes("gain", maximum=7),
    ],
)
def test_unknown_names_are_refused(attempt: Callable[[Any], None]) -> None:
    async def check(stage: _Stage) -> None:
        with pytest.raises(UnknownPropertyError, match="STAGE/1"):
            attempt(stage)

    _with(check)


def test_a_removal_that_fails_removes_nothing() -> None:
    async def check(stage: _Stage) -> None:
        stage.inject(gain=_gain())
        with pytest.raises(BadConfigurationError):
            stage.remove("gain", "speed")
        assert "gain" in stage.values()

    _with(check)


async def _next(updates: Watch) -> Any:
    async with asyncio.timeout(5):
        return await anext(updates)


def test_changes_of_one_turn_are_one_schema_and_values_follow_it() -> None:
    async def check(stage: _Stage) -> None:
        device: Any = stage
        async with stage.client.watch("STAGE/1") as updates:
            assert isinstance(await _next(updates), Live)
            device.speed = 2.0
            device.inject(gain=_gain())
            device.gain = 3.0
            device.inject(label=String(), image=Array("uint16", (2, 2)))
            device.remove("label")
            told = [await _next(updates) for _ in range(4)]
        assert list(told[0].values) == ["speed"]
        assert isinstance(told[1], NewSchema)
        assert told[1].schema.version == device.schema().version
        changes = [update.values for update in told[2:] if isinstance(update, Change)]
        assert [set(values) for values in changes] == [{"gain"}, {"gain", "image"}]
        assert [values["gain"].value for values in changes] == [2.5, 3.0]

    _with(check)


def test_a_live_proxy_knows_what_comes_and_goes() -> None:
    async def check(stage: _Stage) -> None:
        device: Any = stage
        proxy = await stage.client.device("STAGE/1")
        device.inject(gain=_gain())
        async with asyncio.timeout(5):
            while "gain" not in dir(proxy):
                await asyncio.sleep(0)
            while not _has_value(proxy, "gain"):
                await asyncio.sleep(0)
        assert proxy.gain == 2.5
        device.update_attributes("gain", maximum=100)
        await proxy.set(gain=50)
        assert device.gain == 50.0
        device.remove("gain")
        async with asyncio.timeout(5):
            while "gain" in proxy.schema.properties:
                await asyncio.sleep(0)
        with pytest.raises(UnknownPropertyError):
            proxy.last_known("gain")
        with pytest.raises(AttributeError):
            _ = proxy.gain

    _with(check)


def _has_value(proxy: Any, key: str) -> bool:
    try:
        proxy.last_known(key)
    except PykaraboError:
        return False
    return True


def test_a_watcher_that_does_not_read_is_told_the_present_schema() -> None:
    async def check(stage: _Stage) -> None:
        async with stage.client.watch("STAGE/1.speed") as updates:
            assert isinstance(await _next(updates), Live)
            stage.inject(gain=_gain())
            for number in range(MAX_WAITING + 100):  # the last ones are on their way
                stage.speed = number % 5
                await asyncio.sleep(0)
            told = [await _next(updates) for _ in range(3)]
        assert [type(update) for update in told] == [Gap, NewSchema, Live]
        assert told[1].schema.version == stage.schema().version

    _with(check)


def test_present_values_of_devices_with_large_schemas_come_in_parts() -> None:
    members = {f"value_{number}": Float64() for number in range(2_000)}

    async def scenario() -> None:
        async with run_facility({"_Stage": _Stage}) as facility:
            names = [f"STAGE/{number}" for number in range(8)]
            for name in names:
                device = await facility.server.instantiate("_Stage", name)
                device.inject({**members, f"own_{name[-1]}": Int64()})
            async with facility.client.watch(*names) as updates:
                told = [await _next(updates) for _ in names]
            assert {update.device_id for update in told} == set(names)
            assert all(isinstance(update, Live) for update in told)

    asyncio.run(scenario())


def test_a_schema_has_the_same_version_after_its_journey() -> None:
    async def check(stage: _Stage) -> None:
        stage.inject(
            choice=Choice([1, 2]),
            gain=Float64(default=2, allowed_states={State.ON}, tags=["a"]),
            image=Array("uint16", (None, 2), default=np.zeros((1, 2), "uint16")),
            steps=VectorFloat64(default=[1.5, 2], max_size=4),
            words=VectorString(default=["x"]),
            second=Node(_Axis),
            state_of=StateProperty(default=State.ON),
            raw=Bytes(default=b"x"),
            more=HashProperty(default={"a": 1}),
            phase=Complex128(default=1j),
        )
        proxy = await stage.client.device("STAGE/1", follow=False)
        assert proxy.schema.version == stage.schema().version

    _with(check)


def test_a_removed_node_may_come_back_as_a_property() -> None:
    async def check(stage: _Stage) -> None:
        device: Any = stage
        device.inject(part=Node(_Axis))
        device.inject(part=Choice(["in", "out"]))
        assert device.values()["part"].value == "in"
        assert "part.position" not in device.values()
        device.inject(part=Node(_Axis))
        assert device.part.position == 0.0
        assert "part" not in device.values()

    _with(check)


def test_injection_from_a_thread_happens_in_the_event_loop() -> None:
    async def check(stage: _Stage) -> None:
        proxy = await stage.client.device("STAGE/1", follow=False)
        await proxy.inject_here("count")
        assert await proxy.get("count") == {"count": 0}
        with pytest.raises(PykaraboError, match="speed"):
            await proxy.inject_here("speed")

    _with(check)


def test_what_is_not_needed_any_more_is_freed() -> None:
    async def check(stage: _Stage) -> None:
        stage.inject(gain=_gain())
        proxy = await stage.client.device("STAGE/1", follow=False)
        await proxy.stop()
        old = weakref.ref(type(stage))
        stage.inject(gain=Float64())
        await asyncio.sleep(0)
        gc.collect()
        assert old() is None

    _with(check)


def test_the_state_is_told_as_before() -> None:
    async def check(stage: _Stage) -> None:
        stage.inject(gain=_gain())
        stage.state = State.MOVING
        proxy = await stage.client.device("STAGE/1")
        assert proxy.state == "MOVING"
        assert stage.class_id == "_Stage"

    _with(check)
