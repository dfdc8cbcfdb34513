"""What is encoded comes back as it was; what is hostile is refused before it costs anything."""

import math
import resource
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, cast

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Hash, Limits, Timestamp, decode, encode
from pykarabo.errors import LimitExceededError, MalformedMessageError, WrongTypeError

_TEXT = st.text(max_size=20)


def _packed(value: object) -> bytes:
    return cast(bytes, msgpack.packb(value))


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.complex_numbers()
    | _TEXT
    | st.binary(max_size=40)
    | st.builds(Timestamp, *[st.integers(0, 2**63)] * 3)
)
_DTYPES: Final = ("<f8", "<f4", ">f8", "|u1", "<u2", "<i8", "|b1", "<c16", "<f2")
_ARRAYS: st.SearchStrategy[Any] = st.builds(
    lambda dtype, shape: np.arange(math.prod(shape)).astype(dtype).reshape(shape),
    st.sampled_from(_DTYPES),
    st.lists(st.sampled_from([0, 1, 2, 5, 40]), max_size=3),
)


def _hash(values: dict[str, Any], attributes: dict[str, Any]) -> Hash:
    made = Hash()
    for key, value in values.items():
        made.set_element(key, value, attributes)
    return made


_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS | _ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_TEXT, inner, max_size=4)
        | st.builds(
            _hash,
            st.dictionaries(_TEXT, inner, max_size=3),
            st.dictionaries(_TEXT, inner, max_size=2),
        )
    ),
    max_leaves=15,
)


def _same(left: Any, right: Any) -> bool:
    """Compare as `Hash` does: type by type, NaN equal to NaN."""
    return Hash({"it": [left]}) == Hash({"it": [right]})


@given(_VALUES)
def test_value_comes_back_as_it_was(value: Any) -> None:
    assert _same(decode(encode(value)), value)


@given(_VALUES, st.sampled_from([0, 8, 10**6]))
def test_value_comes_back_whether_arrays_travel_inside_or_beside(value: Any, limit: int) -> None:
    frames = encode(value, inline_limit=limit)
    if limit:
        frames = [memoryview(bytes(frame)) for frame in frames]
    assert _same(decode(frames), value)


class _Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ((1, 2), [1, 2]),
        (frozenset({3}), [3]),
        (_Colour.RED, "red"),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.int16(-3), -3),
    ],
)
def test_relatives_of_plain_values_travel_as_plain_values(sent: Any, received: Any) -> None:
    back = decode(encode(sent))
    assert back == received
    assert type(back) is type(received)


@pytest.mark.parametrize(
    "value",
    [2**64, -(2**63) - 1, object(), {1: 2}.keys, "\ud800", np.array(["a"]), np.array([object()])],
    ids=["too large", "too small", "object", "method", "surrogate", "texts", "objects"],
)
def test_what_cannot_travel_is_refused_where_it_is_sent(value: Any) -> None:
    with pytest.raises(WrongTypeError):
        encode(value)


def test_large_array_is_neither_copied_nor_writable() -> None:
    array = np.arange(10_000.0)
    frames = encode({"image": array})
    assert len(frames) == 2
    assert np.shares_memory(np.frombuffer(frames[1]), array)
    back = decode(frames)["image"]
    assert np.shares_memory(back, array)
    assert not back.flags.writeable


def test_not_more_arrays_than_allowed_travel_beside() -> None:
    value = [np.zeros(1000) for _ in range(20)]
    frames = encode(value)
    assert len(frames) <= Limits().max_frames
    assert _same(decode(frames), value)


# -- hostile bodies ------------------------------------------------------------------------------


def _nested_hash(levels: int) -> bytes:
    content = _packed([])
    for _ in range(levels):
        content = _packed([["a", msgpack.ExtType(4, content), {}]])
    return _packed(msgpack.ExtType(4, content))


def _array(*fields: Any) -> bytes:
    return _packed(msgpack.ExtType(2, _packed(fields)))


def _long_list(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


_MANY: Final = _long_list(100_000, b"\xc0")
_HOSTILE: Final[dict[str, bytes]] = {
    "lists nested 33 times": b"\x91" * 33 + b"\xc0",
    "lists nested 600 times": b"\x91" * 600 + b"\xc0",
    "lists nested 100000 times": b"\x91" * 100_000 + b"\xc0",
    "maps nested 600 times": b"\x81\xa1a" * 600 + b"\xc0",
    "a Hash nested 33 times": _nested_hash(33),
    "a Hash nested 250 times": _nested_hash(250),
    "a Hash nested 5000 times": _nested_hash(5_000),
    "attributes nested 600 times": _packed(
        msgpack.ExtType(4, b"\x91\x93\xa1a\xc0\x81\xa1b" + b"\x91" * 600 + b"\xc0")
    ),
    "a list of 4 G in 5 bytes": b"\xdd\xff\xff\xff\xff",
    "a map of 4 G in 5 bytes": b"\xdf\xff\xff\xff\xff",
    "a text of 4 G in 5 bytes": b"\xdb\xff\xff\xff\xff",
    "1 MB of empty maps": _long_list(10**6, b"\x80"),
    "8 MB of lists that are allowed one by one": b"\xdc\x00\x50" + _MANY * 80,
    "lists that announce more than there is": b"\xdd\x00\x01\x86\xa0" * 1_000,
    "a key twice": b"\x82\xa1a\x01\xa1a\x02",
    "a number as key": b"\x81\x01\x02",
    "bytes as key": b"\x81\xc4\x01a\x02",
    "a key of 600 bytes": _packed({"a" * 600: 1}),
    "bad UTF-8": b"\xa2\xff\xfe",
    "bytes behind the end": b"\xc0\xc0",
    "nothing": b"",
    "an unknown extension": _packed(msgpack.ExtType(99, b"")),
    "a shape of 200000 dimensions": _array("<f8", [2**63] * 200_000, b""),
    "a shape that is larger than memory": _array("<f8", [2**62, 2**62], b""),
    "a dtype of 300 kB": _array("f8," * 100_000, [1], b""),
    "a dtype that numpy gives up": _array("a8", [1], b"12345678"),
    "an array of objects": _array("|O", [1], b"12345678"),
    "a time stamp of texts": _packed(msgpack.ExtType(5, _packed(["a", "b", "c"]))),
    "a complex number of texts": _packed(msgpack.ExtType(3, _packed(["a", "b"]))),
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_body_is_refused_quickly_and_without_memory(name: str) -> None:
    body = _HOSTILE[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    quickest = min(_refusal_s(body) for _ in range(5))
    assert quickest < 5e-3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def _refusal_s(body: bytes) -> float:
    started = time.perf_counter()
    with pytest.raises((MalformedMessageError, LimitExceededError)):
        decode([body])
    return time.perf_counter() - started


def test_nested_lists_of_empty_maps_cost_no_more_than_an_allowed_message() -> None:
    body = b"\xdc\x00\x50" + _long_list(99_000, b"\x80") * 80
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    allowed = min(_time_s(lambda: decode([_long_list(99_000, b"\x80")])) for _ in range(3))
    assert min(_refusal_s(body) for _ in range(3)) < 5 * allowed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def _time_s(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@given(st.binary(max_size=200), st.lists(st.binary(max_size=20), max_size=2))
def test_random_bytes_are_refused_or_understood(body: bytes, more: list[bytes]) -> None:
    try:
        decode([body, *more])
    except (MalformedMessageError, LimitExceededError):
        return


@given(_VALUES, st.data())
def test_damaged_body_is_refused_or_understood(value: Any, data: st.DataObject) -> None:
    frames = [bytearray(frame) for frame in encode(value)]
    for _ in range(data.draw(st.integers(1, 4))):
        body = frames[0]
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode([bytes(frame) for frame in frames])
    except (MalformedMessageError, LimitExceededError):
        return


def test_message_of_exactly_the_allowed_size_is_understood() -> None:
    limits = Limits(max_depth=3, max_nodes=50, max_frames=2)
    assert decode([_packed([["x" * 40]])], limits) == [["x" * 40]]
    assert decode([_packed(["xyz"] * 50)], limits) == ["xyz"] * 50
    with pytest.raises(LimitExceededError):
        decode([_packed([["xyz"] * 25, ["xyz"] * 25])], limits)
    with pytest.raises(LimitExceededError):
        decode([_packed([[[["x" * 40]]]])], limits)
    with pytest.raises(LimitExceededError):
        decode([b"\xc0", b"", b""], limits)
