"""What every client starts from: who asks, and for how long it waits."""

import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Final

from pykarabo.wire import ClientIdentity

CALL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
START_S: Final = 30.0
"""A server gives `on_initialize` 10 s; claiming the id and a loaded host come on top."""
STOP_S: Final = 15.0
"""A server gives `on_stop` 5 s."""
LEASE_S: Final = 30.0
"""A locked device whose owner hangs is free again after so long."""


def own_identity() -> ClientIdentity:
    """Return who this process is, for the servers it calls."""
    try:
        user = os.environ.get("USER") or Path.home().name
    except RuntimeError:
        user = str(os.getuid())
    return ClientIdentity(socket.gethostname(), os.getpid(), user, Path(sys.argv[0]).name)


def line_to(client: bytes, rpc: str) -> bytes:
    """Return what the connections of one client to one endpoint have in common; see `Hello`.

    Args:
        client: random bytes that are the client's own; a program that was forked has lines of
            its own all the same.
    """
    return hashlib.blake2b(f"{os.getpid()} {rpc}".encode(), key=client, digest_size=8).digest()
