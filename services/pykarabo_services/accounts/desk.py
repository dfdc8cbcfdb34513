"""Finding out who somebody is: by the passwords that are kept here, or by asking a provider."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pykarabo.errors import (
    BadInputError,
    DeniedError,
    ProviderUnavailableError,
    PykaraboError,
)
from pykarabo_services.accounts.attempts import AttemptLimit
from pykarabo_services.accounts.model import (
    LOCAL,
    Account,
    AccountStore,
    AuthProvider,
    DeviceLogin,
    Person,
    checked_name,
)
from pykarabo_services.accounts.passwords import PasswordHasher

_log: Final = logging.getLogger(__name__)
PROVIDER_S: Final = 4.0
"""All providers together: who logs in is to know within 5 s that they do not answer."""
_BUSY: Final = 8
"""So many logins wait for one provider at most: it may take long, and hold a thread for each."""
_WRONG: Final = "the user name or the password is wrong"


class Desk:
    """Finds out who somebody is.

    Args:
        providers: who is asked about users that are not known here, in this order.

    Attributes:
        limit: counts who has tried in vain.
    """

    def __init__(
        self, store: AccountStore, hasher: PasswordHasher, providers: Sequence[AuthProvider]
    ) -> None:
        self._store = store
        self._hasher = hasher
        self.limit = AttemptLimit()
        self._providers: Mapping[str, AuthProvider] = {item.name: item for item in providers}
        self._room = {name: asyncio.Semaphore(_BUSY) for name in self._providers}

    @property
    def providers(self) -> Sequence[AuthProvider]:
        """Who is asked."""
        return tuple(self._providers.values())

    async def check(
        self, user: str, password: str, *, address: str, now_s: float, provider: str = ""
    ) -> Account:
        """Return the account of somebody who has a password.

        Args:
            address: where he asks from.
            provider: whom to ask; by default us, and then whoever else is known.

        Raises:
            DeniedError: it is wrong, he is shut out, or he has tried too often.
            ProviderUnavailableError: somebody who may know him does not answer.
        """
        name = checked_name(user)
        attempt = self.limit.begin(name, address, now_s)
        try:
            account = await self._recognised(name, password, provider)
        except DeniedError:
            raise
        except (PykaraboError, asyncio.CancelledError):  # nobody has looked at the password
            attempt.took_back()
            raise
        attempt.took_back()
        return account

    async def _recognised(self, name: str, password: str, provider: str) -> Account:
        known = await self._store.account(name)
        is_ours = known is not None and known.provider == LOCAL
        if provider not in ("", LOCAL):
            return await self._from(self._provider(provider), known, name, password)
        asked = [
            item
            for item in self.providers
            if item.asks_password and (known is None or known.provider == item.name)
        ]
        if is_ours or provider == LOCAL or not asked:
            return await self._checked_here(known if is_ours else None, password)
        return await self._asked(asked, known, name, password)

    async def _checked_here(self, known: Account | None, password: str) -> Account:
        fits = await self._hasher.fits("" if known is None else known.password, password)
        if known is None or not fits:
            raise DeniedError(_WRONG, remedy="try again")
        _refuse_disabled(known)
        return known

    async def _asked(
        self, providers: Sequence[AuthProvider], known: Account | None, name: str, password: str
    ) -> Account:
        """Ask one after the other; one that does not answer keeps nobody from asking the next."""
        silent: ProviderUnavailableError | None = None
        for provider in providers:
            try:
                share_s = PROVIDER_S / len(providers)
                return await self._from(provider, known, name, password, timeout_s=share_s)
            except ProviderUnavailableError as error:
                silent = error
            except DeniedError as error:
                if error.message != _WRONG:
                    raise
        raise silent or DeniedError(_WRONG, remedy="try again")

    async def _from(
        self,
        provider: AuthProvider,
        known: Account | None,
        name: str,
        password: str,
        *,
        timeout_s: float = PROVIDER_S,
    ) -> Account:
        if not password or not provider.asks_password:  # a server may take none for anybody's
            raise DeniedError(_WRONG, remedy="try again")
        async with self._asking(provider, timeout_s):
            person = await provider.check(name, password)
        if person is None:
            raise DeniedError(_WRONG, remedy="try again")
        return await self._account_of(provider, person, known)

    def _asking(self, provider: AuthProvider, timeout_s: float) -> "_Asking":
        return _Asking(provider.name, self._room[provider.name], timeout_s)

    # -- in a browser ---------------------------------------------------------------------------

    async def begin(self, provider: str) -> DeviceLogin:
        """Begin a login in a browser.

        Raises:
            BadInputError: there is no such provider.
            ProviderUnavailableError: it does not answer.
        """
        known = self._provider(provider)
        async with self._asking(known, PROVIDER_S):
            return await known.begin()

    async def finish(self, provider: str, handle: str) -> Account | None:
        """Return the account of whoever has logged in there; None as long as nobody has.

        Raises:
            DeniedError: he may not.
            ProviderUnavailableError: it does not answer.
        """
        known = self._provider(provider)
        async with self._asking(known, PROVIDER_S):
            person = await known.finish(handle)
        if person is None:
            return None
        person = person._replace(name=checked_name(person.name))
        return await self._account_of(known, person, await self._store.account(person.name))

    def _provider(self, name: str) -> AuthProvider:
        found = self._providers.get(name)
        if found is None:
            names = ", ".join([LOCAL, *self._providers])
            raise BadInputError(f"there is no provider '{name:.40}'", remedy=f"give one of {names}")
        return found

    async def _account_of(
        self, provider: AuthProvider, person: Person, known: Account | None
    ) -> Account:
        """Return the account of whom a provider has recognised; each has names of its own."""
        if known is not None and known.provider != provider.name:
            _log.warning("'%s' of %s is another one here", person.name, provider.name)
            raise DeniedError(
                f"'{known.name}' of {provider.name} is not the '{known.name}' whom we know",
                remedy="ask an administrator to rename one of the two",
            )
        role, may_become = provider.roles.of(person)
        account = known or Account(
            name=person.name, role=role, may_become=may_become, provider=provider.name
        )
        _refuse_disabled(account)
        return replace(account, role=role, may_become=may_become)


class _Asking:
    """A question to a provider: few at a time, and not for long."""

    def __init__(self, name: str, room: asyncio.Semaphore, timeout_s: float) -> None:
        self._name = name
        self._room = room
        self._timeout = asyncio.timeout(timeout_s)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> None:
        if self._room.locked():
            raise ProviderUnavailableError(
                f"{_BUSY} logins wait for '{self._name}' already",
                remedy="try again in a while; users with a password of this domain can log in",
            )
        await self._room.acquire()
        await self._timeout.__aenter__()

    async def __aexit__(self, *raised: object) -> None:
        self._room.release()
        try:
            await self._timeout.__aexit__(*raised)  # type: ignore[arg-type]
        except TimeoutError:
            raise ProviderUnavailableError(
                f"'{self._name}' did not answer within {self._timeout_s:g} s",
                remedy="try again; users with a password of this domain can log in",
            ) from None


def _refuse_disabled(account: Account) -> None:
    if account.disabled:
        raise DeniedError(
            f"the account '{account.name}' is disabled", remedy="ask an administrator"
        )
