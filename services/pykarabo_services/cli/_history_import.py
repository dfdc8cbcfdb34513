"""`pykarabo history-import`: put values from elsewhere into the archive."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from pykarabo.cli import common, complete_devices, print_json
from pykarabo.client import BlockingClient, split_target
from pykarabo.data import PropertyInfo, ValueType
from pykarabo.errors import InvalidNameError, NotConnectedError, UnknownDeviceError
from pykarabo_services.archiver.importing import check_key
from pykarabo_services.cli._importing import ImportFile, Target, batches

_ARCHIVER: Final = "Archiver"
_TIMEOUT_S: Final = 300.0
"""Each of many samples may be looked for in a chunk of its own."""


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
    'pykarabo history --csv' has written are understood: epoch and seq tell which samples they are.
    All rows are checked before any is stored. What the archive has already is not stored again, and
    where it has another value, that stays; both are told.
    """
    with BlockingClient() as client:
        content = ImportFile(file, None if into is None else _target(into))
        for target in content.targets():
            info = _info_of(client, target)
            if info is not None and info.dtype is not None:
                content.dtypes[target] = info.dtype
            if value_type:
                content.types[target] = ValueType(value_type)
            elif info is not None:
                content.types[target] = info.value_type
        counts = content.check()
        outcomes = {} if check else _store(client, content, archiver or _archiver(client))
    if as_json:
        print_json(
            {
                f"{target.device_id}.{target.key}": {
                    "type": content.types[target].value,
                    "values": count,
                    **outcomes.get(target, {}),
                }
                for target, count in counts.items()
            }
        )
        return
    if not counts:
        click.echo(f"{file} has no rows")
    for target, count in counts.items():
        kind = content.types[target].value
        outcome = _in_words(outcomes[target]) if target in outcomes else "can be stored"
        click.echo(f"{target.device_id}.{target.key}: {count} values ({kind}) {outcome}")


def _in_words(outcome: Mapping[str, int]) -> str:
    """Return what became of the values of a property."""
    if not outcome["known"] and not outcome["different"]:
        return "stored"
    words = [f"of which {outcome['new']} are stored"]
    if outcome["known"]:
        words.append(f"{outcome['known']} were there already")
    if outcome["different"]:
        words.append(f"{outcome['different']} have another value there, which stays")
    return ", ".join(words)


def _target(text: str) -> Target:
    device_id, key = split_target(text)
    if key is None:
        raise InvalidNameError(f"'{text}' names no property", remedy=f"write {device_id}.NAME")
    return Target(device_id, check_key(key))


def _info_of(client: BlockingClient, target: Target) -> PropertyInfo | None:
    """Return what a property is; None where no device of this name can tell."""
    try:
        schema = client.schema(target.device_id)
    except (UnknownDeviceError, NotConnectedError):
        return None
    return schema.properties.get(target.key)


def _archiver(client: BlockingClient) -> str:
    found = client.find_devices(class_id=_ARCHIVER)
    if not found:
        raise UnknownDeviceError(
            "there is no archiver",
            remedy=f"start one: pykarabo instantiate {_ARCHIVER} DEVICE --server SERVER",
        )
    return found[0].device_id


def _store(
    client: BlockingClient, content: ImportFile, archiver: str
) -> dict[Target, Counter[str]]:
    """Have the archiver store what is new; returns by property how many were new, known, other."""
    device = client.device(archiver)
    outcomes: dict[Target, Counter[str]] = {}
    for target, columns in batches(content.rows()):
        told = device.call(
            "import_samples",
            target.device_id,
            target.key,
            content.types[target].value,
            columns,
            timeout_s=_TIMEOUT_S,
        )
        outcomes.setdefault(target, Counter()).update(told)
    return outcomes
