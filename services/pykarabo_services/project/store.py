"""Projects in a database; meets `model.ProjectStorage`."""

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from sqlalchemy import Connection, RowMapping, func, select, update

from pykarabo.errors import InvalidNameError, UnknownItemError
from pykarabo_services.kernel.database import DEADLINE_S, Database

from ._contents import checked
from ._saving import Saving, check_project, in_parts, lock_items, rows_of_project, to_stored
from .model import (
    Author,
    Changes,
    Item,
    Kind,
    Match,
    ProjectRecord,
    Saved,
    VersionedText,
    check_folder,
    check_name,
)
from .tables import ITEMS, PROJECTS, STORE
from .trees import in_tree_order, placed_copies

__all__ = ["STORE", "DatabaseProjects"]


_DUPLICATE_S: Final = 60.0
"""Projects of tens of thousands of items are read and written."""
_ITEM_S: Final = 0.002
"""What saving an item takes at most; a client waits longer."""


class DatabaseProjects:
    """Projects in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def projects(self, *, trashed: bool = False) -> list[ProjectRecord]:
        """Return all projects, by folder and name; those in the trash, or those that are not."""
        return await self._database.read(lambda connection: _projects(connection, trashed))

    async def items(self, project: str) -> list[Item]:
        """Return a project's items without texts, each behind its parent, in their order.

        Raises:
            UnknownItemError: there is no such project.
        """
        rows = await self._database.read(lambda connection: rows_of_project(connection, project))
        if not rows:
            raise _unknown_project(project)
        return in_tree_order([_item(row) for row in rows])

    async def texts(self, items: Collection[str], *, max_bytes: int) -> dict[str, VersionedText]:
        """Return texts, as many as fit; at least one."""
        return await self._database.read(lambda connection: _texts(connection, items, max_bytes))

    async def save(self, changes: Changes, author: Author, *, overwrite: bool = False) -> Saved:
        """Do all of the changes or nothing.

        Raises:
            ChangedMeanwhileError: tells who saved what since the caller has read it.
            BadInputError: names what is wrong.
        """
        good = await asyncio.to_thread(_checked, changes)
        return await self._database.write(
            lambda connection: Saving(connection, good, author, overwrite).run(),
            deadline_s=DEADLINE_S + (len(changes.items) + len(changes.removed)) * _ITEM_S,
        )

    async def set_trashed(
        self,
        project: str,
        author: Author,
        *,
        trashed: bool,
        name: str | None = None,
        folder: str | None = None,
    ) -> None:
        """Put a project into the trash, or take it out, to another name or folder if need be."""
        if name is not None:
            check_name(name, Kind.PROJECT)
        check_folder(folder or "")

        def run(connection: Connection) -> None:
            _set_trashed(connection, project, author, trashed)
            if name is not None or folder is not None:
                _put(connection, project, name, folder)
            if trashed:
                return
            try:
                check_project(connection, project)
            except InvalidNameError as error:
                error.remedy = (
                    f"restore it to another place: pykarabo project restore {project} "
                    "--name NAME, or --folder FOLDER"
                )
                raise

        await self._database.write(run)

    async def note_loaded(self, project: str, *, at_ns: int) -> None:
        """Note when a project was loaded last."""
        statement = update(PROJECTS).where(PROJECTS.c.uuid == project)
        await self._database.write(
            lambda connection: connection.execute(statement.values(last_loaded_ns=at_ns))
        )

    async def duplicate(
        self, project: str, author: Author, *, name: str, folder: str | None, alone: bool = False
    ) -> list[str]:
        """Copy a project and those below it; return the uuids of the copies, the outer first.

        The copies of those below keep their names, or get a number where one is taken.

        Args:
            folder: of all copies; None: each lies beside what it is a copy of.
            alone: the copy refers to the same projects below it.
        """
        check_name(name, Kind.PROJECT)
        check_folder(folder or "")

        def run(connection: Connection) -> list[str]:
            lock_items(connection)
            found = _loaded(connection, project, alone=alone)
            copies = placed_copies(found, _taken(connection), name=name, folder=folder)
            for items in copies:
                Saving(connection, Changes(items=items), author).run()
            return [items[0].uuid for items in copies]

        return await self._database.write(run, deadline_s=_DUPLICATE_S)

    async def find(self, patterns: Mapping[Kind, str], *, class_id: str = "") -> list[Match]:
        """Return the items whose name matches the pattern of their kind, and devices of a class."""
        return await self._database.read(lambda connection: _find(connection, patterns, class_id))


def _checked(changes: Changes) -> Changes:
    return replace(changes, items=[checked(item) for item in changes.items])


def _unknown_project(project: str) -> UnknownItemError:
    return UnknownItemError(
        f"there is no project {project}", remedy="see what there is: pykarabo project list"
    )


def _item(row: RowMapping) -> Item:
    return Item(
        uuid=row["uuid"],
        kind=Kind(row["kind"]),
        name=row["name"],
        parent=row["parent"] or "",
        position=row["position"],
        version=row["version"],
        attributes=json.loads(row["attributes"]),
        size=row["size"],
        saved_ns=row["saved_ns"],
        saved_by=row["saved_by"],
    )


def _projects(connection: Connection, trashed: bool) -> list[ProjectRecord]:
    newest = (
        select(
            ITEMS.c.project,
            func.max(ITEMS.c.saved_ns).label("saved_ns"),
            func.count().label("number"),
        )
        .group_by(ITEMS.c.project)
        .subquery()
    )
    joined = ITEMS.join(PROJECTS, PROJECTS.c.uuid == ITEMS.c.uuid).join(
        newest, newest.c.project == ITEMS.c.uuid
    )
    statement = (
        select(
            *(ITEMS.c.uuid, ITEMS.c.name, ITEMS.c.version, ITEMS.c.saved_by, ITEMS.c.attributes),
            *(PROJECTS.c.folder, PROJECTS.c.trashed, PROJECTS.c.last_loaded_ns),
            *(newest.c.saved_ns, newest.c.number),
        )
        .select_from(joined)
        .where(PROJECTS.c.trashed.is_(trashed))
    )
    found = [_record(row) for row in connection.execute(statement).mappings()]
    savers = _last_savers(connection, found)
    found = [replace(record, saved_by=savers[record.uuid]) for record in found]
    return sorted(found, key=ProjectRecord.key)


def _record(row: RowMapping) -> ProjectRecord:
    description = json.loads(row["attributes"]).get("description", "")
    names = ("uuid", "name", "folder", "version", "saved_ns", "saved_by", "trashed")
    values = {name: row[name] for name in (*names, "last_loaded_ns")}
    return ProjectRecord(description=description, items=row["number"], **values)


def _last_savers(connection: Connection, records: Collection[ProjectRecord]) -> dict[str, str]:
    """Return who has saved something of each project last."""
    moments = {record.uuid: record.saved_ns for record in records}
    savers: dict[str, str] = {}
    for part in in_parts(moments):
        statement = select(ITEMS.c.project, ITEMS.c.saved_ns, ITEMS.c.saved_by)
        answer = connection.execute(statement.where(ITEMS.c.project.in_(part)))
        for row in answer.mappings():
            if row["saved_ns"] == moments[row["project"]]:
                savers[row["project"]] = row["saved_by"]
    return savers


def _texts(
    connection: Connection, items: Collection[str], max_bytes: int
) -> dict[str, VersionedText]:
    """Return the first texts that fit, in the order in which they were asked for."""
    sizes: dict[str, int] = {}
    for part in in_parts(items):
        answer = connection.execute(
            select(ITEMS.c.uuid, ITEMS.c.size).where(ITEMS.c.uuid.in_(part))
        )
        sizes.update({row.uuid: row.size for row in answer})
    chosen: list[str] = []
    total = 0
    for uuid in items:
        total += sizes.get(uuid, 0)
        if chosen and total > max_bytes:
            break
        chosen.append(uuid)
    found: dict[str, VersionedText] = {}
    for part in in_parts(chosen):
        answer = connection.execute(
            select(ITEMS.c.uuid, ITEMS.c.version, ITEMS.c.text).where(
                ITEMS.c.uuid.in_(part), ITEMS.c.text.is_not(None)
            )
        )
        found.update({row.uuid: VersionedText(row.version, row.text) for row in answer})
    return found


def _set_trashed(connection: Connection, project: str, author: Author, trashed: bool) -> None:
    lock_items(connection)
    changed = connection.execute(
        update(PROJECTS).where(PROJECTS.c.uuid == project).values(trashed=trashed)
    )
    if not changed.rowcount:
        raise _unknown_project(project)
    connection.execute(
        update(ITEMS)
        .where(ITEMS.c.uuid == project)
        .values(version=ITEMS.c.version + 1, saved_by=author.name, saved_ns=author.at_ns)
    )


def _put(connection: Connection, project: str, name: str | None, folder: str | None) -> None:
    """Give a project that is locked another name or folder."""
    root = next(_item(row) for row in rows_of_project(connection, project) if not row["parent"])
    attributes = dict(root.attributes) | ({} if folder is None else {"folder": folder})
    values = {"name": root.name if name is None else name, "attributes": to_stored(attributes)}
    connection.execute(update(ITEMS).where(ITEMS.c.uuid == project).values(values))
    folder = attributes.get("folder", "")
    connection.execute(update(PROJECTS).where(PROJECTS.c.uuid == project).values(folder=folder))


def _loaded(connection: Connection, project: str, *, alone: bool) -> list[list[Item]]:
    """Return a project, and those below it that are not in the trash, with their texts."""
    found: dict[str, list[Item]] = {}
    waiting = [project]
    while waiting:
        uuid = waiting.pop(0)
        if uuid in found:
            continue
        where = ITEMS.c.project == uuid
        rows = connection.execute(select(ITEMS).where(where)).mappings().all()
        if not rows and uuid == project:
            raise _unknown_project(project)
        if not rows or (uuid != project and _is_trashed(connection, uuid)):
            continue
        found[uuid] = in_tree_order([replace(_item(row), text=row["text"]) for row in rows])
        if not alone:
            waiting += [
                item.attributes["project"] for item in found[uuid] if item.kind is Kind.SUBPROJECT
            ]
    return list(found.values())


def _is_trashed(connection: Connection, project: str) -> bool:
    return bool(connection.scalar(select(PROJECTS.c.trashed).where(PROJECTS.c.uuid == project)))


def _taken(connection: Connection) -> set[tuple[str, str]]:
    """Return folder and name of every project that is not in the trash."""
    joined = ITEMS.join(PROJECTS, PROJECTS.c.uuid == ITEMS.c.uuid)
    statement = select(PROJECTS.c.folder, ITEMS.c.name).select_from(joined)
    answer = connection.execute(statement.where(PROJECTS.c.trashed.is_(False)))
    return {(row.folder, row.name) for row in answer}


def _find(connection: Connection, patterns: Mapping[Kind, str], class_id: str) -> list[Match]:
    root = ITEMS.alias()
    joined = ITEMS.join(PROJECTS, PROJECTS.c.uuid == ITEMS.c.project).join(
        root, root.c.uuid == ITEMS.c.project
    )
    found: list[Match] = []
    wanted = dict(patterns) | ({Kind.DEVICE: patterns.get(Kind.DEVICE, "*")} if class_id else {})
    for kind, pattern in wanted.items():
        statement = (
            select(
                *(ITEMS.c.project, ITEMS.c.uuid, ITEMS.c.name, ITEMS.c.attributes),
                *(root.c.name.label("project_name"), PROJECTS.c.folder),
            )
            .select_from(joined)
            .where(
                ITEMS.c.kind == str(kind),
                PROJECTS.c.trashed.is_(False),
                ITEMS.c.name.like(_as_like(pattern), escape="\\"),
            )
        )
        for row in connection.execute(statement).mappings():
            is_of_class = not class_id or kind is not Kind.DEVICE
            is_of_class = is_of_class or json.loads(row["attributes"]).get("class_id") == class_id
            if fnmatchcase(row["name"], pattern) and is_of_class:
                names = ("project", "project_name", "folder", "uuid", "name")
                found.append(Match(kind=kind, **{name: row[name] for name in names}))
    return sorted(found, key=Match.key)


def _as_like(pattern: str) -> str:
    """Return a pattern for the database that lets through at least what the shell's does."""
    if "[" in pattern:
        return "%"
    escaped = "".join(f"\\{sign}" if sign in "\\%_" else sign for sign in pattern)
    return escaped.replace("*", "%").replace("?", "_")
