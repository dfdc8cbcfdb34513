"""`stubs`: types of live devices, for editors and type checkers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from pykarabo.client import BlockingClient
from pykarabo.data import Schema
from pykarabo.errors import BadConfigurationError, PykaraboError, UnknownDeviceError

from ._app import common, report
from ._complete import complete_devices
from ._stub_text import kinds_of, stub_of
from ._text import print_json

PACKAGE: Final = "pykarabo_devices"
_MARK: Final = '"""The devices of a domain with their types; made by `pykarabo stubs`."""'
_MODULE: Final = f"""{_MARK}

from pykarabo import aconnect, connect

__all__ = ["aconnect", "connect"]
"""


@click.command("stubs")
@click.argument("patterns", nargs=-1, shell_complete=complete_devices)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help=f"Where the package {PACKAGE} is put; default is here.",
)
@common
def stubs_command(patterns: tuple[str, ...], output: Path, *, as_json: bool) -> int:
    """Write the types of the devices that match PATTERNS, of all devices without one.

    Programs then begin with `from pykarabo_devices import connect`: connect("MOTOR/1") is known
    to return a motor, editors complete its properties and commands, and type checkers refuse
    what it does not have. Write them anew when classes have changed.
    """
    package = output / PACKAGE
    _require_ours(package)
    schemas, problems = _schemas(patterns or ("*",))
    kinds = kinds_of(schemas)
    title = f"{len(schemas)} devices of {len(kinds)} kinds."
    try:
        package.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("__init__.py", _MODULE), ("__init__.pyi", stub_of(title, kinds)), ("py.typed", ""),
        ):  # fmt: skip
            (package / name).write_text(text, "utf-8")
    except OSError as error:
        raise BadConfigurationError(
            f"{package} cannot be written: {error.strerror}", remedy="choose another --output"
        ) from None
    if as_json:
        devices = {device_id: kind.name for kind in kinds for device_id in kind.device_ids}
        print_json({"package": str(package), "devices": devices})
    else:
        click.echo(f"{package}: {title}")
    codes = [report(problem) for problem in problems]
    return codes[0] if codes else 0


def _require_ours(package: Path) -> None:
    module = package / "__init__.py"
    if package.exists() and not (module.is_file() and module.read_text("utf-8").startswith(_MARK)):
        raise BadConfigurationError(
            f"{package} exists and was not made by 'pykarabo stubs'",
            remedy="remove it, or choose another --output",
        )


def _schemas(patterns: Iterable[str]) -> tuple[dict[str, Schema], list[PykaraboError]]:
    """Return the schemas of the devices, and why those that do not answer are left out."""
    schemas: dict[str, Schema] = {}
    problems: list[PykaraboError] = []
    with BlockingClient() as client:
        for pattern in patterns:
            records = client.topology(pattern)
            if not records:
                raise UnknownDeviceError(
                    f"no device matches '{pattern}'", remedy="see 'pykarabo devices'"
                )
            for record in records:
                try:
                    schemas[record.device_id] = client.schema(record.device_id)
                except PykaraboError as error:
                    problems.append(error)
    return schemas, problems
