"""One save: checks it against what is stored, and does it, on one connection."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, text, update

from pykarabo.errors import (
    BadConfigurationError,
    ChangedMeanwhileError,
    InvalidNameError,
    UnknownItemError,
)

from .model import MAX_ATTRIBUTES, MAX_ITEMS, PARENTS, Author, Changes, Item, Kind, Saved
from .tables import ITEMS, PROJECTS

_PART: Final = 500
"""Uuids in one statement; SQLite takes a thousand variables or more."""
_LIGHT: Final = [column for column in ITEMS.c if column.name != "text"]


def in_parts(values: Iterable[str]) -> Iterable[list[str]]:
    """Yield the values in lists that a statement can take."""
    listed = list(values)
    for start in range(0, len(listed), _PART):
        yield listed[start : start + _PART]


def rows_of(connection: Connection, uuids: Iterable[str]) -> dict[str, RowMapping]:
    """Return stored items without their texts, by uuid."""
    found: dict[str, RowMapping] = {}
    for part in in_parts(uuids):
        answer = connection.execute(select(*_LIGHT).where(ITEMS.c.uuid.in_(part)))
        found.update({row["uuid"]: row for row in answer.mappings()})
    return found


def rows_of_project(connection: Connection, project: str) -> list[RowMapping]:
    """Return a project's items without their texts, itself among them."""
    answer = connection.execute(select(*_LIGHT).where(ITEMS.c.project == project))
    return list(answer.mappings())


def to_stored(attributes: Mapping[str, str]) -> str:
    """Return attributes as they are stored."""
    return json.dumps(dict(attributes), ensure_ascii=False, sort_keys=True)


def lock_items(connection: Connection) -> None:
    """Have other services of the same PostgreSQL wait; a SQLite file has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE items IN SHARE ROW EXCLUSIVE MODE"))


@dataclass(slots=True)
class Saving:
    """What is stored about everything that a batch of changes names."""

    connection: Connection
    changes: Changes
    author: Author
    overwrite: bool = False
    _projects_of_new: set[str] = field(default_factory=set[str], init=False)
    """The projects of new items."""

    def run(self) -> Saved:
        """Do all of it.

        Raises:
            ChangedMeanwhileError: something was changed since the caller has read it.
            BadInputError: the outcome would be no good project.
        """
        lock_items(self.connection)
        named = {
            **self.changes.parents,
            **{item.uuid: item.version for item in self.changes.items},
            **self.changes.removed,
        }
        stored = rows_of(self.connection, [*named, *self.changes.order])
        self._require_out_of_trash(stored)
        self._require_parents(stored)
        below = self._below(stored)
        if not self.overwrite:
            self._require_versions(named, stored | below)
        versions = self._write(stored)
        self._remove(stored, below)
        versions |= self._arrange(stored, versions)
        projects = self._projects_of_new | {row["project"] for row in stored.values()}
        for project in projects:
            check_project(self.connection, project)
        _check_references(self.connection, self.changes.items)
        return Saved(versions=versions, projects=sorted(projects))

    def _below(self, stored: Mapping[str, RowMapping]) -> dict[str, RowMapping]:
        """Return everything that goes with what is removed, and is not moved elsewhere."""
        places = {item.uuid: item.parent for item in self.changes.items}
        gone: dict[str, RowMapping] = {}
        roots = [uuid for uuid in self.changes.removed if uuid in stored]
        for project in {stored[uuid]["project"] for uuid in roots}:
            children: dict[str, list[RowMapping]] = {}
            for row in rows_of_project(self.connection, project):
                children.setdefault(row["parent"] or "", []).append(row)
            waiting = [uuid for uuid in roots if stored[uuid]["project"] == project]
            while waiting:
                for row in children.get(waiting.pop(), ()):
                    if places.get(row["uuid"], row["parent"]) == row["parent"]:
                        gone[row["uuid"]] = row
                        waiting.append(row["uuid"])
        return gone

    def _require_out_of_trash(self, stored: Mapping[str, RowMapping]) -> None:
        for part in in_parts({row["project"] for row in stored.values()}):
            trashed = PROJECTS.c.uuid.in_(part) & PROJECTS.c.trashed
            found = self.connection.execute(
                select(ITEMS.c.uuid, ITEMS.c.name).join(PROJECTS).where(trashed)
            ).first()
            if found is not None:
                raise _is_in_trash(found.name, found.uuid)

    def _require_parents(self, stored: Mapping[str, RowMapping]) -> None:
        """Refuse an order whose author does not say which one he has seen."""
        saved = {item.uuid for item in self.changes.items}
        for parent in self.changes.order:
            if parent not in saved and parent not in self.changes.parents and not self.overwrite:
                name = stored[parent]["name"] if parent in stored else parent
                raise BadConfigurationError(
                    f"the items of '{name}' are put in order, and not said which version of it "
                    "was read",
                    remedy="send that with 'parents', or save with overwrite",
                )

    def _require_versions(self, named: Mapping[str, int], stored: Mapping[str, RowMapping]) -> None:
        """Refuse when one of the items is not as the caller knows it, or goes unread."""
        conflicts: list[dict[str, Any]] = []
        for uuid in {**named, **stored}:
            row = stored.get(uuid)
            if (row["version"] if row else 0) != named.get(uuid):
                conflicts.append(_conflict(uuid, row, self.changes))
        if conflicts:
            raise _refusal(conflicts, named)

    def _remove(self, stored: Mapping[str, RowMapping], below: Mapping[str, RowMapping]) -> None:
        for uuid in self.changes.removed:
            if uuid in stored and stored[uuid]["kind"] == Kind.PROJECT:
                raise BadConfigurationError(
                    f"project '{stored[uuid]['name']}' cannot be removed",
                    remedy="put it into the trash, from which it can come back",
                )
        for part in in_parts({*self.changes.removed, *below}):
            self.connection.execute(delete(ITEMS).where(ITEMS.c.uuid.in_(part)))

    def _write(self, stored: Mapping[str, RowMapping]) -> dict[str, int]:
        versions: dict[str, int] = {}
        new: list[tuple[Item, str]] = []
        projects = self._projects_of_parents(stored)
        for item in self.changes.items:
            row = stored.get(item.uuid)
            versions[item.uuid] = 1 if row is None else row["version"] + 1
            if row is None:
                new.append((item, self._project_of(item, projects)))
            else:
                self._update(item, row, versions[item.uuid])
        self._insert(new)
        return versions

    def _projects_of_parents(self, stored: Mapping[str, RowMapping]) -> dict[str, str]:
        """Return the projects of the items that are there; those of new ones come as they do."""
        parents = rows_of(self.connection, {item.parent for item in self.changes.items} - {""})
        known = {**stored, **parents}
        return {uuid: row["project"] for uuid, row in known.items()}

    def _project_of(self, item: Item, projects: dict[str, str]) -> str:
        """Return the project of a new item; its parent stands before it, or is stored."""
        project = item.uuid if item.kind is Kind.PROJECT else projects.get(item.parent)
        if project is None:
            raise UnknownItemError(
                f"{item.kind} '{item.name}' lies in an item {item.parent} that is not there",
                remedy="load the project again; send an item behind the one it lies in",
            )
        projects[item.uuid] = project
        self._projects_of_new.add(project)
        return project

    def _values(self, item: Item) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": item.name,
            "attributes": to_stored(item.attributes),
            "saved_ns": self.author.at_ns,
            "saved_by": self.author.name,
        }
        if item.text is not None:
            values |= {"text": item.text, "size": len(item.text.encode())}
        return values

    def _insert(self, items: Sequence[tuple[Item, str]]) -> None:
        """Add new items, each with its project, behind those that are there."""
        last = self._last_positions([item for item, _project in items])
        rows: list[dict[str, Any]] = []
        for item, project in items:
            place = (item.parent, str(item.kind))
            last[place] = last.get(place, -1) + 1
            values = {"text": None, "size": 0} | self._values(item)
            values |= {"uuid": item.uuid, "project": project, "parent": item.parent or None}
            rows.append(values | {"kind": place[1], "version": 1, "position": last[place]})
        if rows:
            self.connection.execute(insert(ITEMS), rows)
        projects = [
            {
                "uuid": item.uuid,
                "folder": item.attributes.get("folder", ""),
                "trashed": False,
                "last_loaded_ns": 0,
            }
            for item, _project in items
            if item.kind is Kind.PROJECT
        ]
        if projects:
            self.connection.execute(insert(PROJECTS), projects)

    def _last_positions(self, items: Sequence[Item]) -> dict[tuple[str, str], int]:
        """Return the highest position of the brothers that are there."""
        last: dict[tuple[str, str], int] = {}
        for part in in_parts({item.parent for item in items} - {""}):
            answer = self.connection.execute(
                select(ITEMS.c.parent, ITEMS.c.kind, func.max(ITEMS.c.position).label("last"))
                .where(ITEMS.c.parent.in_(part))
                .group_by(ITEMS.c.parent, ITEMS.c.kind)
            )
            last.update({(row["parent"], row["kind"]): row["last"] for row in answer.mappings()})
        return last

    def _update(self, item: Item, row: RowMapping, version: int) -> None:
        if row["kind"] != item.kind or bool(row["parent"]) != bool(item.parent):
            raise BadConfigurationError(
                f"'{row['name']}' is a {row['kind']}, not a {item.kind}",
                remedy="give what is new a uuid of its own",
            )
        values = self._values(item) | {"version": version}
        if row["parent"] and row["parent"] != item.parent:
            last = self._last_positions([item]).get((item.parent, str(item.kind)), -1)
            values |= {"parent": item.parent, "position": last + 1}
        self.connection.execute(update(ITEMS).where(ITEMS.c.uuid == item.uuid).values(values))
        if item.kind is Kind.PROJECT:
            folder = item.attributes.get("folder", "")
            self.connection.execute(
                update(PROJECTS).where(PROJECTS.c.uuid == item.uuid).values(folder=folder)
            )

    def _arrange(
        self, stored: Mapping[str, RowMapping], saved: Mapping[str, int]
    ) -> dict[str, int]:
        """Put items in order; return the new versions of the parents that were not saved anyway."""
        arranged = [
            parent for parent, wanted in self.changes.order.items() if self._put(parent, wanted)
        ]
        versions = {
            uuid: stored[uuid]["version"] + 1
            for uuid in arranged
            if uuid in stored and uuid not in saved
        }
        for uuid, version in versions.items():
            values = {"saved_ns": self.author.at_ns, "saved_by": self.author.name}
            self.connection.execute(
                update(ITEMS).where(ITEMS.c.uuid == uuid).values(version=version, **values)
            )
        return versions

    def _put(self, parent: str, wanted: Sequence[str]) -> bool:
        """Put the items below one in order; return whether they were in another one."""
        rows = self.connection.execute(
            select(ITEMS.c.uuid, ITEMS.c.kind)
            .where(ITEMS.c.parent == parent)
            .order_by(ITEMS.c.kind, ITEMS.c.position)
        ).all()
        kinds = {row.uuid: row.kind for row in rows}
        named = {kinds.get(uuid) for uuid in wanted}
        present = [row.uuid for row in rows if row.kind in named]
        if sorted(present) != sorted(wanted):
            row = rows_of(self.connection, [parent]).get(parent)
            raise ChangedMeanwhileError(
                f"in '{row['name'] if row else parent}' are other items than were put in order",
                remedy="load the project again and order what is there now",
            )
        ordered = sorted(wanted, key=lambda uuid: kinds[uuid])
        for position, uuid in enumerate(ordered if ordered != present else ()):
            self.connection.execute(
                update(ITEMS).where(ITEMS.c.uuid == uuid).values(position=position)
            )
        return ordered != present


def _conflict(uuid: str, row: RowMapping | None, changes: Changes) -> dict[str, Any]:
    if row is None:
        sent = {item.uuid: item for item in changes.items}.get(uuid)
        name = sent.name if sent else uuid
        kind = str(sent.kind) if sent else "item"
        return {"uuid": uuid, "kind": kind, "name": name, "version": 0}
    shown = ("uuid", "kind", "name", "version", "saved_by", "saved_ns")
    return {name: row[name] for name in shown}


def _refusal(
    conflicts: Sequence[Mapping[str, Any]], named: Mapping[str, int]
) -> ChangedMeanwhileError:
    first = conflicts[0]
    what = f"{first['kind']} '{first['name']}'"
    if not first["version"]:
        what += " was removed since you have read it"
    else:
        when = datetime.fromtimestamp(first["saved_ns"] / 1e9, UTC).isoformat(" ", "seconds")
        what += f" was saved by {first['saved_by']} at {when}"
        is_named = first["uuid"] in named
        what += " since you have read it" if is_named else " and would go unread"
    more = f", and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
    return ChangedMeanwhileError(
        f"{what}{more}; nothing was saved",
        remedy="load it again and repeat your change, or save with overwrite",
        details={"conflicts": [dict(conflict) for conflict in conflicts[:100]]},
    )


def check_project(connection: Connection, project: str) -> None:
    """Refuse a project whose items contradict each other, or that has a twin.

    Raises:
        BadInputError: names the item.
    """
    rows = {row["uuid"]: row for row in rows_of_project(connection, project)}
    if project not in rows:
        return
    _check_size(rows, rows[project]["name"])
    _check_trash(connection, rows[project])
    names: set[tuple[str, str, str]] = set()
    for row in rows.values():
        if row["uuid"] != project:
            _check_place(row, rows)
        brother = (row["parent"] or "", row["kind"], row["name"])
        if brother in names:
            raise InvalidNameError(
                f"there are two of {row['kind']} '{row['name']}' beside each other",
                remedy="give one another name",
            )
        names.add(brother)
        _check_active(row, rows)
    _check_project_name(connection, rows[project])


def _check_trash(connection: Connection, row: RowMapping) -> None:
    if connection.scalar(select(PROJECTS.c.trashed).where(PROJECTS.c.uuid == row["uuid"])):
        raise _is_in_trash(row["name"], row["uuid"])


def _is_in_trash(name: str, uuid: str) -> BadConfigurationError:
    return BadConfigurationError(
        f"project '{name}' is in the trash",
        remedy=f"restore it before you save: pykarabo project restore {uuid}",
    )


def _check_size(rows: Mapping[str, RowMapping], name: str) -> None:
    if len(rows) > MAX_ITEMS:
        raise BadConfigurationError(
            f"project '{name}' has more than {MAX_ITEMS} items",
            remedy="divide it into subprojects",
        )
    size = sum(len((row["name"] + row["attributes"]).encode()) for row in rows.values())
    if size > MAX_ATTRIBUTES:
        raise BadConfigurationError(
            f"the descriptions in project '{name}' have {size / 2**20:.1f} MiB in all, "
            f"{MAX_ATTRIBUTES >> 20} are allowed",
            remedy="shorten them, or divide it into subprojects",
        )


def _check_place(row: RowMapping, rows: Mapping[str, RowMapping]) -> None:
    parent = rows.get(row["parent"])
    wanted = PARENTS[Kind(row["kind"])]
    if parent is None or parent["kind"] != wanted:
        raise BadConfigurationError(
            f"{row['kind']} '{row['name']}' does not lie in a {wanted} of its project",
            remedy=f"put it into a {wanted}",
        )


def _check_active(row: RowMapping, rows: Mapping[str, RowMapping]) -> None:
    if row["kind"] != Kind.DEVICE:
        return
    active = json.loads(row["attributes"]).get("active")
    if active and (active not in rows or rows[active]["parent"] != row["uuid"]):
        raise BadConfigurationError(
            f"the active configuration of device '{row['name']}' is none of its own",
            remedy="name one that it has, or none",
        )


def _check_project_name(connection: Connection, row: RowMapping) -> None:
    joined = ITEMS.join(PROJECTS, PROJECTS.c.uuid == ITEMS.c.uuid)
    folder = select(PROJECTS.c.folder).where(PROJECTS.c.uuid == row["uuid"]).scalar_subquery()
    twin = connection.scalar(
        select(ITEMS.c.uuid)
        .select_from(joined)
        .where(
            ITEMS.c.name == row["name"],
            ITEMS.c.uuid != row["uuid"],
            PROJECTS.c.folder == folder,
            PROJECTS.c.trashed.is_(False),
        )
    )
    if twin is not None:
        raise InvalidNameError(
            f"there is another project '{row['name']}' in this folder",
            remedy="choose another name or folder",
        )


def _check_references(connection: Connection, items: Collection[Item]) -> None:
    """Refuse a project that contains itself, through whatever other projects."""
    links = [item.uuid for item in items if item.kind is Kind.SUBPROJECT]
    if not links:
        return
    below: dict[str, set[str]] = {}
    answer = connection.execute(
        select(ITEMS.c.project, ITEMS.c.attributes).where(ITEMS.c.kind == str(Kind.SUBPROJECT))
    )
    for row in answer.mappings():
        below.setdefault(row["project"], set()).add(json.loads(row["attributes"])["project"])
    for start in {row["project"] for row in rows_of(connection, links).values()}:
        waiting, seen = list(below.get(start, ())), set[str]()
        while waiting:
            project = waiting.pop()
            if project == start:
                raise BadConfigurationError(
                    "a project would contain itself", remedy="remove the subproject"
                )
            if project not in seen:
                seen.add(project)
                waiting.extend(below.get(project, ()))
