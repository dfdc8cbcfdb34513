"""`doctor DEV` explains each way in which a device can be out of reach, provoked for real."""

import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient, wait_until
from pykarabo.errors import CallTimeoutError
from pykarabo.transport import key_file

_DEVICE: Final = "COUNT/1"
_CLOCK: Final = "T/CLOCK/1"


@pytest.fixture
def doctor(pykarabo: Any, short_runtime: Path) -> Callable[[str], list[str]]:
    """Return what asks the doctor about a device; answers the lines, the same in every run."""

    def ask(device_id: str) -> list[str]:
        done = pykarabo("doctor", device_id)
        assert done.code == 1, done.out
        return [_plain(line, short_runtime) for line in done.lines]

    return ask


def _plain(line: str, runtime: Path) -> str:
    line = line.replace(str(runtime), "RUN").replace(socket.gethostname(), "HOST")
    line = line.replace(platform.node(), "SERVERS")
    line = line.replace(os.environ["PYKARABO_DOMAIN"], "DOMAIN")
    for pattern, name in (
        (r" after [\d.]+ ms", ""),
        (r", runs since [-\d: ]+UTC", ", runs since TIME"),
        (r"[0-9a-f]{12}\.rpc", "STEM.rpc"),
        (r"(process|--pid|-CONT) \d+", r"\1 PID"),
        (r"((?:\d+\.){3}\d+):\d+", r"\1:PORT"),
        (r"(invalid|\]):\d+", r"\1:PORT"),
        (r"on (its )?port \d+", r"on \1port PORT"),
        (r"[\d.]+ s late", "N s late"),
        (r"(not known here|on port PORT): .*", r"\1: REASON"),
    ):
        line = re.sub(pattern, name, line)
    return line


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the doctor on another host than the servers' one."""
    monkeypatch.setattr(socket, "gethostname", lambda: "console")


def _record(device_id: str) -> dict[str, Any]:
    with BlockingClient() as client:
        found: dict[str, Any] = client.directory("resolve", device_id)
        return found


@pytest.fixture
def start_clock(processes: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return what starts a server T/TCP on TCP with a train clock, beside a directory."""
    processes.start("S/DIR", directory=True)
    init = tmp_path / "devices.json"
    init.write_text(json.dumps({_CLOCK: {"class": "TrainClock"}}))
    running: list[subprocess.Popen[str]] = []

    def start(*options: str, server_id: str = "T/TCP", devices: bool = True) -> Any:
        command = [sys.executable, "-m", "pykarabo", "server", "start", "--id", server_id]
        command += ["--host", "127.0.0.1", *options, *(["--init", str(init)] if devices else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=2, text=True)
        running.append(process)
        assert process.stdout is not None
        assert "is running" in process.stdout.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


_WELL: Final = [
    "ok   device id: '{device}' can be one",
    "ok   runtime directory of domain 'DOMAIN': RUN/pykarabo/DOMAIN: only you may enter it",
    "ok   directory: answers at ipc://RUN/pykarabo/DOMAIN/directory.rpc, runs since TIME",
]
_ENDED: Final = (
    "     the server has ended: see why at the end of its log, start it again: pykarabo up"
)


_GONE: Final = [
    "FAIL lease: gone",
    "     its server has died, or was not heard for 9 s: the next steps tell why",
]


def _found(device_id: str, *more: str) -> list[str]:
    """Return the lines that are the same wherever the directory answers, then `more`."""
    return [*(line.format(device=device_id) for line in _WELL), *more]


def _on_unix(*more: str) -> list[str]:
    place = "ipc://RUN/pykarabo/DOMAIN/STEM.rpc"
    return _found(_DEVICE, f"ok   record: Counter on S/1 (HOST, process PID) at {place}", *more)


def _on_tcp(address: str, *more: str, host: str = "HOST") -> list[str]:
    place = f"T/TCP ({host}, process PID) at tcp://{address}:PORT"
    return _found(_CLOCK, f"ok   record: TrainClock on {place}", *more)


def test_domain_without_a_directory(doctor: Any) -> None:
    assert doctor(_DEVICE) == [
        "ok   device id: 'COUNT/1' can be one",
        "ok   runtime directory of domain 'DOMAIN': RUN/pykarabo/DOMAIN: does not exist yet",
        "FAIL directory: domain 'DOMAIN' has no directory that runs: "
        "there is no socket RUN/pykarabo/DOMAIN/directory.rpc",
        "     start it, and what else is missing: pykarabo up; with a wrong domain: --domain",
    ]


def test_directory_that_was_killed(doctor: Any, processes: Any) -> None:
    processes.end(processes.start("S/DIR", directory=True), signal.SIGKILL)
    assert doctor(_DEVICE)[2:] == [
        "FAIL directory: domain 'DOMAIN' has no directory that runs: nobody listens at "
        "RUN/pykarabo/DOMAIN/directory.rpc: its process was killed",
        "     start it, and what else is missing: pykarabo up; with a wrong domain: --domain",
    ]


def test_directory_that_hangs(doctor: Any, processes: Any) -> None:
    processes.start("S/DIR", directory=True).send_signal(signal.SIGSTOP)
    assert doctor(_DEVICE)[2:] == [
        "FAIL directory: ipc://RUN/pykarabo/DOMAIN/directory.rpc "
        "takes connections but does not answer",
        "     the directory hangs or is stopped: pykarabo down, then pykarabo up",
    ]


def test_id_that_nobody_has(doctor: Any, processes: Any) -> None:
    processes.start("S/1", _DEVICE, directory=True)
    assert doctor("COUNT/11") == _found(
        "COUNT/11",
        "FAIL record: there is no device 'COUNT/11'",
        "     did you mean 'COUNT/1'? "
        "(if the id is right, it was not started yet, or was stopped: pykarabo up)",
    )


def test_server_that_was_killed(doctor: Any, processes: Any) -> None:
    processes.start("S/DIR", directory=True)
    processes.end(processes.start("S/1", _DEVICE), signal.SIGKILL)
    wait_until(lambda: _record(_DEVICE)["status"] == "gone", timeout_s=10)
    assert doctor(_DEVICE) == _on_unix(
        *_GONE, "FAIL process: there is no process PID any more", _ENDED
    )


@pytest.mark.nightly
def test_server_that_was_killed_a_while_ago(doctor: Any, processes: Any) -> None:
    processes.start("S/DIR", directory=True)
    processes.end(processes.start("S/1", _DEVICE), signal.SIGKILL)
    wait_until(lambda: _record(_DEVICE)["status"] == "gone", timeout_s=15)
    assert doctor(_DEVICE) == _on_unix(
        "FAIL lease: gone",
        "     its server has died, or was not heard for 9 s: the next steps tell why",
        "FAIL process: there is no process PID any more",
        _ENDED,
    )


def test_server_that_is_stopped(doctor: Any, processes: Any) -> None:
    processes.start("S/DIR", directory=True)
    processes.start("S/1", _DEVICE).send_signal(signal.SIGSTOP)
    wait_until(lambda: _record(_DEVICE)["status"] == "suspect", timeout_s=10)
    assert doctor(_DEVICE) == _on_unix(
        "FAIL lease: suspect",
        "     nothing was heard from its server for 6 s: the next steps tell why",
        "FAIL process: process PID is stopped: somebody pressed Ctrl-Z or debugs it",
        "     let it run on: kill -CONT PID",
    )


def test_device_that_blocks_its_server(doctor: Any, processes: Any) -> None:
    processes.start("S/DIR", directory=True)
    processes.start("S/1", _DEVICE)
    with BlockingClient() as client, pytest.raises(CallTimeoutError):
        client.device(_DEVICE).call("block", 8.0, timeout_s=0.2)
    assert doctor(_DEVICE) == _on_unix(
        "ok   lease: online",
        "ok   process: process PID runs",
        "ok   address: somebody listens there",
        "FAIL connection and greeting: server S/1 takes connections but does not answer",
        "     code of a device blocks its event loop. See what: py-spy dump --pid PID (on HOST); "
        "then wait, or restart the server",
    )


def test_host_name_that_is_not_known(doctor: Any, start_clock: Any) -> None:
    start_clock("--advertise", "beamline.invalid")
    assert doctor(_CLOCK) == _on_tcp(
        "beamline.invalid",
        "ok   lease: online",
        "ok   process: process PID runs",
        "FAIL address: the host name 'beamline.invalid' is not known here: REASON",
        "     ask for it to be added to the name server, or start the server with "
        "--advertise ADDRESS",
    )


def test_key_that_is_another_one(
    doctor: Any,
    start_clock: Any,
    short_runtime: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_clock()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    assert doctor(_CLOCK) == _on_tcp(
        "127.0.0.1",
        "ok   lease: online",
        "ok   process: process PID runs",
        "ok   address: somebody listens there",
        "FAIL connection and greeting: somebody listens there, but "
        "it has another key than this program, or none, or stopped just now",
        f"     copy {_plain(str(key_file()), short_runtime)} from there if the domain is the same; "
        "see docs/how-to/use-tcp.md",
    )


def test_host_without_a_route(doctor: Any, start_clock: Any) -> None:
    start_clock("--advertise", "[100::1]")  # the addresses that no network forwards
    assert doctor(_CLOCK) == _on_tcp(
        "[100::1]",
        "ok   lease: online",
        "ok   process: process PID runs",
        "FAIL address: the host 100::1 cannot be reached on port PORT: REASON",
        "     see whether it is on and in this network (ping 100::1), "
        "and whether a firewall closes the port",
    )


def test_port_of_another_host_that_refuses(doctor: Any, start_clock: Any, elsewhere: None) -> None:
    del elsewhere
    _kill(start_clock())
    wait_until(lambda: _record(_CLOCK)["status"] == "gone", timeout_s=10)
    assert doctor(_CLOCK) == _on_tcp(
        "127.0.0.1",
        *_GONE,
        "FAIL address: the host 127.0.0.1 answers, but nobody listens on its port PORT",
        _ENDED,
        host="SERVERS",
    )


def test_another_server_at_the_old_address(doctor: Any, start_clock: Any, elsewhere: None) -> None:
    del elsewhere
    server = start_clock()
    port = _record(_CLOCK)["rpc"].rpartition(":")[2]
    _kill(server)
    start_clock("--rpc-port", port, server_id="T/OTHER", devices=False)
    assert doctor(_CLOCK) == _on_tcp(
        "127.0.0.1",
        *_GONE,
        "ok   address: somebody listens there",
        "ok   connection and greeting: the server answers",
        "FAIL instance: another server than T/TCP has the address tcp://127.0.0.1:PORT now",
        "     start T/TCP again: pykarabo up",
        host="SERVERS",
    )


def _kill(process: Any) -> None:
    process.kill()
    process.wait()
