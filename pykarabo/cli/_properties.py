"""`get`, `set`, `call`."""

import fnmatch
from collections.abc import Iterable

import click

from pykarabo.client import BlockingClient, check_device_id
from pykarabo.data import PropertyInfo, PropertyValue, Schema, ValueType
from pykarabo.errors import InvalidNameError, PykaraboError

from ._app import common, report
from ._complete import complete_targets
from ._text import loosely, parse_value, print_json, print_table, split_assignment, to_text


def split(target: str, *, need_name: bool = False) -> tuple[str, str | None]:
    """Split ``DEV.name``; the device part may be a pattern."""
    device_id, _dot, name = target.partition(".")
    if not any(sign in device_id for sign in "*?["):
        check_device_id(device_id)
    if need_name and not name:
        raise InvalidNameError(
            f"'{target}' names no property or command", remedy="write DEVICE.name"
        )
    return device_id, name or None


def expand(client: BlockingClient, targets: Iterable[str]) -> dict[str, list[str] | None]:
    """Return per device the properties asked for, None for all; patterns are looked up."""
    wanted: dict[str, list[str] | None] = {}
    for target in targets:
        pattern, key = split(target)
        found = [pattern]
        if any(sign in pattern for sign in "*?["):
            ids = [record.device_id for record in client.topology()]
            found = fnmatch.filter(ids, pattern)
        for device_id in found:
            known = wanted.get(device_id, [])
            wanted[device_id] = None if key is None or known is None else [*known, key]
    return wanted


@click.command("get")
@click.argument("targets", nargs=-1, required=True, shell_complete=complete_targets)
@common
def get_command(targets: tuple[str, ...], *, as_json: bool) -> int:
    """Read TARGETS: DEV.property, DEV for all of its properties, patterns such as 'X/*.state'.

    One property is written as its bare value with its unit.
    """
    with BlockingClient() as client:
        wanted = expand(client, targets)
        answers = client.read_many(wanted)
        failed = [answer for answer in answers.values() if isinstance(answer, PykaraboError)]
        values = {
            f"{device_id}.{key}": value
            for device_id in wanted
            if not isinstance(answer := answers[device_id], PykaraboError)
            for key, value in answer.items()
        }
        if as_json:
            print_json(values)
        elif len(targets) == 1 and len(values) == 1:
            click.echo(_single(client, next(iter(wanted)), values))
        elif values:
            print_table(
                ("property", "value", "quality", "time"),
                (
                    (name, to_text(value.value), value.quality.value, value.timestamp.iso(3))
                    for name, value in values.items()
                ),
            )
    return max((report(error) for error in failed), default=0)


def _single(client: BlockingClient, device_id: str, values: dict[str, PropertyValue]) -> str:
    name, value = next(iter(values.items()))
    if not isinstance(value.value, int | float | complex) or isinstance(value.value, bool):
        return to_text(value.value)
    info = client.schema(device_id).properties[name.partition(".")[2]]
    return to_text(value.value, info.unit)


@click.command("set")
@click.argument("assignments", nargs=-1, required=True, shell_complete=complete_targets)
@common
def set_command(assignments: tuple[str, ...], *, as_json: bool) -> int:
    """Write ASSIGNMENTS: DEV.property=value, with a unit if you like ("3 mm").

    Several properties of one device are written all or none.
    """
    wanted: dict[str, dict[str, str]] = {}
    for assignment in assignments:
        target, text = split_assignment(assignment)
        device_id, key = split(target, need_name=True)
        wanted.setdefault(check_device_id(device_id), {})[key or ""] = text
    code = 0
    written: dict[str, object] = {}
    with BlockingClient() as client:
        for device_id, texts in wanted.items():
            try:
                proxy = client.device(device_id)
                values = {
                    key: parse_value(text, proxy.schema.require_property(key, device_id), device_id)
                    for key, text in texts.items()
                }
                proxy.set(values)
                read = proxy.get(*values)
                written |= {f"{device_id}.{key}": value for key, value in read.items()}
            except PykaraboError as error:
                code = max(code, report(error))
    if as_json and written:
        print_json(written)
    elif not as_json:
        for name, value in written.items():
            click.echo(f"{name} = {to_text(value)}")
    return code


@click.command("call")
@click.argument("target", shell_complete=complete_targets)
@click.argument("arguments", nargs=-1)
@click.option("--timeout", default=5.0, show_default=True, help="Seconds to wait for the result.")
@common
def call_command(target: str, arguments: tuple[str, ...], timeout: float, *, as_json: bool) -> None:
    """Run the command TARGET (DEV.command) with ARGUMENTS: values, or name=value."""
    device_id, name = split(target, need_name=True)
    with BlockingClient() as client:
        proxy = client.device(check_device_id(device_id))
        command = proxy.schema.require_command(name or "", device_id)
        by_name = {item.name: item for item in command.parameters}
        positional: list[object] = []
        named: dict[str, object] = {}
        for number, argument in enumerate(arguments):
            key, equals, text = argument.partition("=")
            if equals and key in by_name:
                named[key] = _argument(
                    text, proxy.schema, by_name[key].value_type, by_name[key].unit
                )
            elif number < len(command.parameters):
                item = command.parameters[number]
                positional.append(_argument(argument, proxy.schema, item.value_type, item.unit))
            else:
                positional.append(loosely(argument))
        result = proxy.call(name or "", *positional, timeout_s=timeout, **named)
    if as_json:
        print_json(result)
    elif result is not None:
        click.echo(to_text(result))


def _argument(text: str, schema: Schema, kind: ValueType, unit: str) -> object:
    del schema
    if kind in (ValueType.ANY, ValueType.HASH, ValueType.NONE):
        return loosely(text)
    return parse_value(text, PropertyInfo("argument", kind, unit=unit), "call")
