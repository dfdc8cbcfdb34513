"""Both ends of a link, joined by lists of frames: no sockets, no clock, no mocks."""

from collections.abc import Iterable
from typing import Any

import pytest

from pykarabo.data import encode
from pykarabo.errors import (
    BusyError,
    CallTimeoutError,
    ConnectionLostError,
    ExpiredError,
    HelloRequiredError,
    LimitExceededError,
    MalformedMessageError,
    NotConnectedError,
    NotExecutedError,
    OutcomeUnknownError,
    PykaraboError,
    StateForbidsError,
    VersionMismatchError,
    WrongTypeError,
)
from pykarabo.wire import (
    MAX_IN_FLIGHT,
    MAX_IN_FLIGHT_PER_PEER,
    MAX_SESSIONS,
    MAX_UNTAKEN,
    PROTOCOL_MAJOR,
    Answer,
    Answered,
    Call,
    CancelCall,
    ClientIdentity,
    ClientSession,
    Dropped,
    Execute,
    Failed,
    Frame,
    Get,
    Header,
    Ignored,
    Kind,
    LinkState,
    Rejected,
    ServerSessions,
    SessionEvent,
    Target,
    Took,
    Welcome,
    Welcomed,
    pack,
    unpack,
)

_S = 1_000_000_000
_INSTANCE = bytes(range(16))
_TARGET = Target(_INSTANCE, 77)
_MOVE = Call("MOTOR/1", "move", [3.0])
_MAJOR_AT = 2


def _welcome() -> Welcome:
    return Welcome("S/1", _INSTANCE, 77, 0, "1.0", "ipc://events", "ipc://data")


class _Link:
    """A client and a server; messages lie in two lists until they are delivered."""

    def __init__(
        self,
        server: ServerSessions | None = None,
        *,
        peer: bytes = b"peer",
        line: bytes = b"",
        checksum: bool = False,
    ) -> None:
        identity = ClientIdentity("host", 42, "user", "program")
        self.server = server or ServerSessions(_welcome(), checksum=checksum)
        self.client = ClientSession(
            peer.ljust(8, b"\0"), identity, line=line, peer="server 'S/1'", checksum=checksum
        )
        self.peer = peer
        self.now_ns = 10**14
        self.server_offset_ns = -(10**13)
        self.under_way: list[list[Frame]] = []
        self.back: list[list[Frame]] = []

    def greet(self) -> "_Link":
        self.under_way.append(self.client.connected(self.now_ns))
        self.deliver()
        assert isinstance(self.collect()[0], Welcomed)
        return self

    def call(self, request: Any = _MOVE, *, timeout_s: float = 5.0) -> bytes:
        call_id, frames = self.client.call(
            request, _TARGET, timeout_s=timeout_s, now_ns=self.now_ns
        )
        self.under_way.append(frames)
        return call_id

    def take(self, frames: list[Frame]) -> Any:
        now_ns = self.now_ns + self.server_offset_ns
        action = self.server.receive(self.peer, frames, now_ns=now_ns, utc_ns=5 * _S)
        if isinstance(action, Answer):
            assert action.peer == self.peer
            self.back.append(action.frames)
        return action

    def deliver(self) -> list[Any]:
        frames, self.under_way = self.under_way, []
        return [self.take(message) for message in frames]

    def collect(self) -> list[SessionEvent]:
        frames, self.back = self.back, []
        return [self.client.receive(message, self.now_ns) for message in frames]

    def execute(self, request: Any = _MOVE) -> Execute:
        self.call(request)
        (action,) = self.deliver()
        assert isinstance(action, Execute)
        return action

    def pass_time(self, time_s: float) -> None:
        self.now_ns += int(time_s * _S)


def _error_of(events: Iterable[SessionEvent]) -> PykaraboError:
    (event,) = events
    assert isinstance(event, Failed)
    return event.error


# -- greeting ------------------------------------------------------------------------------------


def test_call_before_the_connection_is_refused_and_never_sent() -> None:
    link = _Link()
    with pytest.raises(NotConnectedError, match="not connected"):
        link.call()
    assert link.client.state is LinkState.CONNECTING
    assert link.under_way == []


def test_call_before_the_welcome_is_refused_and_never_sent() -> None:
    link = _Link()
    link.under_way.append(link.client.connected(link.now_ns))
    with pytest.raises(NotConnectedError) as caught:
        link.call()
    assert caught.value.device == "MOTOR/1"
    assert isinstance(caught.value, NotExecutedError)


def test_greeting_tells_both_sides_who_the_other_is() -> None:
    link = _Link()
    link.under_way.append(link.client.connected(link.now_ns))
    link.deliver()
    (event,) = link.collect()
    assert event == Welcomed(_welcome()._replace(time_ns=5 * _S))
    assert link.client.state is LinkState.READY
    assert link.server.sessions[0].identity == ClientIdentity("host", 42, "user", "program")


def test_call_of_a_peer_that_did_not_greet_is_not_run() -> None:
    greeted = _Link().greet()
    stranger = _Link(greeted.server, peer=b"other")
    _call_id, frames = greeted.client.call(_MOVE, _TARGET, timeout_s=5, now_ns=greeted.now_ns)
    assert isinstance(stranger.take(frames), Answer)
    told = [greeted.client.receive(frames, greeted.now_ns) for frames in stranger.back]
    assert isinstance(_error_of(told), HelloRequiredError)


def test_call_that_outlived_its_server_is_not_run_by_the_next_one() -> None:
    link = _Link().greet()
    link.call()
    link.server = ServerSessions(_welcome()._replace(instance=bytes(16)))
    assert isinstance(link.deliver()[0], Answer)
    assert isinstance(_error_of(link.collect()), HelloRequiredError)


def test_server_of_another_version_is_named_to_the_client_at_once() -> None:
    link = _Link()
    hello = link.client.connected(link.now_ns)
    answer = Header(Kind.ERROR)
    head = bytearray(pack(answer, [])[0])
    head[_MAJOR_AT] = PROTOCOL_MAJOR + 1
    event = link.client.receive([bytes(head)], link.now_ns)
    assert unpack(hello).kind == Kind.HELLO
    assert isinstance(event, Rejected)
    assert isinstance(event.error, VersionMismatchError)
    assert link.client.state is LinkState.CLOSED


def test_client_of_another_version_gets_an_answer_that_names_both() -> None:
    link = _Link()
    hello = link.client.connected(link.now_ns)
    head = bytearray(hello[0])
    head[_MAJOR_AT] = PROTOCOL_MAJOR + 1
    assert isinstance(link.take([bytes(head), *hello[1:]]), Answer)
    (event,) = link.collect()
    assert isinstance(event, Rejected)
    assert isinstance(event.error, VersionMismatchError)
    assert event.error.details == {"theirs": PROTOCOL_MAJOR + 1, "ours": PROTOCOL_MAJOR}


def test_damaged_message_of_a_greeted_server_of_another_version_is_not_ours() -> None:
    link = _Link().greet()
    head = bytearray(pack(Header(Kind.REPLY), [])[0])
    head[_MAJOR_AT] = PROTOCOL_MAJOR + 1
    with pytest.raises(VersionMismatchError):
        link.client.receive([bytes(head)], link.now_ns)
    assert link.client.state is LinkState.READY


def test_second_welcome_means_nothing() -> None:
    link = _Link().greet()
    again = pack(Header(Kind.WELCOME), encode(list(_welcome()._replace(server_id="OTHER"))))
    assert link.client.receive(again, link.now_ns) == Ignored(Kind.WELCOME)
    assert link.client.welcome is not None
    assert link.client.welcome.server_id == "S/1"


# -- calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [False, True])
def test_answer_reaches_the_call_that_asked(checksum: bool) -> None:
    link = _Link(checksum=checksum).greet()
    ids = [link.call(Get(f"D/{n}")) for n in range(3)]
    for call in reversed(link.deliver()):
        link.back.append(link.server.reply(call, call.request.device, sequence=9))
    events = link.collect()
    assert events == [Answered(ids[n], f"D/{n}", 9) for n in (2, 1, 0)]
    assert link.client.in_flight == 0
    assert link.server.in_flight == 0


def test_execute_says_for_which_instance_the_call_was_meant() -> None:
    call = _Link().greet().execute()
    assert (call.instance, call.epoch, call.request) == (_INSTANCE, 77, _MOVE)


def test_error_reaches_the_caller_as_the_same_class() -> None:
    link = _Link().greet()
    error = StateForbidsError("not now", device="MOTOR/1", key="move", remedy="stop it first")
    link.back.append(link.server.fail(link.execute(), error))
    received = _error_of(link.collect())
    assert isinstance(received, StateForbidsError)
    assert received.to_wire() == error.to_wire()


def test_error_that_cannot_travel_as_it_is_still_ends_the_call() -> None:
    link = _Link().greet()
    error = StateForbidsError("file '\udcff' is open", details={"file": object()})
    link.back.append(link.server.fail(link.execute(), error))
    received = _error_of(link.collect())
    assert isinstance(received, StateForbidsError)
    assert "udcff" in received.message


def test_result_that_cannot_travel_leaves_the_call_open_for_an_error() -> None:
    link = _Link().greet()
    call = link.execute()
    with pytest.raises(WrongTypeError) as caught:
        link.server.reply(call, object())
    link.back.append(link.server.fail(call, caught.value))
    assert isinstance(_error_of(link.collect()), WrongTypeError)
    assert link.server.in_flight == 0


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.ERROR])
@pytest.mark.parametrize("body", [[b"\xc1"], [b""], [], [b"\x91"]], ids=repr)
def test_answer_that_cannot_be_read_ends_its_call(kind: Kind, body: list[bytes]) -> None:
    link = _Link().greet()
    call_id = link.call()
    link.back.append(pack(Header(kind, call_id=call_id), body))
    assert isinstance(_error_of(link.collect()), MalformedMessageError)
    assert link.client.in_flight == 0


def test_answer_that_is_too_deep_ends_its_call_with_the_limit() -> None:
    link = _Link().greet()
    deep: Any = None
    for _ in range(40):
        deep = [deep]
    link.back.append(link.server.reply(link.execute(), deep))
    assert isinstance(_error_of(link.collect()), LimitExceededError)


def test_error_without_a_description_ends_its_call() -> None:
    link = _Link().greet()
    link.back.append(pack(Header(Kind.ERROR, call_id=link.call()), encode(["no map"])))
    assert isinstance(_error_of(link.collect()), MalformedMessageError)


def test_late_answer_of_a_call_that_timed_out_is_ignored() -> None:
    link = _Link().greet()
    call = link.execute()
    link.pass_time(5)
    link.client.expire(link.now_ns)
    link.back.append(link.server.reply(call, 1))
    assert link.collect() == [Ignored(Kind.REPLY)]


def test_answer_that_comes_twice_is_ignored_once() -> None:
    link = _Link().greet()
    frames = link.server.reply(link.execute(), 1)
    link.back += [frames, frames]
    assert [type(event) for event in link.collect()] == [Answered, Ignored]


def test_unknown_kinds_are_ignored_by_the_client_and_counted_by_the_server() -> None:
    link = _Link().greet()
    message = pack(Header(200), [])
    assert link.client.receive(message, link.now_ns) == Ignored(200)
    assert isinstance(link.take(message), Dropped)
    assert link.server.dropped == 1


def test_malformed_call_is_answered_with_what_is_wrong() -> None:
    link = _Link().greet()
    call_id = link.call()
    frames = link.under_way.pop()
    assert isinstance(link.take([frames[0], *encode(["fly", "MOTOR/1"])]), Answer)
    (event,) = link.collect()
    assert isinstance(event, Failed)
    assert event.call_id == call_id
    assert isinstance(event.error, MalformedMessageError)
    assert link.server.in_flight == 0


def test_call_that_the_network_repeats_is_run_once() -> None:
    link = _Link().greet()
    link.call()
    frames = link.under_way[0]
    assert isinstance(link.take(frames), Execute)
    assert isinstance(link.take(frames), Dropped)


# -- deadlines -----------------------------------------------------------------------------------


def test_call_without_an_answer_ends_at_its_deadline_with_outcome_unknown() -> None:
    link = _Link().greet()
    call_id = link.call(timeout_s=2.0)
    deadline_ns = link.now_ns + 2 * _S
    assert link.client.next_deadline_ns() == deadline_ns
    assert link.client.expire(deadline_ns - 1) == []
    (failed,) = link.client.expire(deadline_ns)
    assert failed.call_id == call_id
    assert isinstance(failed.error, CallTimeoutError)
    assert isinstance(failed.error, OutcomeUnknownError)
    assert "'MOTOR/1.move'" in str(failed.error)
    assert link.client.next_deadline_ns() is None


def test_only_the_calls_whose_time_is_over_end() -> None:
    link = _Link().greet()
    late, early = link.call(timeout_s=9), link.call(timeout_s=1)
    link.pass_time(1)
    assert [failed.call_id for failed in link.client.expire(link.now_ns)] == [early]
    link.pass_time(8)
    assert [failed.call_id for failed in link.client.expire(link.now_ns)] == [late]


@pytest.mark.parametrize("timeout_s", [float("inf"), 1e12])
def test_endless_timeout_is_the_longest_that_fits(timeout_s: float) -> None:
    link = _Link().greet()
    link.call(timeout_s=timeout_s)
    assert isinstance(link.deliver()[0], Execute)


def test_timeout_of_zero_still_gives_the_shortest_time() -> None:
    link = _Link().greet()
    link.call(timeout_s=0)
    assert isinstance(link.deliver()[0], Execute)


def test_calls_that_waited_in_a_frozen_server_are_not_run() -> None:
    link = _Link().greet()
    for _ in range(5):
        link.server.reply(link.execute(), None)
        link.pass_time(1)
    expired = [link.call(timeout_s=5.0) for _ in range(3)]
    link.pass_time(18)
    in_time = link.call(timeout_s=5.0)
    link.pass_time(2)
    actions = link.deliver()
    assert [type(action) for action in actions] == [Answer, Answer, Answer, Execute]
    assert actions[-1].call_id == in_time
    errors = [event for event in link.collect() if isinstance(event, Failed)]
    assert [failed.call_id for failed in errors] == expired
    assert all(isinstance(failed.error, ExpiredError) for failed in errors)
    assert all(isinstance(failed.error, NotExecutedError) for failed in errors)


def test_call_has_the_rest_of_its_time_at_the_server() -> None:
    link = _Link().greet()
    link.call(timeout_s=5.0)
    link.pass_time(3)
    (call,) = link.deliver()
    left_ns = call.deadline_ns - (link.now_ns + link.server_offset_ns)
    assert left_ns == pytest.approx(2 * _S, abs=_S // 100)


def test_greeting_that_waited_in_a_frozen_server_does_not_hide_later_delays() -> None:
    link = _Link()
    link.under_way.append(link.client.connected(link.now_ns))
    link.pass_time(30)
    link.deliver()
    link.collect()
    assert isinstance(link.execute(), Execute)
    link.call(timeout_s=5.0)
    link.pass_time(6)
    assert isinstance(link.deliver()[0], Answer)
    assert isinstance(_error_of(link.collect()), ExpiredError)


def test_call_that_waits_as_long_as_the_greeting_did_is_not_run() -> None:
    """As after a freeze that a cut follows: nothing on the way there was ever fast."""
    link = _Link()
    link.under_way.append(link.client.connected(link.now_ns))
    link.pass_time(3)
    link.deliver()
    link.collect()
    link.call(timeout_s=2.0)
    link.pass_time(3)
    assert isinstance(link.deliver()[0], Answer)
    assert isinstance(_error_of(link.collect()), ExpiredError)


def test_a_welcome_that_was_late_costs_one_call_and_the_refusal_repairs_it() -> None:
    link = _Link()
    link.under_way.append(link.client.connected(link.now_ns))
    link.deliver()
    link.pass_time(3)
    link.collect()
    link.call(timeout_s=2.0)
    assert isinstance(link.deliver()[0], Answer)
    assert isinstance(_error_of(link.collect()), ExpiredError)
    assert isinstance(link.execute(), Execute)


# -- limits --------------------------------------------------------------------------------------


def test_client_with_too_many_calls_under_way_is_told_that_the_server_is_busy() -> None:
    link = _Link().greet()
    calls = [link.execute() for _ in range(MAX_IN_FLIGHT_PER_PEER)]
    link.call()
    assert isinstance(link.deliver()[0], Answer)
    assert isinstance(_error_of(link.collect()), BusyError)
    link.server.reply(calls[0], None)
    assert isinstance(link.execute(), Execute)


def test_client_has_no_room_until_it_has_taken_what_was_answered() -> None:
    link = _Link().greet()
    other = _Link(link.server, peer=b"other").greet()
    answer = "x" * (MAX_UNTAKEN // 8)
    for _ in range(9):
        assert link.server.has_room(link.peer)
        link.call()
        (call,) = link.deliver()
        link.back.append(link.server.reply(call, answer))
        if not link.server.has_room(link.peer):
            break
    assert not link.server.has_room(link.peer)
    assert link.server.has_room(other.peer)
    assert all(isinstance(event, Answered) for event in link.collect())
    taken = link.client.taken()
    assert taken is not None
    assert link.client.taken() is None
    assert link.take(taken) == Took(link.peer)
    assert link.server.has_room(link.peer)


def test_client_cannot_take_more_than_it_was_answered() -> None:
    link = _Link().greet()
    link.take(pack(Header(Kind.TAKEN, sequence=2**63), []))
    for _ in range(5):
        link.call()
        (call,) = link.deliver()
        link.server.reply(call, "x" * (MAX_UNTAKEN // 5 + 1))
    assert not link.server.has_room(link.peer)


def test_another_client_is_served_while_one_is_at_its_limit() -> None:
    link = _Link().greet()
    for _ in range(MAX_IN_FLIGHT_PER_PEER):
        link.execute()
    assert isinstance(_Link(link.server, peer=b"other").greet().execute(), Execute)


@pytest.mark.parametrize("farewell", [False, True])
def test_greeting_again_does_not_lift_the_limit(farewell: bool) -> None:
    link = _Link().greet()
    for _ in range(MAX_IN_FLIGHT_PER_PEER):
        link.execute()
    if farewell:
        link.take(link.client.goodbye(link.now_ns))
    link.client.disconnected("again")
    link.greet()
    link.call()
    assert isinstance(link.deliver()[0], Answer)
    assert isinstance(_error_of(link.collect()), BusyError)


def test_all_clients_together_have_a_limit() -> None:
    server = ServerSessions(_welcome())
    links = [_Link(server, peer=b"%d" % n).greet() for n in range(11)]
    calls = [links[n // MAX_IN_FLIGHT_PER_PEER].execute() for n in range(MAX_IN_FLIGHT)]
    links[-1].call()
    links[-1].deliver()
    assert isinstance(_error_of(links[-1].collect()), BusyError)
    for call in calls:
        server.abandon(call)
    assert server.in_flight == 0
    assert isinstance(links[-1].execute(), Execute)


def test_number_of_sessions_is_bounded_and_the_most_silent_is_forgotten() -> None:
    link = _Link().greet()
    link.pass_time(1)
    busy = _Link(link.server, peer=b"busy").greet()
    hello = _Link().client.connected(link.now_ns)
    for n in range(MAX_SESSIONS):
        link.pass_time(0.001)
        busy.now_ns = link.now_ns
        if n % 100 == 0:
            link.server.reply(busy.execute(), None)
        now_ns = link.now_ns + link.server_offset_ns
        link.server.receive(b"peer %d" % n, hello, now_ns=now_ns, utc_ns=0)
    assert len(link.server.sessions) == MAX_SESSIONS
    assert isinstance(busy.execute(), Execute)
    link.call()
    assert isinstance(link.deliver()[0], Answer)
    assert isinstance(_error_of(link.collect()), HelloRequiredError)


# -- ends ----------------------------------------------------------------------------------------


def test_disconnect_ends_every_call_with_outcome_unknown() -> None:
    link = _Link().greet()
    ids = [link.call(), link.call(Get("A/1"))]
    failed = link.client.disconnected("connection reset")
    assert [entry.call_id for entry in failed] == ids
    assert all(isinstance(entry.error, ConnectionLostError) for entry in failed)
    assert all(isinstance(entry.error, OutcomeUnknownError) for entry in failed)
    assert "connection reset" in str(failed[0].error)
    assert link.client.state is LinkState.CLOSED
    assert link.client.in_flight == 0


def test_session_that_is_over_takes_no_calls_and_has_nothing_to_expire() -> None:
    link = _Link().greet()
    call_id = link.call()
    link.client.disconnected("gone")
    with pytest.raises(NotConnectedError):
        link.call()
    assert link.client.disconnected("gone") == []
    assert link.client.expire(link.now_ns + 100 * _S) == []
    assert link.client.cancel(call_id, link.now_ns) is None


def test_cancel_reaches_the_server_under_the_calls_id() -> None:
    link = _Link().greet()
    call = link.execute()
    frames = link.client.cancel(call.call_id, link.now_ns)
    assert frames is not None
    assert link.take(frames) == CancelCall(b"peer", call.call_id)
    assert link.client.in_flight == 0
    link.server.abandon(call)
    assert link.server.in_flight == 0


def test_call_that_has_ended_cannot_be_cancelled() -> None:
    link = _Link().greet()
    call = link.execute()
    link.back.append(link.server.reply(call, None))
    link.collect()
    assert link.client.cancel(call.call_id, link.now_ns) is None


def test_answer_after_the_cancel_is_ignored() -> None:
    link = _Link().greet()
    call = link.execute()
    link.client.cancel(call.call_id, link.now_ns)
    link.back.append(link.server.reply(call, None))
    assert link.collect() == [Ignored(Kind.REPLY)]


def test_goodbye_ends_the_session_at_the_server() -> None:
    link = _Link().greet()
    link.take(link.client.goodbye(link.now_ns))
    assert link.server.sessions == []
    link.call()
    link.deliver()
    assert isinstance(_error_of(link.collect()), HelloRequiredError)


def test_a_greeting_that_cannot_be_read_is_answered_with_the_reason() -> None:
    link = _Link()
    link.client.connected(link.now_ns)
    link.take(pack(Header(Kind.HELLO), encode(["host"])))
    (event,) = link.collect()
    assert isinstance(event, Rejected)
    assert isinstance(event.error, MalformedMessageError)
    assert link.server.sessions == []


def test_a_later_connection_of_a_client_ends_the_earlier_one() -> None:
    first = _Link(line=b"line").greet()
    call = first.execute()
    assert not first.server.has_forgotten(call.peer)
    second = _Link(first.server, peer=b"second", line=b"line")
    second.pass_time(1.0)
    second.greet()
    assert first.server.has_forgotten(call.peer)
    first.call()
    first.deliver()
    assert isinstance(_error_of(first.collect()), HelloRequiredError)
    assert isinstance(second.execute(), Execute)


def test_a_greeting_that_comes_after_a_later_one_is_not_answered() -> None:
    late = _Link(line=b"line")
    frames = late.client.connected(late.now_ns)
    second = _Link(late.server, peer=b"second", line=b"line")
    second.pass_time(1.0)
    second.greet()
    assert isinstance(late.take(frames), Dropped)
    assert late.back == []
    assert isinstance(second.execute(), Execute)


def test_connections_of_different_lines_do_not_end_each_other() -> None:
    first = _Link(line=b"a").greet()
    others = [_Link(first.server, peer=line or b"none", line=line) for line in (b"b", b"")]
    for other in others:
        other.greet()
    assert isinstance(_Link(first.server, peer=b"more").greet().execute(), Execute)
    assert len(first.server.sessions) == 4
    assert isinstance(first.execute(), Execute)


def test_a_line_may_be_taken_up_again_after_a_goodbye() -> None:
    first = _Link(line=b"line").greet()
    first.take(first.client.goodbye(first.now_ns))
    second = _Link(first.server, peer=b"second", line=b"line").greet()
    assert isinstance(second.execute(), Execute)
    first.server.forget(b"peer")  # it is not told twice
    assert not first.server.has_forgotten(b"second")


def test_call_may_end_after_its_peer_was_forgotten() -> None:
    link = _Link().greet()
    call = link.execute()
    link.server.forget(b"peer")
    link.server.reply(call, None)
    assert link.server.in_flight == 0
