"""Attackers, and providers that are slow or dead: who has a password here logs in as ever."""

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient, own_proofs
from pykarabo.data import AccessLevel
from pykarabo.errors import DeniedError, ProviderUnavailableError, TooManyAttemptsError
from pykarabo.transport import accounts_folder
from pykarabo.wire import Call
from pykarabo_services.accounts.configured import PROVIDERS_FILE
from pykarabo_services.accounts.passwords import PasswordHasher
from tests.harness.oidc import CLIENT, OidcServer
from tests.harness.slapd import GROUPS, USER, Slapd
from tests.harness.slapd import PASSWORD as LDAP_PASSWORD

from .conftest import ADMIN, PASSWORD, PROBE, Facility, highest

_ATTEMPTS: Final = 1_000
_AT_ONCE: Final = 50
_LOGIN_S: Final = 2.0
_TOLD_S: Final = 5.0
_LOGIN: Final = """
import sys, time
from pykarabo.client import BlockingClient, own_proofs
from pykarabo.wire import Call
print("ready", flush=True)
for line in sys.stdin:
    user, password = line.split(" ", 1)
    began = time.monotonic()
    with BlockingClient(login=lambda: b"") as client:
        call = Call("ACCOUNTS", "login", [user, password.rstrip(chr(10)), list(own_proofs())])
        client.request("ACCOUNTS", call, timeout_s=20)
    print(time.monotonic() - began, flush=True)
"""


class _Elsewhere:
    """Somebody who logs in from another process, and so from another address."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOGIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def login(self, user: str, password: str) -> float:
        """Log in; returns how long it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{user} {password}\n")
        self._process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=20)


@pytest.fixture
def elsewhere(short_runtime: Path) -> Iterator[_Elsewhere]:
    assert short_runtime.exists()
    somebody = _Elsewhere()
    yield somebody
    somebody.close()


def _attempt(facility: Facility, number: int, counts: dict[str, int]) -> None:
    client = facility.client()
    try:
        facility.login("alice" if number % 2 else f"nobody{number}", "a wrong horse", client=client)
    except DeniedError as error:
        counts[error.code] = counts.get(error.code, 0) + 1


def test_X8_a_thousand_wrong_passwords_get_nowhere_and_hinder_nobody(
    facility: Facility, elsewhere: _Elsewhere
) -> None:
    facility.add("alice")
    facility.add("bob")
    counts: dict[str, int] = {}
    lags, ended = [], threading.Event()

    def look() -> None:
        with BlockingClient(login=lambda: b"") as client:
            while not ended.is_set():
                began_s = time.monotonic()
                client.request(PROBE, Call(PROBE, "run_observer"))
                lags.append(time.monotonic() - began_s)
                ended.wait(0.02)

    with ThreadPoolExecutor(_AT_ONCE + 1) as threads:
        looking = threads.submit(look)
        attempts = [
            threads.submit(_attempt, facility, number, counts) for number in range(_ATTEMPTS)
        ]
        took_s = [elsewhere.login("bob", PASSWORD) for _ in range(3)]
        for attempt in attempts:
            attempt.result()
        ended.set()
        looking.result()
    assert max(took_s) <= _LOGIN_S
    # Five were looked at, of one address; the others were told at once.
    assert counts == {"denied": 5, "too_many_attempts": _ATTEMPTS - 5}
    # The command waits for its turn in the loop, which the attempts keep busy but do not block.
    assert statistics.median(lags) < 0.25
    with pytest.raises(TooManyAttemptsError, match="5 failures"):
        facility.login("alice")


@pytest.mark.nightly
def test_X8_an_unknown_user_takes_as_long_as_a_wrong_password() -> None:
    import asyncio

    async def scenario() -> None:
        hasher = PasswordHasher()
        known = await hasher.hash(PASSWORD)
        took: dict[str, list[float]] = {known: [], "": []}
        for _ in range(60):
            for password_hash, times in took.items():
                began_s = time.process_time()
                assert not await hasher.fits(password_hash, "a wrong horse")
                times.append(time.process_time() - began_s)
        hasher.close()
        medians = [statistics.median(times) for times in took.values()]
        assert abs(medians[0] - medians[1]) / max(medians) < 0.1

    asyncio.run(scenario())


# -- providers -------------------------------------------------------------------------------------


@pytest.fixture
def slapd(tmp_path: Path) -> Iterator[Slapd]:
    folder = tmp_path / "slapd"
    folder.mkdir()
    server = Slapd(folder)
    yield server
    server.close()


@pytest.fixture
def oidc() -> Iterator[OidcServer]:
    server = OidcServer()
    yield server
    server.close()


@pytest.fixture
def with_providers(start: Callable[[], Facility], slapd: Slapd, oidc: OidcServer) -> Facility:
    """Serve a domain whose users are known to LDAP and OpenID Connect, too."""
    folder = accounts_folder()
    (folder / PROVIDERS_FILE).write_text(
        f"""
- name: facility
  kind: ldap
  url: {slapd.url}
  plain: true
  user: "{USER}"
  groups: "{GROUPS}"
  roles: {{operators: operator, staff: user}}
  may_become: {{operators: expert}}
- name: sso
  kind: oidc
  issuer: {oidc.issuer}
  client_id: {CLIENT}
  roles: {{staff: operator}}
"""
    )
    (folder / PROVIDERS_FILE).chmod(0o600)
    return start()


def _finish(facility: Facility, login: str) -> Any:
    return facility.ask(facility.client(), "finish_login", login, list(own_proofs()))


def test_users_of_an_ldap_server_log_in_with_the_role_of_their_groups(
    with_providers: Facility,
) -> None:
    facility = with_providers
    assert highest(facility.as_user("ada", LDAP_PASSWORD)) is AccessLevel.OPERATOR
    assert highest(facility.as_user("bob", LDAP_PASSWORD)) is AccessLevel.USER
    raised = facility.as_user("ada", LDAP_PASSWORD, role="expert", for_s=60.0)
    assert highest(raised) is AccessLevel.EXPERT
    with pytest.raises(DeniedError, match="no group that has a role"):
        facility.login("eve", LDAP_PASSWORD)
    with pytest.raises(DeniedError, match="wrong"):
        facility.login("ada", "")
    users = {user["user"]: user for user in facility.ask(facility.admin(), "users")}
    assert (users["ada"]["provider"], users["ada"]["may_become"]) == ("facility", "EXPERT")
    facility.ask(facility.admin(), "disable_user", "ada")
    with pytest.raises(DeniedError, match="disabled"):
        facility.login("ada", LDAP_PASSWORD)


def test_a_user_of_somebody_else_is_not_the_one_whom_we_know(
    with_providers: Facility, oidc: OidcServer
) -> None:
    facility = with_providers
    facility.add("ada", "administrator")
    with pytest.raises(DeniedError, match="wrong"):
        facility.login("ada", LDAP_PASSWORD)
    with pytest.raises(DeniedError, match="is not the 'ada' whom we know"):
        facility.login("ada", LDAP_PASSWORD, provider="facility")
    begun = facility.ask(facility.client(), "begin_login", "sso")
    oidc.decide()
    with pytest.raises(DeniedError, match="is not the 'ada' whom we know"):
        _finish(facility, begun["login"])


def test_users_of_an_openid_provider_log_in_with_a_browser(
    with_providers: Facility, oidc: OidcServer
) -> None:
    facility = with_providers
    begun = facility.ask(facility.client(), "begin_login", "sso")
    assert begun["code"] == "WDJB-MJHT"
    assert _finish(facility, begun["login"]) is None
    oidc.decide()
    given = _finish(facility, begun["login"])
    assert (given["user"], given["role"]) == ("ada", "OPERATOR")
    assert highest(facility.client(given["token"])) is AccessLevel.OPERATOR
    with pytest.raises(DeniedError, match="taken too long"):
        _finish(facility, begun["login"])


def test_X13_slow_and_dead_providers_hinder_nobody_else(
    with_providers: Facility, slapd: Slapd, oidc: OidcServer, elsewhere: _Elsewhere
) -> None:
    facility = with_providers
    slapd.freeze()
    oidc.freeze()
    told: list[float] = []

    def log_in(command: str, *arguments: Any) -> None:
        began_s = time.monotonic()
        client = facility.client()
        with pytest.raises(ProviderUnavailableError, match=r"facility|sso"):
            facility.ask(client, command, *arguments)
        told.append(time.monotonic() - began_s)

    try:
        with ThreadPoolExecutor(8) as threads:
            waiting = [
                threads.submit(log_in, "login", f"ada{n}", LDAP_PASSWORD, list(own_proofs()))
                for n in range(4)
            ] + [threads.submit(log_in, "begin_login", "sso") for _ in range(3)]
            took_s = [elsewhere.login(ADMIN, PASSWORD) for _ in range(3)]
            began_s = time.monotonic()
            facility.client().request(PROBE, Call(PROBE, "run_observer"))
            looked_s = time.monotonic() - began_s
            for attempt in waiting:
                attempt.result()
    finally:
        slapd.thaw()
        oidc.thaw()
    assert max(took_s) <= _LOGIN_S
    assert looked_s < 1.0
    assert len(told) == 7
    assert max(told) <= _TOLD_S
    assert facility.login("ada", LDAP_PASSWORD)["role"] == "OPERATOR"
    slapd.close()
    began_s = time.monotonic()
    with pytest.raises(ProviderUnavailableError, match="facility"):
        facility.login("bob", LDAP_PASSWORD)
    assert time.monotonic() - began_s <= _TOLD_S
    assert facility.login(ADMIN)["role"] == "ADMINISTRATOR"
