"""A statement holds for its purpose, in its time, and as somebody trusted has signed it."""

import json
from pathlib import Path
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.errors import (
    BadConfigurationError,
    ClockError,
    DamagedCredentialError,
    DeniedError,
    ExpiredCredentialError,
    WrongSignerError,
)
from pykarabo.trust import (
    CLOCK_TOLERANCE_S,
    SigningKey,
    load_signing_key,
    make_signing_key,
    sign,
    verify,
)

_pack: Final[Any] = msgpack.packb
_unpack: Final[Any] = msgpack.unpackb
KEY: Final = SigningKey.make()
DAY_S: Final = 86_400.0
NOW_S: Final = 1_800_000_000.0
CLAIMS: Final = {"name": "ops@ctrl1", "roles": ["server"], "key": b"\1" * 32, "none": None}
BLOB: Final = sign(CLAIMS, KEY, purpose="grant", issued_s=NOW_S, expires_s=NOW_S + DAY_S)


def _verify(blob: bytes = BLOB, now_s: float = NOW_S, purpose: str = "grant") -> Any:
    return verify(blob, {KEY.public}, purpose=purpose, now_s=now_s, remedy="join anew")


def test_what_was_signed_is_what_is_read() -> None:
    statement = _verify()
    assert statement.claims == CLAIMS
    assert (statement.issued_s, statement.expires_s) == (NOW_S, NOW_S + DAY_S)
    assert statement.signer == KEY.public


def test_a_grant_is_no_token() -> None:
    with pytest.raises(DamagedCredentialError, match="another purpose and no token"):
        _verify(purpose="token")


def test_a_grant_whose_label_is_changed_is_no_token() -> None:
    parts = _unpack(BLOB)
    parts[1] = "token"
    with pytest.raises(DamagedCredentialError, match="the token was changed after signing"):
        _verify(_pack(parts), purpose="token")


def test_an_expired_one_says_when_and_what_to_do() -> None:
    with pytest.raises(ExpiredCredentialError) as refused:
        _verify(now_s=NOW_S + DAY_S)
    assert str(refused.value) == (
        "the grant of 'ops@ctrl1' has expired: it was valid until 2027-01-16 08:00:00 UTC, and "
        "this host's clock shows 2027-01-16 08:00:00 UTC - if that clock is right, join anew"
    )


def test_one_of_the_future_names_the_clock() -> None:
    assert _verify(now_s=NOW_S - CLOCK_TOLERANCE_S)
    with pytest.raises(ClockError) as refused:
        _verify(now_s=NOW_S - DAY_S)
    assert str(refused.value) == (
        "the grant of 'ops@ctrl1' is valid from 2027-01-15 08:00:00 UTC, and this host's clock "
        "shows 2027-01-14 08:00:00 UTC: one of the two clocks is wrong - set the clocks of both "
        "hosts ('timedatectl set-ntp true')"
    )


def test_a_stranger_is_not_believed() -> None:
    other = SigningKey.make()
    blob = sign(CLAIMS, other, purpose="grant", issued_s=NOW_S, expires_s=NOW_S + DAY_S)
    with pytest.raises(WrongSignerError, match=other.public.hex()[:16]):
        _verify(blob)


def test_nobody_signs_in_the_name_of_another() -> None:
    parts = _unpack(
        sign(CLAIMS, SigningKey.make(), purpose="grant", issued_s=NOW_S, expires_s=NOW_S + DAY_S)
    )
    parts[2] = KEY.public
    with pytest.raises(DamagedCredentialError, match="changed after signing"):
        _verify(_pack(parts))


@given(st.integers(0, len(BLOB) * 8 - 1))
def test_no_bit_can_be_changed(bit: int) -> None:
    changed = bytearray(BLOB)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DeniedError):
        _verify(bytes(changed))


@given(st.binary(max_size=200))
def test_anything_else_is_refused(blob: bytes) -> None:
    with pytest.raises(DamagedCredentialError):
        _verify(blob)


@given(st.integers(0, len(BLOB) - 1))
def test_a_cut_one_is_refused(length: int) -> None:
    with pytest.raises(DamagedCredentialError):
        _verify(BLOB[:length])


def test_what_is_too_large_is_not_decoded() -> None:
    with pytest.raises(DamagedCredentialError):
        _verify(BLOB + bytes(8 * 2**20))


@pytest.mark.parametrize("content", [[1, 2.0, 3.0], [{}, "x", 3.0], [{}, 2.0], {}, None])
def test_a_signed_statement_without_sense_is_refused(content: object) -> None:
    packed = _pack(content)
    signature = KEY.signature_of(b"pykarabo signed 1\0grant\0" + packed)
    blob = _pack([b"pykarabo signed 1", "grant", KEY.public, packed, signature])
    with pytest.raises(DamagedCredentialError, match="says nothing that is known"):
        _verify(blob)


# -- key files ------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "site.key"
    made = make_signing_key(path)
    assert make_signing_key(path) == load_signing_key(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["site.key"]


def test_X11_a_key_shows_no_secret() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert repr(KEY.secret)[2:10] not in repr(KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_X11_a_signing_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.key"
    make_signing_key(path)
    path.chmod(mode)
    with pytest.raises(BadConfigurationError, match=f"its owner alone .mode {mode:o}"):
        load_signing_key(path)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", "\xff",
        json.dumps({"format": "pykarabo domain key 1", "public": "00", "secret": "00"}),
        json.dumps(
            {"format": "pykarabo signing key 1", "public": "00" * 32, "secret": "11" * 32}
        ),
        json.dumps({"format": "pykarabo signing key 1", "public": "00", "secret": 3}),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_signing_key_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "site.key"
    make_signing_key(path)
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadConfigurationError, match=f"{path} is no signing key"):
        load_signing_key(path)


def test_a_key_that_is_not_there_or_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfigurationError, match="cannot be read: No such file"):
        load_signing_key(tmp_path / "site.key")
    with pytest.raises(BadConfigurationError, match="cannot be written"):
        make_signing_key(Path("/proc/nothing/site.key"))
