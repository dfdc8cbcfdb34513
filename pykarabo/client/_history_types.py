"""What the history of a property is to those who have asked for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pykarabo.data import PropertyValue, Quality, Schema, Timestamp
from pykarabo.errors import NotAnOptionError

if TYPE_CHECKING:
    import pandas as pd

QUALITY_NAMES: Final = (
    Quality.VALID,
    Quality.CHANGING,
    Quality.WARN,
    Quality.ALARM,
    Quality.INVALID,
)
"""By the number that stands for it in a history; the larger one of two is the worse."""
_HEAD: Final = ("time_ns", "end_ns", "sample_ns", "quality", "train_id", "flags", "epoch", "seq")


class HistoryGap(NamedTuple):
    """A span of time of which the archive does not know all.

    Attributes:
        from_ns, to_ns: in ns since 1970; the end is None while it is not over.
        kind: ``gap``, ``away``, ``stopped``, ``unarchived``, ``limited``, ``rejected``,
            ``damaged``, ``forgotten`` or ``behind``.
        lost: how many changes; None when nobody knows.
    """

    from_ns: int
    to_ns: int | None
    kind: str
    lost: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a property was, as columns of one length.

    `len`, `times` and `values` are what plots need; ``history["mean"]`` is any column by its name.

    Attributes:
        operator: what made the columns of the samples.
        sampled: whether it had to choose samples, because there are no numbers to calculate with.
        start_ns, end_ns: the span that was asked for; what is at its end is not in it.
        columns: by name. `time_ns` is when a sample was, or where the bucket begins that a figure
            is of.
        before: the last sample before the span: what the property was when it began.
        gaps: what the archive does not know of the span; a plot has a hole there.
    """

    device_id: str
    key: str
    operator: str
    start_ns: int
    end_ns: int
    columns: Mapping[str, NDArray[Any]]
    unit: str = ""
    sampled: bool = False
    before: PropertyValue | None = None
    gaps: tuple[HistoryGap, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["time_ns"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise NotAnOptionError(
                f"the history of '{self.device_id}.{self.key}' has no column '{name}'",
                device=self.device_id,
                key=self.key,
                remedy=f"it has {', '.join(self.columns)}",
            )
        return self.columns[name]

    @property
    def figures(self) -> tuple[str, ...]:
        """The columns that hold values: ``value``, or what the operator has computed."""
        return tuple(name for name in self.columns if name not in _HEAD)

    @property
    def values(self) -> NDArray[Any]:
        """The first of these columns."""
        return self.columns[self.figures[0]]

    @property
    def time_ns(self) -> NDArray[np.int64]:
        """When, in ns since 1970."""
        return self.columns["time_ns"]

    @property
    def times(self) -> NDArray[np.datetime64]:
        """When, in UTC."""
        return self.time_ns.astype("datetime64[ns]")

    @property
    def train_ids(self) -> NDArray[np.int64]:
        """The trains, 0 where none is known; only of samples."""
        return self["train_id"]

    @property
    def qualities(self) -> NDArray[Any]:
        """The qualities as text; of a bucket, the worst in it."""
        names = np.array([quality.value for quality in QUALITY_NAMES])
        found: NDArray[Any] = names[self["quality"]]
        return found

    def rows(self) -> list[PropertyValue]:
        """Return the samples one by one; only where there is a column ``value``."""
        trains = self.columns.get("train_id", np.zeros(len(self), np.int64))
        columns = (self["value"], self.time_ns, trains, self.columns["quality"])
        return [
            PropertyValue(value, Timestamp.from_ns(time_ns, train_id), QUALITY_NAMES[quality])
            for value, time_ns, train_id, quality in zip(
                *(column.tolist() for column in columns), strict=True
            )
        ]

    def to_pandas(self) -> "pd.DataFrame":
        """Return a table with the times in UTC as its index; needs pandas.

        Its attributes say which device, property, unit and operator; `gaps` are among them.
        """
        from ._history_files import to_pandas

        return to_pandas(self)

    def to_csv(self, path: Path | str) -> None:
        """Write a table as text, with the times in UTC and a head that says what it is of."""
        from ._history_files import to_csv

        to_csv(self, Path(path))

    def to_parquet(self, path: Path | str) -> None:
        """Write a Parquet file; needs pyarrow."""
        from ._history_files import to_parquet

        to_parquet(self, Path(path))

    def to_hdf5(self, path: Path | str) -> None:
        """Write an HDF5 file with one data set for each column; needs h5py."""
        from ._history_files import to_hdf5

        to_hdf5(self, Path(path))

    def __repr__(self) -> str:
        span = (
            f"{Timestamp.from_ns(self.start_ns).iso(3)} to {Timestamp.from_ns(self.end_ns).iso(3)}"
        )
        gaps = f", gaps: {len(self.gaps)}" if self.gaps else ""
        return (
            f"<history of {self.device_id}.{self.key} from {span}: "
            f"{self.operator} ({', '.join(self.figures)}), {len(self)} rows{gaps}>"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a device was at a moment.

    Attributes:
        time_ns: the moment, in ns since 1970.
        present: whether it was running then, and followed; if not, `away` says why.
        schema: the properties and commands that it had; None where the archive does not know.
        values: by key the last value by then; when it was set is in it.
        uncertain: the keys whose value may have been another, because changes are missing.
        gaps: what the archive does not know of that moment.
    """

    device_id: str
    time_ns: int
    present: bool
    away: str
    schema: Schema | None
    values: Mapping[str, PropertyValue]
    uncertain: frozenset[str]
    gaps: tuple[HistoryGap, ...] = ()

    def age_s(self, key: str) -> float:
        """Return for how long a property had had its value by then."""
        return (self.time_ns - self.values[key].timestamp.to_ns()) / 1e9

    def __repr__(self) -> str:
        moment = Timestamp.from_ns(self.time_ns).iso(3)
        away = f", but {self.away}" if self.away else ""
        return f"<{self.device_id} at {moment}: {len(self.values)} properties{away}>"
