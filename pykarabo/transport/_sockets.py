"""Every ZeroMQ socket of pykarabo is made here, so that none lacks an option.

Each value has a measured reason; the defaults of libzmq lose messages, hang at exit or never
notice a dead peer.
"""

import errno
import random
import socket as network
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import zmq

from pykarabo.errors import BadConfigurationError, NotConnectedError
from pykarabo.wire import MAX_ITEM_ARRAY

from ._places import key_file, require_own_socket
from ._ports import CLOSED, NOBODY_LISTENS, NOT_ADMITTED, OTHER_KEY, PLAIN

Socket: TypeAlias = "zmq.Socket[bytes]"

MAX_SOCKETS: Final = 65_535
"""libzmq's default of 1 023 is reached by a client of some hundred servers."""
MAX_CONTROL_MESSAGE: Final = 8 * 2**20
MAX_BULK_MESSAGE: Final = MAX_ITEM_ARRAY
CONNECT_TIMEOUT_MS: Final = 500
"""A host that does not answer is given up after this; the kernel would take two minutes. It asks
a second time after 1 s, so that waiting until then gains nothing."""
HANDSHAKE_MS: Final = 3_000
HEARTBEAT_MS: Final = 1_000
HEARTBEAT_TIMEOUT_MS: Final = 3_000
"""A server that is frozen, or whose host is gone, is noticed so long after a heartbeat. Clients of
calls ask for them and nobody else: libzmq 4.3.5 ends the process (``Assertion failed: !_io_error``)
when a heartbeat is due on a connection that the other side has closed while messages waited for
room. So whoever asks must have room for all. The server is not told when to expect the next one
(HEARTBEAT_TTL): for each libzmq would look through all of its timers."""
SILENT_S: Final = 3
"""Whose events or data we follow is given up when his host is silent for so long. A kernel answers
for a program that is frozen."""
UNTAKEN_S: Final = 10
"""Data that the other end does not take for so long ends the connection. A frozen client would keep
its answers in our memory for as long as it is frozen."""
BACKLOG: Final = 4_096
"""Connections that may wait to be accepted: with libzmq's 100, of some thousand clients that come
back at the same moment most are turned away. The kernel lowers it to its own limit."""
RECONNECT_MS: Final = 100
RECONNECT_MAX_MS: Final = 2_000
NO_RECONNECT_MS: Final = 10**9
"""Eleven days: the link is over and closed long before. The value for "never" (-1) would make
libzmq throw away, with the connection, the last answers that arrived and were not read yet; so
does the option IMMEDIATE."""
EVENT_BUFFER: Final = 64 * 2**10
"""Kernel buffers in front of a slow subscriber hold stale values: keep them small."""
EVENT_HWM: Final = 10_000
"""Messages queued per subscriber; what is dropped above is counted by its sequence numbers."""
SUBSCRIPTIONS_AT_ONCE: Final = 2
"""So many subscriptions of one client are taken from the network before they are looked at: libzmq
takes all that there are without asking anybody, and with long topics and eight at once it was fed
faster than it took them, for 100 MiB. The others wait in the kernel, and none is lost. 9 000 topics
of one client take 0.4 s like this (0.07 s eight at once)."""
MAX_SUBSCRIPTION: Final = 16 * 2**10
"""The longest topic, and what a handshake needs."""
BULK_HWM: Final = 64
"""Credits bound the items under way long before; this only bounds a broken peer."""


def _alive(silent_s: int) -> dict[Any, int]:
    """Return how the kernel finds out that a host is gone, by its silence or by what it leaves.

    It asks when it has heard nothing for half of the time. The end of the time ends the connection,
    whether it has asked or has sent what was not taken.
    """
    return {
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: max(1, silent_s // 2),
        zmq.TCP_KEEPALIVE_INTVL: 1,
        zmq.TCP_MAXRT: silent_s * 1000,
    }


_COMMON: Final[dict[Any, int]] = {
    zmq.LINGER: 0,
    zmq.IPV6: 1,
    zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
    **_alive(UNTAKEN_S),
}
_LISTENING: Final[dict[Any, int]] = {zmq.BACKLOG: BACKLOG}


def make_context() -> "zmq.Context[Socket]":
    """Return a context that has room for every server of a facility."""
    context: zmq.Context[Socket] = zmq.Context()
    context.max_sockets = MAX_SOCKETS
    return context


def _make(context: "zmq.Context[Socket]", kind: int, options: dict[Any, int]) -> Socket:
    made = context.socket(kind)
    for option, value in (_COMMON | options).items():
        made.setsockopt(option, value)
    return made


def _size(*, bulk: bool) -> dict[Any, int]:
    if bulk:
        return {zmq.MAXMSGSIZE: MAX_BULK_MESSAGE, zmq.SNDHWM: BULK_HWM, zmq.RCVHWM: BULK_HWM}
    return {zmq.MAXMSGSIZE: MAX_CONTROL_MESSAGE}


def make_router(context: "zmq.Context[Socket]", *, bulk: bool = False) -> Socket:
    """Return the listening end of calls, or of pipelines."""
    options: dict[Any, int] = {zmq.ROUTER_MANDATORY: 1, **_LISTENING}
    return _make(context, zmq.ROUTER, options | _size(bulk=bulk))


def make_dealer(context: "zmq.Context[Socket]", *, bulk: bool = False) -> Socket:
    """Return the connecting end of calls or pipelines: it connects once and never again.

    A DEALER that libzmq reconnects by itself would carry calls to a server that the caller did
    not meet; a link therefore lives once, and its owner makes a new one.
    """
    once = {zmq.RECONNECT_IVL: NO_RECONNECT_MS, zmq.CONNECT_TIMEOUT: CONNECT_TIMEOUT_MS}
    if bulk:
        return _make(context, zmq.DEALER, once | _size(bulk=True) | _alive(SILENT_S))
    asking = {
        zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
        zmq.HEARTBEAT_TIMEOUT: HEARTBEAT_TIMEOUT_MS,
        zmq.RCVHWM: 0,  # there are no more answers than calls
    }
    return _make(context, zmq.DEALER, once | _size(bulk=False) | asking)


def make_publisher(context: "zmq.Context[Socket]") -> Socket:
    """Return the listening end of event streams."""
    options = {
        **_LISTENING,
        zmq.RCVHWM: SUBSCRIPTIONS_AT_ONCE,
        zmq.XPUB_VERBOSER: 1,  # tell of each subscriber, so that they can be counted
        zmq.SNDHWM: EVENT_HWM,
        zmq.SNDBUF: EVENT_BUFFER,
    }
    return _make(context, zmq.XPUB, options | {zmq.MAXMSGSIZE: MAX_SUBSCRIPTION})


def make_subscriber(context: "zmq.Context[Socket]") -> Socket:
    """Return the connecting end of event streams; subscriptions are never truncated.

    IMMEDIATE stays off: with it libzmq 4.3.5 drops the pipe of a lost connection while a message
    may be half read, and ends the process (``Assertion failed: !_more (src/fq.cpp:80)``).
    """
    options = {
        zmq.SNDHWM: 0,
        zmq.RCVHWM: EVENT_HWM,
        zmq.RCVBUF: EVENT_BUFFER,
        zmq.RECONNECT_IVL: RECONNECT_MS + random.randrange(RECONNECT_MS),
        zmq.RECONNECT_IVL_MAX: RECONNECT_MAX_MS,
        zmq.MAXMSGSIZE: MAX_CONTROL_MESSAGE,
        **_alive(SILENT_S),
    }
    return _make(context, zmq.SUB, options | {zmq.CONNECT_TIMEOUT: CONNECT_TIMEOUT_MS})


PLAIN_TCP: Final = "plain://"
ZAP_DOMAIN: Final = b"pykarabo"


def guard(socket: "zmq.Socket[Any]", port: str = "") -> None:
    """Let nobody connect to a socket whom no ZAP handler of the context has admitted.

    Args:
        port: what is behind it: ``rpc``, ``events`` or ``data``.
    """
    domain = ZAP_DOMAIN + b"/" + port.encode() if port else ZAP_DOMAIN
    socket.setsockopt(zmq.ZAP_DOMAIN, domain)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


DOWN_EVENTS: Final = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_DOWN_REASONS: Final = {
    zmq.EVENT_DISCONNECTED: CLOSED,
    zmq.EVENT_CLOSED: NOBODY_LISTENS,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: NOT_ADMITTED,
}
UP_EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED


def stop_monitor(socket: Socket) -> None:
    """End the monitoring of a socket; only after that may the monitor's own socket be closed.

    libzmq sends monitor events without a time limit while it holds a lock. With nobody left to
    receive them its thread would wait for ever, and so would everybody who closes a socket.
    """
    socket.disable_monitor()


def describe_down(event: int, value: int, endpoint: str) -> str:
    """Say in words why a connection went down.

    Args:
        value: what the monitor says besides the event: an error number, or a kind of violation.
    """
    for kind, reason in _DOWN_REASONS.items():
        if event & kind:
            return reason
    if event & zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        if value == errno.ETIMEDOUT:
            return "it takes connections but does not answer: it hangs, or is no pykarabo program"
        return OTHER_KEY if is_encrypted(endpoint) else CLOSED
    if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return PLAIN
    return "the other side speaks another protocol"


def remedy_for(reason: str) -> str:
    """Say what to do about a connection that could not be made."""
    if reason in (OTHER_KEY, PLAIN):
        return f"copy {key_file()} from there if the domain is the same; see docs/how-to/use-tcp.md"
    if reason == NOT_ADMITTED:
        return "its log says why"
    return "look at 'pykarabo status' and start what is missing with 'pykarabo up'"


def unreachable(
    peer: str, endpoint: str, reason: str, told: str = "", remedy: str = ""
) -> NotConnectedError:
    """Return the error of a connection that could not be made, or is over.

    Args:
        peer: what the other side is called.
        reason: that of `DealerHandler.disconnected`.
        told, remedy: what is known better than that.
    """
    return NotConnectedError(
        f"{peer} cannot be reached at {without_key(endpoint)}: {told or reason}",
        remedy=remedy or remedy_for(reason),
        details={"reason": reason},
    )


def without_key(endpoint: str) -> str:
    """Return an endpoint as people read it: without the key that its server must have."""
    return endpoint.partition("#")[0]


def is_encrypted(endpoint: str) -> bool:
    """Tell whether whoever connects there must show the domain's key."""
    return endpoint.startswith("tcp:")


def is_plain(endpoint: str) -> bool:
    """Tell whether data goes there in plain text, over a network that is trusted.

    Bits can flip there unnoticed: messages need a checksum.
    """
    return endpoint.startswith(PLAIN_TCP)


def numeric(host: str) -> str:
    """Return the address of a host; may take seconds.

    Raises:
        NotConnectedError: the name is not known.
    """
    try:
        found = network.getaddrinfo(host, None, type=network.SOCK_STREAM)
    except network.gaierror as error:
        raise NotConnectedError(
            f"the host name '{host}' is not known here: {error.strerror}",
            remedy="correct the name, or advertise an address (--advertise)",
        ) from None
    return str(found[0][4][0])


def resolve(endpoint: str, *, bulk: bool = False) -> str:
    """Return what libzmq connects to: an address in place of a host name; may take seconds.

    libzmq resolves names in the thread that serves every socket of the process, so that one
    unknown name would stall all of them.

    Args:
        bulk: whether it is for data, which may go in plain text where the other side says so.

    Raises:
        NotConnectedError: the name is not known.
        BadConfigurationError: calls and events are encrypted everywhere.
        DeniedError: the Unix socket belongs to another user of this host.
    """
    if endpoint.startswith("ipc://"):
        require_own_socket(Path(endpoint.removeprefix("ipc://")))
        return endpoint
    if is_plain(endpoint) and not bulk:
        raise BadConfigurationError(
            f"{endpoint} is for data in plain text",
            remedy="calls and events go to a tcp:// endpoint",
        )
    parts = urlsplit(endpoint)
    if parts.scheme not in ("tcp", "plain") or parts.hostname is None or parts.port is None:
        return endpoint
    address = numeric(parts.hostname)
    return f"tcp://[{address}]:{parts.port}" if ":" in address else f"tcp://{address}:{parts.port}"
