"""Signed statements: grants, lists of grants, tokens.

A statement is a map of claims with a time from which and one until which it holds. What is signed
are the bytes as they travel, together with the purpose they are signed for: nothing depends on
two sides encoding a map alike, and a statement made for one purpose proves nothing for another.
The signature is an Ed25519 one (RFC 8032).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from pykarabo.errors import (
    BadConfigurationError,
    ClockError,
    DamagedCredentialError,
    ExpiredCredentialError,
    WrongSignerError,
)

from ._private_file import make_private, read_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CLOCK_TOLERANCE_S: Final = 300.0
"""Clocks of hosts that nobody synchronises differ by minutes; a statement that seems to be made
later than that in the future tells of a clock that is wrong."""
_TAG: Final = b"pykarabo signed 1"
_KEY_FORMAT: Final = "pykarabo signing key 1"
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_MAX_STATEMENT: Final = 8 * 2**20
"""A list of ten thousand grants has some MB; nobody is to make us decode more."""
_PARTS: Final = 5
_pack: Final[Any] = msgpack.packb
_unpack: Final[Any] = msgpack.unpackb


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair, 32 bytes each."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def make(cls) -> "SigningKey":
        """Return a new pair."""
        return cls._of(_library().Ed25519PrivateKey.generate())

    @classmethod
    def from_secret(cls, secret: bytes) -> "SigningKey":
        """Return the pair of a secret; raises `ValueError` if that cannot be one."""
        return cls._of(_library().Ed25519PrivateKey.from_private_bytes(secret))

    @classmethod
    def _of(cls, key: "Ed25519PrivateKey") -> "SigningKey":
        return cls(key.public_key().public_bytes_raw(), key.private_bytes_raw())

    def signature_of(self, content: bytes) -> bytes:
        """Sign bytes."""
        signature: bytes = (
            _library().Ed25519PrivateKey.from_private_bytes(self.secret).sign(content)
        )
        return signature


class Statement(NamedTuple):
    """What a signature has proved.

    Attributes:
        claims: what is said.
        issued_s: since when it holds, in seconds of UTC.
        expires_s: until when.
        signer: public key of who says it.
    """

    claims: dict[str, Any]
    issued_s: float
    expires_s: float
    signer: bytes


def sign(
    claims: Mapping[str, Any],
    key: SigningKey,
    *,
    purpose: str,
    issued_s: float,
    expires_s: float,
) -> bytes:
    """Return a statement for `purpose` as bytes that travel.

    Args:
        claims: of what msgpack knows: texts, numbers, bytes, lists, maps, None.
    """
    content: bytes = _pack([dict(claims), float(issued_s), float(expires_s)])
    signature = key.signature_of(_signed_bytes(purpose, content))
    blob: bytes = _pack([_TAG, purpose, key.public, content, signature])
    return blob


def verify(
    blob: bytes,
    trusted: Collection[bytes],
    *,
    purpose: str,
    now_s: float,
    remedy: str = "ask for a new one",
) -> Statement:
    """Return what a statement says, if somebody trusted says it and it holds now.

    Args:
        trusted: the public keys of those who are believed.
        purpose: what it must have been made for.
        now_s: seconds of UTC.
        remedy: what helps when it has expired or is none.

    Raises:
        DamagedCredentialError: it was changed on its way, is for another purpose, or is none.
        WrongSignerError: somebody else has signed it.
        ExpiredCredentialError: its time is over.
        ClockError: its time has not come, so that one of two clocks is wrong.
    """
    signer, content, signature = _opened(blob, purpose, remedy)
    if signer not in trusted:
        raise WrongSignerError(
            f"the {purpose} is signed by {signer.hex()[:16]}, whom nobody here trusts",
            remedy=remedy,
        )
    if not _is_genuine(signer, _signed_bytes(purpose, content), signature):
        raise DamagedCredentialError(f"the {purpose} was changed after signing", remedy=remedy)
    statement = _parsed(content, signer, purpose, remedy)
    _require_present(statement, purpose, now_s, remedy)
    return statement


def stated(blob: bytes, purpose: str, remedy: str) -> Statement:
    """Return what a statement says, without any proof of it.

    Raises:
        DamagedCredentialError: it is for another purpose, or is none.
    """
    signer, content, _signature = _opened(blob, purpose, remedy)
    return _parsed(content, signer, purpose, remedy)


def _require_present(statement: Statement, purpose: str, now_s: float, remedy: str) -> None:
    name = statement.claims.get("name")
    what = f"the {purpose} of '{name}'" if isinstance(name, str) else f"the {purpose}"
    require_present(what, statement.issued_s, statement.expires_s, now_s=now_s, remedy=remedy)


def require_present(
    what: str, issued_s: float, expires_s: float, *, now_s: float, remedy: str
) -> None:
    """Refuse what holds between two times at any other.

    Raises:
        ExpiredCredentialError: its time is over.
        ClockError: its time has not come, so that one of two clocks is wrong.
    """
    if now_s >= expires_s:
        raise ExpiredCredentialError(
            f"{what} has expired: it was valid until {told_time(expires_s)}, and this host's "
            f"clock shows {told_time(now_s)}",
            remedy=f"if that clock is right, {remedy}",
        )
    if now_s < issued_s - CLOCK_TOLERANCE_S:
        raise ClockError(
            f"{what} is valid from {told_time(issued_s)}, and this host's clock shows "
            f"{told_time(now_s)}: one of the two clocks is wrong",
            remedy="set the clocks of both hosts ('timedatectl set-ntp true')",
        )


def told_time(time_s: float) -> str:
    """Return a time as people read it."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _signed_bytes(purpose: str, content: bytes) -> bytes:
    """Return what the signature is of; no purpose has the zero byte that follows it."""
    return b"\0".join((_TAG, purpose.encode(), content))


def _opened(blob: bytes, purpose: str, remedy: str) -> tuple[bytes, bytes, bytes]:
    damaged = DamagedCredentialError(f"this is no {purpose}, or it was damaged", remedy=remedy)
    if len(blob) > _MAX_STATEMENT:
        raise damaged
    try:
        parts = _unpack(blob)
    except (ValueError, msgpack.UnpackException):
        raise damaged from None
    if not isinstance(parts, list) or len(parts) != _PARTS or parts[0] != _TAG:
        raise damaged
    _tag, stated, signer, content, signature = parts
    if not all(isinstance(part, bytes) for part in (signer, content, signature)):
        raise damaged
    if stated != purpose:
        raise DamagedCredentialError(
            f"this is a statement for another purpose and no {purpose}", remedy=remedy
        )
    return signer, content, signature


def _is_genuine(signer: bytes, content: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    if len(signer) != _KEY_BYTES or len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        _library().Ed25519PublicKey.from_public_bytes(signer).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _parsed(content: bytes, signer: bytes, purpose: str, remedy: str) -> Statement:
    try:
        claims, issued_s, expires_s = _unpack(content)
        if isinstance(claims, dict):
            return Statement(claims, float(issued_s), float(expires_s), signer)
    except (ValueError, TypeError, msgpack.UnpackException):
        pass
    raise DamagedCredentialError(f"the {purpose} says nothing that is known", remedy=remedy)


# -- key files ------------------------------------------------------------------------------------


def make_signing_key(path: Path) -> SigningKey:
    """Make a key pair in a file that only its owner may read, unless there is one; returns it.

    Raises:
        BadConfigurationError: it cannot be written, or what is there is no such key.
    """
    key = SigningKey.make()
    text = json.dumps(
        {"format": _KEY_FORMAT, "public": key.public.hex(), "secret": key.secret.hex()}
    )
    try:
        make_private(path, text.encode())
    except OSError as error:
        raise BadConfigurationError(
            f"the signing key {path} cannot be written: {error.strerror}",
            remedy="make the directory writable",
        ) from None
    return load_signing_key(path)


def load_signing_key(path: Path) -> SigningKey:
    """Read a key pair from its file.

    Raises:
        BadConfigurationError: others may read it, or it cannot be read or is no such key.
    """
    try:
        content = read_private(path, "the signing key")
    except OSError as error:
        raise BadConfigurationError(
            f"the signing key {path} cannot be read: {error.strerror}", remedy="restore it"
        ) from None
    try:
        stored: Any = json.loads(content)
        key = SigningKey.from_secret(bytes.fromhex(stored["secret"]))
        if stored["format"] == _KEY_FORMAT and bytes.fromhex(stored["public"]) == key.public:
            return key
    except (ValueError, KeyError, TypeError):
        pass
    raise BadConfigurationError(f"{path} is no signing key", remedy="restore it from a copy")


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise BadConfigurationError(
            "signatures need the package cryptography, which is not installed",
            remedy="pip install 'pykarabo[security]'",
        ) from None
    return ed25519
