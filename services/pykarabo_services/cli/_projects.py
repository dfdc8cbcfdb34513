"""`pykarabo project`: look for projects, and bring them to files and back."""

import uuid as uuids
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import click

from pykarabo.cli import print_json, print_table
from pykarabo.client import BlockingClient
from pykarabo.errors import BadConfigurationError

from ._project_files import export_command, import_command
from ._project_kit import cached_option, load, options, projects_of, shown_time, trash_option

if TYPE_CHECKING:
    from pykarabo_services.project.model import Item

DUPLICATE_S: Final = 120.0
"""Projects of tens of thousands of items."""
_COLUMNS: Final = ("name", "folder", "items", "saved", "by", "loaded", "uuid")


@click.group("project")
def project_group() -> None:
    """Look for projects, and bring them to files and back."""


project_group.add_command(export_command)
project_group.add_command(import_command)


@project_group.command("list")
@click.argument("name", default="*")
@click.option("--folder", default="", help="Only in this folder and below it.")
@click.option("--trash", is_flag=True, help="Those in the trash.")
@click.option("--cached", is_flag=True, help="Copies of those that this user has loaded.")
@options
def list_command(
    name: str, folder: str, store: str | None, *, trash: bool, cached: bool, as_json: bool
) -> None:
    """List the projects whose NAME matches the pattern."""
    if cached and trash:
        raise BadConfigurationError(
            "a copy does not tell what is in the trash", remedy="give one of --cached and --trash"
        )
    if cached:
        _list_cached(name, folder, as_json=as_json)
        return
    with BlockingClient() as client:
        found = projects_of(client, store).records(folder=folder, name=name, trashed=trash)
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, (_record_row(record) for record in found))


def _record_row(record: dict[str, Any]) -> list[str]:
    shown = record | {
        "saved": shown_time(record["saved_ns"]),
        "by": record["saved_by"],
        "loaded": shown_time(record["last_loaded_ns"]),
    }
    return [str(shown[column]) for column in _COLUMNS]


def _list_cached(name: str, folder: str, *, as_json: bool) -> None:
    from pykarabo_services.project.cache import ProjectCache

    rows: list[dict[str, Any]] = [
        {
            "name": kept.place[1],
            "folder": kept.place[0],
            "loaded_ns": kept.loaded_ns,
            "uuid": kept.uuid,
        }
        for kept in ProjectCache().kept()
        if fnmatchcase(kept.place[1], name)
        and (not folder or f"{kept.place[0]}/".startswith(f"{folder}/"))
    ]
    if as_json:
        print_json(rows)
    else:
        cells = ((r["name"], r["folder"], shown_time(r["loaded_ns"]), r["uuid"]) for r in rows)
        print_table(("name", "folder", "loaded", "uuid"), cells)


@project_group.command("show")
@click.argument("project")
@cached_option
@trash_option
@options
def show_command(
    project: str, store: str | None, *, cached: bool, trash: bool, as_json: bool
) -> None:
    """Show what is in a PROJECT, which is named by name, FOLDER/NAME or uuid."""
    items = load(project, store, cached=cached, trash=trash)
    if as_json:
        print_json([item.to_wire() for item in items])
        return
    depths: dict[str, int] = {}
    for item in items:
        depths[item.uuid] = depths.get(item.parent, -1) + 1
        click.echo(f"{'  ' * depths[item.uuid]}{_item_line(item, items)}")


def _item_line(item: "Item", items: "Sequence[Item]") -> str:
    line = f"{item.kind} {item.name}"
    attributes = {name: value for name, value in item.attributes.items() if value}
    active = attributes.pop("active", None)
    if active is not None:
        attributes["active"] = next((i.name for i in items if i.uuid == active), active)
    if attributes:
        line += " (" + ", ".join(f"{name}: {value}" for name, value in attributes.items()) + ")"
    if item.saved_by:
        line += f", saved by {item.saved_by} at {shown_time(item.saved_ns)}"
    return line


@project_group.command("instantiate")
@click.argument("project")
@click.option("--device", "pattern", default="*", help="Only devices whose id matches.")
@options
def instantiate_command(project: str, pattern: str, store: str | None, *, as_json: bool) -> int:
    """Start the devices of a PROJECT that are not running, with their active configurations.

    The servers must run. Ends with 1 if one could not be started.
    """
    from pykarabo_services.project.starting import instantiate_devices

    found: list[dict[str, Any]] = []
    with BlockingClient() as client:
        projects = projects_of(client, store)
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
@options
def trash_command(project: str, store: str | None, *, as_json: bool) -> None:
    """Put a PROJECT into the trash; `restore` takes it out again."""
    with BlockingClient() as client:
        projects = projects_of(client, store)
        uuid = projects.resolve(project)
        projects.store.call("trash_project", uuid)
    _tell_state(uuid, f"{project} is in the trash", trashed=True, as_json=as_json)


@project_group.command("restore")
@click.argument("project")
@click.option("--name", help="Call it so, where its name is taken meanwhile.")
@click.option("--folder", help="Put it into this folder, or '' for the top.")
@options
def restore_command(
    project: str, name: str | None, folder: str | None, store: str | None, *, as_json: bool
) -> None:
    """Take a PROJECT out of the trash."""
    with BlockingClient() as client:
        projects = projects_of(client, store)
        uuid = projects.resolve(project, trashed=True)
        projects.store.call("restore_project", uuid, name, folder)
    told = f"{project} is out of the trash" + ("" if name is None else f", as {name}")
    _tell_state(uuid, told, trashed=False, as_json=as_json)


def _tell_state(uuid: str, told: str, *, trashed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"project": uuid, "trashed": trashed})
    else:
        click.echo(told)


@project_group.command("rename")
@click.argument("project")
@click.argument("name")
@options
def rename_command(project: str, name: str, store: str | None, *, as_json: bool) -> None:
    """Give a PROJECT another NAME."""
    _put(project, store, name=name, as_json=as_json)


@project_group.command("move")
@click.argument("project")
@click.argument("folder")
@options
def move_command(project: str, folder: str, store: str | None, *, as_json: bool) -> None:
    """Put a PROJECT into another FOLDER, or '' for the top."""
    _put(project, store, folder=folder, as_json=as_json)


def _put(
    project: str, store: str | None, *, as_json: bool,
    name: str | None = None, folder: str | None = None,
) -> None:  # fmt: skip
    with BlockingClient() as client:
        projects = projects_of(client, store)
        root = projects.put(projects.resolve(project), name=name, folder=folder)
    place = root.attributes.get("folder", "")
    if as_json:
        print_json({"project": root.uuid, "name": root.name, "folder": place})
    else:
        click.echo(f"{project} is {f'{place}/' if place else ''}{root.name} now")


@project_group.command("duplicate")
@click.argument("project")
@click.argument("name")
@click.option("--folder", help="Put all copies into this folder; default: beside the originals.")
@click.option("--alone", is_flag=True, help="The copy refers to the same projects below it.")
@options
def duplicate_command(
    project: str, name: str, folder: str | None, store: str | None, *, alone: bool, as_json: bool
) -> None:
    """Copy a PROJECT with everything in it; the copy is called NAME.

    The projects below it are copied too, so that whoever edits the copy changes nothing of the
    original; where their names are taken the copies get a number behind it.
    """
    with BlockingClient() as client:
        projects = projects_of(client, store)
        uuid = projects.resolve(project)
        copy = projects.store.call(
            "duplicate_project", uuid, name, folder, alone, timeout_s=DUPLICATE_S
        )
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
@options
def find_command(store: str | None, *, as_json: bool, **patterns: Any) -> None:
    """Find projects by what is in them; patterns as in the shell."""
    with BlockingClient() as client:
        found = projects_of(client, store).find(**patterns)
    if as_json:
        print_json(found)
    else:
        rows = ((m["project_name"], m["folder"], m["kind"], m["name"], m["project"]) for m in found)
        print_table(("project", "folder", "kind", "name", "uuid"), rows)
