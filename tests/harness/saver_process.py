"""Saves a project again and again until it is killed; a child does, so that it costs little.

Reads lines ``URL DOMAIN NUMBER`` and forks a child that saves the project as state NUMBER + 1,
NUMBER + 2 and so on. Writes ``pid N`` for the child, ``saved N`` for each state that the database
has acknowledged, and ``ended`` when the child is gone.
"""

import asyncio
import os
import sys
import tempfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from pykarabo_services.kernel.database import Database, Place, migrate, place_of
from pykarabo_services.project.model import Author, Changes, Item, Kind
from pykarabo_services.project.store import STORE, DatabaseProjects
from pykarabo_services.project.trees import changes_between

_UUID = "00000000-0000-4000-8000-{:012d}"
_SCENES = 15


def state(number: int) -> list[Item]:
    """Return the project in one of its states: everything in it tells which."""
    root = Item(
        uuid=_UUID.format(0), kind=Kind.PROJECT, name=f"Project {number}",
        attributes={"description": str(number)},
    )  # fmt: skip
    scenes = [
        Item(
            uuid=_UUID.format(index + 1),
            kind=Kind.SCENE,
            name=f"{number}-{index}",
            parent=root.uuid,
            # The order differs from state to state.
            position=(index + number) % _SCENES,
            text=f'<svg width="{number}"><!--{"x" * 500 * index}--></svg>',
        )
        for index in range(_SCENES)
    ]
    # Another one with each state, and that of the state before is gone.
    extra = Item(
        uuid=_UUID.format(1000 + number), kind=Kind.MACRO, name="extra", parent=root.uuid,
        text=str(number),
    )  # fmt: skip
    return [root, *scenes, extra]


async def load(store: DatabaseProjects) -> list[Item]:
    """Return the stored project with its texts; nothing where it was never saved."""
    if not await store.projects():
        return []
    items = await store.items(_UUID.format(0))
    texts = await store.texts([item.uuid for item in items], max_bytes=1 << 26)
    return [
        replace(item, text=texts[item.uuid].text if item.uuid in texts else None) for item in items
    ]


async def _save_for_ever(url: str, domain: str, number: int) -> None:
    database = Database(STORE, place_of(STORE.name, url=url, domain=domain))
    await database.open()
    store = DatabaseProjects(database)
    while True:
        number += 1
        changes = changes_between(await load(store), state(number))
        await store.save(_ordered(changes, number), Author("saver@host", number))
        print(f"saved {number}", flush=True)


def _ordered(changes: Changes, number: int) -> Changes:
    scenes = sorted(
        (item for item in state(number) if item.kind is Kind.SCENE), key=lambda item: item.position
    )
    order = {scenes[0].parent: [item.uuid for item in scenes]}
    return replace(changes, order=order)


def _warm_up() -> None:
    """Import what opening a database does, once for all children."""
    with tempfile.TemporaryDirectory() as folder:
        migrate(STORE, Place(Path(folder) / "warm.db"))
    import_module("sqlalchemy.dialects.postgresql.psycopg")


def main() -> None:
    """Fork a child for each line."""
    _warm_up()
    for line in sys.stdin:
        url, domain, number = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(_save_for_ever(url, domain, int(number)))
        print(f"pid {child}", flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
