"""Text of the command line as values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pykarabo.data import ParameterInfo, PropertyInfo, ValueType
from pykarabo.errors import WrongTypeError

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_FILE: Final = "@"
_COMPLEX: Final = frozenset({ValueType.COMPLEX64, ValueType.COMPLEX128})
_AS_WRITTEN: Final = frozenset({ValueType.STRING, ValueType.STATE})


def split_assignment(text: str) -> tuple[str, str]:
    """Split ``name=value``; raises a usage error without ``=``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"'{text}' is no assignment; write name=value")
    return name, value


def parse_value(text: str, info: PropertyInfo, device: str) -> Any:
    """Return what was written on the command line as a value of a property's type.

    Text stays as it is, lists are JSON or separated by commas, a bool is on or off (true or
    false, yes or no, 1 or 0), and a number may have its unit (``3 mm``), which the property's own
    check converts. ``@FILE`` takes the value from a file: text and bytes as they are, an array
    from ``.npy``, anything else from JSON; ``@@`` begins a text with ``@``.

    Raises:
        WrongTypeError: text that cannot be of this type, or a file that cannot be read.
    """
    if text.startswith(_FILE * 2):
        text = text[1:]
    elif text.startswith(_FILE):
        return _from_file(Path(text[1:]), info, device)
    kind = info.value_type
    if kind in _AS_WRITTEN:
        return text
    if kind is ValueType.BYTES:
        return text.encode()
    if kind.is_vector or kind is ValueType.ARRAY:
        return _parse_list(text, info, device)
    return _parse_element(text, kind, info, device)


def parse_argument(text: str, parameter: ParameterInfo, command: str, device: str) -> Any:
    """Return what was written on the command line as an argument of a command.

    Raises:
        WrongTypeError: text that cannot be of the parameter's type.
    """
    if parameter.value_type in (ValueType.ANY, ValueType.HASH, ValueType.NONE):
        return loosely(text)
    info = PropertyInfo(f"{command}({parameter.name})", parameter.value_type, unit=parameter.unit)
    return parse_value(text, info, device)


def loosely(text: str) -> Any:
    """Return a number, bool, list or map if that is what was written, else the text."""
    for read in (json.loads, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _parse_list(text: str, info: PropertyInfo, device: str) -> Any:
    if text.lstrip().startswith("["):
        items = loosely(text)
        return items if not isinstance(items, list) else [_from_json(item, info) for item in items]
    element = info.value_type.element
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if element is ValueType.STRING:
        return parts
    return [_parse_element(part, element, info, device) for part in parts]


def _from_json(item: Any, info: PropertyInfo) -> Any:
    """Return an element of a JSON list; complex numbers are pairs there, as we write them."""
    return _pair(item) if info.value_type.element in _COMPLEX else item


def _parse_element(text: str, kind: ValueType, info: PropertyInfo, device: str) -> Any:
    if kind is ValueType.BOOL:
        return _parse_bool(text, info, device)
    return _parse_complex(text) if kind in _COMPLEX else loosely(text)


def _parse_bool(text: str, info: PropertyInfo, device: str) -> bool:
    folded = text.casefold()
    if folded in _TRUE | _FALSE:
        return folded in _TRUE
    raise WrongTypeError(
        f"'{device}.{info.key}' cannot be '{text}'",
        device=device,
        key=info.key,
        remedy="give on or off (or true, false, yes, no, 1, 0)",
    )


def _parse_complex(text: str) -> Any:
    """Return ``1+2j``, or ``[1, 2]`` as we write it in JSON, as a number; else the text."""
    try:
        return complex(text.replace(" ", ""))
    except ValueError:
        return _pair(loosely(text))


def _pair(item: Any) -> Any:
    match item:
        case [int() | float() as real, int() | float() as imaginary]:
            return complex(real, imaginary)
        case _:
            return item


def _from_file(path: Path, info: PropertyInfo, device: str) -> Any:
    try:
        return _reader(path, info)(path)
    except (OSError, ValueError) as error:
        raise WrongTypeError(
            f"'{device}.{info.key}' cannot be taken from {path}: {error}",
            device=device,
            key=info.key,
            remedy="name a readable .npy, .json or text file",
        ) from None


def _reader(path: Path, info: PropertyInfo) -> Callable[[Path], Any]:
    if info.value_type is ValueType.BYTES:
        return Path.read_bytes
    if info.value_type in _AS_WRITTEN:
        return Path.read_text
    return _read_array if path.suffix == ".npy" else _read_json


def _read_array(path: Path) -> Any:
    import numpy as np

    return np.load(path, allow_pickle=False)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())
