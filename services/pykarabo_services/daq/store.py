"""Runs on disk: one directory per run, and everything in it."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pykarabo_services.daq._files import (
    is_being_written,
    read_manifest,
    remove_ballast,
    write_manifest,
)
from pykarabo_services.daq._plan import RunPlan
from pykarabo_services.daq._repair import describe, recover
from pykarabo_services.daq._sequence import PART_SUFFIX
from pykarabo_services.daq._writer import RunWriter
from pykarabo_services.daq.model import (
    ControlSource,
    FileRecord,
    InstrumentSource,
    RunManifest,
    RunSettings,
    RunState,
    SpaceLimits,
    next_run_number,
    require_space,
    run_directory_name,
    run_number_of,
)

__all__ = ["RunDirectories", "RunWriter"]


class RunDirectories:
    """The runs below one data directory; meets `model.RunStore`."""

    def __init__(self, directory: Path, *, limits: SpaceLimits | None = None) -> None:
        self._directory = directory
        self._limits = limits

    @property
    def directory(self) -> Path:
        """Where the runs are."""
        return self._directory

    def runs(self) -> list[RunManifest]:
        """Return all runs, oldest first; one that cannot be read has the state UNKNOWN."""
        return [read_manifest(path) for path in self._run_directories()]

    def begin(
        self,
        settings: RunSettings,
        *,
        controls: Sequence[ControlSource],
        instruments: Sequence[InstrumentSource],
        started_ns: int,
    ) -> RunWriter:
        """Start the next run; DiskFullError when too little space is free."""
        plan = RunPlan(controls, instruments, started_ns=started_ns)
        self._directory.mkdir(parents=True, exist_ok=True)
        usage = shutil.disk_usage(self._directory)
        limits = self._limits or SpaceLimits.of_disk(usage.total)
        require_space(self._directory, free_bytes=usage.free, needed_bytes=limits.start_bytes)
        run, directory = self._create_directory()
        manifest = RunManifest(
            run=run,
            directory=str(directory),
            state=RunState.RECORDING,
            proposal=settings.proposal,
            sample=settings.sample,
            run_type=settings.run_type,
            started_ns=started_ns,
            sources=plan.source_records(),
        )
        return RunWriter(directory, manifest, plan, settings=settings, limits=limits)

    def recover(self) -> list[RunManifest]:
        """Make readable what killed recorders left open, and return those runs.

        Runs that a living process writes are left alone.
        """
        return [
            self._recover(directory)
            for directory in self._run_directories()
            if self._was_killed(directory) and not is_being_written(directory)
        ]

    def _run_directories(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        found = [
            (number, path)
            for path in self._directory.iterdir()
            if (number := run_number_of(path.name)) is not None and path.is_dir()
        ]
        return [path for _, path in sorted(found)]

    def _create_directory(self) -> tuple[int, Path]:
        """Create the next run's directory; another recorder may take a number meanwhile."""
        while True:
            run = next_run_number(path.name for path in self._run_directories())
            directory = self._directory / run_directory_name(run)
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            return run, directory

    def _was_killed(self, directory: Path) -> bool:
        has_parts = any(directory.glob(f"*{PART_SUFFIX}"))
        return has_parts or read_manifest(directory).state is RunState.RECORDING

    def _recover(self, directory: Path) -> RunManifest:
        problems: list[str] = []
        for part_path in sorted(directory.glob(f"*{PART_SUFFIX}")):
            try:
                recover(part_path)
            except (OSError, RuntimeError, KeyError) as error:
                problems.append(f"{part_path.name} cannot be read ({error})")
        manifest = _complete(read_manifest(directory), directory, problems)
        write_manifest(directory, manifest)
        remove_ballast(directory)
        return manifest


def _complete(manifest: RunManifest, directory: Path, problems: Sequence[str]) -> RunManifest:
    """Return a manifest of the files that are there."""
    known = {record.name: record for record in manifest.files}
    files = [known.get(path.name) or _file_record(path) for path in sorted(directory.glob("*.h5"))]
    message = "; ".join(("the recorder was killed, its last file was recovered", *problems))
    return replace(
        manifest,
        state=RunState.ABORTED,
        error=manifest.error or message,
        files=tuple(files),
        trains=sum(record.trains for record in files),
        first_train=files[0].first_train if files else 0,
        last_train=files[-1].last_train if files else 0,
    )


def _file_record(path: Path) -> FileRecord:
    found = describe(path)
    return FileRecord(
        name=path.name,
        sequence=found.sequence,
        trains=found.trains,
        first_train=found.first_train,
        last_train=found.last_train,
        size_bytes=path.stat().st_size,
    )
