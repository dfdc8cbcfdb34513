"""Values as text, and text as values."""

import base64
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from pykarabo.data import PropertyInfo, PropertyValue, ValueType
from pykarabo.errors import WrongTypeError

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_SHOWN: Final = 8
"""Elements of a vector that a table shows."""
_LONGEST: Final = 100


def to_json(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN and infinities as text, bytes in base 64."""
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, PropertyValue):
        return {
            "value": to_json(value.value),
            "timestamp": value.timestamp.iso(9),
            "train_id": value.timestamp.train_id,
            "quality": value.quality.value,
        }
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return _scalar_to_json(value)


def _scalar_to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, complex):
        return [to_json(value.real), to_json(value.imag)]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return value


def print_json(value: Any) -> None:
    """Write one JSON document on a line."""
    click.echo(json.dumps(to_json(value), default=str))


def to_text(value: Any, unit: str = "") -> str:
    """Return a value as a person reads it, shortened where it is long."""
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return f"array {' x '.join(map(str, value.shape))} {value.dtype}"
    if isinstance(value, np.ndarray | list | tuple):
        items = [to_text(item) for item in list(value[:_SHOWN])]
        more = f", … ({len(value)} in all)" if len(value) > _SHOWN else ""
        text = f"[{', '.join(items)}{more}]"
    elif isinstance(value, float):
        text = f"{value:.10g}"
    elif isinstance(value, dict):
        text = json.dumps(to_json(value), default=str)
    else:
        text = str(value)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{text} {unit}" if unit else text


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table: framed on a terminal, aligned columns elsewhere."""
    cells = [list(row) for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*header)
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(cell) for cell in column) for column in zip(header, *cells, strict=True)]
    for row in [list(header), *cells]:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(padded).rstrip())


def split_assignment(text: str) -> tuple[str, str]:
    """Split ``name=value``; raises a usage error without ``=``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"'{text}' is no assignment; write name=value")
    return name, value


def parse_value(text: str, info: PropertyInfo, device: str) -> Any:
    """Return what was written on the command line as a value of a property's type.

    ``@FILE`` takes the value from a file: ``.npy`` an array, ``.json`` a document, else text.
    """
    if text.startswith("@"):
        return _from_file(Path(text[1:]), info, device)
    kind = info.value_type
    if kind in (ValueType.STRING, ValueType.STATE):
        return text
    if kind is ValueType.BOOL:
        return _parse_bool(text, info, device)
    if kind is ValueType.BYTES:
        return text.encode()
    return _parse_list(text, kind) if kind.is_vector else loosely(text)


def _parse_list(text: str, kind: ValueType) -> Any:
    if text.lstrip().startswith("["):
        return loosely(text)
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return parts if kind is ValueType.VECTOR_STRING else [loosely(part) for part in parts]


def loosely(text: str) -> Any:
    """Return a number, bool, list or map if that is what was written, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _parse_bool(text: str, info: PropertyInfo, device: str) -> bool:
    folded = text.casefold()
    if folded in _TRUE | _FALSE:
        return folded in _TRUE
    raise WrongTypeError(
        f"'{device}.{info.key}' cannot be '{text}'",
        device=device,
        key=info.key,
        remedy="give true or false (or on, off, yes, no, 1, 0)",
    )


def _from_file(path: Path, info: PropertyInfo, device: str) -> Any:
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        content = path.read_text()
        return json.loads(content) if path.suffix == ".json" else content
    except (OSError, ValueError) as error:
        raise WrongTypeError(
            f"'{device}.{info.key}' cannot be taken from {path}: {error}",
            device=device,
            key=info.key,
            remedy="name a readable .npy, .json or text file",
        ) from None
