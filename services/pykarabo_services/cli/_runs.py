"""`pykarabo run`: record runs, and look at them."""

from datetime import UTC, datetime
from typing import Any, Final

import click

from pykarabo.cli import common, complete_devices, print_json, print_table
from pykarabo.client import BlockingClient, DeviceProxy
from pykarabo.errors import UnknownDeviceError

RECORDER_CLASS: Final = "RunRecorder"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 60.0
_COLUMNS: Final = ("run", "state", "trains", "started", "directory")

_recorder_option = click.option(
    "--recorder",
    help="Device id of the run recorder; default: the only one there is.",
    shell_complete=complete_devices,
)


def _recorder(client: BlockingClient, device_id: str | None) -> DeviceProxy:
    if device_id is not None:
        return client.device(device_id)
    found = [record for record in client.topology() if record.class_id == RECORDER_CLASS]
    if len(found) != 1:
        names = ", ".join(record.device_id for record in found)
        raise UnknownDeviceError(
            f"there are several run recorders: {names}" if found else "there is no run recorder",
            remedy="name one with --recorder"
            if found
            else f"start one: pykarabo instantiate {RECORDER_CLASS} DEVICE --server SERVER",
        )
    return client.device(found[0].device_id)


@click.group("run")
def run_group() -> None:
    """Record runs, and look at them."""


@run_group.command("start")
@click.option("--sample", default="", help="What is measured.")
@click.option("--type", "run_type", default="", help="What kind of run it is.")
@_recorder_option
@common
def start_command(sample: str, run_type: str, recorder: str | None, *, as_json: bool) -> None:
    """Start a run."""
    with BlockingClient() as client:
        started = _recorder(client, recorder).call(
            "start_run", timeout_s=START_TIMEOUT_S, sample=sample, run_type=run_type
        )
    if as_json:
        print_json(started)
    else:
        click.echo(f"run {started['run']} is being recorded in {started['directory']}")


@run_group.command("stop")
@_recorder_option
@common
def stop_command(recorder: str | None, *, as_json: bool) -> None:
    """Stop the run and close its files."""
    with BlockingClient() as client:
        stopped = _recorder(client, recorder).call("stop_run", timeout_s=STOP_TIMEOUT_S)
    if as_json:
        print_json(stopped)
    else:
        click.echo(f"run {stopped['run']}: {stopped['trains']} trains in {stopped['directory']}")


@run_group.command("list")
@_recorder_option
@common
def list_command(recorder: str | None, *, as_json: bool) -> None:
    """List all runs, oldest first."""
    with BlockingClient() as client:
        runs: list[dict[str, Any]] = _recorder(client, recorder).call("runs")
    if as_json:
        print_json(runs)
    else:
        print_table(_COLUMNS, ([_cell(run, column) for column in _COLUMNS] for run in runs))


def _cell(run: dict[str, Any], column: str) -> str:
    if column == "started":
        return _time(run.get("started_ns", 0))
    return str(run.get(column, ""))


def _time(time_ns: int) -> str:
    if not time_ns:
        return ""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@run_group.command("show")
@click.argument("run", type=int)
@_recorder_option
@common
def show_command(run: int, recorder: str | None, *, as_json: bool) -> None:
    """Show files, sources and losses of a run."""
    with BlockingClient() as client:
        found = _recorder(client, recorder).call("run_details", run)
    if as_json:
        print_json(found)
        return
    run_and_state = f"run {found['run']} ({found['state']})"
    click.echo(f"{run_and_state}, {found['trains']} trains, {found['directory']}")
    click.echo(f"started {_time(found['started_ns'])}, stopped {_time(found['stopped_ns'])}")
    if found["error"]:
        click.echo(f"error: {found['error']}")
    print_table(
        ("source", "section", "entries", "keys"),
        (
            (source["name"], source["section"], str(source["entries"]), str(source["keys"]))
            for source in found["sources"]
        ),
    )
    print_table(
        ("file", "trains", "first", "last"),
        (
            (file["name"], str(file["trains"]), str(file["first_train"]), str(file["last_train"]))
            for file in found["files"]
        ),
    )
    for loss in found["losses"]:
        click.echo(f"lost: {loss}")
