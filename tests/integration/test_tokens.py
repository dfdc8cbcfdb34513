"""What a token gives a right to in the servers of a domain with accounts."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import DIRECTORY_ID, BlockingClient, Client, login_file, own_proofs
from pykarabo.data import AccessLevel, Bytes, Int64
from pykarabo.device import ENDED_KEY, Device, command, serve
from pykarabo.errors import BadConfigurationError, DeniedError
from pykarabo.testing import until_blocking
from pykarabo.transport import accounts_folder, data_directory
from pykarabo.trust import (
    ACCOUNTS_ID,
    Issuers,
    Revocations,
    SigningKey,
    Token,
    make_issuers,
    replace_private,
    sign_revocations,
    sign_token,
)
from pykarabo.wire import Call

_PROBE: Final = "T/PROBE/1"
_SERVER: Final = "T/SERVER"
_LEVELS: Final = {level: f"run_{level.name.lower()}" for level in AccessLevel}


def _runner(level: AccessLevel) -> Any:
    async def run(self: Any) -> str:
        self.executed += 1
        return str(self.caller.identity.user)

    return command(access_level=level, name=_LEVELS[level])(run)


class _Base(Device):
    """Has a command of each level."""

    executed = Int64(read_only=True)


_Probe: Final = type("_Probe", (_Base,), {_LEVELS[level]: _runner(level) for level in AccessLevel})


class _Teller(Device):
    """Tells of ended logins as the accounts service does."""

    ended_logins = Bytes(read_only=True)

    @command(access_level=AccessLevel.OBSERVER)
    async def tell(self, ended: bytes) -> None:
        """Tell it."""
        self.ended_logins = ended


assert hasattr(_Teller, ENDED_KEY)


@pytest.fixture
def issuers(short_runtime: Path) -> Iterator[Issuers]:
    """Serve a probe in a domain with accounts."""
    assert short_runtime.exists()
    made = make_issuers(accounts_folder())
    with serve({_PROBE: _Probe, ACCOUNTS_ID: _Teller}, server_id=_SERVER):
        yield made


def _token(**changes: Any) -> Token:
    now_s = time.time()
    token = Token(
        user="alice",
        role=AccessLevel.OPERATOR,
        domain=os.environ["PYKARABO_DOMAIN"],
        login="1f",
        bound=own_proofs(),
        issued_s=now_s,
        expires_s=now_s + 600,
    )
    return replace(token, **changes)


def _as(blob: bytes) -> BlockingClient:
    return BlockingClient(login=lambda: blob)


def _call(client: BlockingClient, device_id: str, name: str, *args: Any) -> Any:
    return client.request(device_id, Call(device_id, name, list(args)))


async def _acall(client: Client, device_id: str, name: str) -> Any:
    return await client.request(device_id, Call(device_id, name))


def _highest(client: BlockingClient) -> AccessLevel:
    """Return the highest level of whose commands the client may run, by trying all of them."""
    allowed = [level for level in AccessLevel if _may(client, level)]
    assert allowed == [level for level in AccessLevel if level <= allowed[-1]]
    return allowed[-1]


def _may(client: BlockingClient, level: AccessLevel) -> bool:
    try:
        _call(client, _PROBE, _LEVELS[level])
    except DeniedError:
        return False
    return True


def test_without_a_token_one_may_look(issuers: Issuers) -> None:
    assert issuers.keys
    with _as(b"") as client:
        assert client.read(_PROBE, ["executed"])
        assert _highest(client) is AccessLevel.OBSERVER
        with pytest.raises(DeniedError, match="nobody has logged in here: pykarabo login"):
            _call(client, _PROBE, _LEVELS[AccessLevel.USER])


@pytest.mark.parametrize("role", AccessLevel)
def test_a_token_gives_its_role_and_its_user(issuers: Issuers, role: AccessLevel) -> None:
    blob = sign_token(_token(role=role), issuers.accounts_key())
    with _as(blob) as client:
        assert _highest(client) is role
        assert _call(client, _PROBE, _LEVELS[AccessLevel.OBSERVER]) == "alice"


def test_who_asks_for_less_gets_less(issuers: Issuers) -> None:
    blob = sign_token(_token(role=AccessLevel.EXPERT), issuers.accounts_key())
    with BlockingClient(role="user", login=lambda: blob) as client:
        assert _highest(client) is AccessLevel.USER


def test_X2_a_token_that_ends_takes_its_role_with_it_in_a_session_that_goes_on(
    issuers: Issuers,
) -> None:
    now_s = time.time()
    token = _token(
        issued_s=now_s, raised=AccessLevel.EXPERT, raised_s=now_s + 1, expires_s=now_s + 2
    )
    with _as(sign_token(token, issuers.accounts_key())) as client:
        assert _may(client, AccessLevel.EXPERT)
        until_blocking(lambda: not _may(client, AccessLevel.EXPERT), timeout_s=5)
        assert time.time() > now_s + 1
        assert _may(client, AccessLevel.OPERATOR)
        until_blocking(lambda: not _may(client, AccessLevel.USER), timeout_s=5)
        assert time.time() > now_s + 2
        with pytest.raises(DeniedError, match=r"has expired.*pykarabo login"):
            _call(client, _PROBE, _LEVELS[AccessLevel.USER])
        assert _call(client, _PROBE, _LEVELS[AccessLevel.OBSERVER]) == "alice"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bound": ("uid:99999999", "key:" + 64 * "0")}, "was given to somebody else"),
        ({"bound": ()}, "was given to somebody else"),
        ({"bound": ("",)}, "was given to somebody else"),
        ({"domain": "elsewhere"}, "is for domain 'elsewhere'"),
        ({"issued_s": 1.0, "expires_s": 2.0}, "has expired"),
    ],
    ids=repr,
)
def test_a_token_that_is_not_for_here_gives_nothing(
    issuers: Issuers, change: dict[str, Any], reason: str
) -> None:
    with _as(sign_token(_token(**change), issuers.accounts_key())) as client:
        assert _highest(client) is AccessLevel.OBSERVER
        with pytest.raises(DeniedError, match=reason):
            _call(client, _PROBE, _LEVELS[AccessLevel.USER])


@pytest.mark.parametrize("blob", [b"x", b"\xc0", bytes(4_096)], ids=["x", "none", "zeros"])
def test_nonsense_gives_nothing_and_harms_nobody(issuers: Issuers, blob: bytes) -> None:
    assert issuers.keys
    with _as(blob) as client:
        assert _highest(client) is AccessLevel.OBSERVER


def test_a_token_that_somebody_else_has_signed_gives_nothing(issuers: Issuers) -> None:
    assert issuers.keys
    with _as(sign_token(_token(role=AccessLevel.ADMINISTRATOR), SigningKey.make())) as client:
        assert _highest(client) is AccessLevel.OBSERVER
        with pytest.raises(DeniedError, match="whom nobody here trusts"):
            _call(client, _PROBE, _LEVELS[AccessLevel.USER])


# -- logging in and out while programs run ---------------------------------------------------------


def test_a_program_that_runs_uses_the_login_that_comes(issuers: Issuers) -> None:
    with BlockingClient() as client:
        assert _highest(client) is AccessLevel.OBSERVER
        blob = sign_token(_token(role=AccessLevel.EXPERT), issuers.accounts_key())
        replace_private(login_file(), blob)
        assert _call(client, _PROBE, _LEVELS[AccessLevel.EXPERT]) == "alice"
        assert client.role_at(_PROBE) is AccessLevel.EXPERT


def test_so_does_one_that_runs_an_event_loop_and_loses_no_call(issuers: Issuers) -> None:
    async def scenario() -> None:
        async with Client() as client:
            with pytest.raises(DeniedError):
                await _acall(client, _PROBE, _LEVELS[AccessLevel.EXPERT])
            blob = sign_token(_token(role=AccessLevel.EXPERT), issuers.accounts_key())
            replace_private(login_file(), blob)
            calls = [_acall(client, _PROBE, _LEVELS[AccessLevel.EXPERT]) for _ in range(20)]
            assert await asyncio.gather(*calls) == 20 * ["alice"]
            assert await client.role_at(_PROBE) is AccessLevel.EXPERT
            values = await client.read(_PROBE, ["executed"])
            assert values["executed"].value == 20

    asyncio.run(scenario())


def test_a_login_that_others_may_read_is_not_shown(issuers: Issuers) -> None:
    replace_private(login_file(), sign_token(_token(), issuers.accounts_key()))
    login_file().chmod(0o644)
    with BlockingClient() as client, pytest.raises(BadConfigurationError, match="your login"):
        _call(client, _PROBE, _LEVELS[AccessLevel.OBSERVER])


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(lambda now_s: Revocations({"alice": now_s}, {}), id="user"),
        pytest.param(lambda now_s: Revocations({}, {"1f": now_s}), id="login"),
    ],
)
def test_a_login_that_is_ended_takes_its_role_with_it_within_2_s(
    issuers: Issuers, ended: Callable[[float], Revocations]
) -> None:
    key = issuers.accounts_key()
    blob = sign_token(_token(role=AccessLevel.EXPERT), key)
    with _as(blob) as client:
        assert _may(client, AccessLevel.EXPERT)
        began_s = time.time()
        told = sign_revocations(ended(began_s), key, now_s=began_s)
        _call(client, ACCOUNTS_ID, "tell", told)
        until_blocking(lambda: not _may(client, AccessLevel.USER), timeout_s=2)
        with pytest.raises(DeniedError, match="the login was ended: pykarabo login"):
            _call(client, _PROBE, _LEVELS[AccessLevel.USER])
    with _as(blob) as client:
        assert _highest(client) is AccessLevel.OBSERVER
    later = sign_token(_token(login="20"), key)
    with _as(later) as client:
        assert _highest(client) is AccessLevel.OPERATOR


def test_who_is_no_issuer_ends_no_login(issuers: Issuers) -> None:
    blob = sign_token(_token(), issuers.accounts_key())
    now_s = time.time()
    told = sign_revocations(Revocations({"alice": now_s}, {}), SigningKey.make(), now_s=now_s)
    with _as(blob) as client:
        _call(client, ACCOUNTS_ID, "tell", told)
        _call(client, ACCOUNTS_ID, "tell", b"nonsense")
        assert _highest(client) is AccessLevel.OPERATOR


def test_a_server_that_is_started_again_knows_which_logins_have_ended(short_runtime: Path) -> None:
    assert short_runtime.exists()
    key = make_issuers(accounts_folder()).accounts_key()
    blob = sign_token(_token(), key)
    with serve({_PROBE: _Probe, ACCOUNTS_ID: _Teller}, server_id=_SERVER), _as(blob) as client:
        assert _may(client, AccessLevel.OPERATOR)
        now_s = time.time()
        told = sign_revocations(Revocations({"alice": now_s}, {}), key, now_s=now_s)
        _call(client, ACCOUNTS_ID, "tell", told)
        until_blocking(lambda: not _may(client, AccessLevel.OPERATOR), timeout_s=2)
    (kept,) = (data_directory() / "accounts").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    with serve({_PROBE: _Probe}, server_id=_SERVER), _as(blob) as client:
        assert _highest(client) is AccessLevel.OBSERVER


# -- programs of the domain ------------------------------------------------------------------------


def test_a_server_without_the_key_of_programs_does_not_start(short_runtime: Path) -> None:
    assert short_runtime.exists()
    make_issuers(accounts_folder())
    (accounts_folder() / "programs.key").unlink()
    with (
        pytest.raises(BadConfigurationError, match=r"programs\.key"),
        serve({_PROBE: _Probe}, server_id=_SERVER),
    ):
        pytest.fail("it serves")


def test_who_is_no_program_of_the_domain_registers_nothing(issuers: Issuers) -> None:
    blob = sign_token(_token(role=AccessLevel.EXPERT), issuers.accounts_key())
    with _as(blob) as client, pytest.raises(DeniedError, match="needs the role administrator"):
        client.directory("register", {}, [], {})
    with _as(blob) as client:
        assert client.role_at(DIRECTORY_ID) is AccessLevel.EXPERT


# -- over TCP --------------------------------------------------------------------------------------


def test_over_tcp_a_token_is_bound_to_the_key_of_the_connection(processes: Any) -> None:
    key = make_issuers(accounts_folder()).accounts_key()
    processes.start("S/0", directory=True)
    processes.start("S/1", "COUNT/1", host="127.0.0.1")
    mine = own_proofs()
    assert [proof.partition(":")[0] for proof in mine] == ["uid", "key"]
    with _as(sign_token(_token(bound=mine[1:]), key)) as client:
        assert _call(client, "COUNT/1", "count") == 1
    for bound in (mine[:1], ("key:" + 64 * "a",)):
        with _as(sign_token(_token(bound=bound), key)) as client:
            with pytest.raises(DeniedError, match="was given to somebody else"):
                _call(client, "COUNT/1", "count")
            assert client.read("COUNT/1", ["state"])


@pytest.mark.nightly
def test_a_server_that_knows_nothing_of_the_accounts_does_not_serve(
    issuers: Issuers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert issuers.keys
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    with (
        pytest.raises(DeniedError, match=r"'DIRECTORY\.register' needs the role"),
        serve({"T/PROBE/2": _Probe}, server_id="T/OTHER"),
    ):
        pytest.fail("it serves")
