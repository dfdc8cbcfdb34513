"""Events with typed parameters: in order, counted, connected to commands of other devices."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.client import (
    Change,
    EventReader,
    EventWatch,
    Gap,
    Happening,
    Live,
    Missed,
    Occurred,
    Stale,
    events_of,
)
from pykarabo.data import Float64, Int64, PropertyValue, Schema, State, String, Timestamp
from pykarabo.device import Device, Event, command, on_event
from pykarabo.device._connections import MAX_WAITING
from pykarabo.errors import (
    BadConfigurationError,
    OutOfRangeError,
    UnknownCommandError,
    UnknownPropertyError,
    WrongTypeError,
)
from pykarabo.testing import MemoryFacility, run_device, run_facility


class _Camera(Device):
    """Takes images."""

    images = Int64(read_only=True)
    image_done = Event(
        number=Int64(minimum=0, description="Counts the images."),
        exposure=Float64(unit="ms"),
        description="An image is on the disk.",
    )
    ready = Event()

    @command()
    async def take(self, count: int = 1) -> None:
        """Take images."""
        for _ in range(count):
            self.images += 1
            self.emit("image_done", number=self.images, exposure="0.01 s")


class _Stage(Device):
    """Moves a step per image."""

    camera = String(init_only=True)
    position = Int64(read_only=True)

    async def on_initialize(self) -> None:
        self.steps: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.callers: list[str] = []
        self.state = State.ON

    @on_event("camera", "image_done")
    @command()
    async def step(self, number: int) -> None:
        """Step."""
        await self.gate.wait()
        self.steps.append(number)
        self.callers.append("" if self.caller is None else self.caller.name)
        if number == 13:
            raise OSError("unlucky")

    @command()
    async def note(self) -> None:
        """Note."""
        self.steps.append(-1)


def _with(check: Callable[[MemoryFacility], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with run_facility({"Camera": _Camera, "Stage": _Stage}) as facility:
            await check(facility)

    asyncio.run(scenario())


async def _start(facility: MemoryFacility, camera: str = "CAM/1") -> tuple[Any, Any]:
    first = await facility.server.instantiate("Camera", "CAM/1")
    stage: Any = await facility.server.instantiate("Stage", "STAGE/1", {"camera": camera})
    if camera:
        await _until(lambda: _shown(stage).get("live"))
    return first, stage


def _shown(stage: Any, event: str = "image_done", name: str = "step") -> dict[str, Any]:
    found: dict[str, Any] = stage.connections.get(f"CAM/1.{event} -> {name}", {})
    return found


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_the_schema_lists_events_with_their_parameters() -> None:
    schema = Schema.from_wire(_Camera.schema().to_wire())
    events = events_of(schema)
    assert list(events) == ["image_done", "ready"]
    number, exposure = events["image_done"]
    assert (number.key, number.description) == ("image_done.number", "Counts the images.")
    assert exposure.unit == "ms"
    assert schema.properties["image_done"].description == "An image is on the disk."
    assert events["ready"] == []


def test_events_come_in_order_with_the_changes_around_them() -> None:
    async def check(facility: MemoryFacility) -> None:
        await facility.server.instantiate("Camera", "CAM/1")
        async with facility.client.watch("CAM/1") as watch:
            assert isinstance(await anext(watch), Live)
            proxy = await facility.client.device("CAM/1", follow=False)
            await proxy.take(3)
            told: list[tuple[str, Any]] = []
            while len(told) < 9:
                update = await anext(watch)
                assert isinstance(update, Change)
                told += [
                    (key, value.value)
                    for key, value in update.values.items()
                    if key in ("images", "image_done.number", "image_done.exposure")
                ]
        seen = [item for item in told if item[0] != "image_done.exposure"]
        numbers = [value for key, value in seen if key == "image_done.number"]
        assert numbers == [1, 2, 3]
        for number in numbers:
            at = seen.index(("image_done.number", number))
            assert ("images", number) in seen[:at]
        assert ("image_done.exposure", 10.0) in told

    _with(check)


def test_a_burst_of_one_turn_is_told_event_by_event() -> None:
    async def check(facility: MemoryFacility) -> None:
        camera = await facility.server.instantiate("Camera", "CAM/1")
        async with EventWatch(facility.client, "CAM/1", "image_done") as events:
            await _until(lambda: events._watch._updates)
            for number in range(50):
                camera.emit("image_done", number=number, exposure=1.0)
            found = [await anext(events) for _ in range(50)]
        assert [(item.number, item.arguments["number"]) for item in found] == [  # type: ignore[union-attr]
            (number + 1, number) for number in range(50)
        ]

    _with(check)


def test_events_told_from_a_thread_keep_their_order() -> None:
    async def check(facility: MemoryFacility) -> None:
        camera = await facility.server.instantiate("Camera", "CAM/1")
        async with EventWatch(facility.client, "CAM/1", "ready") as events:
            await _until(lambda: events._watch._updates)

            def work() -> None:
                for _ in range(10):
                    camera.emit("ready")

            await asyncio.to_thread(work)
            numbers = [(await anext(events)).number for _ in range(10)]  # type: ignore[union-attr]
        assert numbers == list(range(1, 11))

    _with(check)


@pytest.mark.parametrize(
    ("event", "arguments", "error", "words"),
    [
        ("image_dome", {}, UnknownPropertyError, "did you mean 'image_done'"),
        ("image_done", {}, WrongTypeError, "tell it with number, exposure"),
        ("image_done", {"number": 1}, WrongTypeError, "was told with number"),
        ("ready", {"number": 1}, WrongTypeError, "tell it with no arguments"),
        ("image_done", {"number": -1, "exposure": 1}, OutOfRangeError, "image_done.number"),
        ("image_done", {"number": "x", "exposure": 1}, WrongTypeError, "image_done.number"),
    ],
)
def test_an_event_that_cannot_be_is_refused_and_not_counted(
    event: str, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    async def scenario() -> None:
        async with run_device(_Camera, "CAM/1") as camera:
            with pytest.raises(error) as caught:
                camera.emit(event, **arguments)
            assert words in str(caught.value)
            assert "CAM/1" in str(caught.value)
            assert camera.values()["image_done.count"].value == 0

    asyncio.run(scenario())


def test_a_parameter_cannot_hide_the_count() -> None:
    with pytest.raises(BadConfigurationError, match="count"):
        Event(count=Int64())


def test_a_declared_connection_runs_a_command_per_event() -> None:
    async def check(facility: MemoryFacility) -> None:
        _camera, stage = await _start(facility)
        proxy = await facility.client.device("CAM/1", follow=False)
        await proxy.take(20)
        await _until(lambda: len(stage.steps) == 20)
        assert stage.steps == list(range(1, 21))
        assert set(stage.callers) == {"CAM/1.image_done"}
        await _until(lambda: _shown(stage).get("delivered") == 19)
        shown = _shown(stage)
        assert (shown["failed"], shown["missed"]) == (1, 0)
        assert "unlucky" in shown["error"]
        stage.flush()
        assert stage.last_command == "step <- CAM/1.image_done"

    _with(check)


def test_events_can_be_connected_and_disconnected_at_run_time() -> None:
    async def check(facility: MemoryFacility) -> None:
        camera, stage = await _start(facility, camera="")
        proxy = await facility.client.device("STAGE/1", follow=False)
        for _ in range(2):
            await proxy.connect_event("CAM/1", "ready", "note")
        await proxy.connect_event("CAM/1", "image_done", "step")
        await _until(lambda: _shown(stage).get("live"))
        camera.emit("ready")
        camera.emit("image_done", number=5, exposure=0.0)
        camera.emit("ready")
        await _until(lambda: len(stage.steps) == 3)
        assert stage.steps == [-1, 5, -1]
        await proxy.disconnect_event("CAM/1", "ready", "note")
        with pytest.raises(BadConfigurationError, match="no event is connected"):
            await proxy.disconnect_event("CAM/1", "ready", "note")
        with pytest.raises(UnknownCommandError, match="did you mean 'note'"):
            await proxy.connect_event("CAM/1", "ready", "notes")
        camera.emit("ready")
        camera.emit("image_done", number=6, exposure=0.0)
        await _until(lambda: len(stage.steps) == 4)
        assert stage.steps[-1] == 6
        await proxy.disconnect_event("CAM/1", "image_done", "step")
        await _until(lambda: stage.connections == {})

    _with(check)


def test_connections_outlive_the_device_that_tells() -> None:
    async def check(facility: MemoryFacility) -> None:
        camera, stage = await _start(facility)
        camera.emit("image_done", number=1, exposure=0.0)
        await _until(lambda: stage.steps == [1])
        await facility.server.shut_down("CAM/1")
        await _until(lambda: not _shown(stage)["live"])
        camera = await facility.server.instantiate("Camera", "CAM/1")
        await _until(lambda: _shown(stage)["live"])
        camera.emit("image_done", number=2, exposure=0.0)
        await _until(lambda: len(stage.steps) == 2)
        assert stage.steps == [1, 2]
        assert "restarted" in _shown(stage)["error"]

    _with(check)


def test_a_locked_device_refuses_events_of_others_and_tells() -> None:
    async def check(facility: MemoryFacility) -> None:
        camera, stage = await _start(facility)
        proxy = await facility.client.device("STAGE/1", follow=False)
        await proxy.call("lock")
        camera.emit("image_done", number=1, exposure=0.0)
        await _until(lambda: _shown(stage).get("failed") == 1)
        assert "locked by" in _shown(stage)["error"]
        assert stage.steps == []
        await proxy.unlock()
        camera.emit("image_done", number=2, exposure=0.0)
        await _until(lambda: stage.steps == [2])

    _with(check)


def test_events_that_a_slow_command_cannot_take_are_counted() -> None:
    async def check(facility: MemoryFacility) -> None:
        camera, stage = await _start(facility)
        stage.gate.clear()
        camera.emit("image_done", number=100, exposure=0.0)
        await _until(lambda: stage.commands_at_work)
        for number in range(101, 100 + MAX_WAITING + 51):
            camera.emit("image_done", number=number, exposure=0.0)
        await _until(lambda: _shown(stage).get("missed", 0) >= 50)
        stage.gate.set()
        await _until(lambda: _shown(stage)["delivered"] + _shown(stage)["missed"] == 1051)
        assert stage.steps == list(range(100, 100 + _shown(stage)["delivered"]))
        assert 0 < _shown(stage)["missed"] <= 51

    _with(check)


def test_what_is_no_command_cannot_be_connected() -> None:
    class _Wrong(Device):
        """Connects a method."""

        camera = String(init_only=True)

        @on_event("camera", "ready")
        async def step(self) -> None:
            """Step."""

    async def scenario() -> None:
        async with run_device(_Wrong):
            pass

    with pytest.raises(BadConfigurationError, match="no command"):
        asyncio.run(scenario())


# -- the reader -------------------------------------------------------------------------------


def _value(value: Any) -> PropertyValue:
    return PropertyValue(value, Timestamp(1, 0, 0))


def _told(number: int) -> Change:
    return Change("CAM/1", {"done.count": _value(number), "done.n": _value(number)}, number)


def _live(number: int) -> Live:
    return Live("CAM/1", {"done.count": _value(number), "done.n": _value(number)})


def _numbers(found: list[Happening]) -> list[Any]:
    return [item.number if isinstance(item, Occurred) else ("missed", item.count) for item in found]


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ([_live(3)], []),
        ([_live(3), _told(4), _told(5)], [4, 5]),
        ([_live(3), _told(6)], [("missed", 2), 6]),
        ([_live(3), Gap("CAM/1", 2), _live(5), _told(6)], [("missed", 2), 6]),
        ([_live(3), Stale("CAM/1", "gone"), _live(3), _told(4)], [4]),
        ([_live(3), Gap("CAM/1", None), _live(0), _told(1)], [("missed", None), 1]),
        ([Gap("CAM/1", None), _live(7), _told(8)], [8]),
        ([_live(0), Change("CAM/1", {"state": _value("ON")}, 1), _told(1)], [1]),
    ],
)
def test_the_reader_tells_each_event_once_and_counts_the_others(
    updates: list[Any], expected: list[Any]
) -> None:
    reader = EventReader("CAM/1", "done")
    assert _numbers([item for update in updates for item in reader.take(update)]) == expected


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 5))
def test_what_is_told_and_what_is_missed_is_all_there_was(arrives: list[bool], first: int) -> None:
    reader = EventReader("CAM/1", "done")
    assert reader.take(_live(first)) == []
    found: list[Happening] = []
    for number, arrived in enumerate(arrives, first + 1):
        if arrived:
            found += reader.take(_told(number))
    found += reader.take(_live(first + len(arrives)))
    told = [item.number for item in found if isinstance(item, Occurred)]
    missed = sum(item.count or 0 for item in found if isinstance(item, Missed))
    assert told == [first + 1 + place for place, arrived in enumerate(arrives) if arrived]
    assert missed == len(arrives) - len(told)
