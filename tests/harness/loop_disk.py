"""A file system of its own, in a file, that can hang and break. Needs root and loop devices."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from .cluster import wait_until

_MIB: Final = 2**20
_FREE_S: Final = 20.0
_MENDED: Final = 1
"""What e2fsck returns when it has found something and mended it."""


def why_no_loop_disk() -> str | None:
    """Return why there can be no such file system here; None when there can."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or shutil.which("fsfreeze") is None:
        return "file systems of their own need root and the programs mkfs.ext4 and fsfreeze"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with LoopDisk(Path(folder) / "disk"):
                return None
        except subprocess.CalledProcessError as error:
            return f"file systems of their own cannot be mounted: {error}"


class LoopDisk:
    """An ext4 file system mounted at `folder`; use it as a context manager."""

    def __init__(self, folder: Path, *, size_mib: int = 64) -> None:
        self.folder = folder
        self._image = folder.with_name(folder.name + ".img")
        self._size_mib = size_mib
        self._is_frozen = False

    def __enter__(self) -> "LoopDisk":
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._image.open("wb") as image:
            image.truncate(self._size_mib * _MIB)
        _run("mkfs.ext4", "-q", str(self._image))
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        _run("umount", "--lazy", str(self.folder))
        self._image.unlink()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.folder))

    def freeze(self) -> None:
        """Have everybody wait who writes: nobody is told of an error."""
        _run("fsfreeze", "--freeze", str(self.folder))
        self._is_frozen = True

    def thaw(self) -> None:
        """Let them go on."""
        if self._is_frozen:
            self._is_frozen = False
            _run("fsfreeze", "--unfreeze", str(self.folder))

    def break_down(self) -> None:
        """Have the kernel find it damaged: it is read-only from now on, also for open files."""
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(self.folder)).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("1", "ascii")

    def repair(self) -> None:
        """Check it and mount it again, as soon as nobody has a file open there."""
        wait_until(
            lambda: not _status("umount", str(self.folder)),
            f"the end of all files in {self.folder}",
            timeout_s=_FREE_S,
        )
        assert _status("e2fsck", "-fy", str(self._image)) <= _MENDED
        self._mount()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _status(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode
