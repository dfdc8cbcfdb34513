"""Projects from the side of a client: whole ones, in as many messages as it takes, kept to read.

What was loaded last is kept in the cache directory of the domain, so that it can be read where the
project store cannot be reached. It is only read from there when one asks for it.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pykarabo.client import BlockingClient, DeviceProxy
from pykarabo.errors import ChangedMeanwhileError, UnknownDeviceError

from .cache import ProjectCache
from .model import TEXTS, Changes, Item, VersionedText
from .trees import below, resolve

STORE_CLASS: Final = "ProjectStore"
TIMEOUT_S: Final = 30.0
"""A large project is some messages and a transaction."""
PART_BYTES: Final = 5 * 2**20
"""Of one message, with room for what is around the texts; a text may have 4 MiB."""
PART_ITEMS: Final = 1_000
_ITEM_BYTES: Final = 1_000
_UUID_BYTES: Final = 100
_UUIDS: Final = 20
"""How many of an order stand for one item: it has as many values."""
_ITEM_S: Final = 0.005
"""What saving an item takes at most."""
_LOADS: Final = 20
"""A project that is changed all the time is loaded so often until it was left alone once."""


def project_store(client: BlockingClient, device_id: str | None = None) -> DeviceProxy:
    """Return the domain's project store, or the one that is named.

    Raises:
        UnknownDeviceError: there is none, or several.
    """
    if device_id is not None:
        return client.device(device_id)
    found = [record for record in client.topology() if record.class_id == STORE_CLASS]
    if len(found) != 1:
        names = ", ".join(record.device_id for record in found)
        raise UnknownDeviceError(
            f"there are several project stores: {names}" if found else "there is no project store",
            remedy="name one with --store"
            if found
            else f"start one: pykarabo instantiate {STORE_CLASS} PROJECTS --server SERVER",
        )
    return client.device(found[0].device_id)


class Projects:
    """The projects of a store, or those that were kept of it."""

    def __init__(self, store: DeviceProxy, *, cache: ProjectCache | None = None) -> None:
        self._store = store
        self._cache = ProjectCache() if cache is None else cache

    @property
    def store(self) -> DeviceProxy:
        """The device that keeps them."""
        return self._store

    def records(self, **options: Any) -> list[dict[str, Any]]:
        """Return all of what the command `list_projects` lists."""
        return self._all("list_projects", "projects", options)

    def find(self, **patterns: str) -> list[dict[str, Any]]:
        """Return all of what the command `find_items` finds."""
        return self._all("find_items", "items", patterns)

    def _all(self, command: str, rows: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            answer = self._store.call(command, timeout_s=TIMEOUT_S, **options, after=after)
            found += answer[rows]
            after = answer["next"]
            if not after:
                return found

    def resolve(self, project: str, *, trashed: bool = False) -> str:
        """Return the uuid of a project that is named by it, by its name or by FOLDER/NAME.

        Raises:
            UnknownItemError: there is none, or several.
        """
        records = self.records(trashed=trashed)
        return resolve(project, {r["uuid"]: (r["folder"], r["name"]) for r in records})

    def load(self, project: str) -> list[Item]:
        """Return a project's items with their texts, and keep a copy of them to read.

        They are of one moment: what somebody saves in between is loaded again.

        Raises:
            ChangedMeanwhileError: it was changed again and again while it was loaded.
        """
        known: dict[str, VersionedText] = {}
        for _ in range(_LOADS):
            items = self._items(project)
            if items is not None and self._fetch(items, known):
                break
        else:
            raise ChangedMeanwhileError(
                f"project {project} was changed {_LOADS} times while it was loaded",
                remedy="load it again",
            )
        loaded = [
            replace(item, text=known[item.uuid].text if item.size else "")
            if item.kind in TEXTS
            else item
            for item in items
        ]
        self._cache.keep(loaded)
        return loaded

    def _items(self, project: str) -> list[Item] | None:
        """Return a project's items without texts; None where somebody has changed it in between."""
        wires: list[Any] = []
        states: set[str] = set()
        start = 0
        while True:
            answer = self._store.call("load_project", project, start, timeout_s=TIMEOUT_S)
            wires += answer["items"]
            states.add(answer["state"])
            if len(states) > 1:
                return None
            start = answer["next"]
            if not start:
                return [Item.from_wire(wire) for wire in wires]

    def _fetch(self, items: Sequence[Item], known: dict[str, VersionedText]) -> bool:
        """Fetch the texts that are not known yet; return whether all are those of the items."""
        wanted = {item.uuid: item.version for item in items if item.kind in TEXTS and item.size}
        missing = [u for u, version in wanted.items() if u not in known or known[u][0] != version]
        while missing:
            answer: Mapping[str, Any] = self._store.call(
                "load_texts", missing[:PART_ITEMS], timeout_s=TIMEOUT_S
            )
            known.update({uuid: VersionedText(**text) for uuid, text in answer.items()})
            if any(known[uuid].version != wanted[uuid] for uuid in answer) or not answer:
                return False  # somebody has saved or removed them meanwhile
            missing = [uuid for uuid in missing if uuid not in answer]
        return True

    def load_all(self, project: str) -> tuple[list[Item], dict[str, list[Item]]]:
        """Return a project and, by their uuids, all projects below it that there are."""
        outer = self.load(project)
        others: dict[str, list[Item]] = {}
        waiting = below(outer)
        known = {record["uuid"] for record in self.records()}
        while waiting:
            uuid = waiting.pop()
            if uuid in known and uuid not in others and uuid != project:
                others[uuid] = self.load(uuid)
                waiting += below(others[uuid])
        return outer, others

    def put(self, project: str, *, name: str | None = None, folder: str | None = None) -> Item:
        """Give a project another name or folder, and return its root as it is then."""
        first = self._store.call("load_project", project, timeout_s=TIMEOUT_S)["items"][0]
        root = Item.from_wire(first)
        attributes = dict(root.attributes) | ({} if folder is None else {"folder": folder})
        root = replace(root, name=root.name if name is None else name, attributes=attributes)
        self.save(Changes(items=[root]))
        return root

    def save(self, changes: Changes, *, overwrite: bool = False) -> dict[str, int]:
        """Save, in as many messages as it takes; all of it is done, or nothing."""
        *first, last = list(_in_parts(changes))
        token = secrets.token_hex(16) if first else ""
        for part in first:
            self._store.call("stage_changes", token, part.to_wire(), timeout_s=TIMEOUT_S)
        timeout_s = TIMEOUT_S + (len(changes.items) + len(changes.removed)) * _ITEM_S
        versions: dict[str, int] = self._store.call(
            "save_changes", last.to_wire(), token, overwrite, timeout_s=timeout_s
        )
        return versions


def _in_parts(changes: Changes) -> Iterator[Changes]:
    """Yield changes in parts that fit into one message each; one at least."""
    pieces: list[tuple[int, int, Changes]] = [
        (1, _size_of(item), Changes(items=[item])) for item in changes.items
    ]
    for uuid, version in changes.removed.items():
        pieces.append((1, _UUID_BYTES, Changes(removed={uuid: version})))
    for parent, children in changes.order.items():
        versions = {parent: changes.parents[parent]} if parent in changes.parents else {}
        piece = Changes(order={parent: children}, parents=versions)
        pieces.append((len(children) // _UUIDS, len(children) * _UUID_BYTES, piece))
    part: list[Changes] = []
    number = nbytes = 0
    for count, size, piece in pieces:
        if part and (number + count > PART_ITEMS or nbytes + size > PART_BYTES):
            yield _joined(part)
            part, number, nbytes = [], 0, 0
        part.append(piece)
        number += count
        nbytes += size
    yield _joined(part)


def _joined(parts: Sequence[Changes]) -> Changes:
    return Changes(
        items=[item for part in parts for item in part.items],
        removed={uuid: version for part in parts for uuid, version in part.removed.items()},
        order={parent: order for part in parts for parent, order in part.order.items()},
        parents={uuid: version for part in parts for uuid, version in part.parents.items()},
    )


def _size_of(item: Item) -> int:
    written = "".join((item.text or "", item.name, *item.attributes.values()))
    return len(written.encode()) + _ITEM_BYTES
