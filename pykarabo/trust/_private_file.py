"""Files that only their owner may read: keys and what is worth as much."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path

from pykarabo.data import sync_path
from pykarabo.errors import BadConfigurationError


def read_private(path: Path, what: str) -> bytes:
    """Return the content of a file that nobody but its owner may read.

    Args:
        what: what it is, as errors call it.

    Raises:
        BadConfigurationError: somebody else may read it, or owns it.
        OSError: it is not there, or cannot be read.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.getuid():
            raise BadConfigurationError(
                f"{what}, {path}, is not readable by its owner alone "
                f"(mode {stat.S_IMODE(status.st_mode):o})",
                remedy=f"remove it, unless nobody else has read it: then chmod 600 {path}",
            )
        return file.read()


def make_private(path: Path, content: bytes) -> None:
    """Write a file of mode 600, unless there is one already; raises `OSError`."""
    with _written(path, content) as new, contextlib.suppress(FileExistsError):
        os.link(new, path)


def replace_private(path: Path, content: bytes) -> None:
    """Write a file of mode 600 in place of what there is; raises `OSError`."""
    with _written(path, content) as new:
        new.replace(path)


@contextlib.contextmanager
def _written(path: Path, content: bytes) -> Generator[Path, None, None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield new
        sync_path(path.parent)
    finally:
        new.unlink(missing_ok=True)
