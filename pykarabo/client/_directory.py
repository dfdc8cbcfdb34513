"""What every client starts from: where the directory is, and who asks."""

import os
import socket
import sys
from pathlib import Path
from typing import Final

from pykarabo.transport import run_directory
from pykarabo.wire import ClientIdentity

CALL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
DIRECTORY_VARIABLE: Final = "PYKARABO_DIRECTORY"
DIRECTORY_STEM: Final = "directory"


def directory_endpoint(domain: str | None = None) -> str:
    """Return where the domain's directory answers calls.

    It is ``$PYKARABO_DIRECTORY`` (``tcp://host:port``) if that is set, else the Unix socket of
    this host's own directory.
    """
    return os.environ.get(DIRECTORY_VARIABLE) or (
        f"ipc://{run_directory(domain)}/{DIRECTORY_STEM}.rpc"
    )


def own_identity() -> ClientIdentity:
    """Return who this process is, for the servers it calls."""
    try:
        user = os.environ.get("USER") or Path.home().name
    except RuntimeError:
        user = str(os.getuid())
    return ClientIdentity(socket.gethostname(), os.getpid(), user, Path(sys.argv[0]).name)
