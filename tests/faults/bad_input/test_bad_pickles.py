"""X9: objects that would run code when they are unpickled, sent to every port."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from pykarabo.client import BlockingClient, connect
from pykarabo.data import encode
from pykarabo.transport import DomainKeys, is_encrypted
from pykarabo.wire import ClientIdentity, ClientSession, Header, Kind, pack


class _Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_X9_an_object_that_is_sent_is_never_unpickled(
    start_target: Any, raw: Any, tmp_path: Path
) -> None:
    target = start_target()
    mark = tmp_path / "executed"
    bomb = pickle.dumps(_Bomb(mark))
    pickle.loads(bomb)  # it is one
    assert mark.exists()
    mark.rmdir()
    identity = ClientIdentity("h", 1, "u", "p")
    messages: list[list[bytes]] = [
        [bomb],  # as `send_pyobj` sends it
        [b"", bomb],
        [bytes(frame) for frame in pack(Header(Kind.CALL), [bomb])],
        [bytes(frame) for frame in pack(Header(Kind.HELLO), [bomb])],
        [bytes(frame) for frame in pack(Header(Kind.CALL), encode({"object": bomb}))],
    ]
    for port in ("rpc", "data"):
        dealer = raw(target.places[port])
        for message in messages:
            dealer.send(message)
    greeted = raw(target.places["rpc"])
    greeted.send(ClientSession(b"12345678", identity).connected(1))
    assert greeted.receive()
    for message in messages:
        greeted.send(message)
    _send_upstream(target.places["events"], bomb)
    with BlockingClient() as client:
        server = client.device("T/SERVER")
        while server.get("rejected_messages")["rejected_messages"] < len(messages):
            pass
    assert connect("T/TARGET/1").count() == 1
    assert target.alive
    assert not mark.exists()


def _send_upstream(endpoint: str, payload: bytes) -> None:
    """Send to a publisher what is no subscription, and wait until it was taken."""
    with zmq.Context() as context, context.socket(zmq.XSUB) as socket:
        socket.linger = 5_000
        if is_encrypted(endpoint):
            DomainKeys().use(socket, endpoint)
        socket.connect(endpoint)
        socket.send(b"\2" + payload)
        socket.send_multipart([b"\1" + payload[:100], payload])
