"""Domains with accounts: what a token gives a right to, and logins that end before their time.

Each server judges by itself, from the token that is shown, the keys of those who are believed, and
its clock: nobody needs to be asked, and the accounts service may be down. What it tells of logins
that have ended comes to every server as an event, and is kept for the server's next life.
"""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pykarabo.client import Change, Client, Live, Login, Update, own_proofs
from pykarabo.data import AccessLevel
from pykarabo.errors import DeniedError, ExpiredCredentialError, PykaraboError
from pykarabo.transport import (
    Clock,
    Sender,
    SystemClock,
    accounts_folder,
    data_directory,
    domain_name,
    joined_site,
)
from pykarabo.trust import (
    ACCOUNTS_ID,
    MAX_TOKEN_S,
    NO_REVOCATIONS,
    Issuers,
    Token,
    load_issuers,
    peek_token,
    read_private,
    read_revocations,
    read_token,
    replace_private,
    sign_token,
)
from pykarabo.wire import Granted, Hello

_log: Final = logging.getLogger(__name__)
ENDED_KEY: Final = "ended_logins"
"""The property of the accounts service that lists the logins that have ended."""
_NO_TOKEN: Final = "nobody has logged in here: pykarabo login"
_NANO: Final = 1e9


def issuers_of(domain: str | None = None) -> Issuers | None:
    """Return who is believed about the users of a domain; None where it has no accounts.

    Raises:
        BadConfigurationError: it cannot be told.
    """
    folder = accounts_folder(domain)
    found = load_issuers(folder)
    if found is not None or (site := joined_site(domain)) is None:
        return found
    keys = site.grants.issuers(now_s=site.now_s())
    return Issuers(keys, ACCOUNTS_ID, folder) if keys else None


def _no_login() -> bytes:
    return b""


def login_of_program(domain: str | None, issuers: Issuers, clock: Clock) -> Login:
    """Return what shows that a program belongs to the domain itself: it may do everything.

    Raises:
        BadConfigurationError: this host has no key for it.
    """
    key, name = issuers.programs_key(), domain_name(domain)
    known: list[tuple[float, bytes]] = []

    def login() -> bytes:
        now_s = clock.time_ns() / _NANO
        if not known or now_s > known[0][0]:
            token = Token(
                user="",
                role=AccessLevel.ADMINISTRATOR,
                domain=name,
                login=secrets.token_hex(8),
                bound=own_proofs(domain),
                issued_s=now_s,
                expires_s=now_s + MAX_TOKEN_S,
            )
            known[:] = [(now_s + MAX_TOKEN_S / 2, sign_token(token, key))]
        return known[0][1]

    return login


def login_of_host(domain: str | None = None) -> Login | None:
    """Return what shows that a program belongs to the domain, where that has accounts.

    Whoever may read the key of the domain's programs can end them by a signal, too. In a site the
    grant of a program's key shows it.

    Raises:
        BadConfigurationError: it cannot be told whether it has.
    """
    issuers = issuers_of(domain)
    if issuers is None:
        return None
    if joined_site(domain) is not None:
        return _no_login
    return login_of_program(domain, issuers, SystemClock())


class Accounts:
    """Judges by tokens; it is the `Rights` of a server in a domain with accounts.

    Args:
        file: where the list of ended logins is kept.

    Raises:
        BadConfigurationError: that file is not readable by its owner alone.
    """

    def __init__(self, issuers: Issuers, domain: str, clock: Clock, file: Path) -> None:
        self.service = issuers.service
        self._keys = issuers.keys
        self._domain = domain
        self._clock = clock
        self._file = file
        self._ended = NO_REVOCATIONS
        self._changed: Callable[[], None] = lambda: None
        if file.exists():
            self._take(read_private(file, "the list of ended logins"))

    def __call__(self, hello: Hello, sender: Sender) -> Granted:
        """Tell what whoever greets has a right to: without a token, to look."""
        if not hello.token:
            return Granted(note=_NO_TOKEN)
        now_s = self._clock.time_ns() / _NANO
        try:
            token = read_token(hello.token, self._keys, now_s=now_s)
        except ExpiredCredentialError as error:
            return Granted(user=peek_token(hello.token).user, note=str(error))
        except DeniedError as error:
            return Granted(note=str(error))
        refusal = self._refusal(token, sender)
        if refusal:
            return Granted(user=token.user if sender.proof in token.bound else "", note=refusal)
        role, until_s = token.role_at(now_s)
        until_ns = int(until_s * _NANO)
        return Granted(role, token.user, until_ns, token.login, through=token.through)

    def _refusal(self, token: Token, sender: Sender) -> str:
        if token.domain != self._domain:
            return f"the token is for domain '{token.domain}', and this is '{self._domain}'"
        if not sender.proof or sender.proof not in token.bound:
            return "the token was given to somebody else: pykarabo login"
        if self._ended.revokes(token):
            return "the login was ended: pykarabo login"
        return ""

    # -- logins that have ended -----------------------------------------------------------------

    def start(self, client: Client, changed: Callable[[], None]) -> None:
        """Hear from now on of logins that end.

        Args:
            changed: called when a session may have lost its right.
        """
        self._changed = changed
        client.follow(self.service, self._update)

    def _update(self, update: Update) -> None:
        if not isinstance(update, Change | Live):
            return
        told = update.values.get(ENDED_KEY)
        if told is not None and isinstance(told.value, bytes) and told.value:
            self.end(told.value)

    def end(self, blob: bytes) -> None:
        """Take a list of logins that have ended."""
        if self._take(blob):
            self._changed()
            try:
                replace_private(self._file, blob)
            except OSError as error:
                _log.warning("ended logins cannot be kept in %s: %s", self._file, error.strerror)

    def _take(self, blob: bytes) -> bool:
        """Take note of a list; returns whether it told anything new."""
        now_s = self._clock.time_ns() / _NANO
        try:
            told = read_revocations(blob, self._keys, now_s=now_s)
        except ExpiredCredentialError:
            return False
        except PykaraboError as error:
            _log.warning("a list of ended logins is not believed: %s", error)
            return False
        before, self._ended = self._ended, self._ended.joined(told, now_s=now_s)
        return before != self._ended


def accounts_of(domain: str | None, server_id: str, clock: Clock) -> tuple[Accounts | None, Login]:
    """Return the judge of a server in a domain with accounts, None in others; and its login.

    That of the user who has started it is none of its business.

    Raises:
        BadConfigurationError: the domain has accounts, and this host has not what they need.
    """
    issuers = issuers_of(domain)
    if issuers is None:
        return None, _no_login
    name = f"{server_id.replace('/', '-')}.ended"
    judge = Accounts(
        issuers, domain_name(domain), clock, data_directory(domain) / "accounts" / name
    )
    if joined_site(domain) is not None:  # its grant shows that a program belongs to the domain
        return judge, _no_login
    return judge, login_of_program(domain, issuers, clock)
