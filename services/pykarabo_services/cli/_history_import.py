"""`pykarabo history-import`: put values from elsewhere into the archive."""

from pathlib import Path
from typing import Final

import click

from pykarabo.cli import common, complete_devices, print_json
from pykarabo.client import BlockingClient, split_target
from pykarabo.data import ValueType
from pykarabo.errors import InvalidNameError, NotConnectedError, UnknownDeviceError
from pykarabo_services.cli._importing import ImportFile, Target, batches

_ARCHIVER: Final = "Archiver"
_TIMEOUT_S: Final = 60.0


@click.command("history-import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--into", metavar="DEVICE.PROPERTY", help="What all rows are values of.")
@click.option(
    "--type",
    "value_type",
    type=click.Choice([item.value for item in ValueType], case_sensitive=False),
    help="Their type; default: the property's own, or what all values can be.",
)
@click.option("--archiver", help="Device that stores them.", shell_complete=complete_devices)
@click.option("--check", is_flag=True, help="Only look whether all of it can be stored.")
@common
def history_import_command(
    file: Path,
    into: str | None,
    value_type: str | None,
    archiver: str | None,
    *,
    check: bool,
    as_json: bool,
) -> None:
    """Store the values of a CSV FILE in the archive, with their own times.

    Its first line names the columns: time (ISO 8601, local without a zone) or time_ns, value, and
    if known quality and train_id; device_id and key, or --into says what they are of. Files that
    'pykarabo history --csv' has written are understood. All rows are checked before any is stored;
    a second import of the same file adds nothing.
    """
    with BlockingClient() as client:
        content = ImportFile(file, None if into is None else _target(into))
        for target in content.targets():
            known = ValueType(value_type) if value_type else _type_of(client, target)
            if known is not None:
                content.types[target] = known
        counts = content.check()
        if not check:
            _store(client, content, archiver or _archiver(client))
    if as_json:
        print_json({f"{device_id}.{key}": count for (device_id, key), count in counts.items()})
        return
    for (device_id, key), count in counts.items():
        verb = "can be stored" if check else "stored"
        kind = content.types[Target(device_id, key)].value
        click.echo(f"{device_id}.{key}: {count} values ({kind}) {verb}")


def _target(text: str) -> Target:
    device_id, key = split_target(text)
    if key is None:
        raise InvalidNameError(f"'{text}' names no property", remedy=f"write {device_id}.NAME")
    return Target(device_id, key)


def _type_of(client: BlockingClient, target: Target) -> ValueType | None:
    """Return the type that a property has; None where no device of this name can tell."""
    try:
        schema = client.schema(target.device_id)
    except (UnknownDeviceError, NotConnectedError):
        return None
    info = schema.properties.get(target.key)
    return None if info is None else info.value_type


def _archiver(client: BlockingClient) -> str:
    found = client.find_devices(class_id=_ARCHIVER)
    if not found:
        raise UnknownDeviceError(
            "there is no archiver",
            remedy=f"start one: pykarabo instantiate {_ARCHIVER} DEVICE --server SERVER",
        )
    return found[0].device_id


def _store(client: BlockingClient, content: ImportFile, archiver: str) -> None:
    device = client.device(archiver)
    for target, columns in batches(content.rows()):
        device.call(
            "import_samples",
            target.device_id,
            target.key,
            content.types[target].value,
            columns,
            timeout_s=_TIMEOUT_S,
        )
