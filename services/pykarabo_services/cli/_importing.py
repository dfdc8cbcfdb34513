"""Tables of values from elsewhere, checked row by row before any of them is stored."""

import csv
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from pykarabo.client import check_device_id
from pykarabo.data import Quality, ValueType, moment_ns
from pykarabo.errors import BadInputError, PykaraboError
from pykarabo_services.archiver.model import QUALITY_CODES, packed

ROWS: Final = 50_000
"""Of one call."""
_BYTES: Final = 3 * 2**20
_NAMES: Final[Mapping[str, str]] = {"device": "device_id", "property": "key", "train": "train_id"}
_KNOWN: Final = frozenset({"device_id", "key", "time", "time_ns", "value", "quality", "train_id"})
_IGNORED: Final = frozenset({"flags", "epoch", "seq"})
"""What `pykarabo history --csv` writes besides."""
_GUESSES: Final = (ValueType.INT64, ValueType.FLOAT64, ValueType.BOOL)


class Target(NamedTuple):
    """The property that a row belongs to."""

    device_id: str
    key: str


class ImportRow(NamedTuple):
    """A row of the file."""

    target: Target
    time_ns: int
    value: Any
    quality: int
    train_id: int


@dataclass(slots=True)
class ImportFile:
    """A CSV file with the columns time (or time_ns) and value, and further ones.

    Args:
        into: the property of all rows; None where columns name device and key.
        types: of properties that are known; of others it is what all their values can be.
    """

    path: Path
    into: Target | None = None
    types: dict[Target, ValueType] = field(default_factory=dict[Target, ValueType])
    now_ns: int = field(default_factory=time.time_ns)

    def check(self) -> dict[Target, int]:
        """Read every row and return how many each property has.

        Raises:
            BadInputError: a row cannot be stored; its line is named.
        """
        self._guess()
        counts: dict[Target, int] = {}
        for row in self.rows():
            counts[row.target] = counts.get(row.target, 0) + 1
        return counts

    def targets(self) -> set[Target]:
        """Return the properties that the file has values of."""
        return {self._target(cells, line) for line, cells in self._cells()}

    def _guess(self) -> None:
        """Take the first type that all values of a property can be."""
        open_ones: dict[Target, list[ValueType]] = {}
        for line, cells in self._cells():
            target = self._target(cells, line)
            if target in self.types:
                continue
            left = open_ones.setdefault(target, list(_GUESSES))
            left[:] = [kind for kind in left if _fits(kind, cells["value"])]
        self.types |= {
            target: left[0] if left else ValueType.STRING for target, left in open_ones.items()
        }

    def rows(self) -> Iterator[ImportRow]:
        """Yield the rows, in the order of the file."""
        for line, cells in self._cells():
            target = self._target(cells, line)
            try:
                yield ImportRow(
                    target,
                    self._time(cells),
                    converted(self.types[target], cells["value"]),
                    _quality(cells.get("quality") or ""),
                    int(cells.get("train_id") or 0),
                )
            except (ValueError, PykaraboError) as error:
                raise self._wrong(line, str(error)) from error

    def _cells(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield line number and cells of each row."""
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                reader = csv.reader(file)
                header = self._header(next(reader, []))
                for cells in reader:
                    if len(cells) != len(header):
                        words = f"it has {len(cells)} cells, the first line has {len(header)}"
                        raise self._wrong(reader.line_num, words)
                    yield reader.line_num, dict(zip(header, cells, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadInputError(
                f"{self.path} cannot be read: {error}", remedy="give a CSV file in UTF-8"
            ) from error

    def _header(self, cells: list[str]) -> list[str]:
        names = [_NAMES.get(name.strip().lower(), name.strip().lower()) for name in cells]
        needed = {"value"} | (set() if self.into else {"device_id", "key"})
        missing = sorted(needed - set(names))
        if not {"time", "time_ns"} & set(names):
            missing.append("time")
        unknown = sorted(set(names) - _KNOWN - _IGNORED)
        if missing or unknown or len(set(names)) != len(names):
            problem = f"has no column {', '.join(missing)}" if missing else "has other columns"
            raise BadInputError(
                f"the first line of {self.path} {problem}: {','.join(cells)[:80]}",
                remedy="name columns: time (or time_ns), value, and if you like quality and "
                "train_id; device_id and key, or give --into DEVICE.PROPERTY",
            )
        return names

    def _target(self, cells: Mapping[str, str], line: int) -> Target:
        if self.into is not None:
            return self.into
        try:
            return Target(check_device_id(cells["device_id"]), cells["key"])
        except PykaraboError as error:
            raise self._wrong(line, str(error)) from error

    def _time(self, cells: Mapping[str, str]) -> int:
        if cells.get("time_ns"):
            return int(cells["time_ns"])
        return moment_ns(cells["time"], self.now_ns)

    def _wrong(self, line: int, words: str) -> BadInputError:
        return BadInputError(
            f"{self.path}, line {line}: {words}",
            remedy="correct the file; nothing of it was stored",
        )


def _fits(kind: ValueType, text: str) -> bool:
    try:
        converted(kind, text)
    except ValueError:
        return False
    return True


def _quality(text: str) -> int:
    return QUALITY_CODES[Quality(text or "valid")]


def converted(kind: ValueType, text: str) -> Any:
    """Return the value that a cell stands for; an empty one is None, except of a text.

    Raises:
        ValueError: it stands for none of this type.
    """
    if kind in (ValueType.STRING, ValueType.STATE, ValueType.DATETIME):
        return text
    if not text:
        return None
    if kind.is_integer:
        return int(text)
    if kind in (ValueType.FLOAT32, ValueType.FLOAT64):
        return float(text)
    if kind is ValueType.BOOL:
        return _BOOLS[text.lower()] if text.lower() in _BOOLS else _no_bool(text)
    return _vector(kind, json.loads(text))


_BOOLS: Final = {"true": True, "false": False, "1": True, "0": False}


def _no_bool(text: str) -> bool:
    raise ValueError(f"'{text:.20}' is neither true nor false")


def _vector(kind: ValueType, values: Any) -> Any:
    import numpy as np

    if kind.is_vector and kind.dtype is not None:
        return np.array(values, kind.dtype)
    return values


def batches(rows: Iterator[ImportRow]) -> Iterator[tuple[Target, dict[str, Any]]]:
    """Put rows of one property together, as many as fit into a call."""
    waiting: dict[Target, list[ImportRow]] = {}
    sizes: dict[Target, int] = {}
    for row in rows:
        some = waiting.setdefault(row.target, [])
        some.append(row)
        sizes[row.target] = sizes.get(row.target, 0) + _size(row.value)
        if len(some) >= ROWS or sizes[row.target] >= _BYTES:
            yield row.target, columns_of(waiting.pop(row.target))
            sizes[row.target] = 0
    for target, some in waiting.items():
        yield target, columns_of(some)


def _size(value: Any) -> int:
    return _FIXED + (len(value) if isinstance(value, str) else getattr(value, "nbytes", _FIXED))


_FIXED: Final = 30
"""Bytes of a row besides its value."""


def columns_of(rows: list[ImportRow]) -> dict[str, Any]:
    """Return rows as columns that travel."""
    import numpy as np

    values = [row.value for row in rows]
    are_plain = all(isinstance(value, str | bool | int | float) for value in values)
    return {
        "time_ns": np.array([row.time_ns for row in rows], np.int64),
        "value": values if are_plain else {"packed": [*map(packed, values)]},
        "quality": np.array([row.quality for row in rows], np.uint8),
        "train_id": np.array([row.train_id for row in rows], np.int64),
    }
