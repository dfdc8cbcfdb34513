"""What every client starts from: who asks, and for how long it waits."""

import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Final

from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError
from pykarabo.wire import ClientIdentity

ROLE_VARIABLE: Final = "PYKARABO_ROLE"
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


def asked_role(role: AccessLevel | str | None = None) -> AccessLevel:
    """Return the highest role that a client asks for.

    Args:
        role: a role or its name, in any case; default is that of ``$PYKARABO_ROLE``, and where
            that is not set everything that the client has a right to.

    Raises:
        BadConfigurationError: there is no such role.
    """
    named = os.environ.get(ROLE_VARIABLE, "") if role is None else role
    if isinstance(named, AccessLevel):
        return named
    name = named.strip().upper() or AccessLevel.ADMINISTRATOR.name
    if name in AccessLevel.__members__:
        return AccessLevel[name]
    place = f"${ROLE_VARIABLE} is" if role is None else "the client is to have"
    raise BadConfigurationError(
        f"{place} the role {named!r}, which there is not",
        remedy=f"give one of {', '.join(level.name.lower() for level in AccessLevel)}",
    )


def line_to(client: bytes, rpc: str) -> bytes:
    """Return what the connections of one client to one endpoint have in common; see `Hello`.

    Args:
        client: random bytes that are the client's own; a program that was forked has lines of
            its own all the same.
    """
    return hashlib.blake2b(f"{os.getpid()} {rpc}".encode(), key=client, digest_size=8).digest()
