"""Values as text, as JSON and in tables."""

import base64
import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from pykarabo.data import PropertyValue

_SHOWN: Final = 8
"""Elements of a vector that a table shows."""
_LONGEST: Final = 100


def to_json(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN and infinities as text, bytes in base 64."""
    if hasattr(value, "tolist"):
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


def to_text(value: Any, unit: str = "", *, whole: bool = False) -> str:
    """Return a value as a person reads it, with its unit.

    Args:
        whole: in full, and numbers to their last digit; else shortened to fit a table.
    """
    text = _whole(value) if whole else _short(value)
    return f"{text} {unit}" if unit else text


def _whole(value: Any) -> str:
    if isinstance(value, str | complex):
        return str(value)
    plain = to_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain, default=str)


def _short(value: Any) -> str:
    if getattr(value, "ndim", 0) > 1:
        return f"array {' x '.join(map(str, value.shape))} {value.dtype}"
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 1:
        items = [_short(item) for item in value[:_SHOWN]]
        more = f", … ({len(value)} in all)" if len(value) > _SHOWN else ""
        text = f"[{', '.join(items)}{more}]"
    elif isinstance(value, float):
        text = f"{value:.10g}"
    elif isinstance(value, dict | bool):
        text = json.dumps(to_json(value), default=str)
    else:
        text = str(value).replace("\n", " ")
    return f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text


def since(time_ns: int) -> str:
    """Return a moment, given in ns since 1970, in UTC."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


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


def told_time(time_s: float) -> str:
    """Return a time as people say it here: the day only if it is another one."""
    then, now = datetime.fromtimestamp(time_s).astimezone(), datetime.now().astimezone()
    return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")
