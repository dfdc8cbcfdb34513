"""The file with the key of a domain."""

import json
from pathlib import Path
from typing import Any, Final

import zmq
from zmq.utils import z85

from pykarabo.errors import BadConfigurationError
from pykarabo.trust import make_private, read_private

from ._keys import KeyPair

_KEY_BYTES: Final = 32
_FORMAT: Final = "pykarabo domain key 1"
_OLDEST: Final = (4, 3, 5)


def _require_curve() -> None:
    if not zmq.has("curve") or zmq.zmq_version_info() < _OLDEST:
        raise BadConfigurationError(
            f"libzmq {zmq.zmq_version()} as it is installed here cannot encrypt safely",
            remedy="install the pyzmq of the package index, which brings libzmq 4.3.5 with CURVE",
        )


def domain_key(path: Path) -> KeyPair:
    """Read the key pair of a domain; the first program that asks makes it.

    Raises:
        BadConfigurationError: others may read the file, or it cannot be read or made.
    """
    return make_key(path, "the key of the domain", remedy="copy it anew from the other host")


def make_key(path: Path, what: str, *, remedy: str = "restore it from a copy") -> KeyPair:
    """Make a key pair in a file that only its owner may read, unless there is one; returns it.

    Args:
        what: what it is, as errors call it.
        remedy: what else helps, besides removing it, when the file holds no key.

    Raises:
        BadConfigurationError: others may read the file, or it cannot be read or made.
    """
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise _unusable(path, what, error) from None
    return load_key(path, what, remedy=remedy)


def load_key(path: Path, what: str, *, remedy: str = "restore it from a copy") -> KeyPair:
    """Read a key pair from its file.

    Raises:
        BadConfigurationError: others may read the file, or it cannot be read.
    """
    _require_curve()
    try:
        return _parse(json.loads(read_private(path, what)))
    except OSError as error:
        raise _unusable(path, what, error) from None
    except (ValueError, KeyError, TypeError):
        raise BadConfigurationError(
            f"{path} is no key: {what} should be there", remedy=f"remove it, or {remedy}"
        ) from None


def _unusable(path: Path, what: str, error: OSError) -> BadConfigurationError:
    return BadConfigurationError(
        f"{what}, {path}, cannot be used: {error.strerror}",
        remedy="TCP needs it: make the directory writable, or set XDG_CONFIG_HOME",
    )


def _parse(stored: Any) -> KeyPair:
    public, secret = (bytes.fromhex(stored[name]) for name in ("public", "secret"))
    known = zmq.curve_public(z85.encode(secret)) if len(secret) == _KEY_BYTES else b""
    if stored["format"] != _FORMAT or z85.encode(public) != known:
        raise ValueError
    return KeyPair(public, secret)


def _make(path: Path) -> None:
    """Write a new key, unless another program has been faster."""
    public, secret = (z85.decode(key).hex() for key in zmq.curve_keypair())
    text = json.dumps({"format": _FORMAT, "public": public, "secret": secret})
    make_private(path, text.encode())
