"""Users of an OpenID Connect provider, whose tokens are believed only if they are its own."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, DeniedError, ProviderUnavailableError
from pykarabo_services.accounts.model import Person, RoleMap
from pykarabo_services.accounts.oidc import OidcProvider
from tests.harness.oidc import CLIENT, OidcServer

_ROLES: Final = RoleMap({"staff": AccessLevel.OPERATOR}, {})


@pytest.fixture(scope="module")
def shared() -> Iterator[OidcServer]:
    server = OidcServer()
    yield server
    server.close()


@pytest.fixture
def server(shared: OidcServer) -> Iterator[OidcServer]:
    claims = dict(shared.claims)
    yield shared
    shared.claims, shared.signs_with, shared.algorithm = claims, shared.key, "RS256"


def _provider(server: OidcServer, **settings: Any) -> OidcProvider:
    given = {"issuer": server.issuer, "client_id": CLIENT} | settings
    return OidcProvider(name="sso", roles=_ROLES, **given)


async def _logged_in(server: OidcServer, **settings: Any) -> Person | None:
    provider = _provider(server, **settings)
    begun = await provider.begin()
    server.decide()
    return await provider.finish(begun.handle)


def test_who_logs_in_with_his_browser_is_known(server: OidcServer) -> None:
    async def scenario() -> None:
        provider = _provider(server)
        begun = await provider.begin()
        assert begun.url == f"{server.issuer}/go"
        assert begun.code == "WDJB-MJHT"
        assert await provider.finish(begun.handle) is None
        server.decide()
        assert await provider.finish(begun.handle) == Person("Ada", frozenset({"staff"}))

    asyncio.run(scenario())


@pytest.mark.parametrize("error", ["access_denied", "expired_token"])
def test_who_is_refused_there_is_refused_here(server: OidcServer, error: str) -> None:
    async def scenario() -> None:
        provider = _provider(server)
        begun = await provider.begin()
        server.decide(error)
        with pytest.raises(DeniedError, match=error):
            await provider.finish(begun.handle)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "somebody else"},
        {"iss": "http://127.0.0.1/elsewhere"},
        {"exp": 1_000_000_000},
        {"iat": 4_000_000_000},
        {"preferred_username": None},
        {"groups": "staff"},
    ],
    ids=repr,
)
def test_a_token_that_is_not_for_us_is_not_believed(
    server: OidcServer, claims: dict[str, Any]
) -> None:
    server.claims |= claims
    with pytest.raises(DeniedError, match="sso"):
        asyncio.run(_logged_in(server))


@pytest.mark.parametrize("forgery", ["other key", "none", "public key as a secret"])
def test_a_token_that_somebody_else_has_signed_is_not_believed(
    server: OidcServer, forgery: str
) -> None:
    if forgery == "other key":
        server.signs_with = rsa.generate_private_key(65537, 2048)
    elif forgery == "none":
        server.signs_with, server.algorithm = None, "none"
    else:
        server.signs_with, server.algorithm = "x" * 64, "HS256"
    with pytest.raises(DeniedError, match="cannot be believed"):
        asyncio.run(_logged_in(server))


def test_a_provider_that_refuses_this_domain_is_told_apart_from_a_dead_one(
    server: OidcServer,
) -> None:
    with pytest.raises(ProviderUnavailableError, match="invalid_client"):
        asyncio.run(_provider(server, client_id="other").begin())
    dead = _provider(server, issuer="http://127.0.0.1:1")
    with pytest.raises(ProviderUnavailableError, match=r"127\.0\.0\.1:1"):
        asyncio.run(dead.begin())
    with pytest.raises(ProviderUnavailableError, match="404"):
        asyncio.run(_provider(server, issuer=server.issuer + "/x").begin())


def test_a_frozen_provider_is_told_within_4_s(server: OidcServer) -> None:
    server.freeze()
    try:
        began_s = time.monotonic()
        with pytest.raises(ProviderUnavailableError):
            asyncio.run(_provider(server).begin())
        assert time.monotonic() - began_s < 4.5
    finally:
        server.thaw()


def test_an_address_where_anybody_could_answer_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="proves who answers"):
        OidcProvider(name="sso", roles=_ROLES, issuer="http://sso.example.org", client_id=CLIENT)
