"""`pykarabo project export` and `import`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pykarabo.cli import print_json
from pykarabo.client import BlockingClient
from pykarabo.errors import BadConfigurationError

from ._project_kit import cached_option, load, options, projects_of, tell_age, trash_option

if TYPE_CHECKING:
    from pykarabo_services.project.files import ExportedProject, Files
    from pykarabo_services.project.importing import ImportPlan


@click.command("export")
@click.argument("project")
@click.argument("path", type=click.Path(path_type=Path))
@cached_option
@trash_option
@click.option("--alone", is_flag=True, help="Without the projects below it.")
@options
def export_command(
    project: str, path: Path, store: str | None, *,
    cached: bool, trash: bool, alone: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a PROJECT to PATH: a directory for git, or one file that ends in .pkproject.

    An earlier export in the directory is brought up to date: what is gone from the project is
    removed there. Projects below it that are not exported are left as they were exported before.
    """
    from pykarabo_services.project.files import ARCHIVE_SUFFIX, write_archive, write_directory

    files = _files_of(project, store, cached=cached, trash=trash, alone=alone)
    left: list[str] = []
    try:
        if path.suffix == ARCHIVE_SUFFIX:
            write_archive(files, path)
        else:
            left = write_directory(files, path)
    except OSError as error:
        raise BadConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="name another place"
        ) from None
    if as_json:
        print_json({"path": str(path), "files": len(files), "left": left})
    else:
        click.echo(f"{len(files)} files in {path}")
    for folder in left:
        click.echo(f"{path / folder} was not exported, and is left as it was", err=True)


def _files_of(
    project: str, store: str | None, *, cached: bool, trash: bool, alone: bool
) -> "Files":
    from pykarabo_services.project.cache import ProjectCache
    from pykarabo_services.project.files import to_files

    if alone:
        return to_files(load(project, store, cached=cached, trash=trash))
    if cached:
        kept, others = ProjectCache().load_all(project)
        tell_age(kept.loaded_ns)
        return to_files(kept.items, others)
    with BlockingClient() as client:
        projects = projects_of(client, store)
        return to_files(*projects.load_all(projects.resolve(project, trashed=trash)))


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--folder", help="Put it into this folder; with --copy those below it too.")
@click.option("--name", help="Call it so.")
@click.option(
    "--copy", is_flag=True,
    help="As a new project beside the one it was written from; with those below it, which get a "
    "number behind their name where that is taken.",
)  # fmt: skip
@click.option("--update", is_flag=True, help="Make the project that is there what the files say.")
@click.option(
    "--overwrite", is_flag=True, help="With --update: also what was changed since the export."
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@options
def import_command(
    path: Path, folder: str | None, name: str | None, store: str | None, *,
    copy: bool, update: bool, overwrite: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Bring a project from PATH, a directory or an archive, into the store, all or nothing.

    With --update it is refused where somebody has changed since the export what would be changed
    or removed; exported.txt beside the files tells how the project was.
    """
    from pykarabo_services.project.files import exported_in, projects_in, read_files
    from pykarabo_services.project.importing import copied, placed, plan_import

    files = read_files(path)
    found = projects_in(files, name=str(path))
    exported = None
    if not overwrite and not copy:
        exported = [exported_in(files, project, name=str(path)) for project in found]
    with BlockingClient() as client:
        projects = projects_of(client, store)
        if copy:
            found = copied(projects, found, name=name, folder=folder)
        else:
            found = placed(found, name=name, folder=folder)
        plan = plan_import(projects, found, exported, update=update)
        changes = plan.changes
        if not dry_run and (changes.items or changes.removed or changes.order):
            projects.save(changes)
    if path.is_dir() and not dry_run and not copy:
        _note(path, found)
    _tell(plan, found, dry_run=dry_run, as_json=as_json)


def _note(path: Path, found: "Sequence[ExportedProject]") -> None:
    from pykarabo_services.project.files import note_imported

    try:
        note_imported(path, found)
    except OSError as error:
        click.echo(
            f"that it was imported cannot be noted in {path}: {error.strerror}; export it again "
            "before the next import",
            err=True,
        )


def _tell(
    plan: "ImportPlan", found: "Sequence[ExportedProject]", *, dry_run: bool, as_json: bool
) -> None:
    roots = [project.items[0] for project in found]
    if as_json:
        told: dict[str, Any] = {
            "project": roots[0].uuid,
            "projects": [
                {"uuid": r.uuid, "name": r.name, "folder": r.attributes.get("folder", "")}
                for r in roots
            ],
            "saved": plan.saved,
            "removed": plan.removed,
            "reordered": plan.reordered,
        }
        print_json(told)
        return
    verb = "would be saved" if dry_run else "saved"
    click.echo(
        f"project {roots[0].name}: {len(plan.saved)} items {verb}, {len(plan.removed)} removed"
    )
    for what, names in (
        ("save", plan.saved),
        ("remove", plan.removed),
        ("put in order", plan.reordered),
    ):
        for name in names:
            click.echo(f"  {what} {name}")
