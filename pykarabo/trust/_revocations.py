"""Which tokens hold no more, although their time is not over."""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from pykarabo.errors import DamagedCredentialError

from ._signing import SigningKey, sign, verify
from ._token import MAX_TOKEN_S, Token

_PURPOSE: Final = "list of ended logins"
_REMEDY: Final = "start the accounts service again"


class Revocations(NamedTuple):
    """Logins that have ended before their time.

    Whoever knows a list and hears of another one takes both: what has ended stays so, and an old
    list that somebody repeats changes nothing.

    Attributes:
        users: per user until when his tokens were issued that hold no more, in seconds of UTC.
        logins: per login that has ended when that was.
    """

    users: Mapping[str, float]
    logins: Mapping[str, float]

    def revokes(self, token: Token) -> bool:
        """Tell whether a token holds no more."""
        return token.login in self.logins or token.issued_s <= self.users.get(token.user, 0.0)

    def joined(self, other: "Revocations", *, now_s: float) -> "Revocations":
        """Return what both say, but for tokens that have expired since."""
        oldest = now_s - MAX_TOKEN_S
        users = dict(self.users)
        for user, time_s in other.users.items():
            users[user] = max(time_s, users.get(user, 0.0))
        logins = {**self.logins, **other.logins}
        return Revocations(_since(users, oldest), _since(logins, oldest))


NO_REVOCATIONS: Final = Revocations({}, {})


def sign_revocations(known: Revocations, key: SigningKey, *, now_s: float) -> bytes:
    """Return a list as it travels."""
    claims = {"users": dict(known.users), "logins": dict(known.logins)}
    return sign(claims, key, purpose=_PURPOSE, issued_s=now_s, expires_s=now_s + MAX_TOKEN_S)


def read_revocations(blob: bytes, trusted: Collection[bytes], *, now_s: float) -> Revocations:
    """Return a list that somebody trusted has signed.

    Raises:
        DamagedCredentialError, WrongSignerError, ClockError: it is none.
        ExpiredCredentialError: every token of its time has expired, too.
    """
    claims = verify(blob, trusted, purpose=_PURPOSE, now_s=now_s, remedy=_REMEDY).claims
    try:
        return Revocations(_times(claims["users"]), _times(claims["logins"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        problem = f"the {_PURPOSE} says nothing that is known"
        raise DamagedCredentialError(problem, remedy=_REMEDY) from None


def _since(times: Mapping[str, float], oldest: float) -> dict[str, float]:
    return {name: time_s for name, time_s in times.items() if time_s >= oldest}


def _times(claim: Any) -> dict[str, float]:
    return {str(name): float(time_s) for name, time_s in claim.items()}
