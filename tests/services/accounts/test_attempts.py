"""How often somebody may try, in a time that the tests let pass; and whom a provider may name."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, DeniedError, TooManyAttemptsError
from pykarabo_services.accounts.attempts import MAX_FAILURES, WINDOW_S, AttemptLimit
from pykarabo_services.accounts.configured import PROVIDERS_FILE, read_providers
from pykarabo_services.accounts.model import Account, Ended, Person, RoleMap
from pykarabo_services.accounts.store import STORE, AccountDatabase
from pykarabo_services.kernel.database import Database
from tests.harness.databases import Databases

_OPERATOR, _EXPERT = AccessLevel.OPERATOR, AccessLevel.EXPERT


def _fail(limit: AttemptLimit, user: str, address: str, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        limit.begin(user, address, now_s)


def test_X8_a_user_has_five_failures_in_a_minute_wherever_they_come_from() -> None:
    limit = AttemptLimit()
    for number in range(MAX_FAILURES):
        limit.begin("alice", f"10.0.0.{number}", 10.0 * number)
    with pytest.raises(TooManyAttemptsError, match="5 failures") as refused:
        limit.begin("alice", "10.0.0.99", 50.0)
    assert refused.value.remedy == "try again in 10 s"
    limit.begin("bob", "10.0.0.98", 50.0)
    limit.begin("alice", "10.0.0.97", WINDOW_S)


def test_X8_an_address_has_five_failures_whoever_it_tries() -> None:
    limit = AttemptLimit()
    for number in range(MAX_FAILURES):
        limit.begin(f"user{number}", "10.0.0.1", 0.0)
    with pytest.raises(TooManyAttemptsError):
        limit.begin("somebody", "10.0.0.1", WINDOW_S - 1)
    limit.begin("somebody", "10.0.0.2", WINDOW_S - 1)
    limit.begin("somebody", "10.0.0.1", WINDOW_S)


def test_an_attempt_that_was_refused_makes_nobody_wait_longer() -> None:
    limit = AttemptLimit()
    _fail(limit, "alice", "a", 0.0, MAX_FAILURES)
    for now_s in (10.0, 30.0, 59.0):
        with pytest.raises(TooManyAttemptsError):
            limit.begin("alice", "b", now_s)
    limit.begin("alice", "b", WINDOW_S)


def test_trying_at_once_does_not_help_and_success_counts_nothing() -> None:
    limit = AttemptLimit()
    under_way = [limit.begin("alice", "a", 0.0) for _ in range(MAX_FAILURES)]
    with pytest.raises(TooManyAttemptsError):
        limit.begin("alice", "a", 0.0)
    for attempt in under_way:
        attempt.took_back()
        attempt.took_back()
    _fail(limit, "alice", "a", 0.0, MAX_FAILURES)
    with pytest.raises(TooManyAttemptsError):
        limit.begin("alice", "a", 0.0)


def test_trying_many_names_takes_no_memory() -> None:
    limit = AttemptLimit()
    for number in range(30_000):
        limit.begin(f"user{number}", "", float(number))
    assert len(limit._failures) <= 10_000


# -- what groups are worth -------------------------------------------------------------------------


def test_the_highest_group_counts() -> None:
    roles = RoleMap({"a": _OPERATOR, "b": AccessLevel.USER}, {"b": _EXPERT})
    assert roles.of(Person("x", frozenset("ab"))) == (_OPERATOR, _EXPERT)
    assert roles.of(Person("x", frozenset("a"))) == (_OPERATOR, _OPERATOR)
    with pytest.raises(DeniedError, match="no group that has a role"):
        roles.of(Person("x", frozenset("c")))
    everybody = roles._replace(everybody=AccessLevel.OBSERVER)
    assert everybody.of(Person("x", frozenset())) == 2 * (AccessLevel.OBSERVER,)


# -- the file of the providers ---------------------------------------------------------------------

_LDAP: Final = (
    "{name: l, kind: ldap, url: 'ldaps://h', user: 'uid={user}', groups: g, roles: {a: user}}"
)


def _written(folder: Path, text: str) -> Path:
    path = folder / PROVIDERS_FILE
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_providers_are_asked_in_the_order_of_the_file(tmp_path: Path) -> None:
    pam = "{name: p, kind: pam, service: login, everybody: user, may_become: {wheel: expert}}"
    oidc = "{name: o, kind: oidc, issuer: 'https://h', client_id: c, roles: {a: operator}}"
    path = _written(tmp_path, f"- {pam}\n- {_LDAP}\n- {oidc}\n")
    found = read_providers(path)
    assert [(item.name, item.asks_password) for item in found] == [
        ("p", True), ("l", True), ("o", False),
    ]  # fmt: skip
    assert found[0].roles == RoleMap({}, {"wheel": _EXPERT}, AccessLevel.USER)
    assert read_providers(tmp_path / "none.yaml") == ()
    for item in found:
        asyncio.run(item.aclose())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "no list of providers"),
        ("- x", "no map"),
        ("- {kind: pam, service: login, everybody: user}", "no name"),
        ("- {name: x, kind: nis}", "'nis' is none of the kinds ldap, oidc, pam"),
        ("- {name: x, kind: pam, everybody: user}", "'service' is missing"),
        ("- {name: x, kind: pam, service: login}", "gives anybody a role"),
        ("- {name: x, kind: pam, service: login, everybody: boss}", "no role 'boss'"),
        ("- {name: x, kind: pam, service: login, roles: [a]}", "no map of groups"),
        ("- {name: x, kind: pam, servise: login, everybody: user}", "did you mean 'service'"),
        ("- {name: local, kind: pam, service: login, everybody: user}", "names must differ"),
        (f"- {_LDAP}\n- {_LDAP}", "names must differ"),
        (f"- {_LDAP.replace('ldaps', 'ldap')}", "in plain text"),
        ("- [", "cannot be read"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_a_file_that_means_nothing_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BadConfigurationError, match=problem):
        read_providers(_written(tmp_path, text))


def test_X11_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, f"- {_LDAP}")
    path.chmod(0o644)
    with pytest.raises(BadConfigurationError, match="mode 644"):
        read_providers(path)


# -- the store -------------------------------------------------------------------------------------


def test_the_store_keeps_what_it_is_given(databases: Databases) -> None:
    asyncio.run(_keep(databases))


async def _keep(databases: Databases) -> None:
    database = Database(STORE, databases.place(STORE.name))
    await database.open()
    try:
        store = AccountDatabase(database)
        assert await store.account("alice") is None
        alice = Account(name="alice", role=_OPERATOR, may_become=_EXPERT, password="hash")
        more: Mapping[str, Any] = {"provider": "ldap", "disabled": True, "gateway": True}
        bob = Account(
            name="bob", role=_EXPERT, may_become=_EXPERT, logged_in_s=1_800_000_000.123, **more
        )
        for account in (bob, alice, alice):
            await store.put(account)
        assert await store.accounts() == [alice, bob]
        await store.put(alice, ended_s=100.5)
        await store.put(alice, ended_s=200.5)
        await store.end_login("1f", 150.25)
        await store.end_login("1f", 160.25)
        assert await store.ended(160.0) == Ended({"alice": 200.5}, {"1f": 160.25})
        assert await store.ended(180.0) == Ended({"alice": 200.5}, {})
        assert await store.ended(0.0) == Ended({"alice": 200.5}, {})
    finally:
        await database.aclose()
