"""`login`, `logout`, `whoami` and `user`: as a new administrator and his users type them."""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import pexpect
import psutil
import pytest

from pykarabo.cli import run
from pykarabo.cli._logging_in import _seconds
from pykarabo.client import LOGIN_VARIABLE, login_file
from pykarabo.data import AccessLevel
from pykarabo.device import serve
from pykarabo.errors import BadInputError
from pykarabo.testing import until_blocking
from pykarabo.transport import accounts_folder

from .conftest import ADMIN, PASSWORD, PROBE, Facility, Probe, highest

_PROGRAM: Final = [sys.executable, "-m", "pykarabo"]
_WAIT_S: Final = 20
_ALICE: Final = "down the rabbit hole"


class _Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class _Shell:
    """Runs the command line in the test's process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *arguments: str, text: str = "") -> _Done:
        """Run a command with some input."""
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        with pytest.raises(SystemExit) as ended:
            run(list(arguments))
        shown = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return _Done(ended.value.code, shown.out, shown.err)

    def well(self, *arguments: str, text: str = "") -> str:
        """Run a command that ends well; returns what it writes."""
        done = self.run(*arguments, text=text)
        assert done.code == 0, done
        return done.out


@pytest.fixture
def shell(
    short_runtime: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> _Shell:
    """Return the command line of the test's domain."""
    assert short_runtime.exists()
    monkeypatch.setenv("PYKARABO_ROLE", "")
    return _Shell(capsys, monkeypatch)


def test_a_day_of_a_user(facility: Facility, shell: _Shell) -> None:
    facility.ask(facility.admin(), "add_user", "alice", _ALICE, "operator", "expert")
    assert shell.well("logout") == "nobody was logged in\n"
    told = shell.run("whoami", "--json").json
    assert (told["role"], told["until_s"]) == ("OBSERVER", None)
    assert "nobody has logged in here: pykarabo login" in shell.well("whoami")
    done = shell.run("set", f"{PROBE}.log_level=DEBUG")
    assert done.code == 3
    assert "needs the role expert" in done.err
    assert "nobody has logged in here: pykarabo login" in done.err

    assert "alice: operator in domain" in shell.well("login", "alice", text=_ALICE)
    assert login_file().stat().st_mode & 0o777 == 0o600
    told = shell.run("whoami", "--json").json
    assert (told["user"], told["role"], told["note"]) == ("alice", "OPERATOR", "")
    assert 11.9 * 3600 < told["until_s"] - time.time() < 12 * 3600
    assert shell.run("set", f"{PROBE}.log_level=DEBUG").code == 3
    line = shell.well("login", "alice", "--role", "expert", "--for", "30min", text=_ALICE)
    assert re.search(r"alice: expert in domain \S+ until .*, then operator until", line)
    shell.well("set", f"{PROBE}.log_level=DEBUG")
    assert 0 < shell.run("whoami", "--json").json["until_s"] - time.time() <= 1800
    assert shell.run("user", "list").code == 3
    assert shell.well("logout") == "logged out\n"
    assert not login_file().exists()


def test_a_login_ends_the_one_before(facility: Facility, shell: _Shell) -> None:
    facility.add("alice")
    shell.well("login", "alice", text=PASSWORD)
    first = facility.client(login_file().read_bytes())
    assert highest(first) is AccessLevel.OPERATOR
    shell.well("login", ADMIN, text=PASSWORD)
    until_blocking(lambda: highest(first) is AccessLevel.OBSERVER, timeout_s=2)
    assert shell.run("whoami", "--json").json["user"] == ADMIN


def test_an_administrator_looks_after_users(
    facility: Facility, shell: _Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert facility.client()
    shell.well("login", ADMIN, text=PASSWORD)
    shell.well("user", "add", "alice", "--may-become", "expert", text=_ALICE)
    users = {user["user"]: user for user in shell.run("user", "list", "--json").json}
    assert (users["alice"]["role"], users["alice"]["may_become"]) == ("USER", "EXPERT")
    assert users[ADMIN]["role"] == "ADMINISTRATOR"
    with monkeypatch.context() as other:  # another person with the same user of the host
        other.setenv(LOGIN_VARIABLE, str(tmp_path / "alice.login"))
        shell.well("login", "alice", text=_ALICE)
        assert shell.run("whoami", "--json").json["user"] == "alice"
    assert shell.run("whoami", "--json").json["user"] == ADMIN
    shell.well("user", "disable", "alice")
    with monkeypatch.context() as other:
        other.setenv(LOGIN_VARIABLE, str(tmp_path / "alice.login"))
        assert "the login was ended" in shell.run("whoami", "--json").json["note"]
        done = shell.run("login", "alice", text=_ALICE)
        assert done.code == 3
        assert "'alice' is disabled" in done.err
    assert "disabled" in shell.well("user", "list")
    shell.well("user", "enable", "alice")
    shell.well("user", "role", "alice", "expert")
    shell.well("user", "passwd", "alice", text="through the looking glass")
    shell.well("login", "alice", text="through the looking glass")
    shell.well("user", "passwd", text=f"through the looking glass\n{_ALICE}\n")
    assert shell.run("whoami", "--json").json["role"] == "OBSERVER"
    assert "alice: expert" in shell.well("login", "alice", text=_ALICE)


def test_X11_a_password_is_no_argument(shell: _Shell) -> None:
    assert shell.run("login", "alice", _ALICE).code == 2
    for command in ("login", "user add", "user passwd", "user claim"):
        assert "--password" not in shell.well(*command.split(), "--help")


# -- real processes --------------------------------------------------------------------------------


def _apart(*arguments: str, text: str = "") -> str:
    done = subprocess.run(
        [*_PROGRAM, *arguments], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def test_accounts_are_turned_on_with_three_commands(short_runtime: Path) -> None:
    assert short_runtime.exists()
    code = re.search(r"^code: (\S+)$", _apart("user", "init"), re.M)
    assert code is not None
    try:
        assert "ACCOUNTS/" in _apart("up")
        _apart("user", "claim", "boss", text=f"{code[1]}\n{_ALICE}\n")
        child = pexpect.spawn(
            sys.executable, ["-m", "pykarabo", "login", "boss"], encoding="utf-8", timeout=_WAIT_S
        )
        child.expect("password: ")
        child.sendline(_ALICE)
        child.expect("boss: administrator in domain")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert _ALICE not in str(child.before)
        told = json.loads(_apart("whoami", "--json"))
        assert (told["user"], told["role"]) == ("boss", "ADMINISTRATOR")
    finally:
        pids = [item["pid"] for item in json.loads(_apart("status", "--json"))["servers"]]
        stopped = _apart("down")
        until_blocking(lambda: not any(map(psutil.pid_exists, pids)), timeout_s=_WAIT_S)
    assert "ended by" not in stopped


def test_without_accounts_there_is_nothing_to_log_in_to(shell: _Shell) -> None:
    with serve({PROBE: Probe}, server_id="T/SERVER"):
        told = shell.run("whoami", "--json").json
        assert (told["role"], told["until_s"], told["note"]) == ("ADMINISTRATOR", None, "")
        for arguments in (("login", "alice"), ("user", "list")):
            done = shell.run(*arguments, text=_ALICE)
            assert done.code == 3
            assert "has no accounts" in done.err
            assert "pykarabo user init" in done.err
        done = shell.run("user", "init")
        assert done.code == 3
        assert "is running without accounts; nothing was changed" in done.err
        assert not accounts_folder().exists()


def test_init_again_shows_another_code_and_keeps_the_keys(shell: _Shell) -> None:
    first, keys = shell.run("user", "init", "--json").json, accounts_folder()
    before = {path.name: path.read_bytes() for path in keys.glob("*.[jk]*")}
    assert set(before) == {"accounts.key", "programs.key", "trust.json"}
    again = shell.run("user", "init", "--json").json
    assert (first["new"], again["new"]) == (True, False)
    assert first["code"] != again["code"]
    assert {path.name: path.read_bytes() for path in keys.glob("*.[jk]*")} == before
    assert not [name for name in os.listdir(keys) if name not in {*before, "first.code"}]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30min", 1_800), ("2h", 7_200), ("1h30m", 5_400), ("90 s", 90), (" 1h 1min 1s ", 3_661)],
)
def test_times_are_written_as_people_do(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0min", "soon", "-1h", "1d", "30", "1e3s"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="is no time"):
        _seconds(text)
