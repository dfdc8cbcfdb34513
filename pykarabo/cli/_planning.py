"""`plan`, `apply`, `export`: a facility as a file."""

import sys
from pathlib import Path

import click

from pykarabo.client import BlockingClient
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError
from pykarabo.facility import Export, FacilityServer, Plan

from ._app import common
from ._applying import Work
from ._plan_text import plan_json, print_plan
from ._preparing import Classes, Wish, look_at_all, prepare
from ._roles import require_role
from ._text import print_json

_file_argument = click.argument("file", type=click.Path(path_type=Path))
_data_option = click.option(
    "--data", type=click.Path(path_type=Path), help="Where servers write; $DATA in the file."
)
_keep_option = click.option(
    "--keep", is_flag=True, help="Leave alone what runs and is not in the file."
)
_reset_option = click.option(
    "--reset", is_flag=True, help="Return to their defaults what the file does not mention."
)


@click.command("plan")
@_file_argument
@_data_option
@_keep_option
@_reset_option
@click.option("--check", is_flag=True, help="End with status 1 if there is something to do.")
@common
def plan_command(
    file: Path, data: Path | None, *, keep: bool, reset: bool, check: bool, as_json: bool
) -> int:
    """Say what `apply` would do so that the domain runs as FILE says; nothing is done."""
    plan = prepare(Wish(file, data, keep, reset)).plan
    _show(plan, file, as_json=as_json)
    return 1 if check and (plan.steps or plan.problems) else 0


@click.command("apply")
@_file_argument
@_data_option
@_keep_option
@_reset_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before it is done.")
@common
def apply_command(
    file: Path,
    data: Path | None,
    *,
    keep: bool,
    reset: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Have the domain run as FILE says; when a step fails, what was done before is undone."""
    if not dry_run:
        require_role(AccessLevel.EXPERT, "applying a facility file")
    wish = Wish(file, data, keep, reset)
    prepared = prepare(wish)
    if dry_run or not as_json:
        _show(prepared.plan, file, as_json=as_json)
    if dry_run:
        return 0
    _refuse_problems(prepared.plan, file)
    if prepared.plan.steps:
        _ask(yes=yes, as_json=as_json)
    return Work(wish, prepared, as_json=as_json).do()


@click.command("export")
@common
def export_command(*, as_json: bool) -> int:
    """Write what runs as a facility file, which `plan` and `apply` read.

    Ends with status 1 if something is missing in it that is gone or does not answer.
    """
    with BlockingClient() as client:
        running = look_at_all(client)
        classes = Classes(client, running)
        anywhere = FacilityServer({})
        export = Export(running, lambda class_id: classes.schema_of("", anywhere, class_id))
    export.require_servers()
    code = 1 if export.missing else 0
    if as_json:
        told = {
            "outside": export.outside,
            "left_out": export.left_out,
            "variables": export.variables,
        }
        print_json({"text": export.text, "missing": export.missing, **told})
        return code
    click.echo(export.text, nl=False)
    for name, why in export.missing.items():
        click.echo(f"error: '{name}' {why}; it is missing in the file", err=True)
    for device_id, home in export.outside.items():
        where = f"it runs on '{home}', which no facility file describes"
        click.echo(f"warning: '{device_id}' is left out: {where}", err=True)
    for name, of in export.variables.items():
        click.echo(f"warning: '{of}' is secret: put it into the variable {name}", err=True)
    for device_id, reasons in export.left_out.items():
        for key, reason in reasons.items():
            click.echo(f"warning: '{device_id}.{key}' is left out: {reason}", err=True)
    return code


def _refuse_problems(plan: Plan, file: Path) -> None:
    if plan.problems:
        raise BadConfigurationError(
            f"{file} cannot be applied: {'; '.join(plan.problems)}",
            remedy="nothing was done; 'pykarabo plan' shows the rest",
        )


def _ask(*, yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here; give --yes to have this done")
    click.confirm("Do this?", abort=True)


def _show(plan: Plan, file: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(plan_json(plan))
    else:
        print_plan(plan, file)
