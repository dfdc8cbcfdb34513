"""The writer of a run: batches of trains into one sequence file after the other."""

import contextlib
import errno
import logging
import shutil
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from pykarabo.errors import DiskFullError, PykaraboError, RunStateError
from pykarabo_services.daq._files import Ballast, write_manifest
from pykarabo_services.daq._image import build_image, date_of
from pykarabo_services.daq._plan import RunPlan
from pykarabo_services.daq._repair import finish
from pykarabo_services.daq._sequence import IndexRows, SequenceFile
from pykarabo_services.daq.model import (
    FileRecord,
    RunManifest,
    RunSettings,
    RunState,
    SpaceLimits,
    require_space,
    sequence_file_name,
)
from pykarabo_services.kernel.losses import LossReason, LossRecord
from pykarabo_services.kernel.trains import Train

_LOG = logging.getLogger(__name__)

# Trains are written together: resizing and flushing costs much more than a few more rows do.
# 0.5 s, because everything older than 1 s must survive this process.
_BATCH_NS: Final = 500_000_000
_BATCH_BYTES: Final = 256 << 20
# What the system says when a disk or a quota is used up.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

# The source named in the losses of whole trains.
RUN: Final = "(run)"


class RunWriter:
    """Writes the trains of one run; blocking, to be used by one thread at a time.

    An error of the disk ends the run: closed files stay as they are, the open one is completed up
    to its last whole train, and every later call raises RunStateError.
    """

    def __init__(
        self,
        directory: Path,
        manifest: RunManifest,
        plan: RunPlan,
        *,
        settings: RunSettings,
        limits: SpaceLimits,
    ) -> None:
        self._directory = directory
        self._manifest = manifest
        self._plan = plan
        self._settings = settings
        self._limits = limits
        self._losses = plan.losses
        self._buffer: list[Train] = []
        self._buffer_bytes = 0
        self._file: SequenceFile | None = None
        self._sequence = 0
        self._image = build_image(plan.file_layout(self._metadata()))
        self._newest = 0
        self._ballast = Ballast(directory)
        with self._disk_errors():
            self._ballast.load()
            write_manifest(directory, manifest)

    @property
    def manifest(self) -> RunManifest:
        """What is in the files so far."""
        return self._manifest

    @property
    def lost(self) -> int:
        """How many values, items and trains the files could not hold so far."""
        return self._losses.count() - self._losses.count(reason=LossReason.CLAMPED)

    def write(self, train: Train) -> None:
        """Take the next train; train ids must increase."""
        self._require_open()
        if train.train_id <= self._newest:
            raise RunStateError(
                f"train {train.train_id} cannot be written after train {self._newest}",
                remedy="give the trains in increasing order",
            )
        self._newest = train.train_id
        self._buffer.append(train)
        self._buffer_bytes += train.nbytes
        age_ns = train.time_ns - self._buffer[0].time_ns
        if age_ns >= _BATCH_NS or self._buffer_bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was taken so far; it survives the end of this process."""
        self._require_open()
        with self._disk_errors():
            while self._buffer:
                self._write_batch()

    def close(self, stopped_ns: int, losses: Iterable[LossRecord] = ()) -> RunManifest:
        """Write the rest, name the last file and finish the manifest."""
        self._require_open()
        try:
            self.flush()
            with self._disk_errors():
                self._close_file()
        finally:
            self._end(stopped_ns, losses)
        return self._manifest

    def abort(self, reason: str, stopped_ns: int, losses: Iterable[LossRecord] = ()) -> RunManifest:
        """End the run with what there is; also after a failure, to complete the manifest."""
        if self._manifest.state is RunState.RECORDING:
            with contextlib.suppress(PykaraboError):
                self.flush()
                with self._disk_errors():
                    self._close_file()
        error = self._manifest.error or reason
        self._manifest = replace(self._manifest, state=RunState.ABORTED, error=error)
        self._end(stopped_ns, losses)
        return self._manifest

    def _require_open(self) -> None:
        if self._manifest.state is not RunState.RECORDING:
            reason = f": {self._manifest.error}" if self._manifest.error else ""
            raise RunStateError(
                f"run {self._manifest.run} is {self._manifest.state}{reason}",
                remedy="start a new run",
            )

    # Batches

    def _write_batch(self) -> None:
        """Write as many buffered trains as belong into one file."""
        self._check_space()
        if self._plan.resolve(self._buffer):
            # A file cannot get new datasets: sources whose types are known now need the next one.
            self._close_file()
            self._image = build_image(self._plan.file_layout(self._metadata()))
        file = self._open_file()
        room = self._settings.trains_per_file - file.trains
        batch, rest = self._buffer[:room], self._buffer[room:]
        index = self._stage(batch, file.trains)
        file.append(index, self._plan.controls.values(), self._plan.outputs.values())
        self._buffer = rest
        self._buffer_bytes = sum(train.nbytes for train in rest)
        self._count(batch)
        if file.trains >= self._settings.trains_per_file:
            self._close_file()

    def _stage(self, batch: Sequence[Train], row: int) -> IndexRows:
        for number, train in enumerate(batch):
            self._plan.stage(train, row + number)
        origins = self._plan.origins
        return IndexRows(
            train_ids=np.array([train.train_id for train in batch], dtype=np.uint64),
            timestamps=np.array([train.time_ns for train in batch], dtype=np.uint64),
            flags=np.array([not train.suspect for train in batch], dtype=np.int32),
            origins=np.array([origins.get(train.origin or "", -1) for train in batch], np.int32),
        )

    def _count(self, batch: Sequence[Train]) -> None:
        manifest = self._manifest
        self._manifest = replace(
            manifest,
            trains=manifest.trains + len(batch),
            first_train=manifest.first_train or batch[0].train_id,
            last_train=batch[-1].train_id,
        )

    def _check_space(self) -> None:
        needed = self._limits.stop_bytes + self._buffer_bytes
        free = shutil.disk_usage(self._directory).free
        require_space(self._directory, free_bytes=free, needed_bytes=needed)

    # Files

    def _open_file(self) -> SequenceFile:
        if self._file is None:
            name = sequence_file_name(self._manifest.run, self._settings.aggregator, self._sequence)
            self._plan.restart()
            self._file = SequenceFile(
                self._directory / name,
                self._image,
                self._plan.layout,
                sequence=self._sequence,
                date=date_of(self._buffer[0].time_ns),
            )
        return self._file

    def _metadata(self) -> dict[str, str | int]:
        date = date_of(self._manifest.started_ns)
        return {
            "creationDate": date,
            "updateDate": date,
            "runType": self._settings.run_type,
            "sample": self._settings.sample,
            "sequenceNumber": 0,
            "proposalNumber": self._settings.proposal,
            "runNumber": self._manifest.run,
        }

    def _close_file(self) -> None:
        file = self._file
        if file is None:
            return
        file.close(self._plan.controls.values(), date=date_of(file.last_ns))
        self._file = None
        self._add_file(file, file.trains, file.first_train, file.last_train)

    def _add_file(self, file: SequenceFile, trains: int, first: int, last: int) -> None:
        record = FileRecord(
            name=file.path.name,
            sequence=self._sequence,
            trains=trains,
            first_train=first,
            last_train=last,
            size_bytes=file.path.stat().st_size,
        )
        self._sequence += 1
        self._manifest = replace(self._manifest, files=(*self._manifest.files, record))
        write_manifest(self._directory, self._manifest)

    # The end

    def _end(self, stopped_ns: int, losses: Iterable[LossRecord]) -> None:
        state = self._manifest.state
        self._manifest = replace(
            self._manifest,
            state=RunState.CLOSED if state is RunState.RECORDING else state,
            stopped_ns=stopped_ns,
            sources=self._plan.source_records(),
            losses=tuple(record.to_dict() for record in (*losses, *self._losses.records())),
        )
        self._ballast.drop()
        try:
            write_manifest(self._directory, self._manifest)
            self._ballast.release()
        except OSError as error:
            _LOG.error("the manifest of run %d was not written: %s", self._manifest.run, error)

    @contextlib.contextmanager
    def _disk_errors(self) -> Generator[None]:
        """End the run when the disk fails: HDF5 reports that as OSError or RuntimeError."""
        try:
            yield
        except DiskFullError as error:
            self._fail(error)
        except (OSError, RuntimeError) as error:
            self._fail(_disk_error(self._directory, error))

    def _fail(self, error: PykaraboError) -> NoReturn:
        self._manifest = replace(self._manifest, state=RunState.ABORTED, error=str(error))
        self._ballast.drop()
        self._rescue(is_full=isinstance(error, DiskFullError))
        for train in self._buffer:
            if train.train_id > self._manifest.last_train:
                self._losses.add(RUN, LossReason.UNWRITTEN, train_id=train.train_id)
        self._buffer.clear()
        raise error

    def _rescue(self, *, is_full: bool) -> None:
        """Complete the open file up to its last whole train; else it stays for `recover`."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if is_full:  # the ballast made room
                file.close_as_it_is()
                found = finish(file.part_path, file.path)
                if found is not None:
                    self._add_file(file, found.trains, found.first_train, found.last_train)
            else:
                file.abandon()
                _LOG.error("%s was left incomplete, recover it later", file.part_path)
        except (OSError, RuntimeError) as error:
            _LOG.error("%s was left incomplete: %s", file.part_path, error)
        files = self._manifest.files
        self._manifest = replace(
            self._manifest,
            trains=sum(record.trains for record in files),
            last_train=files[-1].last_train if files else 0,
        )


def _disk_error(directory: Path, error: OSError | RuntimeError) -> PykaraboError:
    code = error.errno if isinstance(error, OSError) else None
    text = " ".join(str(error).split())
    if code in _FULL or any(f"errno = {number}," in text for number in _FULL):
        free = shutil.disk_usage(directory).free
        return DiskFullError(
            f"{directory} is full, {free / 1e9:.3f} GB free",
            remedy="free space there and start a new run",
            details={"directory": str(directory), "free_bytes": free, "needed_bytes": free + 1},
        )
    return RunStateError(
        f"{directory} cannot be written ({text[:200]})",
        remedy="check the disk and start a new run",
        details={"directory": str(directory)},
    )
