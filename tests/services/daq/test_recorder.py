"""The run recorder in a domain: what devices do while a run goes on is in its files."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncGenerator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pykarabo.client import AsyncDeviceProxy, Change, Live
from pykarabo.data import Array, Bool, Configurable, Float64, State, UInt64
from pykarabo.device import Device, Output
from pykarabo.errors import RunStateError, StateForbidsError
from pykarabo.testing import MemoryFacility, run_facility
from pykarabo_services.daq.main import RunRecorder
from pykarabo_services.daq.model import RunState
from pykarabo_services.daq.store import RunDirectories
from pykarabo_services.devices import TrainClock

# None of them has type information.
extra_data: Any = import_module("extra_data")
validation: Any = import_module("extra_data.validation")

CLOCK = "TIME/CLOCK"
MOTOR = "TEST/MOTOR/1"
CAMERA = "TEST/CAM/1"
RECORDER = "DAQ/RECORDER"
PERIOD_S = 0.02


class CountingMotor(Device):
    """Moves one millimetre in every train."""

    position = Float64(unit="mm", read_only=True, description="Where it is.")
    target = Float64(unit="mm")

    async def on_start(self) -> None:
        """Move."""
        self.state = State.ON
        while True:
            stamp = self.now()
            self.set_values({"position": float(stamp.train_id)}, timestamp=stamp)
            await asyncio.sleep(PERIOD_S)


class Frame(Configurable):
    """An image whose pixels are its train id."""

    pixels = Array(key="data.image.pixels", dtype="uint64", shape=(4, 6), unit="count")
    number = UInt64(key="data.number")


class CountingCamera(Device):
    """Takes an image in every second train."""

    silent = Bool(description="Take no images.")
    frames = Output(Frame)

    async def on_start(self) -> None:
        """Take images."""
        self.taken: list[int] = []
        last = 0
        while True:
            await asyncio.sleep(PERIOD_S / 4)
            stamp = self.now()
            if stamp.train_id > last and stamp.train_id % 2 == 0 and not self.silent:
                last = stamp.train_id
                pixels = np.full((4, 6), last, dtype=np.uint64)
                data = {"data.image.pixels": pixels, "data.number": last}
                self.taken.append(last)
                await self.frames.write(data, timestamp=stamp)


@contextlib.asynccontextmanager
async def facility(directory: Path) -> AsyncGenerator[tuple[MemoryFacility, AsyncDeviceProxy]]:
    """Run a clock, a motor, a camera and a recorder; yields the recorder's proxy."""
    classes: dict[str, type[Device]] = {
        "TrainClock": TrainClock,
        "CountingMotor": CountingMotor,
        "CountingCamera": CountingCamera,
        "RunRecorder": RunRecorder,
    }
    async with run_facility(classes, time_source=CLOCK) as domain:
        server = domain.server
        await server.instantiate("TrainClock", CLOCK, {"period": PERIOD_S})
        await server.instantiate("CountingMotor", MOTOR)
        await server.instantiate("CountingCamera", CAMERA)
        await server.instantiate(
            "RunRecorder",
            RECORDER,
            {
                "data_directory": str(directory),
                "trains_per_file": 20,
                "maximum_delay": 0.5,
                "excluded": ["DIRECTORY", "TEST/SERVER"],
            },
        )
        proxy = await domain.client.device(RECORDER)
        yield domain, proxy


async def until(domain: MemoryFacility, key: str, condition: Callable[[Any], bool]) -> None:
    """Wait for a value of the recorder."""
    async with asyncio.timeout(30), domain.client.watch(f"{RECORDER}.{key}") as updates:
        async for update in updates:
            if isinstance(update, Change | Live) and condition(update.values[key].value):
                return


async def record(domain: MemoryFacility, proxy: AsyncDeviceProxy, trains: int) -> dict[str, Any]:
    """Record at least so many trains; returns the summary."""
    await proxy.call("start_run", sample="water")
    await until(domain, "trains", lambda found: found >= trains)
    return dict(await proxy.call("stop_run", timeout_s=10))


def opened(summary: dict[str, Any]) -> Any:
    assert list(validation.RunValidator(summary["directory"]).run_checks()) == []
    return extra_data.RunDirectory(summary["directory"], parallelize=False)


def test_a_run_holds_what_the_devices_did(tmp_path: Path) -> None:
    async def work() -> tuple[dict[str, Any], list[int]]:
        async with facility(tmp_path) as (domain, proxy):
            summary = await record(domain, proxy, 40)
            assert (await proxy.get("state"))["state"] == "ON"
            (camera,) = [found for found in domain.server.devices if found.device_id == CAMERA]
            assert isinstance(camera, CountingCamera)
            return summary, camera.taken

    summary, taken = asyncio.run(work())
    assert (summary["state"], summary["sample"]) == ("closed", "water")
    run = opened(summary)
    trains = np.array(run.train_ids)
    assert len(trains) == summary["trains"] >= 40
    assert (np.diff(trains) == 1).all(), "no train is missing"
    expected = np.array([train for train in taken if train in set(run.train_ids)])
    assert len(expected) >= 15
    numbers = run[f"{CAMERA}:frames", "data.number"]
    assert (numbers.data_counts() == np.isin(trains, taken)).all()
    np.testing.assert_array_equal(numbers.ndarray(), expected)
    pixels = run[f"{CAMERA}:frames", "data.image.pixels"].ndarray()
    assert (pixels == expected[:, None, None]).all()
    position = run[MOTOR, "position"]
    assert position.units == "mm"
    assert (position.ndarray() <= trains).all(), "a value is never that of a later train"
    assert (trains - position.ndarray()).max() < 40
    assert run[MOTOR].device_class == "CountingMotor"
    manifest = json.loads((Path(summary["directory"]) / "run.json").read_text())
    assert manifest["losses"] == []
    assert {source["name"] for source in manifest["sources"]} == {
        CLOCK,
        MOTOR,
        CAMERA,
        f"{CAMERA}:frames",
    }


def test_runs_are_numbered_and_listed(tmp_path: Path) -> None:
    async def work() -> tuple[list[Any], dict[str, Any]]:
        async with facility(tmp_path) as (domain, proxy):
            await record(domain, proxy, 3)
            await record(domain, proxy, 3)
            return await proxy.call("runs"), await proxy.call("run_details", 2)

    runs, details = asyncio.run(work())
    assert [run["run"] for run in runs] == [1, 2]
    assert details["files"][0]["name"].startswith("RAW-R0002-DA01-S")


def test_a_second_run_is_refused_while_one_goes_on(tmp_path: Path) -> None:
    async def work() -> None:
        async with facility(tmp_path) as (_, proxy):
            with pytest.raises(StateForbidsError):
                await proxy.call("stop_run")
            await proxy.call("start_run")
            with pytest.raises(StateForbidsError):
                await proxy.call("start_run")
            with pytest.raises(StateForbidsError):
                await proxy.set({"proposal": 3})
            await proxy.call("stop_run", timeout_s=10)

    asyncio.run(work())


def test_a_silent_camera_does_not_stop_the_run(tmp_path: Path) -> None:
    async def work() -> dict[str, Any]:
        async with facility(tmp_path) as (domain, proxy):
            await domain.client.set(CAMERA, {"silent": True})
            return await record(domain, proxy, 5)

    summary = asyncio.run(work())
    run = opened(summary)
    assert run[f"{CAMERA}:frames", "data.number"].shape == (0,)
    assert len(run.train_ids) == summary["trains"]


def test_a_device_that_goes_away_keeps_its_last_value(tmp_path: Path) -> None:
    async def work() -> dict[str, Any]:
        async with facility(tmp_path) as (domain, proxy):
            await proxy.call("start_run")
            await domain.server.shut_down(MOTOR)
            await domain.server.shut_down(CAMERA)
            await until(domain, "trains", lambda found: found >= 20)
            return dict(await proxy.call("stop_run", timeout_s=10))

    summary = asyncio.run(work())
    run = opened(summary)
    position = run[MOTOR, "position"].ndarray()
    assert len(position) == summary["trains"]
    assert len(set(position[-5:].tolist())) == 1


def test_a_recorder_that_is_shut_down_closes_its_run(tmp_path: Path) -> None:
    async def work() -> None:
        async with facility(tmp_path) as (domain, proxy):
            await proxy.call("start_run")
            await until(domain, "trains", bool)
            await domain.server.shut_down(RECORDER)

    asyncio.run(work())
    (manifest,) = RunDirectories(tmp_path).runs()
    assert manifest.state is RunState.CLOSED
    assert manifest.trains > 0


def test_a_disk_error_ends_the_run_and_is_told(tmp_path: Path) -> None:
    async def work() -> dict[str, Any]:
        async with facility(tmp_path) as (domain, proxy):
            started = await proxy.call("start_run")
            shutil.rmtree(started["directory"])
            await until(domain, "state", lambda found: found == "ERROR")
            values = await proxy.get()
            again = await record(domain, proxy, 2)
            return {"status": values["status"], "again": again["state"]}

    found = asyncio.run(work())
    assert "cannot be written" in found["status"]
    assert found["again"] == "closed"


def test_without_a_train_clock_no_run_is_started(tmp_path: Path) -> None:
    async def work() -> None:
        async with run_facility({"RunRecorder": RunRecorder}) as domain:
            await domain.server.instantiate(
                "RunRecorder", RECORDER, {"data_directory": str(tmp_path)}
            )
            proxy = await domain.client.device(RECORDER)
            with pytest.raises(RunStateError, match="train clock"):
                await proxy.call("start_run")
            assert (await proxy.get("state"))["state"] == "ERROR"

    asyncio.run(work())
    assert RunDirectories(tmp_path).runs() == []
