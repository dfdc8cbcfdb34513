"""What libzmq itself must survive with the options that our sockets have."""

import subprocess
import sys
import time
from pathlib import Path

import zmq

from pykarabo.transport import make_context
from pykarabo.transport._sockets import make_publisher
from tests.harness import PROXY_HOST, SERVER_HOST, Proxy

_PROGRAM = Path(__file__).with_name("subscriber_process.py")
_RESETS = 300
_BURST = 200
_EVENT = [b"topic", bytes(80), bytes(60)]


def _publish(socket: "zmq.Socket[bytes]") -> None:
    for _ in range(_BURST):
        socket.send_multipart(_EVENT)
    while socket.poll(0):
        socket.recv()


def test_subscriber_survives_connections_that_end_in_the_middle_of_messages() -> None:
    with make_context() as context, make_publisher(context) as publisher:
        port = publisher.bind_to_random_port(f"tcp://{SERVER_HOST}")
        with Proxy([port]) as proxy:
            subscriber = subprocess.Popen(
                [sys.executable, str(_PROGRAM), f"tcp://{PROXY_HOST}:{port}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert subscriber.stdout is not None
            assert subscriber.stdout.readline() == b"ready\n"
            proxy.reset_every(0.02)
            until = time.monotonic() + 20
            while subscriber.poll() is None and proxy.resets < _RESETS:
                assert time.monotonic() < until
                _publish(publisher)
            _, said = subscriber.communicate(timeout=10)
    assert subscriber.returncode == 0, said
    assert proxy.resets >= _RESETS
