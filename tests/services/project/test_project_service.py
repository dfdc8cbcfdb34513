"""The project store in a domain: rights, events, large saves, a database that comes and goes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykarabo.client import AsyncDeviceProxy, Client, EventWatch
from pykarabo.data import AccessLevel, State
from pykarabo.errors import (
    BadConfigurationError,
    ChangedMeanwhileError,
    DatabaseUnavailableError,
    DeniedError,
    WrongTypeError,
)
from pykarabo.testing import MemoryFacility, async_test, run_facility
from pykarabo.transport import MemoryTransport
from pykarabo_services.kernel.database import URL_VARIABLE
from pykarabo_services.project.main import ProjectStore
from pykarabo_services.project.model import Changes, Item, Kind, new_uuid
from tests.harness.databases import Databases
from tests.harness.postgres import PostgresServer
from tests.harness.projects import SCENE, example, item, named

STORE = "TEST/PROJECTS"
WELL_S = 10.0
LONG_S = 60.0


@contextlib.asynccontextmanager
async def facility(url: str) -> AsyncGenerator[tuple[MemoryFacility, AsyncDeviceProxy]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, url)
        async with run_facility({"ProjectStore": ProjectStore}) as running:
            await running.server.instantiate("ProjectStore", STORE)
            yield running, await running.client.device(STORE)


async def load(store: AsyncDeviceProxy, project: str) -> list[Item]:
    answer = await store.call("load_project", project)
    assert answer["next"] == 0
    return [Item.from_wire(wire) for wire in answer["items"]]


async def listed(store: AsyncDeviceProxy, **options: Any) -> list[Any]:
    answer = await store.call("list_projects", **options)
    assert answer["next"] == ""
    found: list[Any] = answer["projects"]
    return found


@async_test
async def test_project_is_saved_listed_loaded_and_found(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (_running, store):
        project = example()
        versions = await store.call("save_changes", Changes(items=project).to_wire())
        assert set(versions.values()) == {1}
        [record] = await listed(store, folder="SPB", name="Over*")
        assert record["uuid"] == project[0].uuid
        assert "@" in record["saved_by"]
        assert await store.call("folders") == ["SPB/Optics"]
        items = await load(store, project[0].uuid)
        assert [found.name for found in items][:2] == ["Overview", "Main"]
        assert all(found.text is None for found in items)
        scene = named(items, "Main").uuid
        assert await store.call("load_texts", [scene]) == {scene: {"version": 1, "text": SCENE}}
        [match] = (await store.call("find_items", device="SPB/MOTOR/*"))["items"]
        assert (match["project_name"], match["kind"]) == ("Overview", "device")
        [record] = await listed(store)
        assert record["last_loaded_ns"] > 0
        values = await store.get("projects", "saves", "state", "database")
        assert (values["projects"], values["saves"], values["state"]) == (1, 1, State.ON)
        assert "projects" in values["database"]


@async_test
async def test_C2_conflict_travels_with_who_and_when_and_is_counted(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (_running, store):
        project = example()
        await store.call("save_changes", Changes(items=project).to_wire())
        scene = named(await load(store, project[0].uuid), "Main")
        changes = Changes(items=[scene]).to_wire()
        await store.call("save_changes", changes)
        with pytest.raises(ChangedMeanwhileError, match="scene 'Main' was saved by") as caught:
            await store.call("save_changes", changes)
        [conflict] = caught.value.details["conflicts"]
        assert (conflict["name"], conflict["version"]) == ("Main", 2)
        assert (await store.get("conflicts"))["conflicts"] == 1


@async_test
async def test_other_clients_are_told_what_was_changed_by_whom(
    short_runtime: Path, databases: Databases
) -> None:
    async with (
        facility(databases.url) as (running, store),
        EventWatch(running.client, STORE, "changed") as events,
    ):
        project = example()
        uuid = project[0].uuid
        await store.call("save_changes", Changes(items=project).to_wire())
        scene = named(await load(store, uuid), "Main")
        await store.call("save_changes", Changes(items=[scene]).to_wire())
        await store.call("trash_project", uuid)
        await store.call("restore_project", uuid)
        copy = await store.call("duplicate_project", uuid, "Copy")
        told: list[Any] = [await anext(events) for _ in range(5)]
        assert [(event.arguments["project"], event.arguments["what"]) for event in told] == [
            *((uuid, what) for what in ("created", "saved", "trashed", "restored")),
            (copy, "created"),
        ]
        assert told[1].arguments["items"] == [scene.uuid]
        assert all("@" in event.arguments["by"] for event in told)


@async_test
async def test_save_in_parts_is_done_as_one(short_runtime: Path, databases: Databases) -> None:
    async with facility(databases.url) as (_running, store):
        root, *others = example()
        await store.call("stage_changes", "t", Changes(items=[root]).to_wire())
        await store.call("stage_changes", "t", Changes(items=others[:2]).to_wire())
        assert await listed(store) == []
        last = Changes(items=others[2:]).to_wire()
        versions = await store.call("save_changes", last, token="t")
        assert len(versions) == 8
        with pytest.raises(Exception, match="not there any more"):
            await store.call("save_changes", last, token="t")


@async_test
async def test_texts_of_many_scenes_come_in_several_answers(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (_running, store):
        root = item(Kind.PROJECT, "Big")
        text = SCENE.replace("</svg>", f"<!--{'x' * 3_000_000}--></svg>")
        scenes = [item(Kind.SCENE, f"s{n}", root, text=text) for n in range(3)]
        for part in ([root], *([scene] for scene in scenes)):
            await store.call("stage_changes", "t", Changes(items=part).to_wire())
        await store.call("save_changes", Changes().to_wire(), token="t")
        wanted = [scene.uuid for scene in scenes]
        first = await store.call("load_texts", wanted)
        assert list(first) == wanted[:1]
        assert list(await store.call("load_texts", wanted[1:])) == wanted[1:2]


@async_test
async def test_project_of_as_many_items_as_it_may_have_comes_in_several_answers(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (_running, store):
        root = item(Kind.PROJECT, "Big")
        server = item(Kind.SERVER, "A/B/1", root)
        words = {"class_id": "Motor"}
        devices = [item(Kind.DEVICE, f"A/D/{n}", server, attributes=words) for n in range(9_998)]
        whole = [root, server, *devices]
        for start in range(0, len(whole), 1000):
            part = Changes(items=whole[start : start + 1000]).to_wire()
            await store.call("stage_changes", "t", part, timeout_s=LONG_S)
        await store.call("save_changes", Changes().to_wire(), token="t", timeout_s=LONG_S)
        names: list[str] = []
        states: set[str] = set()
        start = calls = 0
        while start or not calls:
            answer = await store.call("load_project", root.uuid, start, timeout_s=LONG_S)
            names += [wire["name"] for wire in answer["items"]]
            states.add(answer["state"])
            start, calls = answer["next"], calls + 1
        assert names == [found.name for found in whole]
        assert len(states) == 1
        assert calls > 2
        changed = Changes(items=[replace(devices[7], version=1)]).to_wire()
        await store.call("save_changes", changed, timeout_s=LONG_S)
        last = await store.call("load_project", root.uuid, 9_999, timeout_s=LONG_S)
        assert last["state"] not in states
        found: list[str] = []
        after = ""
        while after or not found:
            answer = await store.call("find_items", device="A/D/*", after=after, timeout_s=LONG_S)
            found += [match["name"] for match in answer["items"]]
            after = answer["next"]
        assert sorted(found) == sorted(device.name for device in devices)


@async_test
async def test_descriptions_that_are_large_together_come_in_several_answers(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (_running, store):
        words = {"description": "ß" * 4000}
        whole = [item(Kind.PROJECT, f"p{n:04}", attributes=words) for n in range(700)]
        for start in range(0, len(whole), 350):
            part = Changes(items=whole[start : start + 350]).to_wire()
            await store.call("stage_changes", "t", part, timeout_s=LONG_S)
        await store.call("save_changes", Changes().to_wire(), token="t", timeout_s=LONG_S)
        first = await store.call("list_projects", timeout_s=LONG_S)
        second = await store.call("list_projects", after=first["next"], timeout_s=LONG_S)
        assert second["next"] == ""
        names = [record["name"] for record in (*first["projects"], *second["projects"])]
        assert names == [project.name for project in whole]


@async_test
async def test_observer_reads_and_changes_nothing(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (running, store):
        project = example()
        await store.call("save_changes", Changes(items=project).to_wire())
        uuid = project[0].uuid
        async with Client(
            transport=MemoryTransport(running.network),
            directory=running.server.record().rpc,
            role=AccessLevel.OBSERVER,
        ) as client:
            watcher = await client.device(STORE)
            assert len((await watcher.call("load_project", uuid))["items"]) == 8
            for command, *arguments in (
                ("save_changes", Changes().to_wire()),
                ("stage_changes", "t", Changes().to_wire()),
                ("trash_project", uuid),
                ("restore_project", uuid),
                ("duplicate_project", uuid, "x"),
            ):
                with pytest.raises(DeniedError):
                    await watcher.call(command, *arguments)


@async_test
async def test_audit_log_tells_names_and_sizes_instead_of_texts(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (running, _store):
        device = next(item for item in running.server.devices if item.device_id == STORE)
        changes = Changes(items=example(), removed={new_uuid(): 3}).to_wire()
        told = device.told_arguments("save_changes", {"changes": changes, "overwrite": True})
        assert told["overwrite"] is True
        assert "scene Main" in told["changes"]["saved"]
        assert told["changes"]["bytes"] > len(SCENE) * 2
        assert SCENE not in str(told)
        told = device.told_arguments("save_changes", {"changes": {"items": 7}})
        assert "no changes" in told["changes"]
        assert device.told_arguments("trash_project", {"project": "x"}) == {"project": "x"}


@async_test
async def test_bad_calls_are_refused_with_what_helps(
    short_runtime: Path, databases: Databases
) -> None:
    async with facility(databases.url) as (_running, store):
        with pytest.raises(WrongTypeError, match=r"'\.\./\.\./x' is no uuid"):
            await store.call("load_project", "../../x")
        with pytest.raises(Exception, match="there is no project"):
            await store.call("load_project", new_uuid())
        with pytest.raises(BadConfigurationError, match="nothing to look for"):
            await store.call("find_items")
        with pytest.raises(BadConfigurationError, match="ask for 10000 at most"):
            await store.call("load_texts", [new_uuid()] * 10_001)


@async_test
async def test_store_starts_without_its_database_and_goes_on_when_it_comes(
    short_runtime: Path, own_postgres: PostgresServer
) -> None:
    own_postgres.stop()
    async with facility(own_postgres.url) as (_running, store):
        values = await store.get("state", "status")
        assert values["state"] == State.ERROR
        assert "connection" in values["status"]
        with pytest.raises(DatabaseUnavailableError):
            await store.call("list_projects")
        await asyncio.to_thread(own_postgres.start)
        async with asyncio.timeout(WELL_S):
            while (await store.get("state"))["state"] != State.ON:
                await asyncio.sleep(0.02)
        await store.call("save_changes", Changes(items=example()).to_wire())
