"""Tables of values from elsewhere, checked row by row before any of them is stored."""

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from pykarabo.client import check_device_id
from pykarabo.data import PropertyInfo, Quality, ValueType, from_json, moment_ns
from pykarabo.errors import BadInputError, NotAnOptionError, PykaraboError, WrongTypeError
from pykarabo_services.archiver.importing import (
    IMPORT_ROWS,
    ImportedSample,
    Numbering,
    check_key,
    checked_number,
    checked_value,
)
from pykarabo_services.archiver.model import QUALITY_CODES, SampleFlag, packed, size_of

_BYTES: Final = 3 * 2**20
"""Of the values of one call."""
_LONGEST_CELL: Final = 64 * 2**20
"""Characters: a value as large as may be, written as JSON."""
_NAMES: Final[Mapping[str, str]] = {"device": "device_id", "property": "key", "train": "train_id"}
_ORIGIN: Final = ("epoch", "seq")
_KNOWN: Final = frozenset(
    {"device_id", "key", "time", "time_ns", "value", "quality", "train_id", "flags", *_ORIGIN}
)
_GUESSES: Final = (ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64, ValueType.BOOL)
_TEXTS: Final = frozenset({ValueType.STRING, ValueType.STATE, ValueType.DATETIME})
_PLAIN: Final = (str, bool, int, float)


class Target(NamedTuple):
    """The property that a row belongs to."""

    device_id: str
    key: str


class ImportRow(NamedTuple):
    """A row of the file."""

    target: Target
    sample: ImportedSample


@dataclass(slots=True)
class ImportFile:
    """A CSV file with the columns time (or time_ns) and value, and further ones.

    Args:
        into: the property of all rows; None where columns name device and key.
        types: of properties that are known; of others it is what all their values can be.
        dtypes: of those that are arrays.
    """

    path: Path
    into: Target | None = None
    types: dict[Target, ValueType] = field(default_factory=dict[Target, ValueType])
    dtypes: dict[Target, str] = field(default_factory=dict[Target, str])
    now_ns: int = field(default_factory=time.time_ns)
    _in_order: dict[Target, bool] = field(default_factory=dict[Target, bool])

    def check(self) -> dict[Target, int]:
        """Read every row and return how many each property has.

        Raises:
            BadInputError: a row cannot be stored; its line is named.
        """
        self._guess()
        counts: dict[Target, int] = {}
        latest: dict[Target, int] = {}
        in_order: dict[Target, bool] = {}
        for target, sample in self.rows():
            counts[target] = counts.get(target, 0) + 1
            goes_on = sample.time_ns >= latest.get(target, sample.time_ns)
            in_order[target] = goes_on and in_order.get(target, True)
            latest[target] = sample.time_ns
        self._in_order = in_order
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
        infos: dict[Target, PropertyInfo] = {}
        numberings: dict[Target, Numbering] = {}
        for line, cells in self._cells():
            target = self._target(cells, line)
            if target not in infos:
                infos[target] = self._info(target)
                numberings[target] = Numbering(in_order=self._in_order.get(target, False))
            try:
                yield ImportRow(target, self._sample(cells, infos[target], numberings[target]))
            except (ValueError, RecursionError) as error:
                raise self._wrong(line, str(error)) from error
            except PykaraboError as error:
                raise self._wrong(line, error.message, error.remedy) from error

    def _info(self, target: Target) -> PropertyInfo:
        dtype = self.dtypes.get(target)
        return PropertyInfo(target.key, self.types[target], dtype=dtype)

    def _sample(
        self, cells: Mapping[str, str], info: PropertyInfo, numbering: Numbering
    ) -> ImportedSample:
        time_ns = checked_number("time_ns", self._time(cells))
        epoch, seq, step = numbering.of(time_ns, _origin(cells))
        value = checked_value(info, converted(info.value_type, cells["value"]), "")
        if not isinstance(value, _PLAIN):
            packed(value)  # raises where it cannot travel
        return ImportedSample(
            time_ns=time_ns,
            value=value,
            train_id=_number(cells, "train_id"),
            quality=_quality(cells.get("quality") or ""),
            seq=seq,
            epoch=epoch,
            step=step,
            flags=_number(cells, "flags") | int(SampleFlag.IMPORTED),
        )

    def _cells(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield each row's cells and the line where it begins; empty lines are none."""
        csv.field_size_limit(_LONGEST_CELL)
        line = 1
        try:
            # A byte order mark is what some programs begin with.
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file)
                header = self._header(next(reader, []))
                line = reader.line_num + 1
                for cells in reader:
                    if cells and len(cells) != len(header):
                        words = f"it has {len(cells)} cells, the first line has {len(header)}"
                        raise self._wrong(line, words)
                    if cells:
                        yield line, dict(zip(header, cells, strict=True))
                    line = reader.line_num + 1
        except csv.Error as error:
            raise self._wrong(line, str(error)) from error
        except UnicodeDecodeError as error:
            raise BadInputError(
                f"{self.path} is no UTF-8: {error}", remedy="give a CSV file in UTF-8"
            ) from error
        except OSError as error:
            raise BadInputError(
                f"{self.path} cannot be read: {error.strerror}", remedy="let this user read it"
            ) from error

    def _header(self, cells: list[str]) -> list[str]:
        names = [_NAMES.get(name.strip().lower(), name.strip().lower()) for name in cells]
        needed = {"value"} | (set() if self.into else {"device_id", "key"})
        if set(_ORIGIN) & set(names):
            needed |= set(_ORIGIN)
        missing = sorted(needed - set(names))
        if not {"time", "time_ns"} & set(names):
            missing.append("time")
        unknown = sorted(set(names) - _KNOWN)
        if missing or unknown or len(set(names)) != len(names):
            problem = f"has no column {', '.join(missing)}" if missing else "has other columns"
            raise BadInputError(
                f"the first line of {self.path} {problem}: {','.join(cells)[:80]}",
                remedy="name columns: time (or time_ns), value, and if you like quality, train_id, "
                "and epoch with seq; device_id and key, or give --into DEVICE.PROPERTY",
            )
        return names

    def _target(self, cells: Mapping[str, str], line: int) -> Target:
        if self.into is not None:
            return self.into
        try:
            return Target(check_device_id(cells["device_id"]), check_key(cells["key"]))
        except PykaraboError as error:
            raise self._wrong(line, error.message, error.remedy) from error

    def _time(self, cells: Mapping[str, str]) -> int:
        if cells.get("time_ns"):
            return int(cells["time_ns"])
        if cells.get("time"):
            return moment_ns(cells["time"], self.now_ns)
        raise WrongTypeError("it has no time", remedy="write ISO 8601, or ns since 1970")

    def _wrong(self, line: int, words: str, remedy: str | None = None) -> BadInputError:
        return BadInputError(
            f"{self.path}, line {line}: {words}",
            remedy=f"{remedy or 'correct the file'}; nothing of it was stored",
        )


def _fits(kind: ValueType, text: str) -> bool:
    try:
        value = converted(kind, text)
        checked_value(PropertyInfo("value", kind), value, "")
    except (ValueError, PykaraboError):
        return False
    return kind is not ValueType.FLOAT64 or value is None or _keeps_digits(text, value)


def _keeps_digits(text: str, value: float) -> bool:
    """Tell whether a float is what a text says, if that is an integer."""
    try:
        return int(text) == value
    except ValueError:
        return True


def _quality(text: str) -> int:
    try:
        return QUALITY_CODES[Quality(text or "valid")]
    except ValueError as error:
        raise NotAnOptionError(
            str(error), remedy=f"write one of {', '.join(QUALITY_CODES)}"
        ) from None


def _number(cells: Mapping[str, str], name: str) -> int:
    return checked_number(name, int(cells.get(name) or 0))


def _origin(cells: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the message that a value came from, where the file says it."""
    if "seq" not in cells:
        return None
    if not cells["epoch"] or not cells["seq"]:
        raise WrongTypeError(
            "it has no epoch and seq", remedy="give both of every row, or leave the columns out"
        )
    return _number(cells, "epoch"), _number(cells, "seq")


def converted(kind: ValueType, text: str) -> Any:
    """Return the value that a cell stands for; an empty one is None, except of a text.

    Raises:
        ValueError: it stands for none of this type.
        PykaraboError: it is JSON of a value that cannot be read.
    """
    if kind in _TEXTS:
        return text
    if not text:
        return None
    if kind.is_integer:
        return int(text)
    return _CONVERTERS.get(kind, _from_json)(text)


def _bool(text: str) -> bool:
    if text.lower() not in _BOOLS:
        raise ValueError(f"'{text:.20}' is neither true nor false")
    return _BOOLS[text.lower()]


_BOOLS: Final = {"true": True, "false": False, "1": True, "0": False}


def _complex(text: str) -> Any:
    return _from_json(text) if text.lstrip().startswith("{") else complex(text)


def _complex_vector(text: str) -> Any:
    """Return a vector that is written as pairs of real and imaginary part, as exports have it."""
    plain = _from_json(text)
    if not isinstance(plain, list):
        return plain
    try:
        return [complex(real, imaginary) for real, imaginary in plain]
    except (TypeError, ValueError):
        raise ValueError(f"'{text:.40}' has no pairs of real and imaginary part") from None


def _from_json(text: str) -> Any:
    """Return a value that is written as `pykarabo.data.to_json` does, or as plain JSON."""
    try:
        plain = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"'{text:.40}' is no JSON: {error}") from None
    is_document = isinstance(plain, dict) and plain.get("pykarabo") == "value"
    return from_json(text) if is_document else plain


_CONVERTERS: Final[Mapping[ValueType, Callable[[str], Any]]] = {
    ValueType.FLOAT32: float,
    ValueType.FLOAT64: float,
    ValueType.BOOL: _bool,
    ValueType.COMPLEX64: _complex,
    ValueType.COMPLEX128: _complex,
    ValueType.VECTOR_COMPLEX64: _complex_vector,
    ValueType.VECTOR_COMPLEX128: _complex_vector,
}


def batches(rows: Iterator[ImportRow]) -> Iterator[tuple[Target, dict[str, Any]]]:
    """Put rows of one property together, as many as fit into a call."""
    waiting: dict[Target, list[ImportedSample]] = {}
    sizes: dict[Target, int] = {}
    for target, sample in rows:
        some = waiting.setdefault(target, [])
        some.append(sample)
        sizes[target] = sizes.get(target, 0) + _FIXED + size_of(sample.value)
        if len(some) >= IMPORT_ROWS or sizes[target] >= _BYTES:
            yield target, columns_of(waiting.pop(target))
            sizes[target] = 0
    for target, some in waiting.items():
        yield target, columns_of(some)


_FIXED: Final = 30
"""Bytes of a row besides its value."""


def columns_of(samples: list[ImportedSample]) -> dict[str, Any]:
    """Return samples as columns that travel."""
    import numpy as np

    values = [sample.value for sample in samples]
    are_plain = all(isinstance(value, _PLAIN) for value in values)
    numbers = {
        name: np.array([getattr(sample, name) for sample in samples], np.int64)
        for name in ImportedSample._fields
        if name != "value"
    }
    return {**numbers, "value": values if are_plain else {"packed": [*map(packed, values)]}}
