"""Who belongs to a site: grants, and the signed list of them that its members keep.

A grant says that a CURVE key belongs to a member, what that member is there for, and until when.
Grants do not travel one by one: the site signs the list of all of them, anew whenever one comes,
is renewed or is revoked. Who has the list judges every key by himself, also while nobody of the
site can be asked; a list with a lower number than the known one is an old one and is not taken.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pykarabo.errors import DamagedCredentialError, DeniedError

from ._signing import SigningKey, require_present, sign, told_time, verify

GRANT_LIFE_S: Final = 90 * 86_400.0
"""Nobody keeps a right for longer than this without the site's agreeing to it again."""
_PURPOSE: Final = "list of grants"
_JOIN_ANEW: Final = (
    "ask the site's administrator for an invitation ('pykarabo site invite') and join anew"
)
_KEY_BYTES: Final = 32


class MemberRole(StrEnum):
    """What a member of a site is there for."""

    DIRECTORY = "directory"
    SERVER = "server"
    CLIENT = "client"
    GUI = "gui"
    BRIDGE = "bridge"
    ACCOUNTS = "accounts"

    @property
    def serves(self) -> bool:
        """Whether others may connect to it."""
        return self in (MemberRole.DIRECTORY, MemberRole.SERVER, MemberRole.ACCOUNTS)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a site says of a key.

    Attributes:
        key: public CURVE key of the member.
        name: of the member, one per user and host: ``ops@ctrl2``.
        host: where it joined.
        issued_s, expires_s: between which times it holds, in seconds of UTC.
        outputs: what a bridge may read: patterns of ``DEVICE:output``.
        issuer: public key that signs the tokens of users, where the member vouches for them.
    """

    key: bytes
    name: str
    role: MemberRole
    host: str
    issued_s: float
    expires_s: float
    outputs: tuple[str, ...] = ()
    issuer: bytes = b""

    def to_wire(self) -> list[Any]:
        """Return the grant as what travels."""
        texts = [self.name, str(self.role), self.host]
        return [self.key, *texts, self.issued_s, self.expires_s, list(self.outputs), self.issuer]

    @classmethod
    def from_wire(cls, wire: Iterable[Any]) -> "Grant":
        """Rebuild a grant; raises `ValueError` or `TypeError` if it is none."""
        key, name, role, host, issued_s, expires_s, outputs, issuer = wire
        if not isinstance(key, bytes) or len(key) != _KEY_BYTES:
            raise ValueError
        times = float(issued_s), float(expires_s)
        return cls(key, str(name), MemberRole(role), str(host), *times, tuple(outputs), issuer)

    def require_valid(self, now_s: float) -> None:
        """Refuse a grant out of its time.

        Raises:
            ExpiredCredentialError, ClockError: it holds no more, or not yet.
        """
        what = f"the grant of '{self.name}'"
        require_present(what, self.issued_s, self.expires_s, now_s=now_s, remedy=_JOIN_ANEW)


class Revocation(NamedTuple):
    """That a grant holds no more."""

    name: str
    time_s: float


@dataclass(frozen=True, slots=True)
class GrantList:
    """All that a site says, at one time.

    Attributes:
        number: grows with every change.
        signers: public keys that may sign the lists that follow.
        directories: endpoints of the replicas of the directory, with their keys.
    """

    number: int
    signers: tuple[bytes, ...]
    directories: tuple[str, ...] = ()
    grants: dict[bytes, Grant] = field(default_factory=dict[bytes, Grant])
    revoked: dict[bytes, Revocation] = field(default_factory=dict[bytes, Revocation])

    def signed(self, key: SigningKey, *, now_s: float) -> bytes:
        """Return the list as bytes that prove who says it."""
        claims = {
            "number": self.number,
            "signers": list(self.signers),
            "directories": list(self.directories),
            "grants": [grant.to_wire() for grant in self.grants.values()],
            "revoked": [[key, *entry] for key, entry in self.revoked.items()],
        }
        expires_s = now_s + GRANT_LIFE_S
        return sign(claims, key, purpose=_PURPOSE, issued_s=now_s, expires_s=expires_s)

    @classmethod
    def opened(cls, blob: bytes, trusted: Collection[bytes], *, now_s: float) -> "GrantList":
        """Return what a signed list says.

        Raises:
            DeniedError: nobody trusted has signed it, or not for now; see `verify`.
        """
        remedy = "start the site's service ('pykarabo site serve'), which signs a new one"
        statement = verify(blob, trusted, purpose=_PURPOSE, now_s=now_s, remedy=remedy)
        try:
            return cls._parsed(statement.claims)
        except (KeyError, TypeError, ValueError):
            raise DamagedCredentialError(
                "the site's list of grants says what this program does not understand",
                remedy="update pykarabo on this host",
            ) from None

    @classmethod
    def _parsed(cls, claims: dict[str, Any]) -> "GrantList":
        grants = [Grant.from_wire(wire) for wire in claims["grants"]]
        return cls(
            int(claims["number"]),
            tuple(claims["signers"]),
            tuple(claims["directories"]),
            {grant.key: grant for grant in grants},
            {key: Revocation(name, time_s) for key, name, time_s in claims["revoked"]},
        )

    def issuers(self, *, now_s: float) -> frozenset[bytes]:
        """Return the keys that sign the tokens of users."""
        grants = (grant for grant in self.grants.values() if grant.issuer)
        return frozenset(
            grant.issuer
            for grant in grants
            if grant.key not in self.revoked and now_s < grant.expires_s
        )

    def require(self, key: bytes, *, now_s: float) -> Grant:
        """Return the grant of a key.

        Raises:
            DeniedError: it has none; the error says why, and what helps.
        """
        revoked = self.revoked.get(key)
        if revoked is not None:
            raise DeniedError(
                f"the grant of '{revoked.name}' was revoked at {told_time(revoked.time_s)}",
                remedy=_JOIN_ANEW,
            )
        grant = self.grants.get(key)
        if grant is None:
            raise DeniedError(
                f"the key {key.hex()[:16]} has no grant of this site", remedy=_JOIN_ANEW
            )
        grant.require_valid(now_s)
        return grant

    def require_server(self, key: bytes, *, now_s: float) -> Grant:
        """Return the grant of a key that somebody listens with; raises `DeniedError` if none."""
        grant = self.require(key, now_s=now_s)
        if not grant.role.serves:
            raise DeniedError(
                f"'{grant.name}' listens there, and its grant is that of a {grant.role}: nobody "
                "may trust it to be a server",
                remedy="revoke its grant if nobody knows why, and invite it as a server",
            )
        return grant
