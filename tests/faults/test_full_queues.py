"""Connections that end while their messages wait for room: libzmq must not end the process.

Each side is a process of its own, since what is tried here ends a whole one where it fails.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
_END_S: Final = 60
_BLOCKED: Final = """
import sys, time, zmq
from pykarabo.transport import _sockets as sockets

kind, endpoint, seconds = sys.argv[1:]
socket = getattr(sockets, "make_" + kind)(sockets.make_context())
if kind == "subscriber":
    socket.connect(endpoint)
    socket.subscribe(b"")
    socket.recv_multipart()
else:
    socket.bind(endpoint)
print("ready", flush=True)
time.sleep(float(seconds))  # the fault itself: an event loop that is blocked
count = 0
while socket.poll(300):
    socket.recv_multipart()
    count += 1
print(count)
"""
_GUEST: Final = """
import fcntl, os, sys, termios, time
from pykarabo.transport import _sockets as sockets

def untaken():
    \"""Return how many bytes the other sides of this process's sockets have not taken.\"""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            told = fcntl.ioctl(int(name), termios.TIOCOUTQ, bytes(4))
        except OSError:
            continue
        count += int.from_bytes(told, sys.byteorder)
    return count

kind, endpoint = sys.argv[1:]
if kind == "publisher":
    socket = sockets.make_subscriber(sockets.make_context())
    socket.connect(endpoint)
    for number in range(20_000):
        socket.subscribe(b"T%06d" % number)
else:
    socket = sockets.make_dealer(sockets.make_context())
    socket.sndhwm = 0
    socket.connect(endpoint)
    for number in range(20_000):
        socket.send(b"%d" % number)
seen = []
while not (len(seen) > 20 and seen[-1] and len(set(seen[-20:])) == 1):
    seen.append(untaken())
    time.sleep(0.01)  # it has stopped reading when nothing changes for twenty looks
os._exit(0)
"""
_PUBLISHER: Final = """
import os, sys, time, zmq
from pykarabo.transport import _sockets as sockets

context = sockets.make_context()
socket = sockets.make_publisher(context)
socket.bind(sys.argv[1])
end = None
while end is None or time.monotonic() < end:
    for _ in range(200):
        socket.send_multipart([b"T", bytes(100)])
    if socket.poll(5):
        socket.recv()
        end = time.monotonic() + 1.5
os._exit(0)
"""


class Side:
    """A process of one side."""

    def __init__(self, program: str, *arguments: str) -> None:
        command = [sys.executable, "-c", program, *arguments]
        variables = {**os.environ, "PYTHONPATH": str(_ROOT)}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def begun(self) -> None:
        """Wait until it is ready."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def ended(self) -> str:
        """Wait until it ends, which must be in order; returns what it said last."""
        told, _ = self._process.communicate(timeout=_END_S)
        assert self._process.returncode == 0, f"it ended with {self._process.returncode}"
        return told


@pytest.mark.parametrize("kind", ["publisher", "router"])
def test_a_client_that_goes_while_its_server_is_blocked_does_not_kill_it(
    kind: str, short_runtime: Path
) -> None:
    endpoint = f"ipc://{short_runtime / 'door'}"
    with Side(_BLOCKED, kind, endpoint, "7.5") as server:  # heartbeats of 5 s killed it
        server.begun()
        with Side(_GUEST, kind, endpoint) as client:
            client.ended()
        assert int(server.ended()) > 0


def test_a_server_that_dies_while_its_watcher_is_busy_does_not_kill_it(short_runtime: Path) -> None:
    endpoint = f"ipc://{short_runtime / 'door'}"
    with (
        Side(_PUBLISHER, endpoint) as server,
        Side(_BLOCKED, "subscriber", endpoint, "5.0") as watcher,  # heartbeats of 1 s killed it
    ):
        watcher.begun()
        server.ended()
        assert int(watcher.ended()) > 0
