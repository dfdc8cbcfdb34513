"""Tokens: who uses a program, with which role, and until when.

A token is bound to what its user's programs prove anyway when they connect, their key or the
kernel's word on who they are: whoever steals it cannot use it. Its role may be raised for a while,
and falls back by itself.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pykarabo.data import AccessLevel
from pykarabo.errors import DamagedCredentialError

from ._signing import SigningKey, Statement, sign, stated, verify

MAX_TOKEN_S: Final = 12 * 3600.0
"""A shift, and the hand-over to the next one."""
MAX_DELEGATED_S: Final = 600.0
"""What somebody else does for a user ends so soon after the user is gone."""
_PURPOSE: Final = "token"
_REMEDY: Final = "log in again: pykarabo login"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Who uses a program.

    Attributes:
        user: who it is; empty for a program of the domain itself.
        role: what he may do.
        domain: where.
        login: names the login that it comes from.
        bound: proofs of who may show it, see `pykarabo.transport.Sender`: any of them will do.
        issued_s, expires_s: in seconds of UTC.
        raised: the role until `raised_s`, where it was raised for a while.
        through: the gateway that acts for the user, if one does.
    """

    user: str
    role: AccessLevel
    domain: str
    login: str
    bound: tuple[str, ...]
    issued_s: float
    expires_s: float
    raised: AccessLevel = AccessLevel.OBSERVER
    raised_s: float = 0.0
    through: str = ""

    def role_at(self, now_s: float) -> tuple[AccessLevel, float]:
        """Return what he may do at a time, and until when."""
        if now_s >= self.expires_s:
            return AccessLevel.OBSERVER, 0.0
        if self.raised > self.role and now_s < self.raised_s:
            return self.raised, min(self.raised_s, self.expires_s)
        return self.role, self.expires_s


def sign_token(token: Token, key: SigningKey) -> bytes:
    """Return a token as it travels.

    Raises:
        ValueError: it is to last longer than tokens may.
    """
    if _is_too_long(token):
        raise ValueError("a token lasts 12 h at most, and one for a gateway 10 min")
    claims: dict[str, Any] = {
        "user": token.user,
        "role": token.role.value,
        "domain": token.domain,
        "login": token.login,
        "bound": list(token.bound),
    }
    if token.raised_s:
        claims |= {"raised": token.raised.value, "raised_s": token.raised_s}
    if token.through:
        claims["through"] = token.through
    return sign(claims, key, purpose=_PURPOSE, issued_s=token.issued_s, expires_s=token.expires_s)


def read_token(blob: bytes, trusted: Collection[bytes], *, now_s: float) -> Token:
    """Return a token that somebody trusted has signed and that holds now.

    Raises:
        DamagedCredentialError, WrongSignerError, ExpiredCredentialError, ClockError: as `verify`.
    """
    token = _token_of(verify(blob, trusted, purpose=_PURPOSE, now_s=now_s, remedy=_REMEDY))
    if _is_too_long(token):
        raise DamagedCredentialError("the token lasts longer than tokens may", remedy=_REMEDY)
    return token


def peek_token(blob: bytes) -> Token:
    """Return what a token says, whoever has signed it: it proves nothing.

    Raises:
        DamagedCredentialError: it is none.
    """
    return _token_of(stated(blob, _PURPOSE, _REMEDY))


def _is_too_long(token: Token) -> bool:
    longest = MAX_DELEGATED_S if token.through else MAX_TOKEN_S
    return token.expires_s - token.issued_s > longest


def _token_of(statement: Statement) -> Token:
    claims = statement.claims
    try:
        raised = claims.get("raised", AccessLevel.OBSERVER.value)
        return Token(
            user=_text(claims, "user"),
            role=AccessLevel(claims["role"]),
            domain=_text(claims, "domain"),
            login=_text(claims, "login"),
            bound=tuple(map(str, claims["bound"])),
            issued_s=statement.issued_s,
            expires_s=statement.expires_s,
            raised=AccessLevel(raised),
            raised_s=float(claims.get("raised_s", 0.0)),
            through=_text(claims, "through", ""),
        )
    except (KeyError, ValueError, TypeError):
        problem = "the token says nothing that is known"
        raise DamagedCredentialError(problem, remedy=_REMEDY) from None


def _text(claims: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = claims[name] if default is None else claims.get(name, default)
    if not isinstance(value, str):
        raise TypeError(name)
    return value
