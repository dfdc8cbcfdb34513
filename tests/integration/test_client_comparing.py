"""Configurations of devices: what can be set, how two differ, and units."""

import asyncio
import json
import math
from pathlib import Path

import pytest

from pykarabo import unit
from pykarabo.client import (
    MISSING,
    Client,
    acompare,
    aconfiguration,
    aget_property,
    alias_of_key,
    aset_property,
    asettable,
    compare,
    configuration,
    connect,
    get_property,
    key_of_alias,
    set_property,
    settable,
)
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    OutOfRangeError,
    UnknownPropertyError,
    WrongTypeError,
    WrongUnitError,
)

from .conftest import Processes


def test_configuration_is_what_a_device_can_be_started_with(stages: Processes) -> None:
    stages.start("S/1", "A/1", directory=True)
    stage = connect("A/1")
    stage.target = 3
    stage.axis.velocity = 4
    found = configuration(stage)
    assert {"target", "label", "mode", "offset", "axis.velocity"} <= found.keys()
    assert not {"position", "state", "axis"} & found.keys()
    assert configuration(stage, only_non_defaults=True) == {"target": 3.0, "axis.velocity": 4.0}

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("A/1", follow=False)
            assert await aconfiguration(device, only_non_defaults=True) == {
                "target": 3.0,
                "axis.velocity": 4.0,
            }

    asyncio.run(scenario())


def test_what_can_be_set_depends_on_the_state(stages: Processes) -> None:
    stages.start("S/1", "A/1", directory=True)
    stage = connect("A/1")
    allowed = settable(stage)
    assert {"target", "mode", "axis.velocity"} <= set(allowed)
    assert not {"position", "offset", "axis"} & set(allowed)
    stage.show_state("MOVING")
    assert settable(stage) == [key for key in allowed if key != "mode"]

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("A/1")
            assert await asettable(device) == settable(stage)

    asyncio.run(scenario())


def test_two_devices_are_compared(stages: Processes) -> None:
    stages.start("S/1", "A/1", "A/2", directory=True)
    one, two = connect("A/1"), connect("A/2")
    assert compare(one, two) == {}
    one.set({"target": 0.1 + 0.2, "label": "one", "table": [1.0, 2.0 + 1e-12]})
    two.set({"target": 0.3, "table": [1.0, 2.0]})
    assert {key: tuple(found) for key, found in compare(one, two).items()} == {
        "label": ("one", "none", "")
    }
    assert compare(one, two, relative=0.0).keys() == {"target", "label", "table"}
    two.set({"target": 0.5, "axis.velocity": 3})
    assert repr(compare(one, two)["target"]).endswith(", 0.5) mm")
    assert compare(one, two, tags=["motion"]).keys() == {"target", "axis.velocity"}
    assert compare(one, two, absolute=1.0).keys() == {"label"}
    two.table = [1.0]
    assert "table" in compare(one, two)

    async def scenario() -> None:
        async with Client() as client:
            left, right = [await client.device(name) for name in ("A/1", "A/2")]
            found = await acompare(left, right, tags=["text"])
            assert found["label"].left == "one"

    asyncio.run(scenario())


def test_device_is_compared_with_before_and_with_a_file(stages: Processes, tmp_path: Path) -> None:
    stages.start("S/1", "A/1", directory=True)
    stage = connect("A/1")
    before = configuration(stage)
    assert compare(before, stage) == {}
    stage.set({"target": 3, "share": math.nan})
    assert {key: found[:2] for key, found in compare(before, stage).items()} == {
        "target": (0.0, 3.0),
        "share": (50.0, pytest.approx(math.nan, nan_ok=True)),
    }
    assert compare(stage, configuration(stage)) == {}
    path = tmp_path / "stage.yaml"
    path.write_text("target: 0.3 cm\naxis:\n  velocity: 0.002 m/s\nlabel: other\n")
    assert {key: found[:2] for key, found in compare(stage, path).items()} == {
        "label": ("none", "other")
    }
    path.write_text(json.dumps({"target": 3.0}))
    assert compare(str(path), stage) == {}
    path.write_text("- 1\n")
    with pytest.raises(BadConfigurationError, match="holds no configuration"):
        compare(stage, path)
    with pytest.raises(BadConfigurationError, match="cannot be read"):
        compare(stage, tmp_path / "none.yaml")
    with pytest.raises(BadConfigurationError, match="neither side is a device"):
        compare(before, before)
    with pytest.raises(UnknownPropertyError, match="'tarquet'"):
        compare(stage, {"tarquet": 1})


def test_property_that_one_device_lacks_is_missing(stages: Processes, processes: Processes) -> None:
    stages.start("S/1", "A/1", directory=True)
    processes.start("S/2", "C/1")
    found = compare(connect("A/1"), connect("C/1"))
    assert found["mode"][:2] == (1, MISSING)
    assert repr(found["mode"]) == "(1, missing)"
    assert not MISSING


def test_properties_by_dotted_key_and_alias(stages: Processes) -> None:
    stages.start("S/1", "A/1", directory=True)
    stage = connect("A/1")
    set_property(stage, "axis.velocity", "0.5 cm/s")
    assert get_property(stage, "axis.velocity") == 5.0
    with pytest.raises((BadInputError, UnknownPropertyError)):
        get_property(stage, "axis")
    assert key_of_alias(stage.schema, "0x6081") == "axis.velocity"
    assert alias_of_key(stage.schema, "axis.velocity") == "0x6081"
    assert alias_of_key(stage.schema, "label") is None
    with pytest.raises(UnknownPropertyError, match=r"no property .* has the alias '0x6082'"):
        key_of_alias(stage.schema, "0x6082")

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("A/1", follow=False)
            await aset_property(device, "axis.velocity", 6)
            assert await aget_property(device, "axis.velocity") == 6.0

    asyncio.run(scenario())


def test_units_are_converted_by_the_caller(stages: Processes) -> None:
    stages.start("S/1", "A/1", directory=True)
    stage = connect("A/1")
    stage.target = 0.3 * unit.cm
    assert stage.target == 3.0
    stage.target = "5000 um"
    assert stage.quantity("target") == 5 * unit.mm
    assert stage.quantity("share").to("dimensionless").magnitude == 0.5
    assert stage.quantity("table").magnitude.tolist() == [1.0, 2.0]
    with pytest.raises(WrongUnitError, match=r"A/1\.target"):
        stage.target = 3 * unit.s
    with pytest.raises(OutOfRangeError):
        stage.target = 3 * unit.m
    with pytest.raises(WrongTypeError, match="is string and no quantity"):
        stage.quantity("label")
    assert stage.move(0.2 * unit.cm) == 2.0
    assert stage.move("0.2 cm", speed=2) == 4.0
    assert stage.call("move", position=1 * unit.mm) == 1.0
    with pytest.raises(WrongUnitError, match=r"A/1\.move\(position\)"):
        stage.move(3 * unit.s)
    with pytest.raises(WrongTypeError, match="lacks its argument 'position'"):
        stage.move()

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("A/1")
            await device.set(target=0.1 * unit.cm)
            await device.updated()
            assert device.quantity("target") == 1 * unit.mm
            assert await device.move("0.3 cm") == 3.0
            with pytest.raises(WrongUnitError):
                await device.move(3 * unit.s)

    asyncio.run(scenario())
