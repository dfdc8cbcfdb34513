"""Where a domain lives on this host: sockets and locks, and what it keeps.

Sockets lie in a directory that only their owner may enter; one that others may enter is refused.
`Doorkeeper` asks the kernel besides.
"""

import functools
import os
import pwd
import re
import stat
import tempfile
from pathlib import Path
from typing import Final

from pykarabo.errors import BadConfigurationError, DeniedError, InvalidNameError

DOMAIN_VARIABLE: Final = "PYKARABO_DOMAIN"
DEFAULT_DOMAIN: Final = "default"
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_PRIVATE: Final = 0o700
_MAX_USERS: Final = 1_000
"""Names that are remembered: a name service that hangs must not keep anybody out."""
_MAX_SOCKET_PATH: Final = 107
"""Length limit of a Unix socket's path on Linux (sun_path has 108 bytes with its NUL)."""
_LONGEST_SOCKET_NAME: Final = 24


def domain_name(domain: str | None = None) -> str:
    """Return the domain asked for, else that of the environment, else ``default``.

    Raises:
        InvalidNameError: a name that cannot be a directory's.
    """
    name = domain or os.environ.get(DOMAIN_VARIABLE) or DEFAULT_DOMAIN
    if not _DOMAIN.fullmatch(name):
        raise InvalidNameError(
            f"'{name}' is no name for a domain",
            remedy="use up to 32 letters, digits, '_', '-' and '.'",
        )
    return name


def run_directory(domain: str | None = None, *, create: bool = False) -> Path:
    """Return the directory of the domain's sockets and locks.

    It is ``$XDG_RUNTIME_DIR/pykarabo/<domain>``, or below the temporary directory where the
    session has no runtime directory.

    Raises:
        BadConfigurationError: somebody else owns it or may enter it, or its path is too long.
        DeniedError: it lies where this user may not look.
    """
    name = domain_name(domain)
    base = os.environ.get("XDG_RUNTIME_DIR")
    root = Path(base) / "pykarabo" if base else _temporary_root()
    path = root / name
    if len(os.fsencode(path)) + 1 + _LONGEST_SOCKET_NAME > _MAX_SOCKET_PATH:
        raise BadConfigurationError(
            f"the path of the runtime directory {path} is too long for a socket",
            remedy="set XDG_RUNTIME_DIR to a shorter path",
        )
    if create:
        _make(root, path)
    else:
        try:
            if path.exists():
                _require_private(path)
        except PermissionError:
            raise _denied(path, _owner_above(path)) from None
    return path


def _make(root: Path, path: Path) -> None:
    try:
        for directory in (root, path):
            directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            _require_private(directory)
    except OSError as error:
        raise BadConfigurationError(
            f"the runtime directory {path} cannot be made: {error.strerror}",
            remedy="log in, or set XDG_RUNTIME_DIR to a directory of your own (mode 700)",
        ) from None


def _temporary_root() -> Path:
    return Path(tempfile.gettempdir()) / f"pykarabo-{os.getuid()}"


def _require_private(path: Path) -> None:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or mode & 0o077:
        raise BadConfigurationError(
            f"{path} is not a directory of your own that only you may enter (mode {mode:o})",
            remedy=f"chmod 700 {path}, or remove it",
        )


@functools.lru_cache(maxsize=_MAX_USERS)
def user_name(uid: int) -> str:
    """Return the login name of a user of this host, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def require_own_socket(path: Path) -> None:
    """Refuse to connect to what another user of this host runs: he would refuse it too.

    Raises:
        DeniedError: it belongs to somebody else, or may not even be looked at.
    """
    try:
        owner_id = path.stat().st_uid
    except PermissionError:
        raise _denied(path, _owner_above(path)) from None
    except (OSError, ValueError):  # nothing is there: who connects will be told
        return
    if owner_id != os.getuid():
        raise _denied(path, user_name(owner_id))


def _denied(path: Path, owner: str) -> DeniedError:
    return DeniedError(
        f"{path} belongs to user '{owner}' of this host, and this program runs as "
        f"'{user_name(os.getuid())}'",
        remedy=f"run it as '{owner}': a domain without a site serves one user",
    )


def _owner_above(path: Path) -> str:
    """Return who owns the directory that lets nobody else in."""
    for folder in path.parents:
        try:
            return user_name(folder.stat().st_uid)
        except OSError:
            continue
    return "unknown"


def data_directory(domain: str | None = None) -> Path:
    """Return where the domain keeps what it writes: ``$XDG_DATA_HOME/pykarabo/<domain>``."""
    base = os.environ.get("XDG_DATA_HOME")
    root = Path(base) if base else Path.home() / ".local" / "share"
    return root / "pykarabo" / domain_name(domain)


def cache_directory(domain: str | None = None) -> Path:
    """Return where the domain's clients keep what they can do without."""
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base else Path.home() / ".cache"
    return root / "pykarabo" / domain_name(domain)


def config_directory(domain: str | None = None) -> Path:
    """Return where the domain keeps what is set up once: ``$XDG_CONFIG_HOME/pykarabo/<domain>``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    root = Path(base) if base else Path.home() / ".config"
    return root / "pykarabo" / domain_name(domain)


def accounts_folder(domain: str | None = None) -> Path:
    """Return the folder that makes a domain one with accounts, whether it is there or not."""
    return config_directory(domain) / "accounts"


def key_file(domain: str | None = None) -> Path:
    """Return the file with the key that the domain's programs share."""
    return config_directory(domain) / "domain.key"


def _this_host() -> str:
    """Return the name of a folder for what belongs to one host: homes may be the same on many."""
    return os.uname().nodename.replace("/", "-") or "host"


def site_member_file(domain: str | None = None) -> Path:
    """Return the file that says which site the domain belongs to here; without it to none."""
    return config_directory(domain) / "site" / _this_host() / "member.json"


def site_state_file(domain: str | None = None) -> Path:
    """Return the file of the authority of the domain's site; it is on one host of it only."""
    return data_directory(domain) / "site" / _this_host() / "state.json"


def is_member(file: Path) -> bool:
    """Tell whether a user has joined a site, by the file of `site_member_file`."""
    try:
        return file.exists()
    except PermissionError:  # the folder is somebody else's, and so is the key beside it
        return False
