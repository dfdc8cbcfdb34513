"""Finding devices and servers, starting and stopping devices, and news of who comes and goes."""

import asyncio

import pytest

from pykarabo.client import (
    BlockingClient,
    Client,
    adisconnect_all,
    afind_devices,
    ainstantiate,
    ashutdown,
    classes,
    devices_changed,
    find_devices,
    find_servers,
    instantiate,
    shutdown,
)
from pykarabo.data import State
from pykarabo.errors import (
    DuplicateDeviceError,
    NotAnOptionError,
    OutOfRangeError,
    UnknownClassError,
    UnknownDeviceError,
    UnknownPropertyError,
)

from .conftest import Processes


def test_devices_are_found_by_what_they_are(processes: Processes) -> None:
    processes.start("S/1", "C/1", "C/2", directory=True)
    processes.start("S/2", "D/1")
    with BlockingClient() as client:

        def ids(pattern: str = "*", **wanted: object) -> list[str]:
            found = client.find_devices(pattern, **wanted)  # type: ignore[arg-type]
            return [record.device_id for record in found]

        assert ids("C/*") == ["C/1", "C/2"]
        assert ids(class_id="Counter") == ["C/1", "C/2", "D/1"]
        assert ids(class_id="Counter", server="S/2") == ["D/1"]
        assert ids("*/1", class_id="Count*", state=State.ON) == ["C/1", "D/1"]
        assert ids("C/*", state="ACTIVE") == ["C/1", "C/2"]  # ON is a special case of it
        assert ids("C/*", state=State.CHANGING) == []
        assert ids("C/*", host="no-such-host") == []
        assert ids("C/*", tag="no-such-tag") == []
        client.device("C/2").inject_gain()
        assert ids(has=["gain", "inject_gain"]) == ["C/2"]
        with pytest.raises(NotAnOptionError, match="no state 'ACTIVATED'"):
            ids(state="ACTIVATED")
        assert [record.server_id for record in client.find_servers()] == ["S/1", "S/2"]
        assert [record.server_id for record in client.find_servers("*/2")] == ["S/2"]
        assert [item.server_id for item in client.find_servers(class_id="Counter")] == [
            "S/1",
            "S/2",
        ]
        assert client.find_servers(class_id="Unknown") == []
        assert client.classes("S/1") == client.classes() == ["Counter", "Directory"]
    assert [record.device_id for record in find_devices("D/*")] == ["D/1"]
    assert [record.server_id for record in find_servers("S/2")] == ["S/2"]
    assert "Counter" in classes()


def test_device_is_started_and_stopped(processes: Processes) -> None:
    processes.start("S/1", "C/1", directory=True)
    counter = instantiate("S/1", "Counter", "C/9", {"target": "1 cm", "label": "nine"})
    assert counter.get("target", "label", "state") == {
        "target": 10.0,
        "label": "nine",
        "state": State.ON,
    }
    assert [record.device_id for record in find_devices("C/9")] == ["C/9"]
    with pytest.raises(DuplicateDeviceError):
        instantiate("S/1", "Counter", "C/9")
    with pytest.raises(UnknownClassError):
        instantiate("S/1", "Kounter", "C/8")
    with pytest.raises(UnknownPropertyError, match="'tarquet'"):
        instantiate("S/1", "Counter", "C/8", {"tarquet": 1})
    with pytest.raises(OutOfRangeError):
        instantiate("S/1", "Counter", "C/8", {"target": 11})
    shutdown("C/9")
    with pytest.raises(UnknownDeviceError):
        shutdown("C/9")
    assert find_devices("C/[89]") == []


def test_device_is_started_and_stopped_asynchronously(processes: Processes) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "C/1")

    async def scenario() -> None:
        async with Client() as client:
            counter = await client.instantiate("S/1", "Counter", "C/9", {"target": 2})
            assert counter.target == 2.0
            await client.shutdown("C/9")
            assert await client.find_devices("C/9") == []
            assert [item.server_id for item in await client.find_servers("S/1")] == ["S/1"]
            assert "Counter" in await client.classes("S/1")
            await client.shutdown("S/1")
            assert await client.find_servers("S/1") == []
        assert [item.device_id for item in await afind_devices("S/*")] == ["S/0"]
        counter = await ainstantiate("S/0", "Counter", "C/7")
        assert counter.is_live
        await ashutdown("C/7")
        await adisconnect_all()

    asyncio.run(scenario())
    processes.reap(server)


def test_news_of_devices_that_come_and_go(processes: Processes) -> None:
    processes.start("S/0", directory=True)
    processes.start("S/1", "C/1")
    news = devices_changed("C/*", timeout_s=60)
    first = next(news)
    assert (first.device_id, first.is_there, first.record.server_id) == ("C/1", True, "S/1")
    instantiate("S/1", "Counter", "C/2")
    second = next(news)
    assert (second.device_id, second.is_there) == ("C/2", True)
    shutdown("C/1")
    third = next(news)
    assert (third.device_id, third.is_there, third.record.class_id) == ("C/1", False, "Counter")
    news.close()

    async def scenario() -> None:
        async with Client() as client:
            seen: list[tuple[str, bool]] = []
            async for item in client.devices_changed("C/*"):
                seen.append((item.device_id, item.is_there))
                if len(seen) == 1:
                    await client.instantiate("S/0", "Counter", "C/3")
                elif len(seen) == 2:
                    await client.shutdown("C/2")
                else:
                    break
            assert seen == [("C/2", True), ("C/3", True), ("C/2", False)]

    asyncio.run(scenario())
