"""Every write and command that reaches a server is in its audit log within 2 s, with its end."""

import os
import pwd
import signal
import socket
import time
from typing import Any, Final

import numpy as np
import pytest

from pykarabo.audit import check_server
from pykarabo.client import BlockingClient, wait_until
from pykarabo.errors import (
    CallTimeoutError,
    DuplicateDeviceError,
    LockedError,
    OutcomeUnknownError,
    PykaraboError,
    RemoteError,
    UnknownClassError,
    UnknownCommandError,
)
from pykarabo.wire import Call, Set
from tests.harness import audit_log
from tests.harness.audit_log import attempts, wait_for

_SERVER: Final = "S/1"
_SECRET: Final = "hunter2"
_DEVICE: Final = "V/1"


@pytest.fixture
def vault(vaults: Any) -> Any:
    """Serve V/1 and V/2 on S/1, and return a client."""
    vaults.start(_SERVER, _DEVICE, "V/2", directory=True)
    with BlockingClient() as client:
        yield client


def test_a_write_tells_who_what_old_and_new_values_as_they_were_applied(vault: Any) -> None:
    device = vault.device(_DEVICE)
    device.set(target="5 mm", label="here")
    line = wait_for(_SERVER, device=_DEVICE, kind="set")
    assert line["changes"] == {"target": [0.0, 5.0], "label": ["none", "here"]}
    assert line["outcome"] == "done"
    assert (line["user"], line["certain"]) == (pwd.getpwuid(os.getuid()).pw_name, True)
    assert (line["host"], line["pid"]) == (socket.gethostname(), os.getpid())
    assert line["program"]
    assert len(line["call"]) >= 16
    assert abs(line["t"] - time.time_ns()) < 60e9
    device.set(curve=np.arange(1_000.0))
    audit_log.wait_until(
        lambda: len(attempts(_SERVER, kind="set", outcome="done")) == 2, "the second write"
    )
    old, new = attempts(_SERVER, kind="set")[-1]["changes"]["curve"]
    assert old == []
    assert new == new | {"~": "array", "dtype": "float64", "shape": [1_000]}


def test_many_writes_at_once_have_a_line_for_each_device(vault: Any) -> None:
    vault.set_many({_DEVICE: {"target": 1.0}, "V/2": {"target": 99.0}})
    assert wait_for(_SERVER, device=_DEVICE, outcome="done")["changes"] == {"target": [0.0, 1.0]}
    refused = wait_for(_SERVER, device="V/2", outcome="refused")
    assert refused["error"] == "out_of_range"
    assert refused["asked"] == {"target": 99.0}
    assert "changes" not in refused


def test_a_command_tells_its_arguments(vault: Any) -> None:
    vault.device(_DEVICE).move(3.0, fast=True)
    line = wait_for(_SERVER, command="move", outcome="done")
    assert line["arguments"] == {"position": 3.0, "fast": True}
    assert line["ms"] >= 0


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Set(_DEVICE, {"target": 11.0}), "out_of_range"),
        (Set(_DEVICE, {"parked": 1.0}), "state_forbids"),
        (Set(_DEVICE, {"count": 1}), "read_only"),
        (Call(_DEVICE, "park"), "state_forbids"),
        (Call(_DEVICE, "move", [[1.0]]), "wrong_type"),
    ],
)
def test_X1_a_refused_attempt_is_in_the_log_within_2_s(
    vault: Any, request_: Set | Call, error: str
) -> None:
    with pytest.raises(PykaraboError):  # asked past the checks of our own client
        vault.request(_DEVICE, request_)
    line = wait_for(_SERVER, device=_DEVICE, outcome="refused")
    assert line["error"] == error
    assert "reason" in line


def test_X1_an_unknown_command_is_in_the_log_without_its_arguments(vault: Any) -> None:
    with pytest.raises(UnknownCommandError):
        vault.request(_DEVICE, Call(_DEVICE, "lognin", ["anna", _SECRET]))
    line = wait_for(_SERVER, command="lognin", outcome="refused")
    assert line["error"] == "unknown_command"
    assert line["arguments"] == {name: {"~": "unknown", "type": "str"} for name in ("#0", "#1")}


def test_X1_who_is_kept_out_by_a_lock_is_in_the_log_and_so_is_the_lock(
    vault: Any, vaults: Any
) -> None:
    vault.device(_DEVICE).call("lock")
    vaults.start("S/2", "V/3")
    with pytest.raises(RemoteError):
        vault.device("V/3").forward(_DEVICE)
    assert wait_for(_SERVER, command="lock")["outcome"] == "done"
    line = wait_for(_SERVER, command="move", outcome="refused")
    assert (line["error"], line["for"]) == ("locked", "V/3")
    with pytest.raises(LockedError), BlockingClient() as other:
        _as_other_device(other, _DEVICE)
    assert wait_for(_SERVER, kind="set", outcome="refused")["error"] == "locked"


def _as_other_device(client: Any, device_id: str) -> None:
    from pykarabo.transport import acting_as

    with acting_as("V/9"):
        client.device(device_id).set(target=1.0)


def test_X1_a_call_that_came_too_late_is_in_the_log(vaults: Any) -> None:
    process = vaults.start(_SERVER, _DEVICE, directory=True)
    with BlockingClient() as client:
        device = client.device(_DEVICE)
        device.move(1.0)
        process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(CallTimeoutError):
                device.call("move", 2.0, timeout_s=0.3)
        finally:
            process.send_signal(signal.SIGCONT)
        line = wait_for(_SERVER, command="move", outcome="refused")
    assert line["error"] == "expired"
    assert line["arguments"] == {"position": 2.0}


def test_a_failure_and_a_write_that_fails_after_it_was_applied_are_no_refusals(vault: Any) -> None:
    device = vault.device(_DEVICE)
    with pytest.raises(RemoteError):
        device.fail()
    line = wait_for(_SERVER, command="fail", outcome="failed")
    assert (line["error"], "it is broken" in line["reason"]) == ("remote", True)
    with pytest.raises(RemoteError):
        device.set(label="bad")
    line = wait_for(_SERVER, kind="set", outcome="failed")
    assert line["changes"] == {"label": ["none", "bad"]}


def test_what_takes_long_is_in_the_log_before_it_ends(vault: Any) -> None:
    job = vault.device(_DEVICE)
    with pytest.raises(CallTimeoutError):
        job.call("rest", 1.5, timeout_s=0.1)
    begun = wait_for(_SERVER, command="rest", outcome="begun")
    ended = wait_for(_SERVER, command="rest", begun=begun["n"])
    assert ended["call"] == begun["call"]
    assert ended["outcome"] == "done"


def test_the_command_that_kills_its_server_is_in_the_log(vaults: Any) -> None:
    process = vaults.start(_SERVER, _DEVICE, directory=True)
    with BlockingClient() as client, pytest.raises(OutcomeUnknownError):
        client.device(_DEVICE).call("crash")
    vaults.reap(process)
    assert attempts(_SERVER, command="crash")[-1]["outcome"] == "begun"


def test_reads_and_what_changes_nothing_are_not_in_the_log(vault: Any) -> None:
    device = vault.device(_DEVICE)
    for _ in range(3):
        device.get("target")
        device.look()
        device.beat()
        vault.topology("*")
    device.set(target=1.0)
    wait_for(_SERVER, kind="set")
    kinds = [(line["kind"], line.get("command")) for line in audit_log.lines(_SERVER)]
    assert kinds == [("begin", None), ("set", None)]


def test_a_repeated_call_with_a_key_runs_once_and_has_two_lines(vault: Any) -> None:
    device = vault.device(_DEVICE)
    for _ in range(2):
        device.call("move", 1.0, once_key="key-1")
    wait_for(_SERVER, command="move", outcome="repeated")
    assert len(attempts(_SERVER, command="move", outcome="done")) == 1


def test_starting_a_device_tells_its_configuration_but_no_secret(vault: Any) -> None:
    server = vault.device(_SERVER)
    server.instantiate("Vault", "V/4", {"label": "new", "pin": "4711"})
    line = wait_for(_SERVER, command="instantiate", outcome="done")
    assert line["arguments"]["configuration"] == {"label": "new", "pin": {"~": "secret"}}
    with pytest.raises(UnknownClassError):
        server.instantiate("Vaultt", "V/5", {"pin": _SECRET})
    line = wait_for(_SERVER, command="instantiate", outcome="refused")
    assert line["arguments"]["configuration"] == {"~": "unknown", "type": "dict"}


def test_X11_no_secret_is_in_the_audit_log_in_the_log_or_in_last_command(
    vault: Any, vaults: Any
) -> None:
    device = vault.device(_DEVICE)
    device.login("anna", _SECRET)
    device.login(user="anna", password=_SECRET)
    for request in (
        Call(_DEVICE, "login", ["nobody", _SECRET]),
        Call(_DEVICE, "login", ["anna", [_SECRET]]),
        Call(_DEVICE, "login", ["anna", _SECRET, _SECRET]),
        Call(_DEVICE, "login", ["anna"], {"passwd": _SECRET}),
        Call("V/9", "login", ["anna", _SECRET]),
        Set(_DEVICE, {"pin": _SECRET}),  # does not match its pattern
        Set(_DEVICE, {"pin": "0815"}),  # is refused by the author
        Set(_DEVICE, {"pinn": _SECRET}),
        Set(_DEVICE, {"target": 99.0, "pin": _SECRET}),
    ):
        with pytest.raises(PykaraboError) as caught:
            vault.request(_DEVICE, request)
        assert _SECRET not in str(caught.value.to_wire())
        assert "0815" not in str(caught.value.to_wire())
    device.set(pin="4711", target=1.0)
    line = wait_for(_SERVER, kind="set", outcome="done")
    assert line["changes"] == {"pin": [{"~": "secret"}] * 2, "target": [0.0, 1.0]}
    wait_until(lambda: "set pin" in device.last_command, timeout_s=5)
    files = [path for path in audit_log.folder().rglob("*") if path.is_file()]
    assert files
    for path in (*files, vaults.log_of(_SERVER)):
        for secret in (_SECRET, "4711", "0815"):
            assert secret not in path.read_text()
    assert _SECRET not in device.last_command


def test_X11_the_error_about_a_secret_does_not_repeat_it(vault: Any) -> None:
    with pytest.raises(PykaraboError) as caught:
        vault.set(_DEVICE, {"pin": _SECRET})
    assert "pin" in str(caught.value)
    assert _SECRET not in str(caught.value.to_wire())


def test_the_server_publishes_the_latest_line(vault: Any) -> None:
    vault.device(_DEVICE).set(target=1.0)
    line = wait_for(_SERVER, kind="set")
    server = vault.device(_SERVER)
    wait_until(
        lambda: server.get("audit_head")["audit_head"] == f"{line['n']}:{line['hash']}",
        timeout_s=5,
    )
    assert server.get("audit_lost") == {"audit_lost": 0}


def test_over_tcp_the_key_says_who_the_user_is(vaults: Any) -> None:
    vaults.start("S/2", directory=True)
    vaults.start(_SERVER, _DEVICE, host="127.0.0.1")
    with BlockingClient() as client:
        client.device(_DEVICE).set(target=1.0)
    line = wait_for(_SERVER, kind="set")
    assert (line["pid"], line["certain"]) == (os.getpid(), True)


def test_a_second_server_of_the_same_id_does_not_touch_the_log(vault: Any, vaults: Any) -> None:
    vault.device(_DEVICE).set(target=1.0)
    wait_for(_SERVER, kind="set")
    with pytest.raises(AssertionError, match="ended"):
        vaults.wait_started(vaults.spawn(_SERVER, "V/7"))
    assert DuplicateDeviceError.__name__ in vaults.log_of(_SERVER).read_text()
    vault.device(_DEVICE).set(target=2.0)
    audit_log.wait_until(
        lambda: len(attempts(_SERVER, kind="set", outcome="done")) == 2, "the second write"
    )
    assert len(list(audit_log.folder().rglob("*.jsonl"))) == 1


def test_clean_lives_leave_a_log_without_findings(vaults: Any) -> None:
    for life in range(2):
        process = vaults.start(_SERVER, _DEVICE, directory=True)
        with BlockingClient() as client:
            client.device(_DEVICE).set(target=float(life))
        assert vaults.end(process) == 0
    assert check_server(audit_log.folder(), _SERVER).findings == []
    assert [line["changes"]["target"][1] for line in attempts(_SERVER, kind="set")] == [0.0, 1.0]
