"""Values from elsewhere: whether they can be stored, as which samples, and which are there already.

Whoever imports checks every row before the first is sent, and names its line; the archiver checks
once more, since anybody may call it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.client import check_device_id
from pykarabo.data import PropertyInfo, ValueType, same
from pykarabo.errors import (
    BadInputError,
    InvalidNameError,
    NotAnOptionError,
    OutOfRangeError,
    WrongShapeError,
    WrongTypeError,
)
from pykarabo_services.archiver.entries import MAX_ROWS
from pykarabo_services.archiver.model import QUALITIES, SampleFlag, unpacked

IMPORT_ROWS: Final = 50_000
"""Of one call; a message above 8 MiB would be refused."""
LOOK_ROWS: Final = 5_000
"""Samples of which the database is asked at a time, whether it has them."""
LONGEST_KEY: Final = 512
"""A longer one has no room in the tables."""
_INT64: Final = 2**63
_SMALL: Final = 2**15
_DIGITS: Final = 10**40
"""Longer numbers are not shown."""
_LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    # At its very end a reader could not ask for what comes before the next nanosecond.
    "time_ns": (-_INT64 + 1, _INT64 - 2),
    "train_id": (0, _INT64 - 1),
    "quality": (0, len(QUALITIES) - 1),
    "epoch": (0, _INT64 - 1),
    "seq": (0, _INT64 - 1),
    "step": (0, _SMALL - 1),
    "flags": (0, int(~SampleFlag(0))),
}
"""Smallest and largest number of each column that is not the value."""
_ORIGIN: Final = ("epoch", "seq")

Origin: TypeAlias = tuple[int, int]
"""Life and message of a device that a value came from: epoch and seq."""
Moment: TypeAlias = tuple[int, int, int]
"""Time, epoch and seq of samples; those of one message may have the same."""
Stored: TypeAlias = Mapping[Moment, Sequence[tuple[int, Any]]]
"""Step and value of the samples that the archive has, in order."""


class ImportedSample(NamedTuple):
    """A sample of a file, in the order of an IMPORT entry's rows."""

    time_ns: int
    value: Any
    train_id: int = 0
    quality: int = 0
    seq: int = 0
    epoch: int = 0
    step: int = 0
    flags: int = int(SampleFlag.IMPORTED)


# -- what can be stored ---------------------------------------------------------------------------


def check_key(key: str) -> str:
    """Return `key` if a property can have it.

    Raises:
        InvalidNameError: it is empty, too long for the archive, or no text of one line.
    """
    is_text = key.isprintable() and " " not in key
    if not all(key.split(".")) or not is_text or len(key) > LONGEST_KEY:
        raise InvalidNameError(
            f"'{key:.60}' is no key of a property",
            remedy=f"give names separated by '.', without spaces, {LONGEST_KEY} characters at most",
        )
    return key


def checked_number(name: str, number: int) -> int:
    """Return a time, train or the like if the archive can hold it.

    Raises:
        OutOfRangeError: it cannot.
    """
    low, high = _LIMITS[name]
    if not low <= number <= high:
        shown = str(number) if abs(number) < _DIGITS else "a number of so many digits"
        raise OutOfRangeError(f"{name} cannot be {shown}", remedy=f"give {low} to {high}")
    return number


def checked_value(info: PropertyInfo, value: Any, device_id: str) -> Any:
    """Return a value as the archive holds it; None stays None.

    Raises:
        BadInputError: it is none of the property's type.
    """
    if value is None:
        return None
    if info.value_type is ValueType.TABLE:
        found = _table(info, value, device_id)
    elif info.value_type is ValueType.NONE:
        raise WrongTypeError(
            f"'{device_id}.{info.key}' has no values but None",
            device=device_id,
            key=info.key,
            remedy="leave the value empty, or give another type",
        )
    else:
        found = info.validate(value, device=device_id)
    info.check_size(found, device=device_id)
    return found.value if isinstance(found, Enum) else found


def _table(info: PropertyInfo, value: Any, device_id: str) -> dict[str, Any]:
    """Check the form only: the columns of earlier tables may have been others."""
    is_table = isinstance(value, Mapping) and all(
        isinstance(cells, list) or getattr(cells, "ndim", 0) == 1 for cells in value.values()
    )
    if not is_table or len({len(cells) for cells in value.values()}) > 1:
        raise WrongShapeError(
            f"'{device_id}.{info.key}' cannot be {value!r:.60}",
            device=device_id,
            key=info.key,
            remedy="give a map of columns of one length, each a list or an array",
        )
    return dict(value)


# -- which samples they are -----------------------------------------------------------------------


@dataclass(slots=True)
class Numbering:
    """Tells values of one moment apart, in every import of them in the same way.

    Args:
        in_order: whether times never go backwards: then only those of the latest are kept in mind.
    """

    in_order: bool = False
    _seen: dict[tuple[int, Origin | None], int] = field(
        default_factory=dict[tuple[int, Origin | None], int]
    )
    _time_ns: int = 0

    def of(self, time_ns: int, origin: Origin | None) -> tuple[int, int, int]:
        """Return epoch, seq and step of the next value; without an origin, seq counts."""
        if self.in_order and time_ns != self._time_ns:
            self._seen.clear()
            self._time_ns = time_ns
        number = self._seen.get((time_ns, origin), -1) + 1
        self._seen[time_ns, origin] = number
        if origin is None:
            return 0, number, 0
        return *origin, checked_number("step", number)


def samples_of(
    device_id: str, key: str, value_type: str, columns: Mapping[str, Any]
) -> list[ImportedSample]:
    """Return imported columns as samples.

    Raises:
        BadInputError: something of them cannot be stored.
    """
    if value_type not in list(ValueType):
        raise NotAnOptionError(
            f"there is no type '{value_type:.40}'",
            device=device_id,
            key=key,
            remedy=f"give one of {', '.join(ValueType)}",
        )
    check_device_id(device_id)
    info = PropertyInfo(check_key(key), ValueType(value_type))
    _check_columns(device_id, key, columns)
    times = _numbers(device_id, key, "time_ns", columns["time_ns"])
    values = _values(columns["value"])
    more = {
        name: _numbers(device_id, key, name, columns[name]) for name in _LIMITS if name in columns
    }
    lengths = sorted({len(values), *map(len, more.values())})
    if lengths != [len(times)] or len(times) > IMPORT_ROWS:
        raise BadInputError(
            f"the columns have {' and '.join(map(str, lengths))} rows",
            device=device_id,
            key=key,
            remedy=f"give each the same number, and {IMPORT_ROWS} at most",
        )
    more |= _numbered(times, more)
    checked = [checked_value(info, value, device_id) for value in values]
    nothing = [0] * len(times)
    imported = int(SampleFlag.IMPORTED)
    samples = [
        ImportedSample(
            time_ns=time_ns,
            value=value,
            train_id=train_id,
            quality=quality,
            seq=seq,
            epoch=epoch,
            step=step,
            flags=flags | imported,
        )
        for time_ns, value, train_id, quality, seq, epoch, step, flags in zip(
            times,
            checked,
            *(more.get(name, nothing) for name in ImportedSample._fields[2:]),
            strict=True,
        )
    ]
    _require_different(device_id, key, samples)
    return samples


def _check_columns(device_id: str, key: str, columns: Mapping[str, Any]) -> None:
    unknown = sorted(columns.keys() - {*_LIMITS, "value"})
    missing = sorted({"time_ns", "value"} - columns.keys())
    if len(columns.keys() & set(_ORIGIN)) == 1:
        missing += sorted(set(_ORIGIN) - columns.keys())
    if unknown or missing:
        problem = f"lack {', '.join(missing)}" if missing else f"have {', '.join(unknown)}"
        raise BadInputError(
            f"the columns {problem:.80}",
            device=device_id,
            key=key,
            remedy=f"give time_ns and value, and if known {', '.join([*_LIMITS][1:])}",
        )


def _values(content: Any) -> list[Any]:
    if isinstance(content, Mapping) and set(content) == {"packed"}:
        return [unpacked(item) for item in content["packed"]]
    return _listed("value", content)


def _listed(name: str, column: Any) -> list[Any]:
    found = column.tolist() if hasattr(column, "tolist") else column
    if not isinstance(found, list):
        raise WrongTypeError(f"the column {name} is no list", remedy="give an array or a list")
    return found


def _numbers(device_id: str, key: str, name: str, column: Any) -> list[int]:
    numbers = _listed(name, column)
    for row, number in enumerate(numbers):
        if type(number) is not int:
            raise WrongTypeError(
                f"row {row}: {name} cannot be {number!r:.40}",
                device=device_id,
                key=key,
                remedy="give integers",
            )
        try:
            checked_number(name, number)
        except OutOfRangeError as error:
            raise OutOfRangeError(
                f"row {row}: {error.message}", device=device_id, key=key, remedy=error.remedy
            ) from None
    return numbers


def _numbered(times: list[int], more: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Return the columns that tell samples of one moment apart, where they are not given."""
    if "step" in more:
        return {}
    numbering = Numbering()
    if "epoch" in more:
        origins: Iterable[Origin | None] = zip(more["epoch"], more["seq"], strict=True)
    else:
        origins = [None] * len(times)
    found = [numbering.of(*row) for row in zip(times, origins, strict=True)]
    return {
        name: [row[place] for row in found] for place, name in enumerate(("epoch", "seq", "step"))
    }


def _require_different(device_id: str, key: str, samples: list[ImportedSample]) -> None:
    if len({(item.time_ns, item.epoch, item.seq, item.step) for item in samples}) < len(samples):
        raise BadInputError(
            "several rows are the same sample: time_ns, epoch, seq and step are equal",
            device=device_id,
            key=key,
            remedy="leave out 'step', or give each its own",
        )


# -- which are there already ----------------------------------------------------------------------


@dataclass(slots=True)
class Sorted:
    """Samples of a file beside those of the archive.

    Attributes:
        new: the archive has none of this time, epoch and seq.
        known: so many are there already.
        different: so many are there with another value, which stays.
    """

    new: list[ImportedSample] = field(default_factory=list[ImportedSample])
    known: int = 0
    different: int = 0


def sort_out(samples: Iterable[ImportedSample], stored: Stored) -> Sorted:
    """Compare samples with what the archive has of their moments.

    A file that was exported does not say which of several samples of one message is which: the
    first of the file is the first of the archive.
    """
    found = Sorted()
    for sample in samples:
        there = stored.get((sample.time_ns, sample.epoch, sample.seq), ())
        if sample.step >= len(there):
            behind = there[-1][0] + 1 + sample.step - len(there) if there else sample.step
            found.new.append(sample._replace(step=behind))
        elif _is_same(sample.value, there[sample.step][1]):
            found.known += 1
        else:
            found.different += 1
    return found


def _is_same(value: Any, stored: Any) -> bool:
    """Tell whether two values are equal, also where the property had another type then."""
    are_numbers = isinstance(value, int | float) and isinstance(stored, int | float)
    return same(value, stored) or (are_numbers and value == stored)


async def put_new(
    samples: Sequence[ImportedSample],
    stored_at: Callable[[list[int]], Awaitable[Stored]],
    put: Callable[[list[ImportedSample]], None],
) -> dict[str, int]:
    """Hand on the samples that the archive does not have.

    Returns how many are `new`, `known`, and there with a `different` value.

    Args:
        stored_at: returns what it has of some moments.
        put: takes new ones, as many as a record has.
    """
    counts = {"new": 0, "known": 0, "different": 0}
    for at in range(0, len(samples), LOOK_ROWS):
        part = samples[at : at + LOOK_ROWS]
        found = sort_out(part, await stored_at([sample.time_ns for sample in part]))
        for begin in range(0, len(found.new), MAX_ROWS):
            put(found.new[begin : begin + MAX_ROWS])
        counts["new"] += len(found.new)
        counts["known"] += found.known
        counts["different"] += found.different
    return counts
