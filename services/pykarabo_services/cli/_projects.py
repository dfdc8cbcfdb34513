"""`pykarabo project`: look for projects, and bring them to files and back."""

import uuid as uuids
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pykarabo.cli import common, print_json, print_table
from pykarabo.client import BlockingClient
from pykarabo.errors import BadConfigurationError

if TYPE_CHECKING:
    from pykarabo_services.project.client import Projects
    from pykarabo_services.project.model import Changes, Item

_F = TypeVar("_F", bound=Callable[..., Any])
_COLUMNS: Final = ("name", "folder", "items", "saved", "by", "uuid")
_store_option = click.option(
    "--store", metavar="DEVICE", help="The project store; default: the only one there is."
)


def _options(function: _F) -> _F:
    return _store_option(common(function))


def _projects(client: BlockingClient, store: str | None) -> "Projects":
    from pykarabo_services.project.client import Projects, project_store

    return Projects(project_store(client, store))


def _time(time_ns: int) -> str:
    if not time_ns:
        return ""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@click.group("project")
def project_group() -> None:
    """Look for projects, and bring them to files and back."""


@project_group.command("list")
@click.argument("name", default="*")
@click.option("--folder", default="", help="Only in this folder and below it.")
@click.option("--trash", is_flag=True, help="Those in the trash.")
@click.option("--cached", is_flag=True, help="Copies of those that this user has loaded.")
@_options
def list_command(
    name: str, folder: str, store: str | None, *, trash: bool, cached: bool, as_json: bool
) -> None:
    """List the projects whose NAME matches the pattern."""
    if cached:
        _list_cached(as_json=as_json)
        return
    with BlockingClient() as client:
        found = _projects(client, store).records(folder=folder, name=name, trashed=trash)
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, (_record_row(record) for record in found))


def _record_row(record: dict[str, Any]) -> list[str]:
    shown = record | {"saved": _time(record["saved_ns"]), "by": record["saved_by"]}
    return [str(shown[column]) for column in _COLUMNS]


def _list_cached(*, as_json: bool) -> None:
    from pykarabo_services.project.cache import ProjectCache

    rows: list[dict[str, Any]] = [
        {
            "name": kept.items[0].name,
            "folder": kept.items[0].attributes.get("folder", ""),
            "loaded_ns": kept.loaded_ns,
            "uuid": kept.items[0].uuid,
        }
        for kept in ProjectCache().kept()
    ]
    if as_json:
        print_json(rows)
    else:
        cells = ((r["name"], r["folder"], _time(r["loaded_ns"]), r["uuid"]) for r in rows)
        print_table(("name", "folder", "loaded", "uuid"), cells)


@project_group.command("show")
@click.argument("project")
@click.option("--cached", is_flag=True, help="The copy of when this user has loaded it last.")
@_options
def show_command(project: str, store: str | None, *, cached: bool, as_json: bool) -> None:
    """Show what is in a PROJECT, which is named by name, FOLDER/NAME or uuid."""
    items = _load(project, store, cached=cached)
    if as_json:
        print_json([item.to_wire() for item in items])
        return
    depths: dict[str, int] = {}
    for item in items:
        depths[item.uuid] = depths.get(item.parent, -1) + 1
        click.echo(f"{'  ' * depths[item.uuid]}{_item_line(item, items)}")


def _load(project: str, store: str | None, *, cached: bool) -> "Sequence[Item]":
    if cached:
        from pykarabo_services.project.cache import ProjectCache

        kept = ProjectCache().load(project)
        click.echo(f"as it was loaded at {_time(kept.loaded_ns)}", err=True)
        return kept.items
    with BlockingClient() as client:
        projects = _projects(client, store)
        return projects.load(projects.resolve(project))


def _item_line(item: "Item", items: "Sequence[Item]") -> str:
    line = f"{item.kind} {item.name}"
    attributes = {name: value for name, value in item.attributes.items() if value}
    active = attributes.pop("active", None)
    if active is not None:
        attributes["active"] = next((i.name for i in items if i.uuid == active), active)
    if attributes:
        line += " (" + ", ".join(f"{name}: {value}" for name, value in attributes.items()) + ")"
    if item.saved_by:
        line += f", saved by {item.saved_by} at {_time(item.saved_ns)}"
    return line


@project_group.command("export")
@click.argument("project")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--cached", is_flag=True, help="The copy of when this user has loaded it last.")
@click.option("--alone", is_flag=True, help="Without the projects below it.")
@_options
def export_command(
    project: str, path: Path, store: str | None, *, cached: bool, alone: bool, as_json: bool
) -> None:
    """Write a PROJECT to PATH: a directory for git, or one file that ends in .pkproject.

    An earlier export in the directory is brought up to date.
    """
    from pykarabo_services.project.files import (
        ARCHIVE_SUFFIX,
        to_files,
        write_archive,
        write_directory,
    )

    if cached or alone:
        files = to_files(_load(project, store, cached=cached))
    else:
        with BlockingClient() as client:
            projects = _projects(client, store)
            files = to_files(*projects.load_all(projects.resolve(project)))
    try:
        if path.suffix == ARCHIVE_SUFFIX:
            write_archive(files, path)
        else:
            write_directory(files, path)
    except OSError as error:
        raise BadConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="name another place"
        ) from None
    if as_json:
        print_json({"path": str(path), "files": len(files)})
    else:
        click.echo(f"{len(files)} files in {path}")


@project_group.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--folder", help="Put it into this folder.")
@click.option("--name", help="Call it so.")
@click.option("--copy", is_flag=True, help="As a new project beside the one it was written from.")
@click.option("--update", is_flag=True, help="Make the project that is there what the files say.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@_options
def import_command(
    path: Path, folder: str | None, name: str | None, store: str | None, *,
    copy: bool, update: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Bring a project from PATH, a directory or an archive, into the store, all or nothing."""
    from pykarabo_services.project.files import from_files, read_files
    from pykarabo_services.project.trees import with_new_uuids

    found = from_files(read_files(path), name=str(path))
    if copy:
        new = {item.uuid: item for item in with_new_uuids([i for items in found for i in items])}
        found = _split(list(new.values()))
    found[0] = [_placed(found[0][0], folder, name), *found[0][1:]]
    with BlockingClient() as client:
        projects = _projects(client, store)
        changes = _changes(projects, found, update=update)
        if not dry_run and (changes.items or changes.removed or changes.order):
            projects.save(changes)
    told: dict[str, Any] = {
        "project": found[0][0].uuid,
        "saved": [f"{item.kind} {item.name}" for item in changes.items],
        "removed": len(changes.removed),
        "reordered": len(changes.order),
    }
    if as_json:
        print_json(told)
        return
    verb = "would be saved" if dry_run else "saved"
    click.echo(
        f"project {found[0][0].name}: {len(changes.items)} items {verb}, "
        f"{len(changes.removed)} removed"
    )
    for line in told["saved"] if dry_run else ():
        click.echo(f"  {line}")


def _split(items: "Sequence[Item]") -> "list[list[Item]]":
    """Return the items of several projects project by project."""
    parts: list[list[Item]] = []
    for item in items:
        if not item.parent:
            parts.append([])
        parts[-1].append(item)
    return parts


def _placed(root: "Item", folder: str | None, name: str | None) -> "Item":
    attributes = dict(root.attributes)
    if folder is not None:
        attributes["folder"] = folder
    return replace(root, name=name or root.name, attributes=attributes)


def _changes(projects: "Projects", found: "list[list[Item]]", *, update: bool) -> "Changes":
    from pykarabo_services.project.model import Changes
    from pykarabo_services.project.trees import changes_between

    known = {record["uuid"]: record["name"] for record in projects.records()}
    all_changes = Changes()
    for items in found:
        uuid = items[0].uuid
        if uuid in known and not update:
            raise BadConfigurationError(
                f"there is a project '{known[uuid]}' with the uuid {uuid} already",
                remedy="bring it up to date with --update, or import a second one with --copy",
            )
        present = projects.load(uuid) if uuid in known else []
        all_changes += changes_between(present, items)
    return all_changes


@project_group.command("instantiate")
@click.argument("project")
@click.option("--device", "pattern", default="*", help="Only devices whose id matches.")
@_options
def instantiate_command(project: str, pattern: str, store: str | None, *, as_json: bool) -> int:
    """Start the devices of a PROJECT that are not running, with their active configurations.

    The servers must run. Ends with 1 if one could not be started.
    """
    from pykarabo_services.project.starting import instantiate_devices

    found: list[dict[str, Any]] = []
    with BlockingClient() as client:
        projects = _projects(client, store)
        items = projects.load(projects.resolve(project))
        for started in instantiate_devices(client, items, pattern):
            error = "" if started.error is None else f": {started.error}"
            found.append(
                {
                    "device": started.device_id,
                    "server": started.server_id,
                    "outcome": started.outcome,
                    "error": None if started.error is None else started.error.to_wire(),
                }
            )
            if not as_json:
                place = f"{started.device_id} on {started.server_id}"
                click.echo(f"{place}: {started.outcome}{error}")
    if as_json:
        print_json(found)
    return 0 if all(item["outcome"] in ("started", "online") for item in found) else 1


@project_group.command("trash")
@click.argument("project")
@_options
def trash_command(project: str, store: str | None, *, as_json: bool) -> None:
    """Put a PROJECT into the trash; `restore` takes it out again."""
    _move(project, store, "trash_project", trashed=False, as_json=as_json)


@project_group.command("restore")
@click.argument("project")
@_options
def restore_command(project: str, store: str | None, *, as_json: bool) -> None:
    """Take a PROJECT out of the trash."""
    _move(project, store, "restore_project", trashed=True, as_json=as_json)


def _move(project: str, store: str | None, command: str, *, trashed: bool, as_json: bool) -> None:
    from pykarabo_services.project.client import project_store

    with BlockingClient() as client:
        uuid = _projects(client, store).resolve(project, trashed=trashed)
        project_store(client, store).call(command, uuid)
    if as_json:
        print_json({"project": uuid, "trashed": not trashed})
    else:
        click.echo(f"{project} is {'out of the trash' if trashed else 'in the trash'}")


@project_group.command("duplicate")
@click.argument("project")
@click.argument("name")
@click.option("--folder", help="Put the copy into this folder; default: the project's own.")
@_options
def duplicate_command(
    project: str, name: str, folder: str | None, store: str | None, *, as_json: bool
) -> None:
    """Copy a PROJECT with everything in it; the copy is called NAME."""
    from pykarabo_services.project.client import project_store

    with BlockingClient() as client:
        projects = _projects(client, store)
        uuid = projects.resolve(project)
        place = folder
        if place is None:
            place = next(r["folder"] for r in projects.records() if r["uuid"] == uuid)
        copy = project_store(client, store).call("duplicate_project", uuid, name, place)
    if as_json:
        print_json({"project": copy})
    else:
        click.echo(f"{name} has the uuid {uuids.UUID(copy)}")


@project_group.command("find")
@click.option("--device", default="", help="Projects with a device whose id matches.")
@click.option("--server", default="", help="... with a server whose id matches.")
@click.option("--macro", default="", help="... with a macro whose name matches.")
@click.option("--scene", default="", help="... with a scene whose name matches.")
@click.option("--class", "class_id", default="", help="... with a device of this class.")
@_options
def find_command(store: str | None, *, as_json: bool, **patterns: Any) -> None:
    """Find projects by what is in them; patterns as in the shell."""
    with BlockingClient() as client:
        found = _projects(client, store).find(**patterns)
    if as_json:
        print_json(found)
    else:
        rows = ((m["project_name"], m["folder"], m["kind"], m["name"], m["project"]) for m in found)
        print_table(("project", "folder", "kind", "name", "uuid"), rows)
