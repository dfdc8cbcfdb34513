"""B2, B3, B8, B10: messages of our own form with a content that is wrong."""

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pykarabo.client import BlockingClient, connect
from pykarabo.data import decode, encode
from pykarabo.errors import (
    BadInputError,
    LimitExceededError,
    MalformedMessageError,
    NotAnOptionError,
    OutOfRangeError,
    PykaraboError,
    ReadOnlyError,
    StateForbidsError,
    UnknownPropertyError,
    VersionMismatchError,
    WrongShapeError,
    WrongTypeError,
    WrongUnitError,
)
from pykarabo.wire import (
    PROTOCOL_MAJOR,
    Frame,
    Header,
    Hello,
    Kind,
    Set,
    pack,
    unpack,
)
from tests.harness import record

_DEVICE: Final = "T/TARGET/1"
_HELLO: Final = encode(list(Hello("host", 1, "user", "program")))
_REFUSED: Final = (MalformedMessageError.code, LimitExceededError.code)


def _packed(value: object) -> bytes:
    return cast(bytes, msgpack.packb(value))


class _Caller:
    """A greeted peer that sends whatever body it likes."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self._sequence = 0
        port.send(pack(Header(Kind.HELLO), _HELLO, checksum=True))
        assert unpack(port.receive()).kind == Kind.WELCOME

    def call(self, body: list[Frame]) -> dict[str, Any] | None:
        """Return the error that a call with this body is answered, None for a result."""
        self._sequence += 1
        call_id = self._sequence.to_bytes(16, "big")
        header = Header(Kind.CALL, sequence=self._sequence, call_id=call_id, ttl_ms=5_000)
        self._port.send(pack(header, body, checksum=True))
        while frames := self._port.receive():
            answer = unpack(frames)
            if answer.call_id == call_id:
                return decode(frames[1:]) if answer.kind == Kind.ERROR else None
        raise AssertionError("no answer came")


def _long_list(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def _nested_hash(levels: int) -> bytes:
    content = _packed([])
    for _ in range(levels):
        content = _packed([["a", msgpack.ExtType(4, content), {}]])
    return _packed(msgpack.ExtType(4, content))


_BODIES: Final[dict[str, bytes]] = {
    "lists nested 33 times": b"\x91" * 33 + b"\xc0",
    "lists nested 600 times": b"\x91" * 600 + b"\xc0",
    "lists nested 100000 times": b"\x91" * 100_000 + b"\xc0",
    "a Hash nested 5000 times": _nested_hash(5_000),
    "a list of 4 G in 5 bytes": b"\xdd\xff\xff\xff\xff",
    "1 MB of empty maps": _long_list(10**6, b"\x80"),
    "a key twice": b"\x82\xa1a\x01\xa1a\x02",
    "a number as key": b"\x81\x01\x02",
    "bad UTF-8": b"\xa2\xff\xfe",
    "2^64 - 1": b"\xcf" + b"\xff" * 8,
    "NaN": b"\xcb\x7f\xf8" + bytes(6),
    "bytes behind the end": b"\xc0\xc0",
    "a shape of 200000 dimensions": _packed(
        msgpack.ExtType(2, _packed(["<f8", [2**63] * 200_000, b""]))
    ),
}


def test_b3_bombs_are_answered_and_the_connection_is_kept(start_target: Any, raw: Any) -> None:
    target = start_target()
    caller = _Caller(raw(target.places["rpc"]))
    caller.call([b"\xc0"])
    before = target.rss
    for name, body in _BODIES.items():
        started = time.monotonic()
        error = caller.call([body])
        took_s = time.monotonic() - started
        assert error is not None, name
        assert error["code"] in _REFUSED, name
        assert took_s < 0.1, name
    assert target.rss - before < 100 * 2**20
    assert caller.call(encode(["locate", [_DEVICE]])) is None


def test_b3_bombs_before_the_greeting_do_not_end_the_server(start_target: Any, raw: Any) -> None:
    target = start_target()
    for port in ("rpc", "data"):
        for kind in (Kind.HELLO, Kind.ATTACH, Kind.CALL):
            stranger = raw(target.places[port])
            for body in _BODIES.values():
                stranger.send(pack(Header(kind), [body], checksum=True))
    assert connect(_DEVICE).count() == 1
    assert target.alive


# -- B2 ------------------------------------------------------------------------------------------

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=20)
    | st.sampled_from([_DEVICE, "get", "set", "call", "schema", "read_many", "locate", "position"])
    | st.builds(msgpack.ExtType, st.integers(0, 7), st.binary(max_size=24))
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
_REQUESTS = (
    _VALUES
    | st.tuples(st.sampled_from(["get", "set", "call", "schema", "read_many", "locate"]), _VALUES)
    | st.tuples(st.sampled_from(["get", "set"]), st.just(_DEVICE), _VALUES)
    | st.tuples(st.just("call"), st.just(_DEVICE), st.text(max_size=5), _VALUES, _VALUES)
)


def test_b2_whatever_is_called_is_answered_with_a_typed_error(start_target: Any, raw: Any) -> None:
    target = start_target()
    caller = _Caller(raw(target.places["rpc"]))

    answers: Counter[str] = Counter()

    @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
    @given(_REQUESTS)
    def attack(request: Any) -> None:
        error = caller.call([_packed(request)])
        answers[error["code"] if error else "done"] += 1
        if error is not None:
            rebuilt = PykaraboError.from_wire(error)
            assert rebuilt.code == error["code"]
            assert "\n" not in rebuilt.message

    attack()
    record("B2", "typed errors only", f"{answers.total()} calls: {dict(answers.most_common())}")
    assert target.alive
    assert connect(_DEVICE).count() == 1


def test_b2_messages_that_mean_nothing_are_counted(start_target: Any, raw: Any) -> None:
    target = start_target()
    server = connect("T/SERVER")
    before = server.get("rejected_messages")["rejected_messages"]
    stranger = raw(target.places["rpc"])
    for frames in ([b"GET / HTTP/1.1"], [b""], [b"pK"] * 20, pack(Header(199), [])):
        stranger.send(frames)
    deadline = time.monotonic() + 5
    while (now := server.get("rejected_messages")["rejected_messages"]) < before + 4:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    assert now == before + 4


# -- B8 ------------------------------------------------------------------------------------------

_WRITES: Final[list[tuple[str, Any, type[PykaraboError]]]] = [
    ("position", "x", WrongUnitError),
    ("position", None, WrongTypeError),
    ("position", True, WrongTypeError),
    ("position", [1.0], WrongTypeError),
    ("position", "1 s", WrongUnitError),
    ("position", math.nan, OutOfRangeError),
    ("position", math.nextafter(10.0, 11.0), OutOfRangeError),
    ("position", math.nextafter(-10.0, -11.0), OutOfRangeError),
    ("position", math.inf, OutOfRangeError),
    ("above", 0.0, OutOfRangeError),
    ("small", 128, OutOfRangeError),
    ("small", 1.5, WrongTypeError),
    ("small", 2**64 - 1, OutOfRangeError),
    ("label", 5, WrongTypeError),
    ("label", b"x", WrongTypeError),
    ("mode", "medium", NotAnOptionError),
    ("curve", [1.0], WrongShapeError),
    ("curve", [1.0] * 5, WrongShapeError),
    ("curve", [[1.0, 2.0]], WrongShapeError),
    ("curve", ["a", "b"], WrongTypeError),
    ("table", np.zeros((2, 3), np.uint16), WrongShapeError),
    ("table", np.full((2, 2), -1), WrongTypeError),
    ("parked", True, StateForbidsError),
    ("value", 1, ReadOnlyError),
    ("started_with", "y", ReadOnlyError),
    ("positoin", 1.0, UnknownPropertyError),
]


def _writer(client: BlockingClient) -> Callable[[dict[str, Any]], None]:
    """Return what writes without looking at the schema first."""

    def write(values: dict[str, Any]) -> None:
        client.request(_DEVICE, Set(_DEVICE, values))

    return write


@pytest.mark.parametrize("from_outside", [False, True], ids=["our client", "any client"])
def test_b8_bad_write_names_its_property_and_changes_nothing(
    start_target: Any, from_outside: bool
) -> None:
    start_target()
    with BlockingClient() as client:
        device = client.device(_DEVICE)
        before = device.read()
        write = _writer(client) if from_outside else device.set
        for key, value, kind in _WRITES:
            values = {"label": "changed", key: value}
            with pytest.raises(kind) as caught:
                write(values)
            assert caught.value.key == key
            assert caught.value.remedy
        after = device.read()
    changed = [key for key, item in before.items() if item.timestamp != after[key].timestamp]
    how = "from outside" if from_outside else "at the caller"
    record(
        f"B8 ({how})",
        "each names its property, nothing is written",
        f"{len(_WRITES)} writes refused, {len(changed)} properties changed",
    )
    assert not changed


def test_b8_limits_themselves_are_allowed(start_target: Any) -> None:
    start_target()
    device = connect(_DEVICE)
    for values in (
        {"position": 10.0, "above": math.ulp(0.0), "small": 127, "curve": [1, 2]},
        {"position": -10, "small": -128, "curve": [1.0] * 4, "mode": "fast"},
    ):
        device.set(values)
        read = device.get(*values)
        assert {key: np.asarray(item).tolist() for key, item in read.items()} == values


def test_b8_text_of_10_mb_is_refused_and_named(start_target: Any) -> None:
    start_target()
    device = connect(_DEVICE)
    with pytest.raises(BadInputError) as caught:
        device.set(label="x" * 10**7)
    assert (caught.value.device, caught.value.key) == (_DEVICE, "label")
    with BlockingClient() as client, pytest.raises(LimitExceededError, match="nothing was sent"):
        client.request(_DEVICE, Set(_DEVICE, {"label": "x" * 10**7}))
    assert device.label == "none"


def test_b8_array_too_large_for_an_event_is_refused_where_it_is_set(start_target: Any) -> None:
    start_target()
    device = connect(_DEVICE)
    with pytest.raises(WrongShapeError, match=r"T/TARGET/1\.table.*10\.0 MiB"):
        device.show(10 * 2**18)
    with pytest.raises(WrongShapeError, match=r"T/TARGET/1\.table.*6\.0 MiB"):
        device.set(table=np.zeros((6 * 2**18, 2), np.uint16))
    device.show(2**18)
    assert device.table.shape == (2**18, 2)


def test_b8_result_of_10_mb_is_an_error_and_no_lost_connection(start_target: Any) -> None:
    start_target()
    device = connect(_DEVICE)
    with pytest.raises(LimitExceededError, match=r"9\.5 MiB"):
        device.answer(10**7)
    assert len(device.answer(10**6)) == 10**6


def test_b8_one_bad_value_among_a_thousand_keeps_all_from_being_set(start_target: Any) -> None:
    start_target()
    device = connect("T/MANY/1")
    values = {f"p{number:03}": 0.5 for number in range(1_000)} | {"p777": 2.0}
    with BlockingClient() as client, pytest.raises(OutOfRangeError) as caught:
        client.request("T/MANY/1", Set("T/MANY/1", values))
    assert caught.value.key == "p777"
    assert set(device.get(*values).values()) == {0.0}
    device.set(values | {"p777": 1.0})
    assert set(device.get(*values).values()) == {0.5, 1.0}


# -- B10 -----------------------------------------------------------------------------------------


def _of_version(frames: list[Frame], major: int) -> list[Frame]:
    head = bytearray(frames[0])
    head[2] = major
    return [bytes(head), *frames[1:]]


@pytest.mark.parametrize("major", [0, PROTOCOL_MAJOR + 1, 255])
@pytest.mark.parametrize("port", ["rpc", "data"])
def test_b10_peer_of_another_version_is_told_both_within_a_second(
    start_target: Any, raw: Any, port: str, major: int
) -> None:
    target = start_target()
    peer = raw(target.places[port])
    kind = Kind.HELLO if port == "rpc" else Kind.ATTACH
    started = time.monotonic()
    peer.send(_of_version(pack(Header(kind), _HELLO), major))
    frames = peer.receive()
    told_s = time.monotonic() - started
    record(f"B10 ({port})", "told both versions within 1 s", f"told after {told_s * 1e3:.1f} ms")
    assert told_s < 1
    error = PykaraboError.from_wire(decode(frames[1:]))
    assert isinstance(error, VersionMismatchError)
    assert error.details == {"theirs": major, "ours": PROTOCOL_MAJOR}
    assert f"protocol {major}," in error.message
    assert connect(_DEVICE).count() == 1


def test_b10_kinds_of_a_later_protocol_are_ignored_and_counted(start_target: Any, raw: Any) -> None:
    target = start_target()
    port = raw(target.places["rpc"])
    caller = _Caller(port)
    for kind in (8, 99, 255):
        port.send(pack(Header(kind), encode({"new": 1}), checksum=True))
    assert caller.call(encode(["locate", [_DEVICE]])) is None
    server = connect("T/SERVER")
    deadline = time.monotonic() + 5
    while server.get("rejected_messages")["rejected_messages"] != 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
