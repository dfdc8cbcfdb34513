"""The list of grants says who belongs to a site, to whoever knows the site's key."""

import dataclasses
from typing import Final

import pytest

from pykarabo.errors import (
    ClockError,
    DamagedCredentialError,
    DeniedError,
    ExpiredCredentialError,
    InvalidNameError,
    WrongSignerError,
)
from pykarabo.trust import (
    GRANT_LIFE_S,
    Grant,
    GrantList,
    JoinString,
    MemberRole,
    Revocation,
    SigningKey,
    code_digest,
    make_code,
    sign,
)

SITE: Final = SigningKey.make()
NOW_S: Final = 1_800_000_000.0
DAY_S: Final = 86_400.0
SERVER: Final = Grant(
    b"s" * 32, "ops@ctrl1", MemberRole.SERVER, "ctrl1", NOW_S, NOW_S + GRANT_LIFE_S
)
BRIDGE: Final = Grant(
    b"b" * 32, "web@dmz", MemberRole.BRIDGE, "dmz", NOW_S, NOW_S + DAY_S, ("HALL/*:images",)
)
LIST: Final = GrantList(
    7,
    (SITE.public,),
    (f"tcp://192.0.2.1:45451#{SERVER.key.hex()}",),
    {grant.key: grant for grant in (SERVER, BRIDGE)},
    {b"r" * 32: Revocation("ops@lost", NOW_S)},
)
JOIN_ANEW: Final = (
    "ask the site's administrator for an invitation ('pykarabo site invite') and join anew"
)


def test_a_list_is_read_as_it_was_signed() -> None:
    blob = LIST.signed(SITE, now_s=NOW_S)
    assert GrantList.opened(blob, {SITE.public}, now_s=NOW_S) == LIST


def test_a_list_of_another_site_is_not_believed() -> None:
    blob = LIST.signed(SigningKey.make(), now_s=NOW_S)
    with pytest.raises(WrongSignerError):
        GrantList.opened(blob, LIST.signers, now_s=NOW_S)


def test_a_list_that_nobody_has_signed_anew_holds_for_90_days() -> None:
    blob = LIST.signed(SITE, now_s=NOW_S)
    with pytest.raises(ExpiredCredentialError, match="start the site's service"):
        GrantList.opened(blob, LIST.signers, now_s=NOW_S + 90 * DAY_S)


_EMPTY: Final = {"number": 1, "signers": [], "directories": [], "revoked": []}


@pytest.mark.parametrize(
    "claims", [{}, {"number": "x"}, _EMPTY | {"grants": [[b"short", *"abcdefg"]]}]
)
def test_a_list_that_is_none_is_refused(claims: dict[str, object]) -> None:
    blob = sign(claims, SITE, purpose="list of grants", issued_s=NOW_S, expires_s=NOW_S + DAY_S)
    with pytest.raises(DamagedCredentialError, match="update pykarabo"):
        GrantList.opened(blob, {SITE.public}, now_s=NOW_S)


def test_a_key_with_a_grant_is_known() -> None:
    assert LIST.require(SERVER.key, now_s=NOW_S) == SERVER


@pytest.mark.parametrize(
    ("key", "now_s", "error", "message"),
    [
        (b"x" * 32, NOW_S, DeniedError,
         f"the key 7878787878787878 has no grant of this site - {JOIN_ANEW}"),
        (b"r" * 32, NOW_S, DeniedError,
         f"the grant of 'ops@lost' was revoked at 2027-01-15 08:00:00 UTC - {JOIN_ANEW}"),
        (BRIDGE.key, NOW_S + DAY_S, ExpiredCredentialError,
         "the grant of 'web@dmz' has expired: it was valid until 2027-01-16 08:00:00 UTC, and this "
         f"host's clock shows 2027-01-16 08:00:00 UTC - if that clock is right, {JOIN_ANEW}"),
        (SERVER.key, NOW_S - DAY_S, ClockError,
         "the grant of 'ops@ctrl1' is valid from 2027-01-15 08:00:00 UTC, and this host's clock "
         "shows 2027-01-14 08:00:00 UTC: one of the two clocks is wrong - set the clocks of both "
         "hosts ('timedatectl set-ntp true')"),
    ],
)  # fmt: skip
def test_a_refusal_names_cause_and_remedy(
    key: bytes, now_s: float, error: type[DeniedError], message: str
) -> None:
    with pytest.raises(error) as refused:
        LIST.require(key, now_s=now_s)
    assert str(refused.value) == message


def test_a_grant_that_was_revoked_is_no_grant_even_where_it_is_still_listed() -> None:
    revoked = dataclasses.replace(LIST, revoked={SERVER.key: Revocation("ops@ctrl1", NOW_S)})
    with pytest.raises(DeniedError, match="was revoked"):
        revoked.require(SERVER.key, now_s=NOW_S)


def test_only_who_may_serve_is_taken_for_a_server() -> None:
    assert LIST.require_server(SERVER.key, now_s=NOW_S) == SERVER
    with pytest.raises(DeniedError, match="'web@dmz' listens there, and its grant is that of a b"):
        LIST.require_server(BRIDGE.key, now_s=NOW_S)


# -- invitations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["192.0.2.1", "ctrl1.example.org", "2001:db8::1"])
def test_a_join_string_is_read_as_it_was_written(host: str) -> None:
    joined = JoinString(host, 45450, b"k" * 32)
    assert JoinString.parse(f" {joined}\n") == joined


def test_a_join_string_tells_where_the_service_listens() -> None:
    assert JoinString("2001:db8::1", 45450, b"k" * 32).endpoint == "tcp://[2001:db8::1]:45450"


@pytest.mark.parametrize(
    "text",
    ["", "pk://h:1", "pk://h#" + "0" * 64, "pk://h:1#" + "0" * 63, "tcp://h:1#" + "0" * 64,
     "pk://h:99999#" + "0" * 64, "pk://[h:1#" + "0" * 64],
)  # fmt: skip
def test_half_a_join_string_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError, match="in quotes"):
        JoinString.parse(text)


def test_a_code_may_be_typed_as_people_type() -> None:
    code = make_code()
    assert len(code) == 19
    assert code != make_code()
    assert code_digest(code) == code_digest(f" {code.lower().replace('-', ' ')}\n")
    assert code_digest(code) != code_digest(make_code())
    assert code not in code_digest(code)
