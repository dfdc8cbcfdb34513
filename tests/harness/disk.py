"""A small disk of its own that can be filled and freed. Needs root, who may mount a tmpfs."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SIZE_KIB: Final = 256
_FILLER: Final = "filler"


def why_no_disk() -> str | None:
    """Return why there can be no such disk here; None when there can."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "disks of their own need root and the program 'mount'"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Disk(Path(folder)):
                return None
        except subprocess.CalledProcessError as error:
            return f"disks of their own cannot be mounted: {error}"


class Disk:
    """A disk mounted at `folder`; use it as a context manager."""

    def __init__(self, folder: Path, *, size_kib: int = SIZE_KIB) -> None:
        self.folder = folder
        self._size_kib = size_kib

    def __enter__(self) -> "Disk":
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={self._size_kib}k"]
        subprocess.run(["mount", *options, "none", str(self.folder)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self) -> None:
        """Leave no room: whoever writes next is told that there is no space left."""
        handle = os.open(self.folder / _FILLER, os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(handle, bytes(1024 * self._size_kib)):
                pass
        except OSError:
            return
        finally:
            os.close(handle)

    def free(self) -> None:
        """Make room again."""
        (self.folder / _FILLER).unlink(missing_ok=True)
