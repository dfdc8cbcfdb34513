"""What a benchmark measured, and how it is written down."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

_LIBRARIES: Final = ("pyzmq", "msgpack", "numpy", "uvloop", "h5py")
_COLUMNS: Final = (
    "id",
    "what",
    "value",
    "unit",
    "ratio",
    "reference",
    "reference value",
    "reach",
    "reached",
)
_WHOLE_FROM: Final = 1000
"""Four digits are more than a measurement on a shared machine is worth."""
_NUMERIC: Final = frozenset({"value", "ratio", "reference value"})


@dataclass(frozen=True, slots=True)
class Reach:
    """What a row is to reach.

    Args:
        limit: the bar.
        ratio: whether it is one for the ratio, not for the value itself.
        least: whether more is better.
    """

    limit: float
    ratio: bool = False
    least: bool = False

    def __str__(self) -> str:
        return f"{'ratio' if self.ratio else 'value'} {'>=' if self.least else '<='} {self.limit:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured value beside the reference that ran in the same minute.

    Both values are in ``unit``; a row without a reference leaves both reference fields out. A row
    that does not reach what it should is followed by a profile that shows where the time goes.
    """

    id: str
    what: str
    value: float
    unit: str
    reference: str = ""
    reference_value: float | None = None
    reach: Reach | None = None
    profile: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Value divided by the reference's value; None without a reference or where it is 0."""
        return self.value / self.reference_value if self.reference_value else None

    @property
    def reached(self) -> bool | None:
        """Whether it reaches what it should; None where that cannot be told."""
        measured = self.ratio if self.reach is not None and self.reach.ratio else self.value
        if self.reach is None or measured is None:
            return None
        return measured >= self.reach.limit if self.reach.least else measured <= self.reach.limit

    def explained(self, profile: Callable[[], Sequence[str]]) -> "Row":
        """Return the row, with the profile if it does not reach what it should."""
        return self if self.reached is not False else replace(self, profile=tuple(profile()))

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain data with its ratio."""
        return {
            "id": self.id,
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference,
            "reference_value": self.reference_value,
            "ratio": self.ratio,
            "reach": None if self.reach is None else str(self.reach),
            "reached": self.reached,
            "profile": list(self.profile),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The rows of one benchmark and the machine they were measured on."""

    name: str
    machine: dict[str, Any]
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, ready for JSON."""
        return {
            "name": self.name,
            "machine": self.machine,
            "rows": [row.to_dict() for row in self.rows],
        }

    def to_table(self) -> str:
        """Return the report as an aligned table below a line that names the machine."""
        machine = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        titles, *lines = _aligned([_COLUMNS, *map(_cells, self.rows)])
        table = [f"{self.name} ({machine})", titles]
        for row, line in zip(self.rows, lines, strict=True):
            table += [line, *(f"    {part}" for part in row.profile)]
        return "\n".join(table)


def machine_facts() -> dict[str, Any]:
    """Return what about this machine changes a result: cores, system, load and versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: found for name in _LIBRARIES if (found := _version(name))},
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.4g}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.id,
        row.what,
        _number(row.value),
        row.unit,
        _number(row.ratio),
        row.reference,
        _number(row.reference_value),
        "" if row.reach is None else str(row.reach),
        {True: "yes", False: "NO", None: ""}[row.reached],
    )


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return ["  ".join(map(_padded, _COLUMNS, line, widths)).rstrip() for line in lines]


def _padded(column: str, cell: str, width: int) -> str:
    return cell.rjust(width) if column in _NUMERIC else cell.ljust(width)
