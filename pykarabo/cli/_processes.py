"""The server processes of the domain on this host.

Every server process holds the lock of its sockets in the domain's runtime directory and has
written its process id into it. Whoever holds such a lock is alive and is ours: this, not a process
id alone, which the system gives to another program one day, says whom one may signal.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from pykarabo.client import BlockingClient, Login
from pykarabo.errors import ConnectionLostError
from pykarabo.transport import run_directory

ASK_S: Final = 2.0
"""A server that is well answers the wish to stop at once."""
STOP_S: Final = 30.0
"""Devices have 5 s each, one after the other, to leave their hardware in a safe state."""
_GUARD: Final = "up.guard"
_LOCK: Final = ".lock"
NOTE: Final = ".init"
"""Ending of the notes that tell a server which devices it starts with."""


def ask_to_stop(server_id: str, login: Login | None = None) -> None:
    """Have a server stop.

    Args:
        login: in whose name; default is whoever has logged in here.

    Raises:
        PykaraboError: it could not be told so.
    """
    with BlockingClient(login=login) as client:
        server = client.device(server_id)
        try:
            server.call("shutdown", timeout_s=ASK_S)
        except ConnectionLostError:
            return  # it has stopped sooner than its answer could leave


@contextlib.contextmanager
def one_at_a_time() -> Generator[Path, None, None]:
    """Let no other `up` or `down` of the domain in; yields the runtime directory."""
    while True:
        directory = run_directory(create=True)
        path = directory / _GUARD
        with contextlib.ExitStack() as stack:
            try:
                guard = stack.enter_context(path.open("a"))
            except FileNotFoundError:  # a `down` has just removed the directory
                continue
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not _is_still(path, guard.fileno()):  # we have waited for a `down` that removed it
                continue
            yield directory
            return


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def living_processes(directory: Path) -> dict[str, int]:
    """Return the process ids of the servers that live, by the stem of their sockets' names."""
    living: dict[str, int] = {}
    for path in sorted(directory.glob(f"*{_LOCK}")):
        pid = _holder(path)
        if pid is not None:
            living[path.stem] = pid
    return living


def _holder(path: Path) -> int | None:
    """Return the process that holds a lock (0 if it has not said), None when nobody does."""
    try:
        with path.open() as lock:
            if not _is_held(lock.fileno()):
                return None
            text = lock.read().strip()
    except FileNotFoundError:  # its holder ended while we looked
        return None
    return int(text) if text.isdigit() else 0


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def stale_files(directory: Path) -> list[Path]:
    """Return sockets, locks and notes that belong to no living process."""
    if not directory.exists():
        return []
    paths = sorted(path for path in directory.iterdir() if path.name != _GUARD)
    living = living_processes(directory)
    return [path for path in paths if path.suffix != NOTE and path.stem not in living]


def clean(directory: Path) -> None:
    """Remove what ended processes have left, and the directory when nobody lives there."""
    for path in stale_files(directory):
        path.unlink(missing_ok=True)
    if living_processes(directory):
        return
    for path in [*directory.glob(f"*{NOTE}"), directory / _GUARD]:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()
