"""Joins the run recorder with its files; the class that device servers start."""

from pathlib import Path

from pykarabo_services.daq import service
from pykarabo_services.daq.model import RunStore
from pykarabo_services.daq.store import RunDirectories


class RunRecorder(service.RunRecorder):
    """Records properties and pipeline items by train into HDF5 files that EXtra-data reads."""

    def open_store(self, directory: Path) -> RunStore:
        """Return the runs below a data directory."""
        return RunDirectories(directory)
