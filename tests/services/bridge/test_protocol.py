"""Messages of the bridge as the facility's own client reads them."""

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import zmq

from pykarabo.data import Hash, PropertyValue, State, Timestamp
from pykarabo_services.bridge.model import (
    REQUESTS_PER_CLIENT,
    BridgeQueue,
    Protocol,
    Reply,
    metadata_of,
    serialize,
)
from pykarabo_services.kernel.trains import Train, TrainItem

# None of them has type information.
karabo_bridge: Any = import_module("karabo_bridge")

TRAIN_ID = 10_000_000_001
TIME_NS = 1_526_464_869_410_975_500
STAMP = Timestamp(1_526_464_869, 410_975_500_000_000_000, TRAIN_ID)
CAMERA = "SPB/CAM/1:daqOutput"
MOTOR = "SPB/MOTOR/1"


def train_of(data: Mapping[str, Any], *more: Mapping[str, Any]) -> Train:
    items = tuple(TrainItem(part, STAMP) for part in (data, *more))
    return Train(TRAIN_ID, TIME_NS, {}, {CAMERA: items})


def round_trip(train: Train, protocol: Protocol = Protocol.V2_2) -> tuple[Any, Any]:
    frames = [bytes(frame) for frame in serialize(train, protocol=protocol)]
    return tuple(karabo_bridge.deserialize(frames))


@pytest.fixture(params=list(Protocol))
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return Protocol(request.param)


def test_the_client_gets_data_and_metadata(protocol: Protocol) -> None:
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    data, metadata = round_trip(
        train_of({"data.image.pixels": pixels, "data.n": 7, "data.name": "µ"}), protocol
    )
    np.testing.assert_array_equal(data[CAMERA]["data.image.pixels"], pixels)
    assert data[CAMERA]["data.image.pixels"].dtype == np.uint16
    assert (data[CAMERA]["data.n"], data[CAMERA]["data.name"]) == (7, "µ")
    assert metadata == {
        CAMERA: {
            "source": CAMERA,
            "timestamp": pytest.approx(1526464869.4109755),
            "timestamp.sec": "1526464869",
            "timestamp.frac": "410975500000000000",
            "timestamp.tid": TRAIN_ID,
            "ignored_keys": [],
        }
    }


def test_a_message_has_the_documented_bytes() -> None:
    train = train_of({"data.n": 7, "data.s": "on", "data.l": [1, 2]})
    header, body = serialize(train)
    assert bytes(header).startswith(
        b"\x83\xa6source\xb3SPB/CAM/1:daqOutput\xa7content\xa7msgpack\xa8metadata\x86"
    )
    assert bytes(body) == b"\x83\xa6data.n\x07\xa6data.s\xa2on\xa6data.l\x92\x01\x02"
    array = train_of({"data.x": np.array([0, 1, 2], dtype="<u2")})
    *_, header, body = serialize(array)
    assert bytes(header) == (
        b"\x85\xa6source\xb3SPB/CAM/1:daqOutput\xa7content\xa5array\xa4path\xa6data.x"
        b"\xa5dtype\xa6uint16\xa5shape\x91\x03"
    )
    assert bytes(body) == b"\0\0\x01\0\x02\0"


def test_small_fractions_keep_their_zeros() -> None:
    metadata = metadata_of("A", Timestamp(5, 12, 3), train_id=3)
    assert metadata["timestamp.frac"] == "000000000000000012"


def test_arrays_are_not_copied() -> None:
    pixels = np.zeros((512, 128), dtype=np.float32)
    *_, body = serialize(train_of({"data.pixels": pixels}))
    assert isinstance(body, memoryview)
    assert np.shares_memory(np.frombuffer(body, np.uint8), pixels)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([1.5, -2.5], dtype=">f4"),
        np.array([True, False]),
        np.array([], dtype=np.int32),
        np.zeros((0, 4), dtype=np.uint8),
        np.array(3.5),
        np.array([1 + 2j]),
        np.array(["a", "µm"]),
        np.array([b"ab", b""]),
        np.frombuffer(b"\x01\x02", dtype=np.uint8),
    ],
    ids=str,
)
def test_every_kind_of_array_comes_back(array: Any) -> None:
    data, _ = round_trip(train_of({"data.x": array}))
    found = data[CAMERA]["data.x"]
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.bool_(True), True),
        (np.float32(1.5), 1.5),
        (np.uint64((1 << 64) - 1), (1 << 64) - 1),
        (None, None),
        (State.MOVING, "MOVING"),
        ([np.bool_(False), np.int8(3), None, (1, "a")], [False, 3, None, [1, "a"]]),
        (bytearray(b"xy"), b"xy"),
        (float("inf"), float("inf")),
        (np.array([1, "a", None], dtype=object), [1, "a", None]),
    ],
    ids=str,
)
def test_values_become_plain(value: Any, expected: Any, protocol: Protocol) -> None:
    data, metadata = round_trip(train_of({"data.x": value}), protocol)
    assert data[CAMERA]["data.x"] == expected
    assert type(data[CAMERA]["data.x"]) is type(expected)
    assert metadata[CAMERA]["ignored_keys"] == []


def test_a_complex_number_is_an_array_without_axes(protocol: Protocol) -> None:
    data, _ = round_trip(train_of({"data.x": 1 - 2j, "data.y": np.complex64(3j)}), protocol)
    assert data[CAMERA]["data.x"] == 1 - 2j
    assert data[CAMERA]["data.y"].dtype == np.complex64


def test_records_become_one_array_per_field(protocol: Protocol) -> None:
    records = np.array([(1.0, 2), (3.0, 4)], dtype=[("x", "f8"), ("m", "i4")])
    data, _ = round_trip(train_of({"data.hits": records}), protocol)
    np.testing.assert_array_equal(data[CAMERA]["data.hits.x"], [1.0, 3.0])
    np.testing.assert_array_equal(data[CAMERA]["data.hits.m"], [2, 4])


def test_nested_values_are_flattened(protocol: Protocol) -> None:
    tree = Hash()
    tree["a.b"] = 3
    tree["c"] = np.arange(2)
    data, _ = round_trip(train_of({"data": {"tree": tree, "n": 1}}), protocol)
    assert data[CAMERA]["data.tree.a.b"] == 3
    assert data[CAMERA]["data.n"] == 1
    np.testing.assert_array_equal(data[CAMERA]["data.tree.c"], [0, 1])


def test_what_cannot_be_carried_is_named(protocol: Protocol) -> None:
    values = {
        "data.big": 1 << 70,
        "data.odd": object(),
        "data.set": {1, 2},
        "data.list": [1, 2j],
        "data.good": 1,
    }
    data, metadata = round_trip(train_of(values), protocol)
    assert metadata[CAMERA]["ignored_keys"] == ["data.big", "data.odd", "data.set", "data.list"]
    assert data[CAMERA]["data.good"] == 1
    assert "data.big" not in data[CAMERA]


def test_properties_are_sent_under_their_plain_key(protocol: Protocol) -> None:
    older = Timestamp(100, 0, 5)
    controls = {
        MOTOR: {
            "actualPosition": PropertyValue(1.5, older),
            "state": PropertyValue(State.ON, STAMP),
        }
    }
    data, metadata = round_trip(Train(TRAIN_ID, TIME_NS, controls, {}), protocol)
    assert {key: value for key, value in data[MOTOR].items() if key != "metadata"} == {
        "actualPosition": 1.5,
        "state": "ON",
    }
    assert metadata[MOTOR]["timestamp.sec"] == str(STAMP.seconds)
    assert metadata[MOTOR]["timestamp.tid"] == TRAIN_ID


def test_properties_without_a_time_have_that_of_the_train() -> None:
    controls = {MOTOR: {"x": PropertyValue(1, Timestamp(0, 0, 0))}}
    _, metadata = round_trip(Train(TRAIN_ID, TIME_NS, controls, {}))
    assert metadata[MOTOR]["timestamp.sec"] == str(TIME_NS // 10**9)


def test_the_last_of_several_items_is_sent_and_their_number_said() -> None:
    data, metadata = round_trip(train_of({"data.n": 1}, {"data.n": 2}))
    assert data[CAMERA]["data.n"] == 2
    assert metadata[CAMERA]["items"] == 2


def test_a_source_without_items_is_left_out() -> None:
    assert serialize(Train(TRAIN_ID, TIME_NS, {}, {CAMERA: ()})) == []


# Requests


def test_a_request_is_answered_by_the_next_train() -> None:
    queue = BridgeQueue()
    assert queue.request([b"next"], b"A") is None
    reply = queue.offer([b"1"])
    assert reply == Reply(b"A", [b"1"])
    assert queue.offer([b"2"]) is None
    assert queue.request([b"next"], b"A") == Reply(b"A", [b"2"])


@pytest.mark.parametrize("message", [[b"hello"], [], [b"next", b"1"], [b"NEXT"]])
def test_a_bad_request_is_answered_at_once(message: list[bytes]) -> None:
    reply = BridgeQueue().request(message, b"A")
    assert reply is not None
    assert reply.frames == [b"Error: bad request " + b" ".join(message)]


def test_a_huge_bad_request_is_not_sent_back() -> None:
    reply = BridgeQueue().request([b"x" * 1_000_000])
    assert reply is not None
    assert len(bytes(reply.frames[0])) <= 100


def test_the_newest_trains_are_kept_and_the_others_counted() -> None:
    queue = BridgeQueue(maximum_trains=2)
    for number in range(5):
        queue.offer([str(number).encode()])
    assert queue.waiting_trains == 2
    assert queue.request([b"next"]) == Reply(b"", [b"3"])
    counters = queue.counters
    assert (counters.offered, counters.served, counters.dropped) == (5, 1, 3)


def test_waiting_trains_are_bounded_in_bytes() -> None:
    queue = BridgeQueue(maximum_bytes=1000)
    queue.offer([memoryview(bytes(600))])
    queue.offer([memoryview(bytes(600))])
    assert (queue.waiting_trains, queue.counters.dropped) == (1, 1)


def test_clients_are_served_in_turn() -> None:
    queue = BridgeQueue()
    for client in (b"A", b"B"):
        queue.request([b"next"], client)
    replies = [queue.offer([b"1"]), queue.offer([b"2"])]
    assert [reply.client for reply in replies if reply] == [b"A", b"B"]


def test_a_flood_of_requests_is_refused() -> None:
    queue = BridgeQueue()
    for _ in range(REQUESTS_PER_CLIENT):
        assert queue.request([b"next"], b"A") is None
    assert queue.request([b"next"], b"A") is not None
    assert queue.request([b"next"], b"B") is None
    assert queue.waiting_clients == REQUESTS_PER_CLIENT + 1
    assert queue.counters.bad_requests == 1


def test_a_train_for_a_client_that_is_gone_goes_to_the_next() -> None:
    queue = BridgeQueue()
    for client in (b"A", b"A", b"B"):
        queue.request([b"next"], client)
    lost = queue.offer([b"1"])
    assert lost is not None
    assert queue.undeliverable(lost) == Reply(b"B", [b"1"])
    assert queue.waiting_clients == 0
    assert queue.counters.served == 1


def test_a_train_that_nobody_takes_waits_before_newer_ones() -> None:
    queue = BridgeQueue()
    queue.offer([b"1"])
    queue.offer([b"2"])
    first = queue.request([b"next"], b"A")
    assert first is not None
    assert queue.undeliverable(first) is None
    assert queue.request([b"next"], b"B") == Reply(b"B", [b"1"])


# The facility's client on a real socket


@contextmanager
def serving(trains: list[Train], protocol: Protocol) -> Generator[str]:
    """Serve trains from a REP socket in a thread, until all are fetched."""
    context = zmq.Context()
    socket = context.socket(zmq.REP)
    socket.linger = 0
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    queue = BridgeQueue(maximum_trains=len(trains))
    for train in trains:
        queue.offer(serialize(train, protocol=protocol))

    def serve() -> None:
        while queue.waiting_trains and socket.poll(10_000):
            reply = queue.request(socket.recv_multipart())
            if reply is not None:
                socket.send_multipart(reply.frames, copy=False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        thread.join(15)
        context.destroy(linger=1000)


def test_the_client_gets_trains_over_a_socket(protocol: Protocol) -> None:
    images = [np.random.default_rng(n).random((64, 512, 8)) for n in range(3)]
    trains = [
        Train(
            TRAIN_ID + n,
            TIME_NS,
            {MOTOR: {"actualPosition": PropertyValue(float(n), STAMP)}},
            {CAMERA: (TrainItem({"data.image.pixels": image}, STAMP),)},
        )
        for n, image in enumerate(images)
    ]
    with (
        serving(trains, protocol) as endpoint,
        karabo_bridge.Client(endpoint, timeout=10) as client,
    ):
        for n, image in enumerate(images):
            data, metadata = client.next()
            np.testing.assert_array_equal(data[CAMERA]["data.image.pixels"], image)
            assert data[MOTOR]["actualPosition"] == n
            assert metadata[CAMERA]["timestamp.tid"] == TRAIN_ID + n


def test_the_socket_answers_a_bad_request() -> None:
    with (
        serving([train_of({"data.n": 1})], Protocol.V2_2) as endpoint,
        zmq.Context() as context,
        context.socket(zmq.REQ) as socket,
    ):
        socket.linger = 0
        socket.rcvtimeo = 10_000
        socket.connect(endpoint)
        socket.send(b"give me data")
        assert socket.recv_multipart() == [b"Error: bad request give me data"]
        socket.send(b"next")
        assert len(socket.recv_multipart()) == 2
