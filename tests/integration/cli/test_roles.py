"""`whoami`, `--role`, and what somebody who works with a low role is kept from."""

import os
import socket
from typing import Any

import pytest

from pykarabo.client import BlockingClient, connect, wait_until
from pykarabo.errors import ReadOnlyDomainError

pytestmark = pytest.mark.usefixtures("benches")


def test_whoami_tells_user_host_domain_and_role(pykarabo: Any) -> None:
    done = pykarabo("whoami")
    assert done.code == 0, done.err
    domain = os.environ["PYKARABO_DOMAIN"]
    assert done.lines[0].endswith(f" on {socket.gethostname()}")
    assert done.lines[1] == f"administrator in domain {domain}"
    assert pykarabo("--role", "Operator", "whoami").lines[1] == f"operator in domain {domain}"
    told = pykarabo("whoami", "--json").json
    assert (told["role"], told["asked"], told["domain"]) == ("OPERATOR", "OPERATOR", domain)
    assert told["host"] == socket.gethostname()


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "T/BENCH/1.position=1"),
        ("call", "T/BENCH/1.tick"),
        ("instantiate", "Bench", "T/BENCH/3", "--server", "T/SERVER"),
        ("shutdown", "T/BENCH/1"),
        ("shutdown", "T/SERVER"),
        ("up",),
        ("down",),
        ("server", "start", "--id", "T/OTHER"),
        ("bridge", "serve"),
    ],
)
def test_an_observer_changes_nothing(pykarabo: Any, arguments: tuple[str, ...]) -> None:
    done = pykarabo("--role", "observer", *arguments)
    assert done.code == 3, done.out
    assert "observer" in done.err
    assert "nothing was" in done.err
    assert pykarabo("devices", "--json").code == 0
    with BlockingClient(role="administrator") as client:
        found = sorted(record.device_id for record in client.topology())
        assert found == ["DIRECTORY", "T/BENCH/1", "T/BENCH/2", "T/SERVER"]
        assert client.device("T/BENCH/1").get("position", "ticks") == {"position": 0.0, "ticks": 0}


def test_an_observer_sees_everything(pykarabo: Any) -> None:
    for arguments in (
        ("status",), ("devices",), ("classes",), ("show", "T/BENCH/1"), ("get", "T/BENCH/1"),
        ("doctor",), ("doctor", "T/BENCH/1"),
    ):  # fmt: skip
        done = pykarabo("--role", "observer", *arguments)
        assert done.code == 0, done.err + done.out


def test_a_refusal_as_json_has_what_is_needed(
    pykarabo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYKARABO_ROLE", "USER")
    error = pykarabo("call", "T/BENCH/1.tick", "--json").json["error"]
    assert error["code"] == "denied"
    assert error["details"] == {"required": "OPERATOR", "have": "USER"}
    assert (error["device"], error["key"]) == ("T/BENCH/1", "tick")


def test_a_role_that_there_is_not_is_refused_by_name(
    pykarabo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = pykarabo("--role", "boss", "whoami")
    assert done.code == 2
    assert "'boss'" in done.err
    monkeypatch.setenv("PYKARABO_ROLE", "boss")
    done = pykarabo("get", "T/BENCH/1.position")
    assert done.code == 3
    assert "$PYKARABO_ROLE is the role 'boss'" in done.err
    assert "observer, user, operator, expert, administrator" in done.err


def test_the_shell_works_with_the_role_of_the_option(pykarabo: Any) -> None:
    code = "print(connect('T/BENCH/1').count); connect('T/BENCH/1').count = 8"
    done = pykarabo("--role", "observer", "shell", "-c", code)
    assert done.out == "7\n"
    assert done.code != 0
    assert connect("T/BENCH/1", role="operator").count == 7


def test_an_administrator_lets_nobody_else_change_the_domain(pykarabo: Any) -> None:
    domain = os.environ["PYKARABO_DOMAIN"]
    assert pykarabo("read-only").lines == [f"domain {domain} may be changed"]
    done = pykarabo("read-only", "on", "--reason", "vacuum is opened")
    assert done.code == 0, done.err
    assert done.lines[0].startswith(f"domain {domain} is read-only since ")
    assert done.lines[0].endswith(": vacuum is opened")
    for command in ("status", "whoami"):
        assert done.lines[0] in pykarabo(command).lines
        assert pykarabo(command, "--json").json["mode"]["reason"] == "vacuum is opened"
    with BlockingClient(role="operator") as client:
        device = client.device("T/BENCH/1")
        wait_until(lambda: _is_denied(device), timeout_s=5)
    refused = pykarabo("--role", "operator", "set", "T/BENCH/1.position=1")
    assert refused.code == 3
    assert "vacuum is opened" in refused.err
    assert pykarabo("--role", "expert", "read-only", "off").code == 3
    done = pykarabo("--role", "administrator", "read-only", "off", "--json")
    assert done.json["read_only"] is False
    assert "read-only" not in pykarabo("status").out


def _is_denied(device: Any) -> bool:
    try:
        device.set(position=0.0)
    except ReadOnlyDomainError:
        return True
    return False
