"""The bridge in a domain, read with the facility's own client."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from pykarabo.client import AsyncDeviceProxy
from pykarabo.data import Array, Configurable, Float64, State
from pykarabo.device import Device, Output
from pykarabo.errors import BadConfigurationError
from pykarabo.testing import MemoryFacility, run_facility
from pykarabo_services.bridge.service import KaraboBridge
from pykarabo_services.devices import TrainClock

karabo_bridge: Any = import_module("karabo_bridge")  # has no type information

CLOCK = "TIME/CLOCK"
CAMERA = "TEST/CAM/1"
SOURCE = f"{CAMERA}:frames"
BRIDGE = "TEST/BRIDGE"
PERIOD_S = 0.02
ANY_PORT = "tcp://127.0.0.1:*"
PLAIN_KEYS = {"exposure", "state"}


class Frame(Configurable):
    """An image whose pixels are its train id."""

    pixels = Array(key="data.image.pixels", dtype="uint64", shape=(32, 64))


class CountingCamera(Device):
    """Takes an image in every train."""

    exposure = Float64(unit="ms", default=1.5)
    frames = Output(Frame)

    async def on_start(self) -> None:
        """Take images."""
        self.state = State.ACQUIRING
        last = 0
        while True:
            await asyncio.sleep(PERIOD_S / 4)
            stamp = self.now()
            if stamp.train_id > last:
                last = stamp.train_id
                pixels = np.full((32, 64), last, dtype=np.uint64)
                await self.frames.write({"data.image.pixels": pixels}, timestamp=stamp)


@contextlib.asynccontextmanager
async def facility(**configuration: Any) -> AsyncGenerator[tuple[MemoryFacility, AsyncDeviceProxy]]:
    """Run a clock, a camera and a bridge; yields the bridge's proxy."""
    classes: dict[str, type[Device]] = {
        "TrainClock": TrainClock,
        "CountingCamera": CountingCamera,
        "KaraboBridge": KaraboBridge,
    }
    async with run_facility(classes, time_source=CLOCK) as domain:
        await domain.server.instantiate("TrainClock", CLOCK, {"period": PERIOD_S})
        await domain.server.instantiate("CountingCamera", CAMERA)
        settings = {"endpoint": ANY_PORT, "maximum_delay": 0.5, **configuration}
        await domain.server.instantiate("KaraboBridge", BRIDGE, settings)
        yield domain, await domain.client.device(BRIDGE)


def fetch(address: str, count: int, **options: Any) -> list[tuple[Any, Any]]:
    with karabo_bridge.Client(address, timeout=10, **options) as client:
        return [client.next() for _ in range(count)]


@pytest.mark.parametrize(
    ("pattern", "protocol", "kind"),
    [("REP", "2.2", "REQ"), ("REP", "1.0", "REQ"), ("PUB", "2.2", "SUB"), ("PUSH", "2.2", "PULL")],
)
def test_the_client_gets_matched_trains(pattern: str, protocol: str, kind: str) -> None:
    async def work() -> list[tuple[Any, Any]]:
        async with facility(pattern=pattern, protocol=protocol) as (_, proxy):
            address = (await proxy.get("address"))["address"]
            return await asyncio.to_thread(fetch, address, 12, sock=kind)

    trains = asyncio.run(work())
    ids = [metadata[CAMERA]["timestamp.tid"] for _, metadata in trains]
    assert ids == sorted(set(ids))
    images = 0
    for train_id, (data, metadata) in zip(ids, trains, strict=True):
        assert {found["timestamp.tid"] for found in metadata.values()} == {train_id}
        assert data[CAMERA].keys() >= PLAIN_KEYS
        assert data[CAMERA]["exposure"] == 1.5
        assert data[CAMERA]["state"] == "ACQUIRING"
        assert BRIDGE not in data
        if SOURCE in data:
            images += 1
            pixels = data[SOURCE]["data.image.pixels"]
            assert pixels.shape == (32, 64)
            assert (pixels == train_id).all()
    assert images >= 6


def test_several_clients_share_the_trains_and_a_dead_one_holds_up_nobody() -> None:
    async def work() -> tuple[list[Any], dict[str, Any]]:
        async with facility() as (_, proxy):
            address = (await proxy.get("address"))["address"]
            await asyncio.to_thread(ask_and_die, address)
            found = await asyncio.gather(*(asyncio.to_thread(fetch, address, 5) for _ in range(3)))
            await asyncio.sleep(1.1)  # the counters are shown once a second
            return list(found), await proxy.get("served", "offered", "dropped", "bad_requests")

    found, counters = asyncio.run(work())
    ids = [metadata[CAMERA]["timestamp.tid"] for part in found for _, metadata in part]
    assert len(set(ids)) == 15, "every train goes to one client"
    assert counters["served"] >= 15
    assert counters["offered"] >= counters["served"] + counters["dropped"]
    assert counters["bad_requests"] == 1


def ask_and_die(address: str) -> None:
    """Ask twice, wrongly at first, and go away without reading the train."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = 10_000
        socket.connect(address)
        socket.send(b"what?")
        assert socket.recv() == b"Error: bad request what?"
        socket.send(b"next")


def test_only_what_is_selected_is_sent() -> None:
    async def work() -> Any:
        async with facility(devices=[], outputs=["TEST/CAM/*:frames"]) as (_, proxy):
            address = (await proxy.get("address"))["address"]
            return await asyncio.to_thread(fetch, address, 8)

    trains = asyncio.run(work())
    assert {name for data, _ in trains for name in data} == {SOURCE}


def test_devices_that_come_later_are_sent_too() -> None:
    async def work() -> list[Any]:
        async with facility() as (domain, proxy):
            address = (await proxy.get("address"))["address"]
            await asyncio.to_thread(fetch, address, 1)
            await domain.server.instantiate("CountingCamera", "TEST/CAM/2")
            await proxy.call("refresh")
            return await asyncio.to_thread(fetch, address, 60)

    trains = asyncio.run(work())
    assert any("TEST/CAM/2:frames" in data for data, _ in trains)


def test_without_an_endpoint_only_this_user_can_connect(short_runtime: Path) -> None:
    async def work() -> tuple[str, int]:
        async with facility(endpoint="") as (_, proxy):
            address = str((await proxy.get("address"))["address"])
            assert len(await asyncio.to_thread(fetch, address, 1)) == 1
            folder = os.path.dirname(address.removeprefix("ipc://"))
            return address, stat.S_IMODE(os.stat(folder).st_mode)

    address, mode = asyncio.run(work())
    assert address.startswith(f"ipc://{short_runtime}")
    assert mode == 0o700


def test_an_endpoint_that_is_taken_refuses_the_device() -> None:
    async def work() -> None:
        with zmq.Context() as context, context.socket(zmq.REP) as socket:
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            with pytest.raises(BadConfigurationError, match=str(port)):
                async with facility(endpoint=f"tcp://127.0.0.1:{port}"):
                    pass

    asyncio.run(work())
