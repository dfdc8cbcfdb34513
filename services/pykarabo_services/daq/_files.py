"""Small files of a run: the manifest, and space kept back for the end of a full disk."""

import fcntl
import os
from pathlib import Path
from typing import Final

from pykarabo.data import sync_path
from pykarabo.errors import RunStateError
from pykarabo_services.daq.model import MANIFEST_NAME, RunManifest, RunState, run_number_of

# HDF5 crashes the process when it cannot write what it holds while a file is closed. This much is
# set free before: the metadata of some thousand datasets and their last rows.
BALLAST_BYTES: Final = 16 << 20
_BALLAST_NAME: Final = ".reserved"


class Ballast:
    """A file that keeps space for the end, and whose lock says that the run is being written."""

    __slots__ = ("_handle", "_path")

    def __init__(self, directory: Path) -> None:
        self._path = directory / _BALLAST_NAME
        self._handle: int | None = None

    def load(self) -> None:
        """Take the lock, which ends with this process at the latest, and the space."""
        self._handle = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(self._handle, 0, BALLAST_BYTES)

    def drop(self) -> None:
        """Give the space back."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)

    def release(self) -> None:
        """Remove the file, and with it the lock."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None


def is_being_written(directory: Path) -> bool:
    """Whether a living process writes the run in a directory."""
    try:
        handle = os.open(directory / _BALLAST_NAME, os.O_WRONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def remove_ballast(directory: Path) -> None:
    """Remove what a killed writer kept."""
    (directory / _BALLAST_NAME).unlink(missing_ok=True)


def write_manifest(directory: Path, manifest: RunManifest) -> None:
    """Replace the manifest of a run; readers see the old one or the new one."""
    path = directory / MANIFEST_NAME
    temporary = directory / (MANIFEST_NAME + ".new")
    temporary.write_text(manifest.to_json(), encoding="utf-8")
    sync_path(temporary)
    temporary.rename(path)
    sync_path(directory)


def read_manifest(directory: Path) -> RunManifest:
    """Return what is known about the run in a directory, also when its manifest is unreadable."""
    try:
        text = (directory / MANIFEST_NAME).read_text(encoding="utf-8")
        return RunManifest.from_json(text, directory=directory)
    except (OSError, UnicodeDecodeError, RunStateError) as error:
        return RunManifest(
            run=run_number_of(directory.name) or 0,
            directory=str(directory),
            state=RunState.UNKNOWN,
            error=str(error),
        )
