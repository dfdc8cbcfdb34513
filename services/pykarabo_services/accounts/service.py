"""The accounts service: who logs in here gets a token; administrators look after its users."""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pykarabo.data import AccessLevel, Bytes, State, UInt64, VectorString
from pykarabo.device import Device, command
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    DeniedError,
    PykaraboError,
    did_you_mean,
)
from pykarabo.transport import accounts_folder, joined_site
from pykarabo.trust import MAX_TOKEN_S, Token, load_issuers
from pykarabo_services.accounts.code import forget_code, require_code
from pykarabo_services.accounts.desk import Desk
from pykarabo_services.accounts.issuing import TokenOffice, Wanted
from pykarabo_services.accounts.model import (
    LOCAL,
    Account,
    AccountStore,
    AuthProvider,
    Ended,
    check_new_password,
    checked_name,
    require_administrator_left,
    role_named,
)
from pykarabo_services.accounts.passwords import PasswordHasher

_EVERYBODY: Final = AccessLevel.OBSERVER
_ADMINISTRATORS: Final = AccessLevel.ADMINISTRATOR
_TELL_S: Final = 3_600.0
"""The list of ended logins is signed anew this often: it holds as long as a token."""
_MAX_PENDING: Final = 100
"""Logins in browsers that are under way."""


class Accounts(Device):
    """Knows the users of the domain, and signs the tokens that say who they are."""

    can_be_locked = False
    notes_callers = False

    ended_logins = Bytes(
        read_only=True, description="Signed list of the logins that have ended before their time."
    )
    providers = VectorString(
        read_only=True, description="Who is asked about users that have no password here."
    )
    browser_providers = VectorString(
        read_only=True, description="Those of them whose users log in with a browser."
    )
    logins = UInt64(read_only=True, description="Logins since the start of the service.")
    refused_logins = UInt64(read_only=True, description="Logins that were refused.")

    # -- for main -------------------------------------------------------------------------------

    async def open_store(self, stack: AsyncExitStack) -> AccountStore:
        """Return where accounts are kept, open."""
        raise NotImplementedError

    def read_providers(self, folder: Path) -> Sequence[AuthProvider]:
        """Return who else knows users."""
        raise NotImplementedError

    # -- life -----------------------------------------------------------------------------------

    async def on_initialize(self) -> None:
        """Open what is needed."""
        self._stack = AsyncExitStack()
        self._changing = asyncio.Lock()
        self._ended = Ended({}, {})
        self._browsers: dict[str, tuple[str, str, float]] = {}
        self._folder = accounts_folder(self.client.domain)
        issuers = load_issuers(self._folder)
        if issuers is None:
            raise BadConfigurationError(
                f"domain '{self.client.domain}' has no accounts",
                device=self.context.device_id,
                remedy="turn them on: pykarabo user init",
            )
        self._office = TokenOffice(issuers, self.client.domain)
        await asyncio.to_thread(_vouch, self.client.domain, issuers.accounts_key().public)
        self._hasher = await asyncio.to_thread(PasswordHasher)
        self._stack.callback(self._hasher.close)
        self._accounts = await self.open_store(self._stack)
        providers = self.read_providers(self._folder)
        for provider in providers:
            self._stack.push_async_callback(provider.aclose)
        self._desk = Desk(self._accounts, self._hasher, providers)
        self.providers = [item.name for item in self._desk.providers]
        self.browser_providers = [
            item.name for item in self._desk.providers if not item.asks_password
        ]
        if self.state is not State.ERROR:
            self.state = State.ON

    async def on_start(self) -> None:
        """Tell again and again which logins have ended."""
        while True:
            try:
                await self._tell_ended()
            except PykaraboError as error:
                self.log.warning("ended logins cannot be told now: %s", error)
                await asyncio.sleep(1.0)
            else:
                await asyncio.sleep(_TELL_S)

    async def on_stop(self) -> None:
        """Close the store."""
        await self._stack.aclose()

    def _now_s(self) -> float:
        return self.clock.time_ns() / 1e9

    async def _tell_ended(self) -> None:
        now_s = self._now_s()
        self._ended = await self._accounts.ended(now_s - MAX_TOKEN_S)
        self.ended_logins = self._office.ended(self._ended, now_s)

    # -- logging in -----------------------------------------------------------------------------

    @command(access_level=_EVERYBODY, audited=True, secrets=["password"])
    async def login(  # noqa: PLR0917 - named by whoever calls
        self,
        user: str,
        password: str,
        bound: list[str],
        role: str = "",
        for_s: float = 0.0,
        provider: str = "",
    ) -> dict[str, Any]:
        """Return a token for whoever has the right password.

        Args:
            bound: what the user's programs prove when they connect.
            role: the highest role that is wanted, by default what the user has every day.
            for_s: for how many seconds; needed where it is higher than that.
            provider: who knows the password.
        """
        wanted = _wanted(bound, role, for_s)
        try:
            account = await self._desk.check(
                user,
                password,
                address=self._address(),
                now_s=self._now_s(),
                provider=provider,
            )
            return await self._logged_in(account, wanted)
        except DeniedError:
            self.refused_logins += 1
            raise

    @command(access_level=_EVERYBODY, audited=False)
    async def begin_login(self, provider: str) -> dict[str, Any]:
        """Begin a login that goes on in a browser."""
        now_s = self._now_s()
        self._browsers = {name: item for name, item in self._browsers.items() if item[2] > now_s}
        if len(self._browsers) >= _MAX_PENDING:
            raise DeniedError(
                f"{_MAX_PENDING} logins are under way in browsers", remedy="try again in a while"
            )
        begun = await self._desk.begin(provider)
        name = secrets.token_urlsafe(24)
        self._browsers[name] = (provider, begun.handle, now_s + begun.expires_s)
        return {
            "login": name,
            "url": begun.url,
            "code": begun.code,
            "interval_s": begun.interval_s,
            "expires_s": begun.expires_s,
        }

    @command(access_level=_EVERYBODY, audited=True, secrets=["login"])
    async def finish_login(
        self, login: str, bound: list[str], role: str = "", for_s: float = 0.0
    ) -> dict[str, Any] | None:
        """Return a token as soon as the user has logged in with his browser; before that None."""
        wanted = _wanted(bound, role, for_s)
        provider, handle, until_s = self._browsers.get(login, ("", "", 0.0))
        if until_s <= self._now_s():
            self._browsers.pop(login, None)
            raise DeniedError("this login has taken too long", remedy="begin anew: pykarabo login")
        try:
            account = await self._desk.finish(provider, handle)
            if account is None:
                return None
            self._browsers.pop(login, None)
            return await self._logged_in(account, wanted)
        except DeniedError:
            self._browsers.pop(login, None)
            self.refused_logins += 1
            raise

    async def _logged_in(self, account: Account, wanted: Wanted) -> dict[str, Any]:
        """Give a token to somebody who has shown who he is, unless he was shut out meanwhile."""
        async with self._changing:
            known = await self._accounts.account(account.name)
            if known is not None and (known.disabled, known.password) != (False, account.password):
                raise DeniedError(
                    f"the account '{account.name}' has just been changed", remedy="log in again"
                )
            now_s = self._now_s()
            token = self._office.token(account, wanted, now_s)
            await self._accounts.put(replace(account, logged_in_s=now_s))
        self.logins += 1
        return self._given(token)

    def _given(self, token: Token) -> dict[str, Any]:
        role, until_s = token.role_at(token.issued_s)
        return {
            "token": self._office.signed(token),
            "user": token.user,
            "role": role.name,
            "until_s": until_s,
            "expires_s": token.expires_s,
            "role_after": token.role.name,
        }

    @command(access_level=_EVERYBODY, audited=True)
    async def logout(self) -> None:
        """End the login with which this is called."""
        caller = self.caller
        if caller is not None and caller.granted.login:
            async with self._changing:
                await self._accounts.end_login(caller.granted.login, self._now_s())
                await self._tell_ended()

    @command(access_level=_EVERYBODY, audited=True, secrets=["token"])
    async def act_for(self, token: bytes, bound: list[str]) -> dict[str, Any]:
        """Return a token with which a gateway acts for a user who is connected to it.

        Args:
            token: the user's.
            bound: what the gateway proves when it connects.
        """
        gateway = await self._caller_account()
        if gateway is None or not gateway.gateway or gateway.disabled:
            raise DeniedError(
                "only gateways act for users",
                remedy="make an account for it: pykarabo user add NAME --gateway",
            )
        delegated = self._office.delegated(token, gateway.name, bound, self._ended, self._now_s())
        return self._given(delegated)

    async def _caller_account(self) -> Account | None:
        caller = self.caller
        if caller is None or not caller.granted.login or caller.granted.through:
            return None
        return await self._accounts.account(caller.identity.user)

    def _address(self) -> str:
        return "" if self.caller is None else self.caller.address

    # -- the first administrator ----------------------------------------------------------------

    @command(access_level=_EVERYBODY, audited=True, secrets=["code", "password"])
    async def claim(self, code: str, user: str, password: str) -> None:
        """Make an administrator, with the code that was shown where accounts were turned on."""
        name, now_s = checked_name(user), self._now_s()
        attempt = self._desk.limit.begin("", self._address(), now_s)
        await asyncio.to_thread(require_code, self._folder, code, now_s)
        attempt.took_back()
        check_new_password(name, password)
        hashed = await self._hasher.hash(password)
        async with self._changing:
            await asyncio.to_thread(forget_code, self._folder, code, now_s)
            account = Account(
                name=name, role=_ADMINISTRATORS, may_become=_ADMINISTRATORS, password=hashed
            )
            await self._changed(account)

    # -- for administrators ---------------------------------------------------------------------

    @command(access_level=_ADMINISTRATORS)
    async def users(self) -> list[Any]:
        """Return every user with his role."""
        return [_shown(account) for account in await self._accounts.accounts()]

    @command(access_level=_ADMINISTRATORS, secrets=["password"])
    async def add_user(
        self, user: str, password: str, role: str, may_become: str = "", gateway: bool = False
    ) -> None:
        """Let somebody log in with a password."""
        name = checked_name(user)
        check_new_password(name, password)
        role_, highest = _roles(role, may_become)
        hashed = await self._hasher.hash(password)
        async with self._changing:
            if await self._accounts.account(name) is not None:
                problem = f"there is a user '{name}' already"
                raise BadInputError(problem, remedy="choose another name")
            account = Account(
                name=name, role=role_, may_become=highest, password=hashed, gateway=gateway
            )
            await self._accounts.put(account)

    @command(access_level=_ADMINISTRATORS)
    async def set_role(self, user: str, role: str, may_become: str = "") -> None:
        """Give a user another role; he has to log in anew."""
        role_, highest = _roles(role, may_become)
        async with self._changing:
            account = await self._account(user)
            if account.provider != LOCAL:
                raise BadInputError(
                    f"the groups of '{account.name}' in {account.provider} say which role he has",
                    remedy="change his groups, or what they are worth, in the providers' file",
                )
            if role_ is not _ADMINISTRATORS:
                require_administrator_left(await self._accounts.accounts(), account.name)
            await self._changed(replace(account, role=role_, may_become=highest))

    @command(access_level=_ADMINISTRATORS)
    async def disable_user(self, user: str) -> None:
        """Let a user not log in any more, and end his logins."""
        async with self._changing:
            account = await self._account(user)
            require_administrator_left(await self._accounts.accounts(), account.name)
            await self._changed(replace(account, disabled=True))

    @command(access_level=_ADMINISTRATORS)
    async def enable_user(self, user: str) -> None:
        """Let a user log in again."""
        async with self._changing:
            await self._accounts.put(replace(await self._account(user), disabled=False))

    @command(access_level=_ADMINISTRATORS, secrets=["new_password"])
    async def set_password(self, user: str, new_password: str) -> None:
        """Give a user another password, and end his logins."""
        await self._set_password(await self._account(user), new_password)

    @command(access_level=_EVERYBODY, audited=True, secrets=["password", "new_password"])
    async def change_password(self, user: str, password: str, new_password: str) -> None:
        """Change one's own password, and end one's logins."""
        try:
            account = await self._desk.check(
                user, password, address=self._address(), now_s=self._now_s(), provider=LOCAL
            )
        except DeniedError:
            self.refused_logins += 1
            raise
        await self._set_password(account, new_password)

    async def _set_password(self, account: Account, password: str) -> None:
        if account.provider != LOCAL:
            raise BadInputError(
                f"the password of '{account.name}' is kept by {account.provider}",
                remedy="change it there",
            )
        check_new_password(account.name, password)
        hashed = await self._hasher.hash(password)
        async with self._changing:
            present = await self._account(account.name)
            await self._changed(replace(present, password=hashed))

    async def _changed(self, account: Account) -> None:
        """Keep an account that is another one now, and end its logins."""
        await self._accounts.put(account, ended_s=self._now_s())
        await self._tell_ended()

    async def _account(self, user: str) -> Account:
        name = checked_name(user)
        account = await self._accounts.account(name)
        if account is None:
            known = [item.name for item in await self._accounts.accounts()]
            remedy = did_you_mean(name, known) or "'pykarabo user list' shows who there is"
            raise BadInputError(f"there is no user '{name}'", remedy=remedy)
        return account


def _vouch(domain: str, key: bytes) -> None:
    """Have the site believe our tokens, where the domain belongs to one that does not yet.

    Raises:
        DeniedError, NotConnectedError: it cannot be told.
    """
    site = joined_site(domain)
    if site is not None and key not in site.grants.issuers(now_s=site.now_s()):
        site.vouch_for_users(key)


def _wanted(bound: list[str], role: str, for_s: float) -> Wanted:
    return Wanted(bound, role_named(role) if role else None, for_s)


def _roles(role: str, may_become: str) -> tuple[AccessLevel, AccessLevel]:
    usual = role_named(role)
    return usual, max(usual, role_named(may_become)) if may_become else usual


def _shown(account: Account) -> dict[str, Any]:
    return {
        "user": account.name,
        "role": account.role.name,
        "may_become": account.may_become.name,
        "provider": account.provider,
        "disabled": account.disabled,
        "gateway": account.gateway,
        "logged_in_s": account.logged_in_s,
    }
