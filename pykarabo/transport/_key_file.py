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
    """Read a key pair from its file; the first program that asks makes it.

    Raises:
        BadConfigurationError: others may read the file, or it cannot be read or made.
    """
    _require_curve()
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
            return _read(path)
    except OSError as error:
        raise BadConfigurationError(
            f"the key of the domain, {path}, cannot be used: {error.strerror}",
            remedy="TCP needs it: make the directory writable, or set XDG_CONFIG_HOME",
        ) from None


def _read(path: Path) -> KeyPair:
    text = read_private(path, "the key of the domain")
    try:
        return _parse(json.loads(text))
    except (ValueError, KeyError, TypeError):
        raise BadConfigurationError(
            f"{path} is no key of a domain", remedy="remove it, or copy it anew from the other host"
        ) from None


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
