"""One user's domain on a host: who calls is known from the kernel, and others are kept out."""

import multiprocessing
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.utils.monitor

from pykarabo.client import BlockingClient, connect, wait_until
from pykarabo.errors import BadConfigurationError, PykaraboError
from pykarabo.transport import make_context, run_directory
from pykarabo.transport._sockets import DOWN_EVENTS, UP_EVENTS, stop_monitor
from pykarabo_services.bridge._endpoint import BridgeEndpoint, Pattern
from pykarabo_services.bridge.model import BridgeQueue

_NOBODY = pwd.getpwnam("nobody").pw_uid
_PATIENCE_MS = 5_000
_KINDS = {".events": zmq.SUB, ".PUB": zmq.SUB, ".PUSH": zmq.PULL}
"""What to knock with: sockets that do not fit together are refused for that reason."""


def _endpoints(runtime: Path) -> list[Path]:
    return [path for path in runtime.rglob("*") if path.is_socket()]


def test_the_caller_is_who_the_kernel_says(processes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "mallory")
    processes.start("S/1", "C/1", directory=True)
    with BlockingClient() as client:
        counter = client.device("C/1")
        counter.count()
        wait_until(lambda: counter.last_command.startswith("count <- "), timeout_s=5)
        assert f"/{pwd.getpwuid(os.getuid()).pw_name}/" in counter.last_command


# -- another user of the host ---------------------------------------------------------------------


def _as_nobody(work: Callable[[Any], str], argument: Any) -> str:
    """Run a function in a process of another user; returns what it says."""
    context = multiprocessing.get_context("fork")  # the interpreter may be where he cannot read
    ours, theirs = context.Pipe()

    def run() -> None:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        theirs.send(work(argument))

    process = context.Process(target=run)
    process.start()
    try:
        assert ours.poll(30)
        said = ours.recv()
    finally:
        process.join(10)
        process.close()
        ours.close()
        theirs.close()
    return str(said)


def _knock(path: Path) -> str:
    """Connect as somebody would who does not use our client."""
    with make_context() as context, context.socket(_KINDS.get(path.suffix, zmq.DEALER)) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        monitor = socket.get_monitor_socket(UP_EVENTS | DOWN_EVENTS)
        socket.connect(f"ipc://{path}")
        assert monitor.poll(_PATIENCE_MS)
        event = zmq.utils.monitor.recv_monitor_message(monitor)["event"]
        stop_monitor(socket)
        monitor.close()
        return str(zmq.Event(event).name)


def _look_up(_: None) -> str:
    try:
        connect("C/1")
    except PykaraboError as error:
        return f"{error.code}: {error}"
    return "came in"


root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@root
@pytest.mark.nightly
def test_X6_another_user_reaches_no_endpoint(processes: Any, short_runtime: Path) -> None:
    processes.start("S/1", "C/1", directory=True)
    short_runtime.chmod(0o755)  # what is below it must keep him out
    endpoints = _endpoints(short_runtime)
    assert len(endpoints) == 3
    for path in endpoints:
        assert _as_nobody(_knock, path) == "CLOSED"


@root
@pytest.mark.nightly
def test_X6_another_user_is_refused_even_where_he_may_open_the_sockets(
    processes: Any, short_runtime: Path
) -> None:
    processes.start("S/1", "C/1", directory=True)
    for path in [short_runtime, *short_runtime.rglob("*")]:
        path.chmod(0o777)
    for path in _endpoints(short_runtime):
        assert _as_nobody(_knock, path) == "HANDSHAKE_FAILED_AUTH"
    log = processes.log_of("S/1").read_text()
    owner = pwd.getpwuid(os.getuid()).pw_name
    assert "of user 'nobody': this domain belongs to " + f"'{owner}' alone" in log
    with pytest.raises(BadConfigurationError, match="chmod 700"):
        run_directory(create=True)  # neither does another server start there


@root
@pytest.mark.nightly
@pytest.mark.parametrize("pattern", list(Pattern))
def test_X6_another_user_gets_no_trains(short_runtime: Path, pattern: Pattern) -> None:
    path = short_runtime / f"bridge.{pattern}"
    bridge = BridgeEndpoint(BridgeQueue(), pattern=pattern, endpoint=f"ipc://{path}")
    try:
        for place in (short_runtime, path):
            place.chmod(0o777)
        assert _as_nobody(_knock, path) == "HANDSHAKE_FAILED_AUTH"
    finally:
        bridge.close()


@root
@pytest.mark.nightly
def test_X6_our_client_tells_another_user_whose_domain_it_is(
    processes: Any, short_runtime: Path
) -> None:
    processes.start("S/1", "C/1", directory=True)
    said = _as_nobody(_look_up, None)
    owner = pwd.getpwuid(os.getuid()).pw_name
    assert said.startswith("denied: ")
    assert f"belongs to user '{owner}' of this host, and this program runs as 'nobody'" in said
    assert f"run it as '{owner}'" in said


def test_a_domain_that_others_may_enter_is_refused(short_runtime: Path) -> None:
    folder = run_directory(create=True)
    folder.chmod(0o770)
    with pytest.raises(BadConfigurationError, match=f"chmod 700 {folder}"):
        run_directory()
    assert short_runtime in folder.parents


@root
def test_a_domain_that_somebody_else_owns_is_refused(short_runtime: Path) -> None:
    folder = run_directory(create=True)
    os.chown(folder, _NOBODY, -1)
    with pytest.raises(BadConfigurationError, match="not a directory of your own"):
        run_directory()
    assert short_runtime in folder.parents


def test_a_runtime_directory_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/nothing")
    with pytest.raises(BadConfigurationError, match=r"/proc/nothing.* cannot be made"):
        run_directory(create=True)
