"""Users of a real OpenLDAP server, which may be slow or dead."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, ProviderUnavailableError
from pykarabo_services.accounts.ldap import LdapProvider
from pykarabo_services.accounts.model import Person, RoleMap
from tests.harness.slapd import GROUPS, HOST, PASSWORD, USER, Slapd

_ROLES: Final = RoleMap({"operators": AccessLevel.OPERATOR}, {})


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    server = Slapd(tmp_path_factory.mktemp("slapd"))
    yield server
    server.close()


def _provider(url: str, **settings: Any) -> LdapProvider:
    return LdapProvider(name="ldap", roles=_ROLES, url=url, user=USER, groups=GROUPS, **settings)


def _check(provider: LdapProvider, user: str, password: str = PASSWORD) -> Person | None:
    return asyncio.run(_checked(provider, user, password))


async def _checked(provider: LdapProvider, user: str, password: str) -> Person | None:
    try:
        return await provider.check(user, password)
    finally:
        await provider.aclose()


def test_who_can_bind_is_known_with_his_groups(slapd: Slapd) -> None:
    ada = Person("ada", frozenset({"operators", "staff"}))
    assert _check(_provider(slapd.url, plain=True), "ada") == ada
    assert _check(_provider(slapd.url, plain=True), "bob") == Person("bob", frozenset({"staff"}))
    assert _check(_provider(slapd.url, plain=True), "eve") == Person("eve", frozenset())


def test_who_cannot_is_nobody(slapd: Slapd) -> None:
    for user, password in (("ada", "wrong"), ("nobody", PASSWORD), ("ada", PASSWORD.upper())):
        assert _check(_provider(slapd.url, plain=True), user, password) is None


@pytest.mark.parametrize("user", ["*", "ada,ou=people", "ada)(uid=*", "a\\2a", "ada\0", "+"])
def test_a_name_is_a_name_and_nothing_else(slapd: Slapd, user: str) -> None:
    assert _check(_provider(slapd.url, plain=True), user) is None


@pytest.mark.parametrize("start_tls", [False, True], ids=["ldaps", "starttls"])
def test_the_servers_certificate_is_checked(slapd: Slapd, *, start_tls: bool) -> None:
    url = slapd.url if start_tls else slapd.safe_url
    trusting = _provider(url, start_tls=start_tls, ca_file=str(slapd.ca_file))
    assert _check(trusting, "ada") is not None
    with pytest.raises(ProviderUnavailableError, match="certificate"):
        _check(_provider(url, start_tls=start_tls), "ada")
    other_name = url.replace(HOST, "localhost")
    with pytest.raises(ProviderUnavailableError, match="localhost"):
        _check(_provider(other_name, start_tls=start_tls, ca_file=str(slapd.ca_file)), "ada")


def test_passwords_do_not_travel_in_plain_text_by_accident() -> None:
    with pytest.raises(BadConfigurationError, match="in plain text"):
        _provider("ldap://ldap.example.org")


def test_a_dead_server_is_told_at_once() -> None:
    with pytest.raises(ProviderUnavailableError, match="does not answer"):
        _check(_provider(f"ldap://{HOST}:1", plain=True), "ada")


def test_a_frozen_server_is_told_within_4_s(slapd: Slapd) -> None:
    slapd.freeze()
    try:
        began_s = time.monotonic()
        with pytest.raises(ProviderUnavailableError, match="does not answer"):
            _check(_provider(slapd.url, plain=True), "ada")
        assert time.monotonic() - began_s < 4.5
    finally:
        slapd.thaw()
    assert _check(_provider(slapd.url, plain=True), "ada") is not None
