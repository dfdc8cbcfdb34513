"""Making the tokens that say who somebody is, and the list of those that hold no more."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pykarabo.data import AccessLevel
from pykarabo.errors import BadInputError, DeniedError
from pykarabo.trust import (
    MAX_DELEGATED_S,
    MAX_TOKEN_S,
    Issuers,
    Revocations,
    Token,
    read_token,
    sign_revocations,
    sign_token,
)
from pykarabo_services.accounts.model import Account, Ended

MAX_RAISED_S: Final = 8 * 3600.0
MAX_PROOFS: Final = 4
_PROOFS: Final = ("uid:", "key:")
_MAX_PROOF: Final = 80
_LOG_IN: Final = "ask the user to log in again"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants who logs in.

    Attributes:
        bound: what his programs prove when they connect.
        role: the highest role he wants; None for what he has.
        for_s: for how long: at most half a day, and less where the role is higher than every day.
    """

    bound: Sequence[str]
    role: AccessLevel | None = None
    for_s: float = 0.0


class TokenOffice:
    """Signs tokens of one domain.

    Raises:
        BadConfigurationError: the key is not here.
    """

    def __init__(self, issuers: Issuers, domain: str) -> None:
        self._key = issuers.accounts_key()
        self._trusted = issuers.keys
        self._domain = domain

    def token(self, account: Account, wanted: Wanted, now_s: float) -> Token:
        """Return a token for somebody who has shown who he is.

        Raises:
            DeniedError: he may not have that role.
            BadInputError: a role was asked for that needs a time, or for too long.
        """
        role, expires_s = account.role, now_s + MAX_TOKEN_S
        raised, raised_s = AccessLevel.OBSERVER, 0.0
        if wanted.role is not None and wanted.role > account.role:
            raised, raised_s = wanted.role, now_s + _checked_time(account, wanted)
        else:
            role = account.role if wanted.role is None else wanted.role
            if wanted.for_s:
                expires_s = now_s + _shorter(wanted.for_s)
        return Token(
            user=account.name,
            role=role,
            domain=self._domain,
            login=secrets.token_hex(8),
            bound=checked_proofs(wanted.bound),
            issued_s=now_s,
            expires_s=expires_s,
            raised=raised,
            raised_s=raised_s,
        )

    def delegated(
        self, blob: bytes, gateway: str, bound: Sequence[str], ended: Ended, now_s: float
    ) -> Token:
        """Return a token with which a gateway acts for a user who has shown it his own.

        Raises:
            DeniedError: the user's is none, is not his own, or holds no more.
        """
        token = read_token(blob, self._trusted, now_s=now_s)
        if token.through or not token.user or token.domain != self._domain:
            raise DeniedError("this is no token of a user", remedy=_LOG_IN)
        if Revocations(*ended).revokes(token):
            raise DeniedError(f"the login of '{token.user}' has ended", remedy=_LOG_IN)
        role, until_s = token.role_at(now_s)
        return Token(
            user=token.user,
            role=role,
            domain=self._domain,
            login=token.login,
            bound=checked_proofs(bound),
            issued_s=now_s,
            expires_s=min(until_s, now_s + MAX_DELEGATED_S),
            through=gateway,
        )

    def signed(self, token: Token) -> bytes:
        """Return a token as it travels."""
        return sign_token(token, self._key)

    def ended(self, ended: Ended, now_s: float) -> bytes:
        """Return the list of logins that have ended, as it travels."""
        return sign_revocations(Revocations(ended.users, ended.logins), self._key, now_s=now_s)


def _checked_time(account: Account, wanted: Wanted) -> float:
    role = AccessLevel.OBSERVER if wanted.role is None else wanted.role
    name = role.name.lower()
    if role > account.may_become:
        raise DeniedError(
            f"'{account.name}' may not have the role {name}",
            remedy=f"ask an administrator: pykarabo user role {account.name} "
            f"{account.role.name.lower()} --may-become {name}",
            details={"required": role.name, "have": account.may_become.name},
        )
    if not 0 < wanted.for_s <= MAX_RAISED_S:
        raise BadInputError(
            f"the role {name} is for a while: at most {MAX_RAISED_S / 3600:.0f} h",
            remedy="say for how long: --for 30min",
        )
    return wanted.for_s


def _shorter(for_s: float) -> float:
    if not 0 < for_s <= MAX_TOKEN_S:
        raise BadInputError(
            f"a login lasts {MAX_TOKEN_S / 3600:.0f} h at most", remedy="give a shorter time"
        )
    return for_s


def checked_proofs(bound: Sequence[str]) -> tuple[str, ...]:
    """Return what a token is to be bound to; raises `BadInputError`."""
    proofs = tuple(dict.fromkeys(bound))
    known = all(proof.startswith(_PROOFS) and len(proof) <= _MAX_PROOF for proof in proofs)
    if not 0 < len(proofs) <= MAX_PROOFS or not known:
        raise BadInputError(
            "a token must be bound to what its programs prove",
            remedy="update pykarabo on the client's side",
        )
    return proofs
