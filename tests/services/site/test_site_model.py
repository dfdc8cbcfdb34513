"""What the authority of a site decides, in its own time."""

import json
from typing import Final

import pytest

from pykarabo.errors import (
    BadConfigurationError,
    DeniedError,
    DuplicateDeviceError,
    InvalidNameError,
    OutOfRangeError,
    PykaraboError,
)
from pykarabo.trust import GRANT_LIFE_S, MemberRole
from pykarabo_services.site.model import OVERLAP_S, SiteState

NOW_S: Final = 1_800_000_000.0
DAY_S: Final = 86_400.0
KEY: Final = b"k" * 32
OTHER: Final = b"o" * 32
ASK: Final = "ask the administrator for another one: pykarabo site invite"


@pytest.fixture
def state() -> SiteState:
    return SiteState("192.0.2.1", 45450)


def _invite(state: SiteState, role: MemberRole = MemberRole.SERVER, **more: object) -> str:
    return state.invite(role, ttl_s=900.0, now_s=NOW_S, **more)  # type: ignore[arg-type]


def _enrol(state: SiteState, code: str, key: bytes = KEY, now_s: float = NOW_S) -> None:
    state.enrol(code, key, name="ops@ctrl2", host="ctrl2", now_s=now_s)


def test_who_is_invited_joins_for_90_days_at_most(state: SiteState) -> None:
    _enrol(state, _invite(state))
    grant = state.granted(()).require(KEY, now_s=NOW_S)
    assert (grant.name, grant.role, grant.host) == ("ops@ctrl2", MemberRole.SERVER, "ctrl2")
    assert grant.expires_s - grant.issued_s == 90 * DAY_S


@pytest.mark.parametrize(
    ("now_s", "code", "message"),
    [
        (NOW_S + 900, None,
         f"this invitation has expired: it was valid until 2027-01-15 08:15:00 UTC - {ASK}"),
        (NOW_S, "AAAA-BBBB-CCCC-DDDD", f"this code is no invitation to this site - {ASK}"),
    ],
)  # fmt: skip
def test_an_invitation_that_does_not_hold_says_why(
    state: SiteState, now_s: float, code: str | None, message: str
) -> None:
    real = _invite(state)
    with pytest.raises(DeniedError) as refused:
        _enrol(state, code or real, now_s=now_s)
    assert str(refused.value) == message
    assert not state.grants


def test_an_invitation_works_once(state: SiteState) -> None:
    code = _invite(state)
    _enrol(state, code)
    with pytest.raises(DeniedError, match="was used by 'ops@ctrl2' at 2027-01-15 08:00:00 UTC"):
        _enrol(state, code, OTHER)
    assert list(state.grants) == [KEY]


def test_an_invitation_by_name_is_for_nobody_else(state: SiteState) -> None:
    _enrol(state, _invite(state, name="web@dmz"))
    assert state.grants[KEY].name == "web@dmz"


def test_nobody_takes_the_place_of_a_member(state: SiteState) -> None:
    _enrol(state, _invite(state))
    code = _invite(state)
    with pytest.raises(DuplicateDeviceError, match="pykarabo site revoke ops@ctrl2; else join"):
        _enrol(state, code, OTHER)
    state.revoke("ops@ctrl2", now_s=NOW_S)
    _enrol(state, code, OTHER)


@pytest.mark.parametrize("ttl_s", [0, -1, DAY_S + 1])
def test_an_invitation_is_for_minutes_or_hours(state: SiteState, ttl_s: float) -> None:
    with pytest.raises(OutOfRangeError, match="give between 1s and 24h"):
        state.invite(MemberRole.SERVER, ttl_s=ttl_s, now_s=NOW_S)


@pytest.mark.parametrize(
    ("role", "outputs"), [(MemberRole.BRIDGE, ()), (MemberRole.SERVER, ("A:images",))]
)
def test_a_bridge_and_nobody_else_is_told_what_it_may_read(
    state: SiteState, role: MemberRole, outputs: tuple[str, ...]
) -> None:
    with pytest.raises(BadConfigurationError, match="--role bridge --output"):
        _invite(state, role, outputs=outputs)


@pytest.mark.parametrize("name", ["a b", "a\nb", "x" * 65, "a/b"])
def test_a_name_is_one_word(state: SiteState, name: str) -> None:
    with pytest.raises(InvalidNameError, match="--name ops@ctrl2"):
        _invite(state, name=name)
    with pytest.raises(InvalidNameError):
        state.enrol(_invite(state), KEY, name=name, host="h", now_s=NOW_S)


def test_a_grant_is_renewed_a_month_before_it_ends(state: SiteState) -> None:
    _enrol(state, _invite(state))
    assert not state.renew(KEY, NOW_S + 59 * DAY_S)
    number = state.number
    assert state.renew(KEY, NOW_S + 61 * DAY_S)
    assert state.number == number + 1
    assert state.grants[KEY].expires_s == NOW_S + (61 + 90) * DAY_S


def test_a_grant_that_has_ended_or_is_unknown_is_not_renewed(state: SiteState) -> None:
    _enrol(state, _invite(state))
    assert not state.renew(KEY, NOW_S + GRANT_LIFE_S)
    assert not state.renew(OTHER, NOW_S)


def test_a_replaced_key_is_good_for_another_day_and_is_not_renewed(state: SiteState) -> None:
    _enrol(state, _invite(state))
    later_s = NOW_S + 61 * DAY_S
    new = state.replace_key(KEY, OTHER, now_s=later_s)
    assert (new.key, new.name, new.role) == (OTHER, "ops@ctrl2", MemberRole.SERVER)
    listed = state.granted(())
    listed.require(KEY, now_s=later_s + OVERLAP_S - 1)
    listed.require(OTHER, now_s=later_s)
    assert not state.renew(KEY, later_s)
    with pytest.raises(PykaraboError):
        listed.require(KEY, now_s=later_s + OVERLAP_S)


@pytest.mark.parametrize("role", [MemberRole.ACCOUNTS, MemberRole.DIRECTORY])
def test_who_keeps_the_accounts_vouches_for_users(state: SiteState, role: MemberRole) -> None:
    state.admit(KEY, role, name="ops@ctrl1", host="ctrl1", now_s=NOW_S)
    state.let_vouch(KEY, b"i" * 32, now_s=NOW_S)
    assert state.granted(()).issuers(now_s=NOW_S) == {b"i" * 32}
    assert not state.granted(()).issuers(now_s=NOW_S + GRANT_LIFE_S)
    if role is MemberRole.ACCOUNTS:
        state.revoke("ctrl1", now_s=NOW_S)
        assert not state.granted(()).issuers(now_s=NOW_S)


def test_the_authority_does_not_shut_itself_out(state: SiteState) -> None:
    state.admit(KEY, MemberRole.DIRECTORY, name="ops@ctrl1", host="ctrl1", now_s=NOW_S)
    for name in ("ops@ctrl1", "ctrl1"):
        with pytest.raises(DeniedError, match="is where the site is administered"):
            state.revoke(name, now_s=NOW_S)


def test_nobody_else_vouches_for_users(state: SiteState) -> None:
    _enrol(state, _invite(state))
    with pytest.raises(DeniedError, match="is a server of this site, and vouches for no users"):
        state.let_vouch(KEY, b"i" * 32, now_s=NOW_S)


def test_who_has_no_grant_replaces_no_key(state: SiteState) -> None:
    with pytest.raises(DeniedError, match="has no grant"):
        state.replace_key(KEY, OTHER, now_s=NOW_S)


@pytest.mark.parametrize("name", ["ops@ctrl2", "ctrl2"])
def test_a_member_or_a_host_is_shut_out_with_all_of_its_keys(state: SiteState, name: str) -> None:
    _enrol(state, _invite(state))
    state.replace_key(KEY, OTHER, now_s=NOW_S)
    assert {grant.key for grant in state.revoke(name, now_s=NOW_S)} == {KEY, OTHER}
    for key in (KEY, OTHER):
        with pytest.raises(DeniedError, match="was revoked at 2027-01-15 08:00:00 UTC"):
            state.granted(()).require(key, now_s=NOW_S)


def test_who_is_not_there_cannot_be_shut_out(state: SiteState) -> None:
    _enrol(state, _invite(state))
    with pytest.raises(InvalidNameError, match=r"'ops@ctrl3' - there are: ops@ctrl2"):
        state.revoke("ops@ctrl3", now_s=NOW_S)


def test_each_change_of_members_has_a_number(state: SiteState) -> None:
    code = _invite(state)
    assert state.number == 0
    _enrol(state, code)
    state.revoke("ctrl2", now_s=NOW_S)
    assert state.number == 2


def test_what_is_kept_is_all_and_no_code(state: SiteState) -> None:
    code = _invite(state, MemberRole.BRIDGE, outputs=("HALL/*:images",))
    _enrol(state, code)
    _enrol_other = _invite(state)
    state.revoke("ctrl2", now_s=NOW_S)
    text = json.dumps(state.to_json())
    assert SiteState.from_json(json.loads(text)) == state
    assert code not in text
    assert _enrol_other not in text
    assert code.replace("-", "") not in text


def test_what_nobody_asks_for_any_more_is_forgotten(state: SiteState) -> None:
    _enrol(state, _invite(state))
    state.revoke("ctrl2", now_s=NOW_S)
    state.invite(MemberRole.SERVER, ttl_s=900, now_s=NOW_S + 91 * DAY_S)
    assert len(state.invitations) == 1
    assert not state.revoked
