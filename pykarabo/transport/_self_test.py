"""A listener that has just been bound is tried with a key that nobody knows.

Without a doorkeeper, or with one that libzmq does not ask, CURVE lets everybody in. That must not
be found out by somebody else.
"""

import time
from typing import Final

import zmq
from zmq.utils import z85

from pykarabo.errors import BadConfigurationError

from ._frames import monitor_event, receive_frames
from ._keys import KeyPair
from ._sockets import (
    DOWN_EVENTS,
    UP_EVENTS,
    make_context,
    make_dealer,
    make_subscriber,
    resolve,
    stop_monitor,
)

TRY_S: Final = 5.0
"""It takes some milliseconds; a host with no time to spare gets some seconds."""


def stranger() -> KeyPair:
    """Return a key that nobody knows."""
    public, secret = zmq.curve_keypair()
    return KeyPair(z85.decode(public), z85.decode(secret))


def is_refused(endpoint: str, pair: KeyPair) -> bool:
    """Tell whether who listens for calls at an endpoint is there and does not let our key in."""
    address, _, key = endpoint.partition("#")
    event = _outcome(resolve(address), bytes.fromhex(key), pair, events=False)
    return event == zmq.EVENT_HANDSHAKE_FAILED_AUTH


def require_refusal(address: str, server: bytes, pair: KeyPair, *, events: bool = False) -> None:
    """Connect to our own listener with a key that it must not admit.

    Args:
        server: the listener's public key.
        pair: what to show.
        events: whether it is one for subscribers; others are refused there for another reason.

    Raises:
        BadConfigurationError: it lets a stranger in, or nobody can tell.
    """
    event = _outcome(address, server, pair, events=events)
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return
    found = "lets strangers in" if event & UP_EVENTS else "does not say whom it lets in"
    raise BadConfigurationError(
        f"what was just opened at {address} {found}: this program does not start",
        remedy="install the pyzmq of the package index, which brings libzmq 4.3.5",
    )


def _outcome(address: str, server: bytes, pair: KeyPair, *, events: bool) -> int:
    make = make_subscriber if events else make_dealer
    with make_context() as context, make(context) as socket:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, server)
        monitor = socket.get_monitor_socket(UP_EVENTS | DOWN_EVENTS)
        try:
            socket.connect(address)
            deadline = time.monotonic() + TRY_S
            while (left_s := deadline - time.monotonic()) > 0:
                if monitor.poll(int(left_s * 1_000) + 1):
                    return monitor_event(receive_frames(monitor))[0]
            return 0
        finally:
            stop_monitor(socket)
            monitor.close(linger=0)
