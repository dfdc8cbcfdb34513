"""Runs of the data acquisition: names, rules, manifests, and what the recorder's storage must do.

A run is a directory `r0001` below the data directory of a proposal. It holds the sequence files and
`run.json`, the manifest, which says what was recorded and what was lost.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self

from pykarabo.data import OutputInfo, PropertyValue, Schema
from pykarabo.errors import DiskFullError, RunStateError
from pykarabo_services.kernel.losses import LossRecord
from pykarabo_services.kernel.trains import Train

MANIFEST_NAME = "run.json"
# Readers match the run number with four digits.
HIGHEST_RUN = 9999
# Trains in one file: 50 s at 10 Hz, which is how far an online reader of closed files lags behind.
TRAINS_PER_FILE = 500
# A run starts above 5 % free space and stops at 2 %; on big disks a fixed amount is enough.
START_FRACTION = 0.05
STOP_FRACTION = 0.02
START_BYTES = 10 << 30
STOP_BYTES = 2 << 30

_RUN_NAME = re.compile(r"r(\d{4,})\Z")
# What the file format's own tools accept as the name of an aggregator.
_AGGREGATOR = re.compile(r"\w{2,}\d{2}\Z", re.ASCII)


class RunState(StrEnum):
    """What became of a run."""

    RECORDING = "recording"
    CLOSED = "closed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ControlSource:
    """A device whose properties are recorded: its schema and its values at the start."""

    device_id: str
    schema: Schema
    values: Mapping[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class InstrumentSource:
    """An output `DEVICE:channel` whose items are recorded; None when it has no schema."""

    name: str
    output: OutputInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What the user says about a run."""

    proposal: int = 0
    sample: str = ""
    run_type: str = ""
    aggregator: str = "DA01"
    trains_per_file: int = TRAINS_PER_FILE

    def __post_init__(self) -> None:
        if not _AGGREGATOR.match(self.aggregator):
            raise RunStateError(
                f"'{self.aggregator}' cannot be the name of an aggregator",
                remedy="use at least two letters and two digits, such as DA01",
            )
        if self.trains_per_file < 1:
            raise RunStateError(
                f"a file cannot hold {self.trains_per_file} trains",
                remedy="set trains_per_file to 1 or more",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceLimits:
    """Free bytes below which a run does not start, and below which a running one is stopped."""

    start_bytes: int
    stop_bytes: int

    @classmethod
    def of_disk(cls, total_bytes: int) -> Self:
        """Return the default limits for a disk of a size."""
        return cls(
            start_bytes=min(round(total_bytes * START_FRACTION), START_BYTES),
            stop_bytes=min(round(total_bytes * STOP_FRACTION), STOP_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One closed sequence file."""

    name: str
    sequence: int
    trains: int
    first_train: int
    last_train: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """One recorded source: `entries` rows written, and the keys that no file can hold."""

    name: str
    section: str
    entries: int = 0
    keys: int = 0
    skipped_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunManifest:
    """What is known about one run; times are nanoseconds since 1970, 0 when not known."""

    run: int
    directory: str
    state: RunState
    proposal: int = 0
    sample: str = ""
    run_type: str = ""
    started_ns: int = 0
    stopped_ns: int = 0
    trains: int = 0
    first_train: int = 0
    last_train: int = 0
    error: str = ""
    files: tuple[FileRecord, ...] = ()
    sources: tuple[SourceRecord, ...] = ()
    losses: tuple[Mapping[str, Any], ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain data."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["state"] = str(self.state)
        values["files"] = [_plain(record) for record in self.files]
        values["sources"] = [_plain(record) for record in self.sources]
        values["losses"] = [dict(loss) for loss in self.losses]
        return values

    def to_json(self) -> str:
        """Return the text of the manifest file."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, directory: Path) -> Self:
        """Read a manifest file; RunStateError when it is none."""
        try:
            values = dict(json.loads(text))
            values["directory"] = str(directory)
            values["state"] = RunState(values["state"])
            values["files"] = tuple(FileRecord(**record) for record in values["files"])
            values["sources"] = tuple(_source(record) for record in values["sources"])
            values["losses"] = tuple(values["losses"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunStateError(
                f"{directory / MANIFEST_NAME} is not the manifest of a run ({error})",
                remedy="move the file away; the data files do not need it",
            ) from error


def _plain(record: FileRecord | SourceRecord) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in fields(record)}


def _source(values: Mapping[str, Any]) -> SourceRecord:
    record = SourceRecord(**values)
    return replace(record, skipped_keys=tuple(record.skipped_keys))


class RunSink(Protocol):
    """A run that is being written. Blocking; one thread at a time."""

    @property
    def manifest(self) -> RunManifest:
        """What was recorded so far."""
        ...

    @property
    def lost(self) -> int:
        """How many values, items and trains the files could not hold so far."""
        ...

    def write(self, train: Train) -> None:
        """Take the next train; it is in the file after at most a second of trains, or `flush`."""
        ...

    def flush(self) -> None:
        """Write everything taken so far, readable even if this process is killed now."""
        ...

    def close(self, stopped_ns: int, losses: Iterable[LossRecord] = ()) -> RunManifest:
        """End the run; `losses` of the sources join what the files could not hold."""
        ...

    def abort(self, reason: str, stopped_ns: int, losses: Iterable[LossRecord] = ()) -> RunManifest:
        """End the run with what there is and mark it aborted."""
        ...


class RunStore(Protocol):
    """Where runs are kept."""

    def runs(self) -> list[RunManifest]:
        """Return all runs, oldest first."""
        ...

    def begin(
        self,
        settings: RunSettings,
        *,
        controls: Sequence[ControlSource],
        instruments: Sequence[InstrumentSource],
        started_ns: int,
    ) -> RunSink:
        """Start the next run; DiskFullError when too little space is free."""
        ...

    def recover(self) -> list[RunManifest]:
        """Make readable what a killed recorder left open, and return those runs."""
        ...


def run_directory_name(run: int) -> str:
    """Return the name of a run's directory; RunStateError when the numbers are used up."""
    if not 0 < run <= HIGHEST_RUN:
        raise RunStateError(
            f"run number {run} is not between 1 and {HIGHEST_RUN}",
            remedy="record into the data directory of a new proposal",
        )
    return f"r{run:04d}"


def run_number_of(name: str) -> int | None:
    """Return the run number in the name of a directory, None when it is no run."""
    match = _RUN_NAME.match(name)
    return int(match[1]) if match else None


def next_run_number(names: Iterable[str]) -> int:
    """Return the number after the highest run among directory names."""
    return max((run_number_of(name) or 0 for name in names), default=0) + 1


def sequence_file_name(run: int, aggregator: str, sequence: int) -> str:
    """Return the name of a closed sequence file."""
    return f"RAW-R{run:04d}-{aggregator}-S{sequence:05d}.h5"


def proposal_directory(root: Path, *, instrument: str, cycle: str, proposal: int) -> Path:
    """Return where runs belong so that EXtra-data's `open_run(proposal, run)` finds them.

    EXtra-data looks below the directory named by the variable EXTRA_DATA_DATA_ROOT.
    """
    return root / instrument / cycle / f"p{proposal:06d}" / "raw"


def require_space(directory: Path, *, free_bytes: int, needed_bytes: int) -> None:
    """Raise DiskFullError when less than `needed_bytes` are free."""
    if free_bytes < needed_bytes:
        raise DiskFullError(
            f"{directory} has {free_bytes / 1e9:.3f} GB free, {needed_bytes / 1e9:.3f} GB needed",
            remedy="free space there or choose another data directory",
            details={
                "directory": str(directory),
                "free_bytes": free_bytes,
                "needed_bytes": needed_bytes,
            },
        )
