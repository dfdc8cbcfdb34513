"""Tokens, the logins that have ended before their time, and who is believed about both."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import AccessLevel
from pykarabo.errors import (
    BadConfigurationError,
    ClockError,
    DamagedCredentialError,
    ExpiredCredentialError,
    WrongSignerError,
)
from pykarabo.trust import (
    MAX_DELEGATED_S,
    MAX_TOKEN_S,
    NO_REVOCATIONS,
    Revocations,
    SigningKey,
    Token,
    load_issuers,
    make_issuers,
    peek_token,
    read_revocations,
    read_token,
    serves_accounts,
    sign,
    sign_revocations,
    sign_token,
)

KEY: Final = SigningKey.make()
TRUSTED: Final = {KEY.public}
NOW_S: Final = 1_800_000_000.0
TOKEN: Final = Token(
    user="alice",
    role=AccessLevel.OPERATOR,
    domain="beamline",
    login="1f",
    bound=("uid:1000", "key:ab"),
    issued_s=NOW_S,
    expires_s=NOW_S + MAX_TOKEN_S,
    raised=AccessLevel.EXPERT,
    raised_s=NOW_S + 1_800,
)


@pytest.mark.parametrize(
    "token",
    [
        TOKEN,
        replace(TOKEN, raised=AccessLevel.OBSERVER, raised_s=0.0),
        replace(TOKEN, through="GUI/1", expires_s=NOW_S + MAX_DELEGATED_S),
        replace(TOKEN, user="", bound=()),
    ],
)
def test_a_token_comes_out_as_it_went_in(token: Token) -> None:
    blob = sign_token(token, KEY)
    assert read_token(blob, TRUSTED, now_s=NOW_S) == token
    assert peek_token(blob) == token
    assert len(blob) < 1_000


def test_the_role_falls_back_and_ends() -> None:
    for after_s, role, until_s in (
        (0, AccessLevel.EXPERT, 1_800),
        (1_799, AccessLevel.EXPERT, 1_800),
        (1_800, AccessLevel.OPERATOR, MAX_TOKEN_S),
        (MAX_TOKEN_S - 1, AccessLevel.OPERATOR, MAX_TOKEN_S),
    ):
        assert TOKEN.role_at(NOW_S + after_s) == (role, NOW_S + until_s)
    assert TOKEN.role_at(NOW_S + MAX_TOKEN_S) == (AccessLevel.OBSERVER, 0.0)


def test_raising_lowers_nothing_and_outlasts_nothing() -> None:
    lower = replace(TOKEN, raised=AccessLevel.USER)
    assert lower.role_at(NOW_S)[0] is AccessLevel.OPERATOR
    longer = replace(TOKEN, raised_s=NOW_S + 2 * MAX_TOKEN_S)
    assert longer.role_at(NOW_S) == (AccessLevel.EXPERT, TOKEN.expires_s)


def test_X2_an_expired_token_names_both_times_and_the_remedy() -> None:
    blob = sign_token(TOKEN, KEY)
    with pytest.raises(ExpiredCredentialError, match="pykarabo login") as caught:
        read_token(blob, TRUSTED, now_s=TOKEN.expires_s)
    assert caught.value.message.count("UTC") == 2
    with pytest.raises(ClockError):
        read_token(blob, TRUSTED, now_s=NOW_S - 86_400)


def test_somebody_elses_token_is_refused() -> None:
    with pytest.raises(WrongSignerError):
        read_token(sign_token(TOKEN, SigningKey.make()), TRUSTED, now_s=NOW_S)


@pytest.mark.parametrize("through", ["", "GUI/1"])
def test_a_token_that_lasts_too_long_is_neither_made_nor_taken(through: str) -> None:
    longest = MAX_DELEGATED_S if through else MAX_TOKEN_S
    token = replace(TOKEN, through=through, expires_s=NOW_S + longest + 1)
    with pytest.raises(ValueError, match="at most"):
        sign_token(token, KEY)
    claims: dict[str, Any] = {
        "user": "alice", "role": 4, "domain": "beamline", "login": "1f", "bound": [],
        "through": through,
    }  # fmt: skip
    blob = sign(claims, KEY, purpose="token", issued_s=NOW_S, expires_s=token.expires_s)
    with pytest.raises(DamagedCredentialError, match="longer than tokens may"):
        read_token(blob, TRUSTED, now_s=NOW_S)


@pytest.mark.parametrize(
    "change",
    [{"role": 5}, {"role": "expert"}, {"user": None}, {"bound": 1}, {"raised": -1}, {"login": 2}],
    ids=repr,
)
def test_a_signed_token_that_says_nonsense_is_refused(change: dict[str, Any]) -> None:
    claims = {"user": "a", "role": 1, "domain": "d", "login": "l", "bound": []} | change
    blob = sign(claims, KEY, purpose="token", issued_s=NOW_S, expires_s=NOW_S + 1)
    with pytest.raises(DamagedCredentialError):
        read_token(blob, TRUSTED, now_s=NOW_S)


@given(data=st.data())
def test_a_changed_byte_is_found(data: st.DataObject) -> None:
    blob = bytearray(sign_token(TOKEN, KEY))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises((DamagedCredentialError, WrongSignerError)):
        read_token(bytes(blob), TRUSTED, now_s=NOW_S)


# -- logins that have ended ------------------------------------------------------------------------


def test_a_user_who_was_shut_out_has_no_token_of_before() -> None:
    ended = Revocations({"alice": NOW_S}, {})
    assert ended.revokes(TOKEN)
    assert not ended.revokes(replace(TOKEN, issued_s=NOW_S + 0.001))
    assert not ended.revokes(replace(TOKEN, user="bob"))


def test_who_has_logged_out_has_no_token_of_that_login() -> None:
    ended = Revocations({}, {"1f": NOW_S})
    assert ended.revokes(TOKEN)
    assert not ended.revokes(replace(TOKEN, login="20"))
    assert not NO_REVOCATIONS.revokes(TOKEN)


def test_an_old_list_that_somebody_repeats_takes_nothing_back() -> None:
    old, new = Revocations({"alice": 5.0}, {"a": 1.0}), Revocations({"alice": 9.0}, {"b": 2.0})
    expected = Revocations({"alice": 9.0}, {"a": 1.0, "b": 2.0})
    assert new.joined(old, now_s=10.0) == old.joined(new, now_s=10.0) == expected


def test_what_has_expired_since_is_forgotten() -> None:
    known = Revocations({"alice": 5.0, "bob": 6.0}, {"a": 5.0, "b": 6.0})
    kept = known.joined(NO_REVOCATIONS, now_s=MAX_TOKEN_S + 6.0)
    assert kept == Revocations({"bob": 6.0}, {"b": 6.0})


def test_lists_are_believed_for_as_long_as_tokens_last() -> None:
    known = Revocations({"alice": NOW_S}, {"1f": NOW_S})
    blob = sign_revocations(known, KEY, now_s=NOW_S)
    assert read_revocations(blob, TRUSTED, now_s=NOW_S + 1) == known
    with pytest.raises(WrongSignerError):
        read_revocations(blob, {SigningKey.make().public}, now_s=NOW_S)
    with pytest.raises(ExpiredCredentialError):
        read_revocations(blob, TRUSTED, now_s=NOW_S + MAX_TOKEN_S)
    with pytest.raises(DamagedCredentialError):
        read_revocations(sign_token(TOKEN, KEY), TRUSTED, now_s=NOW_S)


# -- who is believed -------------------------------------------------------------------------------


def test_a_domain_without_the_folder_has_no_accounts(tmp_path: Path) -> None:
    assert load_issuers(tmp_path / "accounts") is None
    assert not serves_accounts(tmp_path / "accounts")


def test_whoever_is_made_an_issuer_is_believed(tmp_path: Path) -> None:
    folder = tmp_path / "accounts"
    issuers = make_issuers(folder)
    assert issuers.keys == {issuers.accounts_key().public, issuers.programs_key().public}
    assert serves_accounts(folder)
    assert make_issuers(folder) == issuers == load_issuers(folder)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_server_needs_no_key_of_the_accounts(tmp_path: Path) -> None:
    folder = tmp_path / "accounts"
    make_issuers(folder)
    (folder / "accounts.key").unlink()
    issuers = load_issuers(folder)
    assert issuers is not None
    assert issuers.programs_key().public in issuers.keys
    assert not serves_accounts(folder)
    with pytest.raises(BadConfigurationError, match=r"accounts\.key"):
        issuers.accounts_key()


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"format": "pykarabo accounts 1", "service": "A", "issuers": {}}',
     json.dumps({"format": "pykarabo accounts 1", "service": "A", "issuers": {"a": "xyz"}}),
     json.dumps({"format": "pykarabo accounts 9", "service": "A", "issuers": {"a": "00"}})],
)  # fmt: skip
def test_a_folder_that_tells_nothing_is_not_taken_for_none(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadConfigurationError, match="copy it anew"):
        load_issuers(tmp_path)
    file = tmp_path / "trust.json"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(BadConfigurationError, match="copy it anew"):
        load_issuers(tmp_path)


def test_X11_keys_that_others_may_read_are_not_used(tmp_path: Path) -> None:
    issuers = make_issuers(tmp_path)
    for name in ("accounts.key", "programs.key", "trust.json"):
        (tmp_path / name).chmod(0o640)
    with pytest.raises(BadConfigurationError, match="mode 640"):
        issuers.programs_key()
    with pytest.raises(BadConfigurationError, match="mode 640"):
        issuers.accounts_key()
    with pytest.raises(BadConfigurationError, match="mode 640"):
        load_issuers(tmp_path)
