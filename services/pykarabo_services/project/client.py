"""Projects from the side of a client: whole ones, in as many messages as it takes, kept to read.

What was loaded last is kept in the cache directory of the domain, so that it can be read where the
project store cannot be reached. It is only read from there when one asks for it.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pykarabo.client import BlockingClient, DeviceProxy
from pykarabo.data import from_json
from pykarabo.errors import (
    ChangedMeanwhileError,
    PykaraboError,
    UnknownDeviceError,
    UnknownItemError,
    did_you_mean,
)
from pykarabo.transport import cache_directory

from .files import ARCHIVE_SUFFIX, from_files, read_files, to_files, write_archive
from .model import TEXTS, Changes, Item, Kind, VersionedText, check_uuid

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

    def __init__(self, store: DeviceProxy, *, cache: "ProjectCache | None" = None) -> None:
        self._store = store
        self._cache = ProjectCache() if cache is None else cache

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
        return _resolve(project, {r["uuid"]: (r["folder"], r["name"]) for r in records})

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
        waiting = _below(outer)
        known = {record["uuid"] for record in self.records()}
        while waiting:
            uuid = waiting.pop()
            if uuid in known and uuid not in others and uuid != project:
                others[uuid] = self.load(uuid)
                waiting += _below(others[uuid])
        return outer, others

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


def _below(items: Sequence[Item]) -> list[str]:
    return [item.attributes["project"] for item in items if item.kind is Kind.SUBPROJECT]


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


def _resolve(project: str, known: Mapping[str, tuple[str, str]]) -> str:
    if project in known:
        return check_uuid(project)
    found = [
        uuid for uuid, (folder, name) in known.items() if project in (name, f"{folder}/{name}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(f"{known[uuid][0]}/{known[uuid][1]} ({uuid})" for uuid in found)
        raise UnknownItemError(
            f"several projects are called '{project}': {places}", remedy="name one by its uuid"
        )
    hint = did_you_mean(project, [name for _folder, name in known.values()])
    raise UnknownItemError(
        f"there is no project '{project}'", remedy=hint or "see all: pykarabo project list"
    )


@dataclass(frozen=True, slots=True)
class StartedDevice:
    """What became of one device of a project.

    Args:
        outcome: ``started``, ``online`` already, ``incompatible`` (another class or server has the
            id), ``no server``, or ``failed``.
    """

    device_id: str
    server_id: str
    outcome: str
    error: PykaraboError | None = None


def instantiate_devices(
    client: BlockingClient, items: Sequence[Item], pattern: str = "*"
) -> Iterator[StartedDevice]:
    """Start the devices of a project whose ids match, each with its active configuration.

    They are started on the servers that the project names, in its order; whoever calls needs the
    right to it.
    """
    by_uuid = {item.uuid: item for item in items}
    for item in items:
        if item.kind is Kind.DEVICE and fnmatchcase(item.name, pattern):
            active = by_uuid.get(item.attributes.get("active", ""))
            yield _start(client, item, by_uuid[item.parent].name, active)


def _start(
    client: BlockingClient, device: Item, server_id: str, active: Item | None
) -> StartedDevice:
    class_id = device.attributes.get("class_id", "")
    running = {record.device_id: record for record in client.topology(device.name)}
    record = running.get(device.name)
    if record is not None:
        same = (record.class_id, record.server_id) == (class_id, server_id)
        return StartedDevice(device.name, server_id, "online" if same else "incompatible")
    if server_id not in {server.server_id for server in client.servers()}:
        return StartedDevice(device.name, server_id, "no server")
    values: Any = {} if active is None or not active.text else from_json(active.text)
    try:
        client.device(server_id).call(
            "instantiate", class_id, device.name, dict(values), timeout_s=TIMEOUT_S
        )
    except PykaraboError as error:
        return StartedDevice(device.name, server_id, "failed", error)
    return StartedDevice(device.name, server_id, "started")


@dataclass(frozen=True, slots=True)
class KeptProject:
    """A project as it was when it was loaded last, in ns since 1970."""

    items: list[Item]
    loaded_ns: int


class ProjectCache:
    """Copies of projects that were loaded, to read where the store cannot be reached."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = cache_directory() / "projects" if folder is None else folder

    def keep(self, items: Sequence[Item]) -> None:
        """Keep a copy; where none can be written, there is none."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_archive(to_files(items), self._path(items[0].uuid))
        except OSError:
            return

    def _path(self, uuid: str) -> Path:
        return self._folder / f"{check_uuid(uuid)}{ARCHIVE_SUFFIX}"

    def kept(self) -> list[KeptProject]:
        """Return all copies that can be read, by folder and name."""
        found = [
            KeptProject(items, path.stat().st_mtime_ns)
            for path in sorted(self._folder.glob(f"*{ARCHIVE_SUFFIX}"))
            if (items := _read(path))
        ]
        return sorted(
            found, key=lambda kept: (kept.items[0].attributes.get("folder", ""), kept.items[0].name)
        )

    def load(self, project: str) -> KeptProject:
        """Return the copy of a project, by uuid, name or FOLDER/NAME.

        Raises:
            UnknownItemError: none was kept.
        """
        kept = {item.items[0].uuid: item for item in self.kept()}
        places = {
            uuid: (item.items[0].attributes.get("folder", ""), item.items[0].name)
            for uuid, item in kept.items()
        }
        return kept[_resolve(project, places)]


def _read(path: Path) -> list[Item]:
    try:
        return from_files(read_files(path), name=str(path))[0]
    except PykaraboError:  # a copy that one cannot read is none
        return []
