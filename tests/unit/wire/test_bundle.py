"""Many small messages travel as one, in their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import encode
from pykarabo.errors import MalformedMessageError, VersionMismatchError
from pykarabo.wire import (
    MAX_BUNDLE,
    Frame,
    Header,
    Kind,
    bundled,
    is_bundle,
    pack,
    unbundled,
)
from pykarabo.wire._bundle import SMALL

_MESSAGES = st.lists(
    st.lists(st.binary(max_size=40) | st.just(bytes(SMALL)), min_size=1, max_size=5), max_size=30
).map(lambda bodies: [pack(Header(Kind.CALL), frames) for frames in bodies])


@given(_MESSAGES, st.booleans())
def test_messages_come_out_in_their_order(messages: list[list[Frame]], checksum: bool) -> None:
    came: list[list[Frame]] = []
    for sent in bundled(messages, checksum=checksum):
        came += unbundled(sent) if is_bundle(sent) else [sent]
    assert came == messages


def test_one_message_is_sent_as_it_is_and_many_as_few() -> None:
    message = pack(Header(Kind.CALL), [b"x"])
    assert bundled([message]) == [message]
    assert bundled([]) == []
    assert len(bundled([message] * MAX_BUNDLE)) == 1
    assert len(bundled([message] * (MAX_BUNDLE + 1))) == 2


def test_large_message_keeps_its_place_among_small_ones() -> None:
    small, large = pack(Header(Kind.CALL), [b"x"]), pack(Header(Kind.CALL), [bytes(SMALL)])
    sent = bundled([small, small, large, small])
    assert [is_bundle(frames) for frames in sent] == [True, False, False]
    assert sent[1:] == [large, small]


@pytest.mark.parametrize(
    "body",
    [None, 5, [], {}, [5], [[]], [["text"]], [[b"frame"]] * (MAX_BUNDLE + 1)],
    ids=["none", "number", "empty", "map", "no list", "no frames", "text", "too many"],
)
def test_bundle_of_another_form_is_malformed(body: object) -> None:
    with pytest.raises(MalformedMessageError):
        unbundled(pack(Header(Kind.BUNDLE), encode(body)))


def test_bundle_of_another_version_or_damaged_is_refused() -> None:
    frames = pack(Header(Kind.BUNDLE), encode([[b"x"]]), checksum=True)
    damaged = [frames[0], bytes(frames[1])[:-1] + b"y"]
    with pytest.raises(MalformedMessageError):
        unbundled(damaged)
    later = bytearray(frames[0])
    later[2] += 1
    with pytest.raises(VersionMismatchError):
        unbundled([bytes(later), frames[1]])
