"""What an import of exported projects would do to a store, and whether it may."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pykarabo.errors import BadConfigurationError

from .client import Projects
from .exported import Conflict, Fingerprints, conflicts, refusal
from .files import ExportedProject
from .model import Changes, Item, Kind
from .trees import changes_between, placed_copies


@dataclass(slots=True)
class ImportPlan:
    """What would be changed, in one save.

    Args:
        saved, removed, reordered: what it is, as people know it.
    """

    changes: Changes = field(default_factory=Changes)
    saved: list[str] = field(default_factory=list[str])
    removed: list[str] = field(default_factory=list[str])
    reordered: list[str] = field(default_factory=list[str])

    def add(self, present: Sequence[Item], wanted: Sequence[Item], inside: str) -> Changes:
        """Add what makes the present state of one project the wanted one."""
        changes = changes_between(present, wanted)
        items = {item.uuid: item for item in (*present, *wanted)}
        self.changes += changes
        self.saved += [_told(item, items) + inside for item in changes.items]
        self.removed += [_told(items[uuid], items) + inside for uuid in changes.removed]
        self.reordered += [_told(items[uuid], items) + inside for uuid in changes.order]
        return changes


def _told(item: Item, items: Mapping[str, Item]) -> str:
    above = f" of {items[item.parent].name}" if item.kind is Kind.CONFIGURATION else ""
    return f"{item.kind} {item.name}{above}"


def placed(
    found: Sequence[ExportedProject], *, name: str | None, folder: str | None
) -> list[ExportedProject]:
    """Return exported projects of which the outer one has another name or folder."""
    outer, *others = found
    root = outer.items[0]
    attributes = dict(root.attributes) | ({} if folder is None else {"folder": folder})
    root = replace(root, name=root.name if name is None else name, attributes=attributes)
    return [replace(outer, items=[root, *outer.items[1:]]), *others]


def copied(
    projects: Projects, found: Sequence[ExportedProject], *, name: str | None, folder: str | None
) -> list[ExportedProject]:
    """Return copies of exported projects with uuids of their own, each with a free name."""
    taken = {(record["folder"], record["name"]) for record in projects.records()}
    whole = [project.items for project in found]
    copies = placed_copies(whole, taken, name=name, folder=folder)
    return [replace(project, items=copy) for project, copy in zip(found, copies, strict=True)]


def plan_import(
    projects: Projects,
    found: Sequence[ExportedProject],
    exported: Sequence[Fingerprints | None] | None,
    *,
    update: bool,
) -> ImportPlan:
    """Return what would make stored projects what their files say.

    Args:
        projects: those of the store.
        found: those in the files, the outer one first.
        exported: what each was when it was exported, as far as that is known; None: overwrite
            whatever was changed since then.
        update: also projects that are there already.

    Raises:
        ChangedMeanwhileError: something is not as it was exported, and would be lost.
        BadConfigurationError: a project is there already, or in the trash.
    """
    known = {record["uuid"]: record["name"] for record in projects.records()}
    _refuse_trashed(projects, found)
    plan, lost, blind = ImportPlan(), list[Conflict](), False
    for number, project in enumerate(found):
        uuid, name = project.items[0].uuid, project.items[0].name
        if uuid in known and not update:
            raise BadConfigurationError(
                f"there is a project '{known[uuid]}' with the uuid {uuid} already",
                remedy="bring it up to date with --update, or import a second one with --copy",
            )
        present = projects.load(uuid) if uuid in known else []
        changes = plan.add(present, project.items, f" in project {name}" if number else "")
        if exported is not None:
            found_here = conflicts(present, changes, exported[number])
            blind = blind or (bool(found_here) and exported[number] is None)
            lost += found_here
    if lost:
        raise refusal(lost, found[0].items[0].name, known=not blind)
    return plan


def _refuse_trashed(projects: Projects, found: Sequence[ExportedProject]) -> None:
    trashed = {record["uuid"]: record["name"] for record in projects.records(trashed=True)}
    for project in found:
        uuid = project.items[0].uuid
        if uuid in trashed:
            raise BadConfigurationError(
                f"project '{trashed[uuid]}' is in the trash",
                remedy=f"restore it: pykarabo project restore {uuid}; or import a second one with "
                "--copy",
            )
