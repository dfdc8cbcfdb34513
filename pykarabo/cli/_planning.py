"""`plan`, `apply`, `export`: a facility as a file."""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from pykarabo.client import BlockingClient
from pykarabo.data import AccessLevel, Schema
from pykarabo.errors import BadConfigurationError, NotConnectedError, PykaraboError, RemoteError
from pykarabo.facility import (
    Applier,
    CheckedFacility,
    Export,
    Facility,
    FacilityServer,
    Kind,
    Outcome,
    Plan,
    Result,
    Running,
    Step,
    check_facility,
    configuration_steps,
    look,
    make_plan,
    read_facility,
    with_configurations,
)
from pykarabo.transport import DOMAIN_VARIABLE, data_directory, domain_name

from ._app import common, report
from ._instances import await_end
from ._launching import Launcher, directory_answers
from ._plan_text import plan_json, print_plan, result_json, result_line
from ._processes import ask_to_stop, one_at_a_time
from ._roles import require_role
from ._text import print_json

_STORE_CLASS: Final = "ConfigurationStore"
_UNSURE: Final = (Outcome.UNKNOWN, Outcome.NOT_UNDONE)
_END_S: Final = 10.0
"""A server that has left the directory has its sockets to close."""

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


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the user wants of a facility file."""

    file: Path
    data: Path | None
    keep: bool
    reset: bool

    @property
    def home(self) -> Path | None:
        """Where the user wants everything to be written."""
        return None if self.data is None else self.data.expanduser().resolve()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A plan, and what it was made from."""

    checked: CheckedFacility
    running: Running
    plan: Plan


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
    plan = _prepare(_Wish(file, data, keep, reset)).plan
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
    wish = _Wish(file, data, keep, reset)
    prepared = _prepare(wish)
    if dry_run or not as_json:
        _show(prepared.plan, file, as_json=as_json)
    if dry_run:
        return 0
    _refuse_problems(prepared.plan, file)
    if prepared.plan.steps:
        _ask(yes=yes, as_json=as_json)
    return _Work(wish, prepared, as_json=as_json).do()


@click.command("export")
@common
def export_command(*, as_json: bool) -> None:
    """Write what runs as a facility file, which `plan` and `apply` read."""
    with BlockingClient() as client:
        export = Export(_look(client))
    if as_json:
        told = {"left_out": export.left_out, "variables": export.variables}
        print_json({"text": export.text, **told})
        return
    click.echo(export.text, nl=False)
    for name, of in export.variables.items():
        click.echo(f"warning: '{of}' is secret: put it into the variable {name}", err=True)
    for device_id, reasons in export.left_out.items():
        for key, reason in reasons.items():
            click.echo(f"warning: '{device_id}.{key}' is left out: {reason}", err=True)


# -- making a plan ------------------------------------------------------------------------------


def _prepare(wish: _Wish) -> _Prepared:
    """Read, look, check and plan."""
    named = os.environ.get(DOMAIN_VARIABLE)
    facility = read_facility(wish.file, os.environ, domain=named, data=wish.home)
    os.environ[DOMAIN_VARIABLE] = domain_name(facility.domain)
    with BlockingClient() as client:
        running = _look(client) if directory_answers() else Running()
        checked = check_facility(facility, _Classes(client, running).schema_of)
        plan = make_plan(checked, running, keep=wish.keep, reset=wish.reset)
    steps, notes = _about_configurations(checked, running, plan, keep=wish.keep)
    problems = [*plan.problems, *_elsewhere(plan)]
    plan = Plan((*plan.steps, *steps), (*plan.notes, *notes), tuple(problems))
    return _Prepared(checked, running, plan)


def _look(client: BlockingClient) -> Running:
    """Return what runs, with the configurations of the only store there is.

    Raises:
        BadConfigurationError: there are several.
    """
    stores = [item.device_id for item in client.find_devices(class_id=_STORE_CLASS)]
    if len(stores) > 1:
        raise BadConfigurationError(
            f"there are several configuration stores: {', '.join(stores)}",
            remedy="keep one of them: pykarabo shutdown DEVICE",
        )
    return with_configurations(look(client), client, stores[0] if stores else None)


def _about_configurations(
    checked: CheckedFacility, running: Running, plan: Plan, *, keep: bool
) -> tuple[list[Step], list[str]]:
    """Return what is to be kept in the store, or why that is known only later."""
    if checked.facility.configurations is None:
        return [], []
    touched = {step.target for step in plan.steps if step.kind is Kind.STOP}
    if running.store is None or running.store in touched:
        return [], ["named configurations are compared when their store has been started"]
    return configuration_steps(checked, running, keep=keep), []


def _elsewhere(plan: Plan) -> list[str]:
    """Return why servers cannot be started on this host."""
    return [
        f"server '{step.target}' listens at {step.options.host}, which is not this host: "
        "apply the file there"
        for step in plan.steps
        if step.kind is Kind.START_SERVER
        and step.options is not None
        and step.options.host is not None
        and not _is_here(step.options.host)
    ]


def _is_here(host: str) -> bool:
    import psutil

    own = {address.address for found in psutil.net_if_addrs().values() for address in found}
    try:
        found = {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(address in own or address in ("0.0.0.0", "::") for address in found)


class _Classes:
    """Tells the schemas of classes: of servers that run, else of those installed here."""

    def __init__(self, client: BlockingClient, running: Running) -> None:
        self._client = client
        self._running = running
        self._known: dict[tuple[str, str], Schema] = {}

    def schema_of(self, server_id: str, server: FacilityServer, class_id: str) -> Schema:
        """Return the schema of a class on a server; raises `UnknownClassError`."""
        known = self._known.get((server_id, class_id))
        if known is None:
            known = self._known[server_id, class_id] = self._find(server_id, server, class_id)
        return known

    def _find(self, server_id: str, server: FacilityServer, class_id: str) -> Schema:
        running = self._running.servers.get(server_id)
        if running is not None and running.options.classes == server.classes:
            wire = self._client.device(server_id).call("class_schema", class_id)
            return Schema.from_wire(wire)
        from pykarabo.device import DeviceClasses

        return DeviceClasses(server.classes).require(class_id).schema()


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


# -- carrying it out ----------------------------------------------------------------------------


class _Processes:
    """Starts and stops server processes of this host."""

    def __init__(self, directory: Path, home: Path) -> None:
        self._directory = directory
        self._home = home

    def start_directory(self) -> None:
        """Start the domain's directory where there is none."""
        launcher = self._launcher(Facility({}))
        launcher.start_directory()
        _raise(launcher)

    def start(self, server_id: str, server: FacilityServer, time_source: str | None) -> None:
        """Start a server without devices, and wait until it answers."""
        empty = replace(server, devices={}, own_process=frozenset())
        launcher = self._launcher(Facility({server_id: empty}, time_source))
        launcher.start_all()
        _raise(launcher)

    def stop(self, server_id: str) -> None:
        """Stop a server, and wait until its process has ended."""
        import psutil

        with BlockingClient() as client:
            record = client.resolve(server_id)
            process = None
            if record.host == socket.gethostname() and psutil.pid_exists(record.pid):
                process = psutil.Process(record.pid)
            ask_to_stop(server_id)
            await_end(client, server_id)
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.wait(_END_S)

    def _launcher(self, facility: Facility) -> Launcher:
        return Launcher(self._directory, self._home, facility)


def _raise(launcher: Launcher) -> None:
    if launcher.problems:
        raise RemoteError(
            launcher.problems[0], remedy="correct what the log names, and apply the file again"
        )


class _Work:
    """Carries a plan out and tells of it."""

    def __init__(self, wish: _Wish, prepared: _Prepared, *, as_json: bool) -> None:
        self._wish = wish
        self._checked = prepared.checked
        self._plan = prepared.plan
        self._running = prepared.running
        self._as_json = as_json

    def do(self) -> int:
        """Do it; returns the exit code."""
        if not self._plan.steps and self._checked.facility.configurations is None:
            return self._told([], None)
        with one_at_a_time() as directory:
            processes = _Processes(directory, self._wish.home or data_directory())
            processes.start_directory()
            with BlockingClient() as client:
                applier = Applier(client, processes, self._tell, store=self._running.store)
                error = applier.carry_out(self._plan.steps)
                if error is None:
                    error = self._keep_configurations(client, applier)
        return self._told([result_json(result) for result in applier.results], error)

    def _keep_configurations(
        self, client: BlockingClient, applier: Applier
    ) -> PykaraboError | None:
        """Bring the store in order, now that it runs; takes all back when that fails."""
        if self._checked.facility.configurations is None:
            return None
        try:
            running = _look(client)
            if running.store is None:
                raise NotConnectedError(
                    "the file names configurations, and no device keeps them",
                    remedy=f"add one device of class {_STORE_CLASS} to the file",
                )
            steps = configuration_steps(self._checked, running, keep=self._wish.keep)
        except PykaraboError as error:
            applier.take_back()
            return error
        applier.store = running.store
        return applier.carry_out(steps)

    def _tell(self, result: Result) -> None:
        if not self._as_json:
            click.echo(result_line(result))

    def _told(self, results: list[Mapping[str, Any]], error: PykaraboError | None) -> int:
        if self._as_json:
            wire = None if error is None else error.to_wire()
            print_json({**plan_json(self._plan), "results": results, "error": wire})
        elif error is None and results:
            click.echo(f"done: {len(results)} steps")
        if error is None:
            return 0
        unsure = [item for item in results if item["outcome"] in _UNSURE]
        if unsure and not self._as_json:
            names = ", ".join(str(item["target"]) for item in unsure)
            click.echo(f"look at these, they may be neither as before nor as wanted: {names}")
        return report(error)
