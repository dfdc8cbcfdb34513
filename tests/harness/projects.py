"""A project of each kind of item, and a store on each kind of database."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace

from pykarabo.data import to_json
from pykarabo_services.kernel.database import Database
from pykarabo_services.project.model import Author, Changes, Item, Kind, new_uuid
from pykarabo_services.project.store import STORE, DatabaseProjects
from tests.harness.databases import Databases

ADA = Author("ada@desk", 1_790_000_000_000_000_000)
BOB = Author("bob@hutch", 1_790_000_060_000_000_000)
SCENE = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="4"/></svg>'


def item(kind: Kind, name: str, parent: Item | None = None, **more: object) -> Item:
    """Return a new item."""
    given = {"uuid": new_uuid(), "parent": "" if parent is None else parent.uuid, **more}
    return Item(kind=kind, name=name, **given)  # type: ignore[arg-type]


def values(**keys: object) -> str:
    """Return the text of a configuration."""
    return to_json(dict(keys))


def example(name: str = "Overview", folder: str = "SPB/Optics") -> list[Item]:
    """Return a project with something of everything."""
    project = item(Kind.PROJECT, name, attributes={"folder": folder, "description": "All of it."})
    server = item(Kind.SERVER, "SPB/SERVER/1", project, attributes={"host": "exflcon1"})
    device = item(Kind.DEVICE, "SPB/MOTOR/1", server, attributes={"class_id": "SimulatedMotor"})
    fast = item(Kind.CONFIGURATION, "fast", device, text=values(velocity=2.5, name="ß"))
    slow = item(Kind.CONFIGURATION, "slow", device, text=values(velocity=0.1))
    device = replace(device, attributes={**device.attributes, "active": slow.uuid})
    return [
        project,
        item(Kind.SCENE, "Main", project, text=SCENE),
        item(Kind.SCENE, "Čerenkov", project, text=SCENE),
        item(Kind.MACRO, "scan", project, text="print('scan')\n"),
        server,
        device,
        fast,
        slow,
    ]


def named(items: list[Item], name: str) -> Item:
    """Return the item of a name."""
    return next(found for found in items if found.name == name)


class Shelf:
    """A store with one project in it, as several people use it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = DatabaseProjects(database)
        self.project = ""

    async def fill(self, items: list[Item] | None = None) -> list[Item]:
        """Save a project and return its items as they are stored."""
        given = items or example()
        await self.store.save(Changes(items=given), ADA)
        self.project = given[0].uuid
        return await self.load()

    async def load(self, project: str = "") -> list[Item]:
        """Return the items with their texts."""
        items = await self.store.items(project or self.project)
        texts = await self.store.texts([found.uuid for found in items], max_bytes=1 << 26)
        assert all(texts[found.uuid].version == found.version for found in items if found.size)
        return [
            replace(found, text=texts[found.uuid].text if found.uuid in texts else None)
            for found in items
        ]


@contextlib.asynccontextmanager
async def shelf(databases: Databases) -> AsyncGenerator[Shelf, None]:
    """Open a store."""
    database = Database(STORE, databases.place("projects"))
    await database.open()
    try:
        yield Shelf(database)
    finally:
        await asyncio.shield(database.aclose())
