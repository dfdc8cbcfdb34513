"""A domain of one's own for a while, below a temporary directory."""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

from pykarabo.transport import DOMAIN_VARIABLE

_RUNTIME: Final = "XDG_RUNTIME_DIR"
_KEPT: Final = ("CONFIG", "DATA", "STATE", "CACHE")
_LONGEST_TEMPORARY: Final = 30
"""Leaves room for a domain and a socket's name within the 107 bytes of a Unix socket's path."""


@contextlib.contextmanager
def private_domain() -> Generator[str, None, None]:
    """Work in a domain that nobody else can see, and yield its name.

    For as long as the block lasts, the environment of the process names the domain and private
    directories; programs started in the block belong to the domain too. At its end the
    connections that blocking code shares are closed and the directories are removed.
    """
    root = _temporary_directory()
    name = f"t{secrets.token_hex(6)}"
    mine = {DOMAIN_VARIABLE: name, _RUNTIME: str(root / "run")}
    mine |= {f"XDG_{kind}_HOME": str(root / kind.lower()) for kind in _KEPT}
    for path in (root / "run", *(root / kind.lower() for kind in _KEPT)):
        path.mkdir(mode=0o700)
    before = {variable: os.environ.get(variable) for variable in mine}
    os.environ.update(mine)
    try:
        yield name
    finally:
        _close_shared_connections()
        _restore(before)
        shutil.rmtree(root)


def _temporary_directory() -> Path:
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_TEMPORARY:
        base = "/tmp"
    return Path(tempfile.mkdtemp(prefix="pk-", dir=base))


def _close_shared_connections() -> None:
    """End the connections and the event thread that blocking code shares in one process."""
    if "pykarabo.client" in sys.modules:
        from pykarabo.client import disconnect_all, stop_watching

        stop_watching()
        disconnect_all()


def _restore(before: dict[str, str | None]) -> None:
    for variable, value in before.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value
