"""What the authority of a site decides: invitations, grants, renewal, revocation."""

import dataclasses
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from pykarabo.errors import (
    BadConfigurationError,
    DeniedError,
    DuplicateDeviceError,
    InvalidNameError,
    OutOfRangeError,
)
from pykarabo.transport import KeyPair
from pykarabo.trust import (
    GRANT_LIFE_S,
    Grant,
    GrantList,
    MemberRole,
    Revocation,
    SigningKey,
    code_digest,
    make_code,
    told_time,
)

RENEW_AT: Final = 1 / 3
"""A grant is renewed when this part of its life is left: a month, in which somebody notices."""
OVERLAP_S: Final = 86_400.0
"""A key that was replaced is good for another day: programs that have it are restarted in it."""
MAX_TTL_S: Final = 86_400.0
"""An invitation is read out or copied; whoever finds it tomorrow must not come in."""
KEEP_INVITATION_S: Final = 86_400.0
"""So long who comes too late is told so, instead of that there is no such invitation."""
INVITED: Final = (
    MemberRole.SERVER, MemberRole.CLIENT, MemberRole.GUI, MemberRole.BRIDGE, MemberRole.ACCOUNTS
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_ASK: Final = "ask the administrator for another one: pykarabo site invite"


@dataclass(frozen=True, slots=True)
class Invitation:
    """That somebody may join once.

    Attributes:
        digest: of the code; the code itself is kept nowhere.
        name: whom it is for; empty lets the one who joins say.
        outputs: what a bridge may read.
        used: when and by whom it was used, as a person reads it.
    """

    digest: str
    role: MemberRole
    expires_s: float
    name: str = ""
    outputs: tuple[str, ...] = ()
    used: str = ""


@dataclass(slots=True)
class SiteState:
    """All that the authority keeps, besides its keys.

    Attributes:
        host, port: where its service listens.
        number: of the latest list of grants.
        life_s: how long a grant holds.
    """

    host: str
    port: int
    number: int = 0
    life_s: float = GRANT_LIFE_S
    directories: tuple[str, ...] = ()
    grants: dict[bytes, Grant] = field(default_factory=dict[bytes, Grant])
    revoked: dict[bytes, Revocation] = field(default_factory=dict[bytes, Revocation])
    invitations: dict[str, Invitation] = field(default_factory=dict[str, Invitation])

    def granted(self, signers: Iterable[bytes]) -> GrantList:
        """Return the list of grants as it is now."""
        return GrantList(
            self.number, tuple(signers), self.directories, dict(self.grants), dict(self.revoked)
        )

    def invite(
        self,
        role: MemberRole,
        *,
        ttl_s: float,
        now_s: float,
        name: str = "",
        outputs: Iterable[str] = (),
    ) -> str:
        """Return a code with which somebody may join once.

        Raises:
            OutOfRangeError: it would be valid for too long, or not at all.
            BadConfigurationError: a bridge without outputs, or outputs without a bridge.
            InvalidNameError: nobody may have that name.
        """
        if not 0 < ttl_s <= MAX_TTL_S:
            raise OutOfRangeError(
                f"an invitation that is valid for {ttl_s:.0f} s is none",
                remedy="give between 1s and 24h; it is for somebody who waits for it",
            )
        if (role is MemberRole.BRIDGE) != bool(tuple(outputs)):
            raise BadConfigurationError(
                f"an invitation of a {role} {'names no' if role is MemberRole.BRIDGE else 'has'} "
                "outputs",
                remedy="name what a bridge may read, and only for a bridge: "
                "--role bridge --output 'HALL/CAMERA/*:images'",
            )
        if name:
            check_name(name)
        code = make_code()
        invitation = Invitation(code_digest(code), role, now_s + ttl_s, name, tuple(outputs))
        self.invitations[invitation.digest] = invitation
        self._forget_old(now_s)
        return code

    def enrol(self, code: str, key: bytes, *, name: str, host: str, now_s: float) -> Grant:
        """Use an invitation; returns the grant of the one who joins.

        Raises:
            DeniedError: it has expired, was used, or there is none.
            DuplicateDeviceError: somebody else has that name.
        """
        invitation = self._open_invitation(code, now_s)
        name = invitation.name or check_name(name)
        self._require_free(name, key, now_s)
        grant = Grant(
            key, name, invitation.role, host, now_s, now_s + self.life_s, invitation.outputs
        )  # fmt: skip
        used = f"by '{name}' at {told_time(now_s)}"
        self.invitations[invitation.digest] = dataclasses.replace(invitation, used=used)
        return self._put(grant)

    def _open_invitation(self, code: str, now_s: float) -> Invitation:
        invitation = self.invitations.get(code_digest(code))
        if invitation is None:
            raise DeniedError("this code is no invitation to this site", remedy=_ASK)
        if invitation.used:
            raise DeniedError(f"this invitation was used {invitation.used}", remedy=_ASK)
        if now_s >= invitation.expires_s:
            until = told_time(invitation.expires_s)
            raise DeniedError(
                f"this invitation has expired: it was valid until {until}", remedy=_ASK
            )
        return invitation

    def _require_free(self, name: str, key: bytes, now_s: float) -> None:
        for grant in self.grants.values():
            if grant.name == name and grant.key != key and grant.expires_s > now_s:
                raise DuplicateDeviceError(
                    f"there is a member '{name}' already: it joined on host '{grant.host}'",
                    remedy=f"if it is to be replaced, have the administrator revoke it: pykarabo "
                    f"site revoke {name}; else join under another name: --name NAME",
                )

    def _put(self, grant: Grant) -> Grant:
        self.grants[grant.key] = grant
        self.number += 1
        return grant

    def admit(
        self,
        key: bytes,
        role: MemberRole,
        *,
        name: str,
        host: str,
        now_s: float,
        issuer: bytes = b"",
    ) -> Grant:
        """Give a grant without an invitation: to the authority's own host."""
        grant = Grant(key, check_name(name), role, host, now_s, now_s + self.life_s, issuer=issuer)
        return self._put(grant)

    def renew(self, key: bytes, now_s: float) -> bool:
        """Renew the grant of a member who shows that he is there, if it ends soon."""
        if not self.is_due(key, now_s):
            return False
        grant = self.grants[key]
        self._put(dataclasses.replace(grant, issued_s=now_s, expires_s=now_s + self.life_s))
        return True

    def is_due(self, key: bytes, now_s: float) -> bool:
        """Tell whether a grant is to be renewed."""
        grant = self.grants.get(key)
        if grant is None or not 0 < grant.expires_s - now_s <= self.life_s * RENEW_AT:
            return False
        return not self._was_replaced(grant)

    def _was_replaced(self, grant: Grant) -> bool:
        return any(
            other.name == grant.name and other.issued_s > grant.issued_s
            for other in self.grants.values()
        )

    def replace_key(self, old: bytes, new: bytes, *, now_s: float) -> Grant:
        """Give a member's grant to its new key; its old one is good for a while longer.

        Raises:
            DeniedError: the old key has no grant.
        """
        grant = self.granted(()).require(old, now_s=now_s)
        until_s = min(grant.expires_s, now_s + OVERLAP_S)
        self.grants[old] = dataclasses.replace(grant, expires_s=until_s)
        return self._put(
            dataclasses.replace(grant, key=new, issued_s=now_s, expires_s=now_s + self.life_s)
        )

    def let_vouch(self, key: bytes, issuer: bytes, *, now_s: float) -> None:
        """Let a member say who users are, with another key that signs their tokens.

        Raises:
            DeniedError: it was not invited for that.
        """
        grant = self.granted(()).require(key, now_s=now_s)
        if grant.role not in (MemberRole.ACCOUNTS, MemberRole.DIRECTORY):
            raise DeniedError(
                f"'{grant.name}' is a {grant.role} of this site, and vouches for no users",
                remedy="have it invited for that: pykarabo site invite --role accounts",
            )
        if grant.issuer != issuer:
            self._put(dataclasses.replace(grant, issuer=issuer))

    def revoke(self, name: str, *, now_s: float) -> list[Grant]:
        """Let a member, or all of a host, in no more; returns the grants that hold no more.

        Args:
            name: of a member, or of a host.

        Raises:
            InvalidNameError: there is nobody of that name.
            DeniedError: it is the authority itself.
        """
        found = [grant for grant in self.grants.values() if name in (grant.name, grant.host)]
        if not found:
            known = ", ".join(sorted({grant.name for grant in self.grants.values()}))
            raise InvalidNameError(
                f"no member and no host is called '{name}'", remedy=f"there are: {known}"
            )
        if any(grant.role is MemberRole.DIRECTORY for grant in found):
            raise DeniedError(
                f"'{name}' is where the site is administered: nobody could be told of it",
                remedy="shut out members by their names",
            )
        for grant in found:
            del self.grants[grant.key]
            self.revoked[grant.key] = Revocation(grant.name, now_s)
        self.number += 1
        return found

    def _forget_old(self, now_s: float) -> None:
        """Drop what nobody will ask for any more; a revocation is kept as long as grants live."""
        self.invitations = {
            digest: invitation
            for digest, invitation in self.invitations.items()
            if now_s < invitation.expires_s + KEEP_INVITATION_S
        }
        self.grants = {
            key: grant
            for key, grant in self.grants.items()
            if now_s < grant.expires_s + GRANT_LIFE_S
        }
        self.revoked = {
            key: entry for key, entry in self.revoked.items() if now_s < entry.time_s + GRANT_LIFE_S
        }

    # -- as it is kept --------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON has it."""
        return {
            "host": self.host,
            "port": self.port,
            "number": self.number,
            "life_s": self.life_s,
            "directories": list(self.directories),
            "grants": [
                [item.hex() if isinstance(item, bytes) else item for item in grant.to_wire()]
                for grant in self.grants.values()
            ],
            "revoked": [[key.hex(), *entry] for key, entry in self.revoked.items()],
            "invitations": [dataclasses.asdict(item) for item in self.invitations.values()],
        }

    @classmethod
    def from_json(cls, stored: Any) -> "SiteState":
        """Rebuild a state; raises `KeyError`, `TypeError` or `ValueError` if it is none."""
        grants = [
            Grant.from_wire([bytes.fromhex(key), *rest, bytes.fromhex(issuer)])
            for key, *rest, issuer in stored["grants"]
        ]
        invitations = [
            Invitation(
                **item | {"role": MemberRole(item["role"]), "outputs": tuple(item["outputs"])}
            )
            for item in stored["invitations"]
        ]
        return cls(
            stored["host"],
            int(stored["port"]),
            int(stored["number"]),
            float(stored["life_s"]),
            tuple(stored["directories"]),
            {grant.key: grant for grant in grants},
            {bytes.fromhex(key): Revocation(*entry) for key, *entry in stored["revoked"]},
            {item.digest: item for item in invitations},
        )


class SiteStorage(Protocol):
    """What the service needs of the files of the authority."""

    @property
    def version(self) -> tuple[int, int]:
        """Something that is another after each change; raises `OSError`."""
        ...

    @property
    def seen(self) -> Path:
        """File that says who was there last."""
        ...

    def load(self) -> SiteState:
        """Read the state."""
        ...

    def changed(self) -> AbstractContextManager[SiteState]:
        """Yield the state to be changed; it is written when the block has ended well."""
        ...

    def signing_key(self) -> SigningKey:
        """Return the key that signs grants."""
        ...

    def service_key(self) -> KeyPair:
        """Return the key that the service shows."""
        ...


def check_name(name: str) -> str:
    """Return a member's name; raises `InvalidNameError` if it cannot be one."""
    if not _NAME.fullmatch(name):
        raise InvalidNameError(
            f"'{name}' is no name for a member of a site",
            remedy="use up to 64 letters, digits, '.', '_', '@' and '-': --name ops@ctrl2",
        )
    return name
