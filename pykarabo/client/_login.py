"""Who uses a program: the token that its user got when he logged in, shown at every greeting."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from pykarabo.errors import PykaraboError
from pykarabo.transport import DomainKeys, key_file, run_directory

LOGIN_VARIABLE: Final = "PYKARABO_LOGIN"
_FILE: Final = "login"

Login: TypeAlias = Callable[[], bytes]
"""Returns the token to show now; empty without one. It is asked at every greeting, and when a
server has denied something: whoever has logged in meanwhile need not start his programs anew."""


def login_file(domain: str | None = None, *, create: bool = False) -> Path:
    """Return the file with the token of whoever has logged in here.

    It is that of ``$PYKARABO_LOGIN``, which lets several people share a user of the host, or lies
    in the domain's runtime directory.

    Args:
        create: make that directory where it is missing.
    """
    named = os.environ.get(LOGIN_VARIABLE)
    if named:
        return Path(named).expanduser()
    return run_directory(domain, create=create) / _FILE


def own_proofs(domain: str | None = None) -> tuple[str, ...]:
    """Return what proves to servers that it is we who connect, see `pykarabo.transport.Sender`."""
    proofs = [f"uid:{os.getuid()}"]
    keys = DomainKeys(domain)
    if keys.site is not None or key_file(domain).exists():
        proofs.append(f"key:{keys.pair.public.hex()}")
    return tuple(proofs)


def login_of_user(domain: str | None = None) -> Login:
    """Return what shows the token of whoever has logged in here."""
    return partial(_read, domain)


def _read(domain: str | None) -> bytes:
    try:
        path = login_file(domain)
    except PykaraboError:  # a domain that is not ours: connecting says so
        return b""
    if not path.exists():
        return b""
    from pykarabo.trust import read_private

    try:
        return read_private(path, "your login")
    except OSError:  # logged out in this moment
        return b""
