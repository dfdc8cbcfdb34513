"""Whatever bytes arrive, only the typed rejections come out, and the state is unharmed."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykarabo.data import PropertyValue, Schema, Timestamp, decode, encode, to_row
from pykarabo.errors import LimitExceededError, MalformedMessageError, VersionMismatchError
from pykarabo.wire import (
    AT_ONCE,
    Answer,
    Attach,
    ClientIdentity,
    ClientSession,
    Dropped,
    EventSource,
    Frame,
    Get,
    Header,
    Kind,
    LinkState,
    PipelineInput,
    Publisher,
    ServerSessions,
    Set,
    Target,
    Welcome,
    pack,
    parse_attach,
    parse_published,
    parse_request,
    parse_rows,
    unpack,
)

_REJECTIONS: Final = (MalformedMessageError, LimitExceededError, VersionMismatchError)
_INSTANCE: Final = b"D" * 16
_WELCOME: Final = Welcome("S/1", _INSTANCE, 1, 2, "1.0", "ipc://e", "ipc://d")
_IDENTITY: Final = ClientIdentity("host", 42, "user", "program")

_INTEGERS = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 1, -1, 2**64 - 1, -(2**63)])
_DTYPES = st.text(max_size=6) | st.sampled_from(
    ["<f8", "|u1", "|b1", ">c16", "<f2", "<f16", "|O", "<U4", "|V8", "<M8[s]", "<f8,<f8", "(2)f8"]
)
_SHAPES = st.lists(st.sampled_from([0, 1, 2, 16, 2**31, 2**62, -1]), max_size=4) | _INTEGERS
_HASH_ROWS: st.SearchStrategy[Any] = st.lists(
    st.lists(st.sampled_from(["a", "a.b", "", ".", "a..b", None, 1, {}, {"a": 1}, []]), max_size=4),
    max_size=3,
)
_LEAVES = (
    st.none()
    | st.booleans()
    | _INTEGERS
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=20)
    | st.sampled_from(["get", "set", "call", "schema", "read_many", "locate", "valid", "A/1"])
    | st.sampled_from([_INSTANCE, [1, 2, 3], {}])
    | st.builds(msgpack.ExtType, st.integers(0, 8), st.binary(max_size=24))
    | st.builds(lambda time: msgpack.ExtType(5, msgpack.packb(time)), st.lists(_INTEGERS))
    | st.builds(
        lambda *place: msgpack.ExtType(1, msgpack.packb(place)), _INTEGERS, _DTYPES, _SHAPES
    )
    | st.builds(
        lambda *content: msgpack.ExtType(2, msgpack.packb(content)),
        _DTYPES,
        _SHAPES,
        st.binary(max_size=16),
    )
    | st.builds(lambda rows: msgpack.ExtType(4, msgpack.packb(rows)), _HASH_ROWS)
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda children: (
        st.lists(children, max_size=7)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 3), children, max_size=4)
    ),
    max_leaves=25,
)
_BODIES: st.SearchStrategy[list[bytes]] = st.one_of(
    _VALUES.map(lambda value: [msgpack.packb(value)]),
    st.lists(_VALUES, max_size=8).map(lambda value: [msgpack.packb(value)]),
    st.lists(st.binary(max_size=40), max_size=3),
    st.builds(
        lambda value, more: [msgpack.packb(value), *more],
        _VALUES,
        st.lists(st.binary(max_size=16), min_size=1, max_size=20),
    ),
    st.just([b"\x91" * 100 + b"\xc0"]),
    st.just([b"\xdd\xff\xff\xff\xff"]),
    st.just([b"\xc0\xc0"]),
)
_KINDS = st.sampled_from(list(Kind)) | st.integers(0, 255)
_HEADERS = st.builds(
    Header,
    kind=_KINDS,
    instance=st.sampled_from([_INSTANCE, bytes(16)]),
    epoch=st.sampled_from([0, 1, 2**64 - 1]),
    sequence=st.sampled_from([0, 1, 2, 5, 2**64 - 1]),
    call_id=st.sampled_from([bytes(16), b"token!!!" + (1).to_bytes(8, "big")]),
    ttl_ms=st.sampled_from([0, 1, 5_000, 2**32 - 1]),
    sent_ns=st.sampled_from([0, 10**14, 2**64 - 1]),
    flags=st.just(0),
)
_MESSAGES = st.one_of(
    st.builds(pack, _HEADERS, _BODIES),
    st.builds(lambda header, body: pack(header, body, checksum=True), _HEADERS, _BODIES),
    st.lists(st.binary(max_size=100), max_size=4),
)


def _client() -> ClientSession:
    client = ClientSession(b"token!!!", _IDENTITY)
    client.connected(0)
    return client


def _ready_client() -> ClientSession:
    client = _client()
    client.receive(pack(Header(Kind.WELCOME), encode(list(_WELCOME))), 0)
    client.call(Get("A/1"), Target(), timeout_s=5, now_ns=0)
    return client


def _input() -> PipelineInput:
    return PipelineInput(Attach("A/1", "output", "drop", 2), _INSTANCE)


def _take(take: Callable[[Any], object], message: Any) -> None:
    """Hand a message in; nothing but a typed rejection of one line may come out."""
    try:
        take(message)
    except _REJECTIONS as error:
        if "\n" in str(error):
            raise


@given(st.lists(_MESSAGES, max_size=4))
def test_client_ends_a_call_once_whatever_arrives(messages: list[list[Frame]]) -> None:
    client = _ready_client()
    for frames in messages:
        _take(lambda message: client.receive(message, 0), frames)
    ended = 1 - client.in_flight
    assert len(client.disconnected("gone")) == 1 - ended


@given(_MESSAGES)
def test_client_that_greets_is_ready_only_after_a_good_welcome(frames: list[Frame]) -> None:
    client = _client()
    _take(lambda message: client.receive(message, 0), frames)
    if client.state is LinkState.READY:
        assert client.welcome is not None
        pack(Header(Kind.CALL, client.welcome.instance, client.welcome.epoch), [])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), _MESSAGES), max_size=6))
def test_server_answers_or_drops_whatever_arrives(
    messages: Sequence[tuple[bytes, list[Frame]]],
) -> None:
    server = ServerSessions(_WELCOME)
    hello = _client().connected(0)
    assert isinstance(server.receive(b"a", hello, now_ns=0, utc_ns=0), Answer)
    for peer, frames in messages:
        action = server.receive(peer, frames, now_ns=10**14, utc_ns=0)
        if isinstance(action, Answer):
            assert unpack(action.frames).kind in (Kind.WELCOME, Kind.ERROR)
        elif isinstance(action, Dropped):
            assert "\n" not in action.reason


@given(st.binary(max_size=6) | st.just(b"A/1\0") | st.just(b"\xff\0"), _MESSAGES)
def test_subscriber_refuses_or_understands_whatever_arrives(
    topic: bytes, frames: list[Frame]
) -> None:
    _take(parse_published, [topic, *frames])


@given(_MESSAGES)
def test_pipeline_input_refuses_or_understands_whatever_arrives(frames: list[Frame]) -> None:
    _take(_input().receive, frames)


@pytest.mark.parametrize("parse", [parse_request, parse_attach, parse_rows])
@given(body=_BODIES)
def test_parser_refuses_or_understands_whatever_was_decoded(
    parse: Callable[[Any], object], body: list[bytes]
) -> None:
    _take(lambda frames: parse(decode(frames)), body)


# -- damaged good messages -----------------------------------------------------------------------

_ROW = to_row("value", PropertyValue([1.5, "x"], Timestamp(10, 20, 30)))


def _published() -> list[list[Frame]]:
    publisher = Publisher(_INSTANCE, 1)
    source = EventSource("A/1", _INSTANCE, 1)
    messages: list[list[Frame]] = []
    for _ in range(AT_ONCE + 2):  # the last two leave as one
        messages += publisher.event(source, [_ROW], 0)
    messages += publisher.schema(source, Schema("Motor").to_wire(), 0)
    messages += publisher.heartbeat(0, lag_s=0.5)
    messages += publisher.ended(source, 0)
    return [*messages[AT_ONCE - 1 :], *publisher.heartbeat(0, lag_s=0.5)]


@given(st.sampled_from(_published()), st.data())
def test_damaged_event_is_refused_or_understood(frames: list[Frame], data: st.DataObject) -> None:
    _take(parse_published, _damaged(frames, data))


@given(st.data())
def test_damaged_call_is_answered_or_dropped_or_run(data: st.DataObject) -> None:
    server = ServerSessions(_WELCOME)
    server.receive(b"a", _client().connected(0), now_ns=0, utc_ns=0)
    request = Set("A/1", {"speed": 1.5})
    _call_id, frames = _ready_client().call(request, Target(), timeout_s=5, now_ns=0)
    server.receive(b"a", _damaged(frames, data), now_ns=0, utc_ns=0)


def _damaged(frames: list[Frame], data: st.DataObject) -> list[Frame]:
    """Change, cut or lengthen one frame, or leave one out."""
    number = data.draw(st.integers(0, len(frames) - 1))
    frame = bytearray(frames[number])
    how = data.draw(st.sampled_from(["change", "cut", "lengthen", "leave out"]))
    if how == "change" and frame:
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    elif how == "cut":
        del frame[data.draw(st.integers(0, len(frame))) :]
    elif how == "lengthen":
        frame += data.draw(st.binary(max_size=4))
    middle: list[Frame] = [] if how == "leave out" else [bytes(frame)]
    return [*frames[:number], *middle, *frames[number + 1 :]]


# -- each wrong form by name ---------------------------------------------------------------------


def _event(body: Any, topic: bytes = b"A/1\0") -> list[Frame]:
    return [topic, *pack(Header(Kind.EVENT, _INSTANCE, 1, 1), encode(body))]


def _heartbeat(body: Any) -> list[Frame]:
    return [b"\x02\0", *pack(Header(Kind.HEARTBEAT, _INSTANCE, 1, 1), encode(body))]


_TAIL: Final = ["A/1", _INSTANCE, 1]
_GOOD_ROW: Final = list(_ROW)


def _row(place: int, value: Any) -> list[Any]:
    return [*_GOOD_ROW[:place], value, *_GOOD_ROW[place + 1 :]]


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        "text",
        [None],
        [[]],
        ["123456"],
        [_GOOD_ROW[:5]],
        [_row(0, 1)],
        [_row(2, "1")],
        [_row(2, 1.5)],
        [_row(3, None)],
        [_row(4, True)],
        [_row(4, [])],
        [_row(5, "splendid")],
        [_row(5, ["valid"])],
        [_row(5, None)],
        [_GOOD_ROW, []],
    ],
    ids=repr,
)
def test_event_of_another_form_is_malformed(body: object) -> None:
    with pytest.raises(MalformedMessageError):
        parse_published(_event(body))


def test_row_of_a_later_version_may_have_more_fields() -> None:
    assert parse_rows([[*_GOOD_ROW, "more"]]) == [_ROW]


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.SCHEMA, Kind.GOODBYE])
def test_topic_that_is_no_text_is_malformed(kind: Kind) -> None:
    frames = [b"\xff\xfe\0", *pack(Header(kind, _INSTANCE, 1, 1), encode([]))]
    with pytest.raises(MalformedMessageError, match="topic"):
        parse_published(frames)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        [0.0],
        [0.0, []],
        ["late", [], []],
        [None, [], []],
        [1j, [], []],
        [0.0, {}, []],
        [0.0, [], {}],
        [0.0, [[]], []],
        [0.0, [_TAIL[:2]], []],
        [0.0, ["A/1"], []],
        [0.0, [[1, _INSTANCE, 1]], []],
        [0.0, [["A/1", b"short", 1]], []],
        [0.0, [["A/1", _INSTANCE, -1]], []],
        [0.0, [["A/1", _INSTANCE, "1"]], []],
        [0.0, [["A/1", _INSTANCE, True]], []],
        [0.0, [], [["A/1"]]],
        [0.0, [], [["A/1", b"short"]]],
        [0.0, [], [[None, _INSTANCE]]],
    ],
    ids=repr,
)
def test_heartbeat_of_another_form_is_malformed(body: object) -> None:
    with pytest.raises(MalformedMessageError):
        parse_published(_heartbeat(body))


def test_heartbeat_of_a_later_version_may_have_more_fields() -> None:
    message = parse_published(_heartbeat([0.5, [[*_TAIL, 9]], [["A/1", _INSTANCE, 9]], {}]))
    assert message == parse_published(_heartbeat([0.5, [_TAIL], [["A/1", _INSTANCE]]]))


@pytest.mark.parametrize("frames", [[], [b""], [b"A/1\0"], [b"A/1\0", b""]], ids=repr)
def test_event_without_a_header_is_malformed(frames: list[Frame]) -> None:
    with pytest.raises(MalformedMessageError):
        parse_published(frames)


@pytest.mark.parametrize("count", [17, 300])
def test_call_of_too_many_frames_is_refused_with_a_typed_answer(count: int) -> None:
    server = ServerSessions(_WELCOME)
    server.receive(b"a", _client().connected(0), now_ns=0, utc_ns=0)
    header = Header(Kind.CALL, sequence=1, ttl_ms=5_000)
    message = pack(header, [*encode(["schema", "A/1"]), *[b""] * count])
    action = server.receive(b"a", message, now_ns=0, utc_ns=0)
    assert isinstance(action, Answer)
    assert decode(action.frames[1:])["code"] == LimitExceededError.code
    assert server.in_flight == 0
