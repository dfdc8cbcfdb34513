"""Who may connect to a Unix socket, asked of real sockets of libzmq."""

import logging
import os
import pwd
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from pykarabo.errors import BadConfigurationError
from pykarabo.transport import Connection, Sender, make_context
from pykarabo.transport._frames import SenderReader
from pykarabo.transport._sockets import (
    DOWN_EVENTS,
    UP_EVENTS,
    Socket,
    guard,
    make_dealer,
    make_router,
    stop_monitor,
)
from pykarabo.transport._zap import Doorkeeper, Question, Verdict, own_user_only

_UID = os.getuid()
_NAME = pwd.getpwuid(_UID).pw_name
_PATIENCE_MS = 5_000


def _nobody_comes_in(question: Question) -> Verdict:
    return Verdict(refused=f"{question.address}: closed")


def _fails(question: Question) -> Verdict:
    raise ValueError("what a question")


class Door:
    """A guarded socket, and others that knock."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.context = stack.enter_context(make_context())
        self.endpoint = f"ipc://{path}"
        self.router = stack.enter_context(make_router(self.context))
        guard(self.router)
        self.router.bind(self.endpoint)

    def keep(self, judge: Callable[[Question], Verdict]) -> Doorkeeper:
        keeper = Doorkeeper(self.context, judge)
        self._stack.callback(keeper.close)
        return keeper

    def knock(self) -> tuple[Socket, int]:
        """Connect from a context of its own; returns the socket and the event that tells how."""
        context = self._stack.enter_context(make_context())
        dealer = self._stack.enter_context(make_dealer(context))
        monitor = self._stack.enter_context(dealer.get_monitor_socket(UP_EVENTS | DOWN_EVENTS))
        self._stack.callback(stop_monitor, dealer)
        dealer.connect(self.endpoint)
        assert monitor.poll(_PATIENCE_MS)
        return dealer, int(recv_monitor_message(monitor)["event"])


@pytest.fixture
def door(short_runtime: Path) -> Iterator[Door]:
    with ExitStack() as stack:
        yield Door(short_runtime / "door", stack)


def test_a_program_of_the_same_user_comes_in_and_is_known(door: Door) -> None:
    door.keep(own_user_only)
    dealer, event = door.knock()
    assert event == zmq.EVENT_HANDSHAKE_SUCCEEDED
    dealer.send_multipart([b"hello", b"world"])
    reader = SenderReader()
    assert door.router.poll(_PATIENCE_MS)
    assert reader(door.router)[1:] == [b"hello", b"world"]
    sender = reader.connection.sender
    assert sender == Sender(_NAME, f"uid:{_UID}", sender.address)
    assert sender.address == f"localhost:{_UID}:{os.getgid()}:{os.getpid()}"


class Late(Doorkeeper):
    """One whose thread the system lets begin only when the test says so."""

    def __init__(
        self, context: "zmq.Context[Socket]", judge: Callable[[Question], Verdict]
    ) -> None:
        self.may_begin = threading.Event()
        super().__init__(context, judge)

    def _work(self) -> None:
        assert self.may_begin.wait(_PATIENCE_MS / 1_000)
        super()._work()


def test_a_connection_of_a_new_socket_is_seen_before_it_is_numbered(short_runtime: Path) -> None:
    with ExitStack() as stack:
        context, elsewhere = (stack.enter_context(make_context()) for _ in range(2))
        router = stack.enter_context(make_router(context))
        dealer = stack.enter_context(make_dealer(elsewhere))
        keeper = Late(context, own_user_only)
        stack.callback(keeper.close)
        over: list[Connection] = []
        watch = keeper.watch(router, unix=True, ended=over.append)
        stack.callback(keeper.unwatch, watch)
        stack.callback(stop_monitor, router)
        guard(router)
        router.bind(f"ipc://{short_runtime / 'door'}")
        dealer.connect(f"ipc://{short_runtime / 'door'}")
        dealer.send(b"hello")
        assert keeper._socket.poll(_PATIENCE_MS)  # the question is there, the watch not begun yet
        keeper.may_begin.set()
        assert router.poll(_PATIENCE_MS)
        reader = SenderReader()
        reader(router)
        met = reader.connection
        assert watch.accepted[met.fd].at < met.number
        keeper.know(watch, met)
        keeper.cut(watch, met, "this is a test")
        assert keeper.alive
        for _ in range(_PATIENCE_MS):
            if over:
                break
            dealer.poll(1)
        assert over == [met]
        assert keeper.counts.cut == 1


def test_over_tcp_the_key_is_known() -> None:
    public, secret = zmq.curve_keypair()
    own_public, own_secret = zmq.curve_keypair()
    with ExitStack() as stack:
        context = stack.enter_context(make_context())
        keeper = Doorkeeper(context, lambda _question: Verdict("alice"))
        stack.callback(keeper.close)
        router, dealer = (stack.enter_context(make(context)) for make in (make_router, make_dealer))
        router.curve_server, router.curve_publickey, router.curve_secretkey = True, public, secret
        guard(router)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        dealer.curve_serverkey = public
        dealer.curve_publickey, dealer.curve_secretkey = own_public, own_secret
        dealer.connect(f"tcp://127.0.0.1:{port}")
        assert dealer.poll(_PATIENCE_MS, zmq.POLLOUT)
        dealer.send(b"hello")
        reader = SenderReader()
        assert router.poll(_PATIENCE_MS)
        reader(router)
        user, proof, address = reader.connection.sender
        assert (user, proof) == ("alice", f"key:{z85.decode(own_public).hex()}")
        assert address.endswith("127.0.0.1")


def test_whoever_is_refused_is_told_and_named_in_the_log_once(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = door.keep(_nobody_comes_in)
    with caplog.at_level(logging.WARNING):
        assert [door.knock()[1] for _ in range(3)] == [zmq.EVENT_HANDSHAKE_FAILED_AUTH] * 3
    assert keeper.refused == 3
    (record,) = caplog.records
    assert "closed" in record.getMessage()
    assert not door.router.poll(0)


def _strange_name(question: Question) -> Verdict:
    return Verdict("\udcff")  # as the name of a user may come from a file


@pytest.mark.parametrize("judge", [_fails, _strange_name])
def test_a_judge_that_fails_lets_nobody_in_and_goes_on(
    door: Door, judge: Callable[[Question], Verdict]
) -> None:
    keeper = door.keep(judge)
    assert door.knock()[1] == zmq.EVENT_HANDSHAKE_FAILED_AUTH
    assert keeper.alive
    assert door.knock()[1] == zmq.EVENT_HANDSHAKE_FAILED_AUTH


@pytest.mark.parametrize("was_there", [False, True])
def test_X3_without_a_doorkeeper_nobody_comes_in(door: Door, *, was_there: bool) -> None:
    if was_there:
        keeper = door.keep(own_user_only)
        dealer, event = door.knock()
        assert event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        keeper.close()
        assert not keeper.alive
        dealer.send(b"still there")  # who is in stays in
        assert door.router.poll(_PATIENCE_MS)
        door.router.recv_multipart()
    assert door.knock()[1] in (
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        zmq.EVENT_DISCONNECTED,
    )
    assert not door.router.poll(0)


def test_a_context_has_one_doorkeeper(door: Door) -> None:
    door.keep(own_user_only)
    with pytest.raises(BadConfigurationError, match="nobody can see to who connects"):
        Doorkeeper(door.context, own_user_only)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1",
        "localhost",
        "localhost:0",
        "localhost:0:0",
        "127.0.0.1:0:0:1",
        "localhost:x:0:1",
        "localhost:0:0:1:2",
        f"localhost:{_UID + 1}:0:1",
    ],
)
def test_who_is_not_this_user_by_the_word_of_the_kernel_is_refused(address: str) -> None:
    verdict = own_user_only(Question(address, "NULL", b""))
    assert verdict.refused
    assert verdict.user == ""


def test_this_user_is_admitted() -> None:
    assert own_user_only(Question(f"localhost:{_UID}:5:6", "NULL", b"")) == Verdict(_NAME)
