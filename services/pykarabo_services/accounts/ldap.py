"""Users of an LDAP directory: whoever can bind with his password is he.

Nothing is kept here, and no password of ours is needed: the user's own connection looks for his
groups. Connections are encrypted, unless the file of the providers says `plain`.
"""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from pykarabo.errors import BadConfigurationError, ProviderUnavailableError
from pykarabo_services.accounts.model import DeviceLogin, Person, RoleMap

_CONNECT_S: Final = 2
_ANSWER_S: Final = 3
_THREADS: Final = 8
"""A thread waits for each login; as many as may wait for one provider."""
_WRONG_PASSWORD: Final = 49
_NO_SUCH_USER: Final = 32
_NO_NAME: Final = 34
_FILTER: Final = "(|(member={dn})(uniqueMember={dn})(memberUid={user}))"


class LdapProvider:
    """Asks an LDAP directory; meets `model.AuthProvider`.

    Args:
        url: ``ldaps://HOST``, or ``ldap://HOST`` with `start_tls` or `plain`.
        user: the name of a user's entry, with ``{user}`` in it.
        groups: below which entry groups are.
        group_filter: finds the groups of ``{dn}`` or ``{user}``.
        group_name: the attribute with a group's name.
        ca_file: certificates to trust; default are the host's.
        start_tls: encrypt after connecting.
        plain: encrypt nothing: whoever listens learns the passwords.

    Raises:
        BadConfigurationError: passwords would travel in plain text, and `plain` does not say so.
    """

    asks_password = True

    def __init__(
        self,
        *,
        name: str,
        roles: RoleMap,
        url: str,
        user: str,
        groups: str,
        group_filter: str = _FILTER,
        group_name: str = "cn",
        ca_file: str | None = None,
        start_tls: bool = False,
        plain: bool = False,
    ) -> None:
        if not url.startswith("ldaps://") and not (start_tls or plain):
            raise BadConfigurationError(
                f"passwords would go to {url} in plain text",
                remedy="use ldaps:// or start_tls: true",
            )
        if "{user}" not in user:
            raise BadConfigurationError(f"'{user}' has no {{user}} in it", remedy="add it")
        self.name = name
        self.roles = roles
        self._url, self._user, self._groups = url, user, groups
        self._filter, self._group_name = group_filter, group_name
        self._start_tls = start_tls
        self._threads = ThreadPoolExecutor(_THREADS, f"ldap {name}")
        self._tls = _tls(ca_file)

    async def aclose(self) -> None:
        """Wait for what is being asked; it has a few seconds at most."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def check(self, user: str, password: str) -> Person | None:
        """Return who it is, or None if that is no user there or not his password."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._check, user, password)

    def _check(self, user: str, password: str) -> Person | None:
        from ldap3.core.exceptions import LDAPException
        from ldap3.utils.dn import escape_rdn

        name = self._user.replace("{user}", escape_rdn(user))
        try:
            connection = self._connection(name, password)
            try:
                if not self._is_bound(connection):
                    return None
                return Person(user, self._groups_of(connection, name, user))
            finally:
                _end(connection)
        except (LDAPException, OSError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from None

    def _connection(self, name: str, password: str) -> Any:
        from ldap3 import NONE, Connection, Server

        server = Server(self._url, connect_timeout=_CONNECT_S, get_info=NONE, tls=self._tls)
        return Connection(
            server, name, password, receive_timeout=_ANSWER_S, read_only=True, auto_referrals=False
        )

    def _is_bound(self, connection: Any) -> bool:
        connection.open()
        if self._start_tls:
            connection.start_tls()
        if connection.bind():
            return True
        code = connection.result["result"]
        if code not in (_WRONG_PASSWORD, _NO_SUCH_USER, _NO_NAME):
            raise self._unavailable(connection.result["description"])
        return False

    def _groups_of(self, connection: Any, name: str, user: str) -> frozenset[str]:
        from ldap3.utils.conv import escape_filter_chars

        wanted = self._filter.replace("{dn}", escape_filter_chars(name))
        wanted = wanted.replace("{user}", escape_filter_chars(user))
        connection.search(self._groups, wanted, attributes=[self._group_name])
        if connection.result["result"] not in (0, _NO_SUCH_USER):
            raise self._unavailable(f"its groups: {connection.result['description']}")
        found = (
            entry["attributes"][self._group_name]
            for entry in connection.response or ()
            if entry.get("type") == "searchResEntry"
        )
        return frozenset(
            str(item) for names in found for item in (names if isinstance(names, list) else [names])
        )

    def _unavailable(self, reason: str) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            f"'{self.name}' ({self._url}) does not answer: {reason}",
            remedy="try again; users with a password of this domain can log in",
        )

    async def begin(self) -> DeviceLogin:
        """Refuse: users log in with a password."""
        raise _needs_password(self.name)

    async def finish(self, handle: str) -> Person | None:
        """Refuse: users log in with a password."""
        raise _needs_password(self.name)


def _tls(ca_file: str | None) -> Any:
    from pykarabo_services.accounts.ldap_tls import CheckedTls

    return CheckedTls(ca_certs_file=ca_file)


def _end(connection: Any) -> None:
    """End a connection; one that did not come up is left open by the library."""
    from ldap3.core.exceptions import LDAPException

    half_open = connection.socket
    with contextlib.suppress(LDAPException):
        connection.unbind()
    if half_open is not None:
        half_open.close()


def _needs_password(name: str) -> BadConfigurationError:
    return BadConfigurationError(
        f"users of '{name}' log in with a password", remedy=f"pykarabo login --provider {name}"
    )
