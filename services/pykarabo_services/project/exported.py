"""What a project was when it was exported: what an import compares the store with.

``exported.txt`` lies beside ``project.yaml``. It has a line for each item, in their order: a
fingerprint of all that the item is, its uuid, kind and name. It is the same as long as the items
are, whoever saved them how often and in which store, so that it goes into git with the rest, and
an import from a clone on another machine knows it too.

An import makes a project what the files say. It may do so where the project is still what was
exported; what somebody has saved, added or removed since then would be lost, and is told by name.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pykarabo.errors import BadConfigurationError, ChangedMeanwhileError

from .model import Changes, Item
from .trees import in_tree_order

EXPORTED: Final = "exported.txt"
_HEAD: Final = """\
# What the project was when it was exported; keep it with the other files, and edit it never.
# pykarabo project import compares the store with it, so that nobody's work is overwritten unseen.
"""
_DIGITS: Final = 32
_UUID: Final = 36
_TOLD: Final = 20
"""Conflicts that an error names; a hundred more are in its details."""

Fingerprints = Mapping[str, str]
"""By the uuids of the items, in their order."""


def write_exported(items: Sequence[Item]) -> bytes:
    """Return the file for items that have their texts, in the order of the tree."""
    lines = (
        f"{_fingerprint(item)}  {item.uuid}  {item.kind} {item.name}\n"
        for item in in_tree_order(items)
    )
    return (_HEAD + "".join(lines)).encode()


def read_exported(content: bytes, place: str) -> Fingerprints:
    """Return the fingerprints that a file holds.

    Raises:
        BadConfigurationError: names file and line, such as where two branches were not merged.
    """
    found: dict[str, str] = {}
    # Names may hold other characters that end a line elsewhere.
    for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fingerprint, _space, rest = line.partition("  ")
        uuid = rest[:_UUID]
        if len(fingerprint) != _DIGITS or len(uuid) != _UUID or uuid in found:
            raise BadConfigurationError(
                f"{place}, line {number}: it is no line of an export",
                remedy="take the file as it was exported; or remove it, see with --dry-run what "
                "would be changed, and import with --overwrite",
            )
        found[uuid] = fingerprint
    return found


def _fingerprint(item: Item) -> str:
    given = {name: value for name, value in sorted(item.attributes.items()) if value}
    told = json.dumps([str(item.kind), item.name, item.parent, given, item.text or ""])
    return hashlib.sha256(told.encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something in the store that is not as it was exported, and that an import would change."""

    what: str
    item: Item


def conflicts(
    present: Sequence[Item], changes: Changes, exported: Fingerprints | None
) -> list[Conflict]:
    """Return what of a stored project is not as it was exported and would be changed.

    Args:
        present: the project as it is stored; empty where it is not.
        changes: what an import would do.
        exported: None: nobody knows what was exported, so all that would be changed is told.
    """
    if not present:
        return []
    return [
        *_changed(present, changes, exported),
        *([] if exported is None else _removed(present, changes, exported)),
        *_arranged(present, changes, exported),
    ]


def _changed(
    present: Sequence[Item], changes: Changes, exported: Fingerprints | None
) -> Iterator[Conflict]:
    named = {item.uuid for item in changes.items} | set(changes.removed)
    for item in present:
        if item.uuid not in named:
            continue
        when = datetime.fromtimestamp(item.saved_ns / 1e9, UTC).isoformat(" ", "seconds")
        who = f"by {item.saved_by} at {when}"
        if exported is None:
            yield Conflict(f"{item.kind} '{item.name}' was saved {who}", item)
        elif item.uuid not in exported:
            yield Conflict(f"{item.kind} '{item.name}' was added {who}", item)
        elif exported[item.uuid] != _fingerprint(item):
            yield Conflict(f"{item.kind} '{item.name}' was saved {who}", item)


def _removed(
    present: Sequence[Item], changes: Changes, exported: Fingerprints
) -> Iterator[Conflict]:
    there = {item.uuid for item in present}
    for item in changes.items:
        if item.uuid in exported and item.uuid not in there:
            yield Conflict(f"{item.kind} '{item.name}' was removed", item)


def _arranged(
    present: Sequence[Item], changes: Changes, exported: Fingerprints | None
) -> Iterator[Conflict]:
    places = {uuid: place for place, uuid in enumerate(exported or ())}
    for parent in present:
        if parent.uuid not in changes.order:
            continue
        children = [item.uuid for item in in_tree_order(present) if item.parent == parent.uuid]
        known = [places[uuid] for uuid in children if uuid in places]
        if exported is None or known != sorted(known):
            yield Conflict(f"the items of {parent.kind} '{parent.name}' were put in order", parent)


def refusal(found: Sequence[Conflict], name: str, *, known: bool) -> ChangedMeanwhileError:
    """Return the error that tells conflicts by name.

    Args:
        found: all of them.
        name: of the project.
        known: whether it is known what was exported.
    """
    told = "; ".join(conflict.what for conflict in found[:_TOLD])
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    problem = "since it was exported" if known else f"and there is no {EXPORTED} that knows more"
    remedy = "export it beside this and bring both together"
    return ChangedMeanwhileError(
        f"project '{name}' is not what the files say, {problem}: {told}{more}; nothing was saved",
        remedy=f"{remedy}, or see with --dry-run --overwrite what would be lost, and import with "
        "--overwrite",
        details={
            "conflicts": [
                {"uuid": c.item.uuid, "kind": str(c.item.kind), "name": c.item.name, "what": c.what}
                for c in found[:100]
            ]
        },
    )
