"""The fixed header: what goes in comes out, and damage or another version is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.errors import MalformedMessageError, VersionMismatchError
from pykarabo.wire import HEADER_SIZE, PROTOCOL_MAJOR, Header, Kind, pack, unpack

_U64 = st.integers(0, 2**64 - 1)
_HEADERS = st.builds(
    Header,
    kind=st.integers(0, 255),
    instance=st.binary(min_size=16, max_size=16),
    epoch=_U64,
    sequence=_U64,
    call_id=st.binary(min_size=16, max_size=16),
    ttl_ms=st.integers(0, 2**32 - 1),
    sent_ns=_U64,
    flags=st.just(0),
)
_PAYLOADS = st.lists(st.binary(max_size=40), max_size=4)
_MAJOR_AT = 2


@given(header=_HEADERS, payload=_PAYLOADS, checksum=st.booleans())
def test_header_comes_out_as_it_went_in(
    header: Header, payload: list[bytes], checksum: bool
) -> None:
    frames = pack(header, payload, checksum=checksum)
    assert frames[1:] == payload
    assert unpack(frames)._replace(flags=0) == header


@given(header=_HEADERS, payload=_PAYLOADS)
def test_header_taken_from_a_protected_message_can_be_sent_unprotected(
    header: Header, payload: list[bytes]
) -> None:
    received = unpack(pack(header, payload, checksum=True))
    assert unpack(pack(received, payload)).flags == 0


@given(_HEADERS, _PAYLOADS, st.data())
def test_one_flipped_bit_anywhere_is_noticed_with_checksum(
    header: Header, payload: list[bytes], data: st.DataObject
) -> None:
    frames = [bytearray(frame) for frame in pack(header, payload, checksum=True)]
    number = data.draw(st.sampled_from([n for n, frame in enumerate(frames) if frame]))
    bit = data.draw(st.integers(0, 8 * len(frames[number]) - 1))
    frames[number][bit // 8] ^= 1 << bit % 8
    with pytest.raises((MalformedMessageError, VersionMismatchError)):
        unpack([bytes(frame) for frame in frames])


def test_frame_lost_from_the_end_is_noticed_with_checksum() -> None:
    frames = pack(Header(Kind.EVENT), [b"body", b"array"], checksum=True)
    with pytest.raises(MalformedMessageError, match="checksum"):
        unpack(frames[:-1])


def test_other_major_version_is_refused_with_both_versions_named() -> None:
    head = bytearray(pack(Header(Kind.HELLO), [])[0])
    head[_MAJOR_AT] = PROTOCOL_MAJOR + 1
    with pytest.raises(VersionMismatchError) as caught:
        unpack([bytes(head)])
    assert caught.value.details == {"theirs": PROTOCOL_MAJOR + 1, "ours": PROTOCOL_MAJOR}
    assert f"protocol {PROTOCOL_MAJOR + 1}" in str(caught.value)


def test_other_minor_version_is_accepted() -> None:
    head = bytearray(pack(Header(Kind.HELLO), [])[0])
    head[_MAJOR_AT + 1] = 200
    assert unpack([bytes(head)]).kind == Kind.HELLO


def test_kind_of_a_later_protocol_is_passed_on_as_a_number() -> None:
    assert unpack(pack(Header(199), [])).kind == 199


def test_time_to_live_beyond_the_field_is_the_longest_that_fits() -> None:
    assert unpack(pack(Header(Kind.CALL, ttl_ms=2**40), [])).ttl_ms == 2**32 - 1


@pytest.mark.parametrize(
    "frames",
    [[], [b""], [b"GET / HTTP/1.1\r\n"], [bytes(HEADER_SIZE)], [bytes(HEADER_SIZE + 1)]],
)
def test_foreign_bytes_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(MalformedMessageError):
        unpack(frames)


@given(st.lists(st.binary(max_size=2 * HEADER_SIZE), max_size=3))
def test_random_frames_are_refused_and_never_crash(frames: list[bytes]) -> None:
    with pytest.raises(MalformedMessageError):
        unpack(frames)


def test_message_may_be_memoryviews() -> None:
    frames = pack(Header(Kind.ITEM, sequence=3), [b"abc"], checksum=True)
    assert unpack([memoryview(frame) for frame in frames]).sequence == 3
