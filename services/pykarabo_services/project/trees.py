"""Whole projects: the order of their items, copies of them, and what makes one state another."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from pykarabo.errors import UnknownItemError, did_you_mean

from .model import Changes, Item, Kind, check_uuid, free_name, new_uuid


def in_tree_order(items: Sequence[Item]) -> list[Item]:
    """Return the items of one project, each behind its parent, brothers by kind and position."""
    kinds = list(Kind)
    below: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: (kinds.index(item.kind), item.position)):
        below.setdefault(item.parent, []).append(item)
    ordered: list[Item] = []

    def add(parent: str) -> None:
        for item in below.get(parent, ()):
            ordered.append(item)
            add(item.uuid)

    add("")
    return ordered


def with_new_uuids(items: Sequence[Item]) -> list[Item]:
    """Return copies of whole projects that were never saved, with new uuids.

    References among them follow; those to other projects stay.
    """
    new = {item.uuid: new_uuid() for item in items}

    def mapped(value: str) -> str:
        return new.get(value, value)

    return [
        replace(
            item,
            uuid=mapped(item.uuid),
            parent=mapped(item.parent),
            version=0,
            attributes={
                name: mapped(value) if name in ("active", "project") else value
                for name, value in item.attributes.items()
            },
        )
        for item in items
    ]


def placed_copies(
    found: Sequence[Sequence[Item]],
    taken: Collection[tuple[str, str]],
    *,
    name: str | None,
    folder: str | None,
) -> list[list[Item]]:
    """Return copies of a project and of those below it, each with a place of its own.

    Args:
        found: the projects, the outer one first, each with its root first.
        taken: folders and names of the projects that are there; the outer copy is put where it is
            told to, the inner ones get a number where their name is taken.
        name: of the outer copy; None: its own.
        folder: of all copies; None: each has its own.
    """
    copies = iter(with_new_uuids([item for items in found for item in items]))
    used, placed = set(taken), list[list[Item]]()
    for number, items in enumerate(found):
        root, *others = (next(copies) for _item in items)
        place = root.attributes.get("folder", "") if folder is None else folder
        names = {taken_name for taken_folder, taken_name in used if taken_folder == place}
        called = free_name(root.name, names) if number else root.name
        if not number and name is not None:
            called = name
        used.add((place, called))
        root = replace(root, name=called, attributes={**root.attributes, "folder": place})
        placed.append([root, *others])
    return placed


def changes_between(present: Sequence[Item], wanted: Sequence[Item]) -> Changes:
    """Return the changes that make one state of a project another; both with their texts."""
    before = {item.uuid: item for item in present}
    after = {item.uuid: item for item in wanted}
    items = [
        replace(item, version=before[uuid].version if uuid in before else 0)
        for uuid, item in after.items()
        if uuid not in before or _differs(before[uuid], item)
    ]
    removed = {uuid: item.version for uuid, item in before.items() if uuid not in after}
    coming = _order_as_saved(present, wanted)
    order = {
        parent: children
        for parent, children in _order_of(wanted).items()
        if children != coming[parent]
    }
    parents = {uuid: before[uuid].version for uuid in order if uuid in before}
    return Changes(items=items, removed=removed, order=order, parents=parents)


def _order_as_saved(present: Sequence[Item], wanted: Sequence[Item]) -> dict[str, list[str]]:
    """Return in what order the wanted items come where none is given with them.

    Those that stay keep theirs; behind them come those that are moved there, then new ones.
    """
    before = {item.uuid: item for item in present}
    after = {item.uuid: item for item in wanted}
    stays = [after[i.uuid] for i in in_tree_order(present) if i.uuid in after]
    stays = [item for item in stays if item.parent == before[item.uuid].parent]
    moved = [i for i in wanted if i.uuid in before and i.parent != before[i.uuid].parent]
    new = [item for item in wanted if item.uuid not in before]
    placed = [replace(item, position=n) for n, item in enumerate([*stays, *moved, *new])]
    return _order_of(placed)


def _differs(one: Item, other: Item) -> bool:
    names = ("kind", "name", "parent", "text")
    return any(getattr(one, name) != getattr(other, name) for name in names) or (
        _given(one) != _given(other)
    )


def _given(item: Item) -> dict[str, str]:
    return {name: value for name, value in item.attributes.items() if value}


def _order_of(items: Sequence[Item]) -> dict[str, list[str]]:
    order: dict[str, list[str]] = {}
    for item in in_tree_order(items):
        if item.parent:
            order.setdefault(item.parent, []).append(item.uuid)
    return order


def below(items: Sequence[Item]) -> list[str]:
    """Return the uuids of the projects that a project refers to."""
    return [item.attributes["project"] for item in items if item.kind is Kind.SUBPROJECT]


def resolve(project: str, known: Mapping[str, tuple[str, str]]) -> str:
    """Return the uuid of a project that is named by it, by its name or by FOLDER/NAME.

    Args:
        project: how it is named.
        known: folder and name of each project, by its uuid.

    Raises:
        UnknownItemError: there is none, or several.
    """
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
