"""Having files on the disk, not only in the memory of the system."""

import os
from pathlib import Path


def sync_path(path: Path) -> None:
    """Return when a file's content, or a folder's names, are on the disk; raises `OSError`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
