"""Accounts, what is asked of passwords and names, and who may be asked about a user."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from pykarabo.data import AccessLevel
from pykarabo.errors import BadInputError, DeniedError, InvalidNameError

LOCAL: Final = "local"
"""The provider of users whose passwords are kept here."""
MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 256
"""Longer ones prove nothing more, and hashing them costs."""
_LONG_NAME: Final = 4
"""Shorter ones are in every other word."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is known of a user.

    Attributes:
        name: in lower case.
        role: what he may do every day.
        may_become: the highest role that he may take for a while.
        provider: who knows his password; `LOCAL` for us.
        password: its hash; empty where it is not known here.
        disabled: he may not log in.
        gateway: it is a program that acts for users who are connected to it.
        logged_in_s: when he last did, in seconds of UTC; 0 for never.
    """

    name: str
    role: AccessLevel
    may_become: AccessLevel
    provider: str = LOCAL
    password: str = ""
    disabled: bool = False
    gateway: bool = False
    logged_in_s: float = 0.0


class Ended(NamedTuple):
    """Logins that have ended before their time, by user and by login, in seconds of UTC."""

    users: dict[str, float]
    logins: dict[str, float]


class AccountStore(Protocol):
    """Where accounts are kept. Every method raises a `PykaraboError` if that does not answer."""

    async def account(self, name: str) -> Account | None:
        """Return an account, or None."""
        ...

    async def accounts(self) -> list[Account]:
        """Return all of them, by name."""
        ...

    async def put(self, account: Account, *, ended_s: float | None = None) -> None:
        """Keep an account as it is now.

        Args:
            ended_s: end the user's logins until then, in the same step.
        """
        ...

    async def ended(self, since_s: float) -> Ended:
        """Return the logins that were ended since then, and forget older ones."""
        ...

    async def end_login(self, login: str, ended_s: float) -> None:
        """Note that a login has ended."""
        ...


class Person(NamedTuple):
    """Whom a provider has recognised.

    Attributes:
        name: as he is called there.
        groups: the groups that he is in there.
    """

    name: str
    groups: frozenset[str]


class DeviceLogin(NamedTuple):
    """A login that goes on in a browser.

    Attributes:
        handle: names it to the provider; it is nobody else's business.
        url: where the user goes.
        code: what he enters there.
        interval_s: how often to ask whether he has.
        expires_s: for how long that is possible, from now.
    """

    handle: str
    url: str
    code: str
    interval_s: float
    expires_s: float


class AuthProvider(Protocol):
    """Somebody who knows users and their groups.

    Attributes:
        name: as its administrator calls it.
        asks_password: whether it takes a password; else users log in with a browser.
        roles: what its groups are worth here.
    """

    name: str
    asks_password: bool
    roles: "RoleMap"

    async def check(self, user: str, password: str) -> Person | None:
        """Return who it is, or None if that is no user there or not his password.

        Raises:
            ProviderUnavailableError: it does not answer in time.
        """
        ...

    async def begin(self) -> DeviceLogin:
        """Begin a login in a browser; raises `ProviderUnavailableError`."""
        ...

    async def finish(self, handle: str) -> Person | None:
        """Return who has logged in, or None as long as nobody has.

        Raises:
            DeniedError: he was refused there, or it took too long.
            ProviderUnavailableError: it does not answer in time.
        """
        ...

    async def aclose(self) -> None:
        """Ask nobody any more."""
        ...


class RoleMap(NamedTuple):
    """What the groups of a provider are worth.

    Attributes:
        roles: by group the role that its members have.
        may_become: by group the highest role that they may take for a while.
        everybody: the role of users in none of these groups; None lets them not in.
    """

    roles: Mapping[str, AccessLevel]
    may_become: Mapping[str, AccessLevel]
    everybody: AccessLevel | None = None

    def of(self, person: Person) -> tuple[AccessLevel, AccessLevel]:
        """Return somebody's role, and the highest one that he may take for a while.

        Raises:
            DeniedError: he is in no group that gives one.
        """
        found = [self.roles[group] for group in person.groups if group in self.roles]
        found += [] if self.everybody is None else [self.everybody]
        if not found:
            raise DeniedError(
                f"'{person.name}' is in no group that has a role here",
                remedy="ask an administrator to add one of your groups to the providers' file",
            )
        role = max(found)
        higher = (self.may_become[group] for group in person.groups if group in self.may_become)
        return role, max(higher, default=role)


def checked_name(name: str) -> str:
    """Return a user's name as it is kept; raises `InvalidNameError`."""
    folded = name.strip().casefold()
    if not _NAME.fullmatch(folded):
        raise InvalidNameError(
            "this is no name for a user",
            remedy="use up to 64 letters, digits and . _ @ - and begin with a letter or digit",
        )
    return folded


def check_new_password(name: str, password: str) -> None:
    """Refuse a password that is too easy to find; raises `BadInputError`."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise BadInputError(
            f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters",
            remedy="choose some words that only you put together",
        )
    has_name = len(name) >= _LONG_NAME and name in password.casefold()
    if has_name or len(set(password)) < MIN_PASSWORD // 2:
        raise BadInputError(
            "this password is too easy to guess", remedy="leave out your name and repetitions"
        )


def role_named(name: str) -> AccessLevel:
    """Return the role of a name; raises `BadInputError`."""
    try:
        return AccessLevel[name.strip().upper()]
    except KeyError:
        roles = ", ".join(level.name.lower() for level in AccessLevel)
        raise BadInputError(
            f"there is no role '{name:.20}'", remedy=f"give one of {roles}"
        ) from None


def require_administrator_left(accounts: Iterable[Account], without: str) -> None:
    """Refuse to shut out the last one who could let anybody in again; raises `DeniedError`."""
    if not any(_administers(account) for account in accounts if account.name != without):
        raise DeniedError(
            f"'{without}' is the last administrator with a password of this domain",
            remedy="make somebody else one first: pykarabo user add NAME --role administrator",
        )


def _administers(account: Account) -> bool:
    is_local = account.provider == LOCAL and not account.disabled
    return is_local and account.role is AccessLevel.ADMINISTRATOR
