"""Versions of configurations on SQLite and on PostgreSQL: nothing is overwritten."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from pykarabo.data import Configurable, Float64, String, VectorFloat64, same
from pykarabo.errors import LimitExceededError
from pykarabo_services.configuration.model import (
    MAX_CONTENT_BYTES,
    Action,
    Content,
    Saving,
    Version,
    Which,
    kept_schema,
)
from pykarabo_services.configuration.store import STORE, Configurations
from pykarabo_services.kernel.database import Database
from tests.harness.databases import Databases
from tests.harness.postgres import PostgresServer


class Motor(Configurable):
    velocity = Float64(unit="mm/s", default=5.0)
    steps = VectorFloat64()
    name = String()
    count = Float64(read_only=True)


SCHEMA = kept_schema(Motor.schema())


def _saving(name: str = "fast", device_id: str = "M/1", **more: Any) -> Saving:
    values = more.pop("values", {"velocity": 9.0})
    return Saving(device_id, name, more.pop("user", "ada"), Content(SCHEMA, values), **more)


@asynccontextmanager
async def _open(databases: Databases) -> AsyncGenerator[Configurations]:
    store = Configurations(Database(STORE, databases.place(STORE.name)))
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


def _facts(versions: list[Version]) -> list[tuple[str, int, str, bool]]:
    return [(item.name, item.number, item.action.value, item.active) for item in versions]


def test_every_save_is_a_version_and_none_is_overwritten(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:
            first = await store.save(_saving(comment="first", priority=3), 1_000)
            second = await store.save(_saving(values={"velocity": 1.0}, user="bob"), 2_000)
            assert (first.number, second.number) == (1, 2)
            assert (second.comment, second.priority) == ("first", 3)
        async with _open(databases) as store:
            history = await store.history("M/1", "fast")
            assert [(item.number, item.user, item.time_ns) for item in history] == [
                (2, "bob", 2_000),
                (1, "ada", 1_000),
            ]
            old = await store.find("M/1", Which("fast", number=1))
            then = await store.find("M/1", Which("fast", time_ns=1_999))
            latest = await store.find("M/1", Which("fast"))
            assert old is not None
            assert then == old
            assert latest is not None
            assert (old.content.values, latest.content.values) == (
                {"velocity": 9.0},
                {"velocity": 1.0},
            )
            assert await store.find("M/1", Which("fast", time_ns=999)) is None
            assert await store.find("M/1", Which("slow")) is None

    asyncio.run(check())


def test_values_and_schema_come_back_as_they_were(databases: Databases) -> None:
    values: dict[str, Any] = {
        "velocity": float("nan"),
        "steps": np.array([0.1, -np.inf]),
        "name": "\x00 ü ${X}",
    }

    async def check() -> None:
        async with _open(databases) as store:
            await store.save(_saving(values=values), 1)
            found = await store.find("M/1", Which("fast"))
            assert found is not None
            assert same(dict(found.content.values), values)
            assert found.content.schema.version == SCHEMA.version
            assert "count" not in found.content.schema.properties

    asyncio.run(check())


def test_one_configuration_of_a_device_is_the_active_one(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:
            await store.save(_saving("a", active=True), 1)
            await store.save(_saving("b", active=True, priority=5), 2)
            await store.save(_saving("c", device_id="M/2", active=True), 3)
            assert _facts(await store.current("M/1")) == [
                ("b", 1, "saved", True),
                ("a", 2, "described", False),
            ]
            await store.describe("M/1", "a", "eve", 4, action=Action.DESCRIBED, active=True)
            assert [(v.name, v.active) for v in await store.current("M/1")] == [
                ("b", False),
                ("a", True),
            ]
            history = await store.history("M/1", "b")
            assert (history[0].user, history[0].action) == ("eve", Action.DESCRIBED)
            assert [v.active for v in await store.current("M/2")] == [True]
            assert await store.devices() == ["M/1", "M/2"]

    asyncio.run(check())


def test_what_is_deleted_keeps_its_history_and_comes_back(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:
            await store.save(_saving(comment="good", active=True), 1)
            await store.describe("M/1", "fast", "eve", 2, action=Action.DELETED)
            assert await store.current("M/1") == []
            assert _facts(await store.current("M/1", deleted=True)) == [
                ("fast", 2, "deleted", False)
            ]
            assert await store.devices() == []
            again = await store.describe("M/1", "fast", "eve", 3, action=Action.DELETED)
            assert again is None
            back = await store.describe("M/1", "fast", "bob", 4, action=Action.RESTORED)
            assert back is not None
            assert (back.comment, back.active, back.number) == ("good", True, 3)
            assert await store.describe("M/1", "no", "bob", 5, action=Action.RESTORED) is None
            assert _facts(await store.history("M/1", "fast")) == [
                ("fast", 3, "restored", True),
                ("fast", 2, "deleted", False),
                ("fast", 1, "saved", True),
            ]
            found = await store.find("M/1", Which("fast"))
            assert found is not None
            assert found.content.values == {"velocity": 9.0}

    asyncio.run(check())


def test_the_mark_comes_back_where_no_other_one_has_it_now(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:

            async def change(name: str, action: Action) -> bool:
                version = await store.describe("M/1", name, "eve", 9, action=action)
                assert version is not None
                return version.active

            await store.save(_saving("plain"), 1)
            await store.save(_saving("old", active=True), 2)
            for name in ("plain", "old"):
                await change(name, Action.DELETED)
            assert await change("plain", Action.RESTORED) is False
            await store.save(_saving("new", active=True), 3)
            assert await change("old", Action.RESTORED) is False
            assert await change("new", Action.DELETED) is False
            assert await change("new", Action.RESTORED) is True
            active = [item.name for item in await store.current("M/1") if item.active]
            assert active == ["new"]

    asyncio.run(check())


def test_a_versions_own_time_names_it_where_the_clock_was_put_back(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:
            for number, time_ns in enumerate((100, 50, 70), 1):
                saved = await store.save(_saving(), time_ns)
                assert saved.number == number
            for time_ns, number in ((50, 2), (60, 2), (70, 3), (99, 3), (100, 1)):
                found = await store.find("M/1", Which("fast", time_ns=time_ns))
                assert found is not None
                assert found.version.number == number

    asyncio.run(check())


def test_many_are_read_in_parts(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:
            for name in ("a", "b", "c"):
                await store.save(_saving(name, values={"name": name * 100_000}), 1)
            names = ["a", "no", "b", "c"]
            found = await store.latest("M/1", names, max_bytes=250_000)
            assert list(found) == ["a", "no", "b"]
            assert found["no"] is None
            assert list(await store.latest("M/1", names[2:], max_bytes=1)) == ["b"]
            assert await store.latest("M/1", [], max_bytes=1) == {}
            for number in range(2, 6):
                await store.save(_saving("a"), number)
            pages = [
                await store.history("M/1", "a", limit=2),
                await store.history("M/1", "a", before=4, limit=2),
                await store.history("M/1", "a", before=2),
            ]
            numbers = [[version.number for version in page] for page in pages]
            assert numbers == [[5, 4], [3, 2], [1]]

    asyncio.run(check())


def test_saves_at_the_same_time_are_versions_one_after_the_other(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:
            saved = await asyncio.gather(
                *(store.save(_saving(values={"velocity": float(n)}), n) for n in range(20))
            )
            assert sorted(version.number for version in saved) == list(range(1, 21))

    asyncio.run(check())


def test_two_stores_of_one_server_add_versions_one_after_the_other(
    postgres_server: PostgresServer,
) -> None:
    place = Databases(
        "postgresql", postgres_server.url, f"t{secrets.token_hex(6)}", postgres_server
    )

    async def check() -> None:
        async with _open(place) as one, _open(place) as other:
            saved = await asyncio.gather(
                *(
                    store.save(_saving(name, values={"velocity": float(n)}, active=True), n)
                    for n in range(20)
                    for store, name in ((one, "a"), (other, "a"), (other, "b"))
                )
            )
            numbers = [version.number for version in saved if version.name == "a"]
            assert len(set(numbers)) == 40
            assert len([item for item in await one.current("M/1") if item.active]) == 1

    asyncio.run(check())


def test_what_is_too_large_is_refused(databases: Databases) -> None:
    async def check() -> None:
        async with _open(databases) as store:
            for text in ("x" * MAX_CONTENT_BYTES, "ü" * (MAX_CONTENT_BYTES // 2)):
                with pytest.raises(LimitExceededError, match="'fast' of 'M/1' is too large"):
                    await store.save(_saving(values={"name": text}), 1)
            assert await store.devices() == []

    asyncio.run(check())
