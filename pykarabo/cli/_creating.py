"""`new-device`: a package of one's own to begin with."""

import re
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from pykarabo.errors import BadConfigurationError, InvalidNameError

from ._app import common
from ._text import print_json

_CLASS: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,39}")
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TAKEN: Final = frozenset({"Device", "True", "False", "None"})
_TAKEN_PACKAGES: Final = sys.stdlib_module_names | {"pykarabo", "pytest", "tests"}
_FILES: Final[Mapping[str, str]] = {
    "README.md": "README.md",
    "setup.cfg": "setup.cfg",
    "pyproject.toml": "pyproject.toml",
    "gitignore": ".gitignore",
    "checks.yml": ".github/workflows/checks.yml",
    "init.py": "@package@/__init__.py",
    "device.py": "@package@/device.py",
    "test_device.py": "tests/test_@package@.py",
}
"""By template where it goes."""


@click.command("new-device")
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to make the package; default is here.",
)
@common
def new_device_command(name: str, directory: Path, *, as_json: bool) -> None:
    """Write a package with the device class NAME, such as BeamShutter.

    It has a device to be replaced by yours, tests, checks and a CI file, and passes all of them.
    """
    package = package_name(name)
    target = directory / package
    if target.exists():
        raise BadConfigurationError(
            f"{target} exists already", remedy="choose another name, or another --directory"
        )
    try:
        written = write_package(name, package, target)
    except OSError as error:
        raise BadConfigurationError(
            f"{target} cannot be written: {error.strerror}", remedy="choose another --directory"
        ) from None
    if as_json:
        print_json({"directory": str(target), "files": written})
        return
    click.echo(f"{target} holds the device class {name}; next:")
    click.echo(f"  cd {target} && pip install --editable .[test] && pytest")


def package_name(class_name: str) -> str:
    """Return the package of a device class: ``beam_shutter`` for ``BeamShutter``.

    Raises:
        InvalidNameError: it can be no class of its own, or its package would hide another.
    """
    if not _CLASS.fullmatch(class_name) or class_name in _TAKEN:
        raise InvalidNameError(
            f"'{class_name}' is no name for a device class",
            remedy="use words that begin with capitals, 40 letters and digits at most: BeamShutter",
        )
    package = "_".join(_WORD.split(class_name)).lower()
    if package in _TAKEN_PACKAGES:
        raise InvalidNameError(
            f"the package of '{class_name}' would hide the package '{package}'",
            remedy=f"say more of it, such as Lab{class_name}",
        )
    return package


def write_package(class_name: str, package: str, target: Path) -> list[str]:
    """Write the files of a package below `target`; returns their names."""
    words = {"@Class@": class_name, "@package@": package, "@NAME@": package.upper()}

    def filled(text: str) -> str:
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        return text

    templates = files("pykarabo.cli") / "template"
    contents = {
        filled(place): filled((templates / f"{template}.tmpl").read_text("utf-8"))
        for template, place in _FILES.items()
    }
    contents[f"{package}/py.typed"] = ""
    for place, text in contents.items():
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return sorted(contents)
