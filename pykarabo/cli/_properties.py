"""`get`, `set`, `call`."""

from collections.abc import Iterator
from typing import Any, Final

import click

from pykarabo.client import BlockingClient, Job
from pykarabo.data import CommandInfo, PropertyInfo, PropertyValue
from pykarabo.errors import CallTimeoutError, OutcomeUnknownError, PykaraboError

from ._app import common, report
from ._complete import complete_targets
from ._parsing import loosely, parse_argument, parse_value, split_assignment
from ._targets import Reading, split_named
from ._text import print_json, print_table, to_text

_HEADER: Final = ("property", "value", "quality", "time")
_LOOK_S: Final = 0.5
"""A job's progress is looked at so often."""


@click.command("get")
@click.argument("targets", nargs=-1, required=True, shell_complete=complete_targets)
@common
def get_command(targets: tuple[str, ...], *, as_json: bool) -> int:
    """Read TARGETS: DEV.property, DEV for all of its properties, patterns such as 'X/*.state'.

    One property is written as its bare value with its unit.
    """
    with BlockingClient() as client:
        reading = Reading(client)
        for target in targets:
            reading.want(target)
        reading.read()
        if as_json:
            print_json(_as_json(reading))
        else:
            _print(client, reading, targets)
    errors = {str(error): error for error in reading.errors.values()}
    return max((report(error) for error in errors.values()), default=0)


def _as_json(reading: Reading) -> dict[str, object]:
    values: dict[str, object] = {
        f"{device_id}.{key}": value
        for device_id, found in reading.values.items()
        for key, value in found.items()
    }
    return values | {target: {"error": error.to_wire()} for target, error in reading.errors.items()}


def _print(client: BlockingClient, reading: Reading, targets: tuple[str, ...]) -> None:
    rows = list(_rows(client, reading))
    if len(targets) == 1 and len(rows) == 1 and not reading.errors:
        _name, value, info = rows[0]
        click.echo(to_text(value.value, info.unit if info else "", whole=True))
    elif rows:
        print_table(
            _HEADER,
            (
                (
                    name,
                    to_text(value.value, info.unit if info else ""),
                    value.quality.value,
                    value.timestamp.iso(3),
                )
                for name, value, info in rows
            ),
        )


def _rows(
    client: BlockingClient, reading: Reading
) -> Iterator[tuple[str, PropertyValue, PropertyInfo | None]]:
    for device_id, found in reading.values.items():
        properties = client.schema(device_id).properties if found else {}
        for key, value in found.items():
            yield f"{device_id}.{key}", value, properties.get(key)


@click.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("assignments", nargs=-1, required=True, shell_complete=complete_targets)
@common
def set_command(assignments: tuple[str, ...], *, as_json: bool) -> int:
    """Write ASSIGNMENTS: DEV.property=value, with a unit if you like ("3 mm").

    Lists are JSON or separated by commas, @FILE takes a value from a file. Several properties
    of one device are written all or none.
    """
    wanted: dict[str, dict[str, str]] = {}
    for assignment in assignments:
        target, text = split_assignment(assignment)
        device_id, key = split_named(target)
        wanted.setdefault(device_id, {})[key] = text
    code = 0
    shown: dict[str, object] = {}
    with BlockingClient() as client:
        for device_id, texts in wanted.items():
            try:
                written = _write(client, device_id, texts)
            except PykaraboError as error:
                code = max(code, report(error))
                shown |= {f"{device_id}.{key}": {"error": error.to_wire()} for key in texts}
                continue
            for key, (value, unit) in written.items():
                shown[f"{device_id}.{key}"] = value
                if not as_json:
                    click.echo(f"{device_id}.{key} = {to_text(value.value, unit)}")
    if as_json:
        print_json(shown)
    return code


def _write(
    client: BlockingClient, device_id: str, texts: dict[str, str]
) -> dict[str, tuple[PropertyValue, str]]:
    """Write properties of a device; returns what it has now, with units."""
    proxy = client.device(device_id)
    infos = {key: proxy.schema.require_property(key, device_id) for key in texts}
    proxy.set({key: parse_value(text, infos[key], device_id) for key, text in texts.items()})
    try:
        read = proxy.read(*texts)
    except PykaraboError as error:
        raise OutcomeUnknownError(
            f"'{device_id}' has taken the values, but cannot be read since: {error.message}",
            device=device_id,
            remedy=f"read it again: pykarabo get {device_id}",
        ) from error
    return {key: (value, infos[key].unit) for key, value in read.items()}


@click.command("call", context_settings={"ignore_unknown_options": True})
@click.argument("target", shell_complete=complete_targets)
@click.argument("arguments", nargs=-1)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds to wait for the result.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait for the end of a job: show its id.")
@common
def call_command(
    target: str, arguments: tuple[str, ...], timeout: float, *, no_wait: bool, as_json: bool
) -> None:
    """Run the command TARGET (DEV.command) with ARGUMENTS: values, or name=value.

    A command that is a job is waited for, with its progress on the terminal; Ctrl-C ends the
    waiting, not the job.
    """
    device_id, name = split_named(target)
    with BlockingClient() as client:
        proxy = client.device(device_id)
        command = proxy.schema.require_command(name, device_id)
        positional, named = _arguments(command, arguments, device_id)
        result = proxy.call(name, *positional, timeout_s=timeout, **named)
        if isinstance(result, Job):
            result = {"job": result.job_id} if no_wait else _ended(result)
    if as_json:
        print_json(result)
    elif result is not None:
        click.echo(to_text(result, whole=True))


def _ended(job: Job) -> Any:
    """Wait for a job and return its result; its progress is shown meanwhile."""
    shown = ""
    try:
        while True:
            try:
                return job.result(timeout_s=_LOOK_S)
            except CallTimeoutError:
                status = job.status()
            told = f"{status['progress']:.0%} {status['message']}".strip()
            if told != shown:
                click.echo(told, err=True)
                shown = told
    except KeyboardInterrupt:
        click.echo(
            f"job {job.job_id} goes on; stop it with: "
            f"pykarabo call {job.device_id}.cancel_job {job.job_id}",
            err=True,
        )
        raise


def _arguments(
    command: CommandInfo, texts: tuple[str, ...], device_id: str
) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a command."""
    by_name = {item.name: item for item in command.parameters}
    positional: list[object] = []
    named: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if equals and key in by_name:
            named[key] = parse_argument(value, by_name[key], command.name, device_id)
        elif len(positional) < len(command.parameters):
            item = command.parameters[len(positional)]
            positional.append(parse_argument(text, item, command.name, device_id))
        else:
            positional.append(loosely(text))
    return positional, named
