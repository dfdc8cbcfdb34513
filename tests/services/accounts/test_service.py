"""Logging in with a password, and what administrators do; over real sockets and a real database."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient, own_proofs
from pykarabo.data import AccessLevel
from pykarabo.device import serve
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    DeniedError,
    TooManyAttemptsError,
)
from pykarabo.testing import until_blocking
from pykarabo.transport import accounts_folder, data_directory
from pykarabo.trust import ACCOUNTS_ID, peek_token
from pykarabo_services.accounts.code import CODE_S, new_code
from pykarabo_services.accounts.main import Accounts

from .conftest import ADMIN, PASSWORD, PROBE, Facility, Probe, highest, may

_EXPERT = AccessLevel.EXPERT


# -- logging in ------------------------------------------------------------------------------------


def test_who_logs_in_has_the_role_of_his_account(facility: Facility) -> None:
    for role in AccessLevel:
        name = f"a-{role.name.lower()}"
        facility.add(name, role.name)
        given = facility.login(f"{name.upper()} ")
        assert (given["user"], given["role"]) == (name, role.name)
        assert 11.9 * 3600 < given["until_s"] - time.time() <= 12 * 3600
        assert highest(facility.client(given["token"])) is role


def test_a_wrong_password_gives_nothing(facility: Facility) -> None:
    for password in ("", "wrong", PASSWORD.upper(), PASSWORD + " ", "x" * 100_000):
        with pytest.raises(DeniedError, match="user name or the password is wrong"):
            facility.login(ADMIN, password)


def test_unknown_users_are_told_the_same(facility: Facility) -> None:
    with pytest.raises(DeniedError) as unknown:
        facility.login("nobody")
    with pytest.raises(DeniedError) as wrong:
        facility.login(ADMIN, "wrong")
    assert unknown.value.to_wire() == wrong.value.to_wire()


def test_a_name_that_is_none_is_refused(facility: Facility) -> None:
    for name in ("", "a b", "../x", "a" * 65, "alice\n*", "(uid=*)", "é"):
        with pytest.raises(BadInputError, match="no name for a user"):
            facility.login(name)


def test_a_role_is_raised_for_a_while_and_falls_back(facility: Facility) -> None:
    facility.add("alice", "operator", may_become="expert")
    began_s = time.time()
    given = facility.login("alice", role="expert", for_s=1.0)
    assert (given["role"], given["role_after"]) == ("EXPERT", "OPERATOR")
    client = facility.client(given["token"])
    assert highest(client) is _EXPERT
    until_blocking(lambda: not may(client, _EXPERT), timeout_s=5)
    assert time.time() >= began_s + 1.0
    assert highest(client) is AccessLevel.OPERATOR


def test_nobody_raises_himself_higher_than_he_may(facility: Facility) -> None:
    facility.add("alice", "operator", may_become="expert")
    with pytest.raises(DeniedError, match="may not have the role administrator"):
        facility.login("alice", role="administrator", for_s=60.0)
    for for_s in (0.0, -1.0, 8 * 3600 + 1.0, float("inf"), float("nan")):
        with pytest.raises(BadInputError, match="for a while"):
            facility.login("alice", role="expert", for_s=for_s)
    assert highest(facility.as_user("alice", role="user")) is AccessLevel.USER


def test_a_login_may_be_short_and_is_never_long(facility: Facility) -> None:
    facility.add("alice", "operator", may_become="expert")
    given = facility.login("alice", role="user", for_s=600.0)
    assert highest(facility.client(given["token"])) is AccessLevel.USER
    assert given["until_s"] == given["expires_s"] <= time.time() + 600
    for for_s in (-1.0, 12 * 3600 + 1.0, float("nan")):
        with pytest.raises(BadInputError, match="lasts 12 h at most"):
            facility.login("alice", for_s=for_s)


def test_a_token_is_bound_to_somebody(facility: Facility) -> None:
    wrong: list[list[str]] = [[], ["name:x"], ["uid:" + 80 * "1"], [f"uid:{n}" for n in range(5)]]
    for bound in wrong:
        with pytest.raises(BadInputError, match="must be bound"):
            facility.ask(facility.client(), "login", ADMIN, PASSWORD, bound)


def test_a_stolen_token_is_worth_nothing(facility: Facility) -> None:
    given = facility.ask(facility.client(), "login", ADMIN, PASSWORD, ["uid:99999999"])
    assert highest(facility.client(given["token"])) is AccessLevel.OBSERVER


# -- the end of a login ----------------------------------------------------------------------------


def test_who_logs_out_has_no_role_any_more(facility: Facility) -> None:
    facility.add("alice")
    client, other = facility.as_user("alice"), facility.as_user("alice")
    facility.ask(client, "logout")
    until_blocking(lambda: highest(client) is AccessLevel.OBSERVER, timeout_s=2)
    assert highest(other) is AccessLevel.OPERATOR


def test_disabling_a_user_ends_his_sessions_within_2_s(facility: Facility) -> None:
    facility.add("alice")
    client = facility.as_user("alice")
    assert may(client, AccessLevel.OPERATOR)
    facility.ask(facility.admin(), "disable_user", "alice")
    until_blocking(lambda: not may(client, AccessLevel.USER), timeout_s=2)
    with pytest.raises(DeniedError, match="'alice' is disabled"):
        facility.login("alice")
    facility.ask(facility.admin(), "enable_user", "alice")
    assert not may(client, AccessLevel.USER)
    assert highest(facility.as_user("alice")) is AccessLevel.OPERATOR


def _is_shut_out(client: BlockingClient) -> bool:
    return not may(client, AccessLevel.USER)


def test_what_changes_an_account_ends_its_logins(facility: Facility) -> None:
    facility.add("alice")
    for name, new in (("set_role", "operator"), ("set_password", "another horse entirely")):
        client = facility.as_user("alice")
        facility.ask(facility.admin(), name, "alice", new)
        until_blocking(partial(_is_shut_out, client), timeout_s=2)


def test_a_new_role_holds_from_the_next_login_on(facility: Facility) -> None:
    facility.add("alice")
    facility.ask(facility.admin(), "set_role", "alice", "user", "operator")
    assert highest(facility.as_user("alice")) is AccessLevel.USER
    raised = facility.as_user("alice", role="operator", for_s=60.0)
    assert highest(raised) is AccessLevel.OPERATOR


def test_everybody_changes_his_own_password_and_nobody_elses(facility: Facility) -> None:
    facility.add("alice")
    new, client = "another horse entirely", facility.as_user("alice")
    with pytest.raises(DeniedError, match="wrong"):
        facility.ask(client, "change_password", ADMIN, PASSWORD + "x", new)
    facility.ask(client, "change_password", "alice", PASSWORD, new)
    with pytest.raises(DeniedError, match="wrong"):
        facility.login("alice")
    assert highest(facility.as_user("alice", new)) is AccessLevel.OPERATOR


def test_a_password_that_is_easily_found_is_refused(facility: Facility) -> None:
    admin = facility.admin()
    facility.add("alice")
    for password in ("", "short", "aaaaaaaaaaaaaaaa", "alice-in-wonderland", "x" * 257):
        with pytest.raises(BadInputError, match="password"):
            facility.ask(admin, "add_user", "alice", password, "user")
        with pytest.raises(BadInputError, match="password"):
            facility.ask(admin, "set_password", "alice", password)


# -- administrators --------------------------------------------------------------------------------


_FOR_ADMINISTRATORS: Final[dict[str, tuple[str, ...]]] = {
    "users": (),
    "add_user": ("mallory", PASSWORD, "administrator"),
    "set_role": ("alice", "administrator"),
    "disable_user": (ADMIN,),
    "enable_user": ("alice",),
    "set_password": (ADMIN, PASSWORD),
}


def test_X1_only_administrators_look_after_users(facility: Facility) -> None:
    facility.add("alice", "expert")
    for client in (facility.client(), facility.as_user("alice")):
        for name, arguments in _FOR_ADMINISTRATORS.items():
            with pytest.raises(DeniedError, match="needs the role administrator"):
                facility.ask(client, name, *arguments)
    assert [user["user"] for user in facility.ask(facility.admin(), "users")] == ["alice", ADMIN]
    assert highest(facility.as_user("alice")) is _EXPERT


def test_the_last_administrator_shuts_nobody_out(facility: Facility) -> None:
    for name, arguments in (("disable_user", (ADMIN,)), ("set_role", (ADMIN, "user"))):
        with pytest.raises(DeniedError, match="last administrator"):
            facility.ask(facility.admin(), name, *arguments)
    facility.add("bob", "administrator")
    facility.ask(facility.admin(), "disable_user", ADMIN)
    with pytest.raises(DeniedError, match="last administrator"):
        facility.ask(facility.as_user("bob"), "disable_user", "bob")


def test_users_are_shown_without_their_passwords(facility: Facility) -> None:
    facility.add("gui", "observer", gateway=True)
    shown = facility.ask(facility.admin(), "users")
    assert [user["user"] for user in shown] == ["gui", ADMIN]
    assert shown[0]["gateway"]
    assert shown[0]["logged_in_s"] == 0.0
    assert abs(shown[1]["logged_in_s"] - time.time()) < 60
    assert "argon2" not in json.dumps(shown)


def test_a_name_is_given_once(facility: Facility) -> None:
    facility.add("alice")
    with pytest.raises(BadInputError, match="there is a user 'alice' already"):
        facility.add("ALICE")
    with pytest.raises(BadInputError, match="did you mean 'alice'"):
        facility.ask(facility.admin(), "disable_user", "alcie")


# -- the first administrator -----------------------------------------------------------------------


def test_a_code_makes_one_administrator_and_no_second_one(facility: Facility) -> None:
    code = new_code(accounts_folder(), time.time())
    client = facility.client()
    facility.ask(client, "claim", code.lower().replace("-", " "), "bob", PASSWORD)
    assert highest(facility.as_user("bob")) is AccessLevel.ADMINISTRATOR
    with pytest.raises(DeniedError, match="was used"):
        facility.ask(client, "claim", code, "mallory", PASSWORD)


def test_a_wrong_or_old_code_makes_nobody(facility: Facility) -> None:
    client = facility.client()
    code = new_code(accounts_folder(), time.time() - CODE_S - 1)
    for tried in (code, "", "AAAA-AAAA-AAAA-AAAA-AAAA"):
        with pytest.raises(DeniedError, match="not the code"):
            facility.ask(client, "claim", tried, "mallory", PASSWORD)
    (file,) = accounts_folder().glob("*.code")
    assert file.stat().st_mode & 0o777 == 0o600
    assert code not in file.read_text()


def test_codes_are_not_tried_again_and_again(facility: Facility) -> None:
    client = facility.client()
    for _ in range(5):
        with pytest.raises(DeniedError, match="not the code"):
            facility.ask(client, "claim", "AAAA", "mallory", PASSWORD)
    with pytest.raises(TooManyAttemptsError):
        facility.ask(client, "claim", new_code(accounts_folder(), time.time()), "bob", PASSWORD)


# -- a gateway that acts for users -----------------------------------------------------------------


def test_X12_a_gateway_acts_for_users_who_are_there_and_for_nobody_else(facility: Facility) -> None:
    facility.add("gui", "observer", gateway=True)
    facility.add("alice")
    gateway = facility.as_user("gui")
    assert highest(gateway) is AccessLevel.OBSERVER
    alice = facility.ask(facility.client(), "login", "alice", PASSWORD, ["key:" + 64 * "a"])
    assert highest(facility.client(alice["token"])) is AccessLevel.OBSERVER
    given = facility.ask(gateway, "act_for", alice["token"], list(own_proofs()))
    token = peek_token(given["token"])
    assert (token.user, token.through) == ("alice", "gui")
    assert token.expires_s - token.issued_s <= 600
    acting = facility.client(given["token"])
    assert highest(acting) is AccessLevel.OPERATOR
    with pytest.raises(DeniedError, match="no token of a user"):
        facility.ask(gateway, "act_for", given["token"], list(own_proofs()))
    facility.ask(facility.admin(), "disable_user", "alice")
    until_blocking(lambda: not may(acting, AccessLevel.USER), timeout_s=2)
    with pytest.raises(DeniedError, match="login of 'alice' has ended"):
        facility.ask(gateway, "act_for", alice["token"], list(own_proofs()))


def test_X12_the_key_of_a_gateway_administers_nothing(facility: Facility) -> None:
    facility.add("gui", "observer", gateway=True)
    gateway = facility.as_user("gui")
    for name in ("users", "disable_user"):
        with pytest.raises(DeniedError, match="needs the role administrator"):
            facility.ask(gateway, name)
    with pytest.raises(DeniedError):
        gateway.directory("register", {}, [], {})


def test_who_is_no_gateway_acts_for_nobody(facility: Facility) -> None:
    facility.add("alice")
    alice = facility.login("alice")["token"]
    for client in (facility.client(), facility.client(alice), facility.admin()):
        with pytest.raises(DeniedError, match="only gateways"):
            facility.ask(client, "act_for", alice, list(own_proofs()))


# -- what is kept ----------------------------------------------------------------------------------


def _audited() -> list[dict[str, Any]]:
    files = sorted((data_directory() / "audit").rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def _logins() -> list[dict[str, Any]]:
    return [line for line in _audited() if line.get("command") == "login" and "outcome" in line]


def test_X11_no_password_code_or_token_is_in_any_file(facility: Facility, tmp_path: Path) -> None:
    facility.add("alice")
    code = new_code(accounts_folder(), time.time())
    facility.ask(facility.client(), "claim", code, "bob", "no horse in a password")
    facility.ask(facility.client(), "change_password", "alice", PASSWORD, "changed horse to cow")
    facility.add("gui", "observer", gateway=True)
    token = facility.login("bob", "no horse in a password")["token"]
    facility.ask(facility.as_user("gui"), "act_for", token, list(own_proofs()))
    with pytest.raises(DeniedError):
        facility.login("bob", "a very wrong horse")
    until_blocking(
        lambda: [line for line in _logins() if line["outcome"] == "refused"], timeout_s=5
    )
    secrets = [PASSWORD, "no horse", "changed horse", "wrong horse", code, code.replace("-", "")]
    wanted = [text.encode() for text in secrets] + [token, token.hex().encode()]
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not [secret for secret in wanted if secret in content], path


def test_X1_denied_logins_are_in_the_audit_log_and_so_is_who_did_what(facility: Facility) -> None:
    facility.add("alice")
    with pytest.raises(DeniedError):
        facility.login("alice", "a very wrong horse")
    client = facility.as_user("alice")
    assert may(client, AccessLevel.OPERATOR)

    def told() -> bool:
        mine = [line for line in _audited() if line.get("user") == "alice"]
        return any(line.get("command") == "run_operator" for line in mine)

    until_blocking(told, timeout_s=5)
    (denied,) = [line for line in _logins() if line["outcome"] == "refused"]
    assert denied["arguments"]["user"] == "alice"
    assert denied["arguments"]["password"] == {"~": "secret"}
    assert denied["error"] == "denied"
    ran = next(line for line in _audited() if line.get("command") == "run_operator")
    assert (ran["user"], ran["certain"], ran["role"]) == ("alice", True, "operator")
    assert ran["login"]
    done = [line for line in _logins() if line["outcome"] == "done"]
    assert {line["arguments"]["user"] for line in done} == {"alice", ADMIN}


def test_accounts_outlive_the_service(facility: Facility) -> None:
    facility.add("alice")
    client = facility.as_user("alice")
    token = facility.login("alice")["token"]
    facility.ask(client, "change_password", "alice", PASSWORD, "another horse entirely")
    facility.stack.close()
    with serve({ACCOUNTS_ID: Accounts, PROBE: Probe}, server_id="T/SERVER"):
        assert highest(facility.as_user("alice", "another horse entirely")) is AccessLevel.OPERATOR
        assert highest(facility.client(token)) is AccessLevel.OBSERVER
        facility.stack.close()


def test_a_domain_without_accounts_has_no_service(short_runtime: Path) -> None:
    assert short_runtime.exists()
    with (
        pytest.raises(BadConfigurationError, match=r"has no accounts.*pykarabo user init"),
        serve({ACCOUNTS_ID: Accounts}),
    ):
        pytest.fail("it serves")
