"""Pipelines end to end: one output, several inputs, credits and exact counts."""

from collections import deque
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Timestamp, decode, encode
from pykarabo.errors import (
    BadConfigurationError,
    MalformedMessageError,
    RemoteError,
    UnknownPropertyError,
    VersionMismatchError,
)
from pykarabo.wire import (
    SILENT_AFTER_S,
    Attach,
    Closed,
    Consumer,
    Ended,
    Frame,
    Header,
    InputEvent,
    Item,
    Kind,
    Opened,
    PipelineInput,
    PipelineOutput,
    Policy,
    Refused,
    pack,
    parse_attach,
    unpack,
)

_S: Final = 1_000_000_000
_INSTANCE: Final = b"D" * 16
_STAMP: Final = Timestamp(1, 2, 3)


def _output(*, checksum: bool = False) -> PipelineOutput:
    return PipelineOutput(
        "CAM/1",
        "output",
        instance=_INSTANCE,
        epoch=1,
        description={"name": "output"},
        checksum=checksum,
    )


def _attach(policy: str = "drop", credit: int = 2) -> Attach:
    return Attach("CAM/1", "output", policy, credit)


class _Joined:
    """An input and its place at the output; messages lie in two queues until delivered."""

    def __init__(
        self, output: PipelineOutput, peer: bytes = b"peer", *, policy: str, credit: int
    ) -> None:
        self.output = output
        self.peer = peer
        self.policy = policy
        self.credit = credit
        self.pipe = PipelineInput(_attach(policy, credit), _INSTANCE)
        self.to_input: deque[list[Frame]] = deque()
        self.to_output: deque[list[Frame]] = deque([self.pipe.hello()])
        self.events: list[InputEvent] = []
        self.waiting = 0
        self.deliver_all()

    @property
    def consumer(self) -> Consumer:
        (found,) = (one for one in self.output.consumers if one.peer == self.peer)
        return found

    def deliver_to_output(self) -> None:
        if not self.to_output:
            return
        frames = self.to_output.popleft()
        header = unpack(frames)
        if header.kind == Kind.ATTACH:
            attach = parse_attach(decode(frames[1:]))
            self.to_input.append(self.output.attach(self.peer, attach, 0))
        elif header.kind == Kind.CREDIT:
            self.output.credit(self.peer, header.sequence, 0)

    def deliver_to_input(self) -> None:
        if not self.to_input:
            return
        event = self.pipe.receive(self.to_input.popleft())
        self.events.append(event)
        self.waiting += isinstance(event, Item)
        assert self.waiting <= self.credit

    def deliver_all(self) -> None:
        while self.to_output or self.to_input:
            self.deliver_to_output()
            self.deliver_to_input()

    def consume(self) -> None:
        """Take one item that has arrived, and give its credit back."""
        if self.waiting:
            self.waiting -= 1
            self.to_output.append(self.pipe.grant(1))

    @property
    def items(self) -> list[Item]:
        return [event for event in self.events if isinstance(event, Item)]


def _write(output: PipelineOutput, inputs: list[_Joined], data: Any = None) -> bool:
    """Write one item as a driver does; False when an input holds the writer."""
    if output.blocking():
        return False
    peers, frames = output.item(data or {"n": output.sequence + 1}, _STAMP, "CAM/1:output")
    for joined in inputs:
        if joined.peer in peers:
            joined.to_input.append(frames)
    return True


def _end(output: PipelineOutput, inputs: list[_Joined]) -> None:
    peers, frames = output.end_of_stream()
    assert sorted(peers) == sorted(joined.peer for joined in inputs)
    for joined in inputs:
        joined.to_input.append(frames)
        joined.deliver_all()


# -- one input -----------------------------------------------------------------------------------


def test_input_learns_at_the_start_what_the_items_hold() -> None:
    joined = _Joined(_output(), policy="drop", credit=1)
    assert joined.events == [Opened({"name": "output"})]


def test_later_input_learns_the_later_description() -> None:
    output = _output()
    output.describe({"name": "output", "more": 1})
    joined = _Joined(output, policy="drop", credit=1)
    assert joined.events == [Opened({"name": "output", "more": 1})]


@pytest.mark.parametrize("checksum", [False, True])
def test_item_arrives_with_source_time_number_and_arrays(checksum: bool) -> None:
    output = _output(checksum=checksum)
    pipe = PipelineInput(_attach(), _INSTANCE, checksum=checksum)
    output.attach(b"peer", pipe.attach, 0)
    image = np.arange(4096.0).reshape(64, 64)
    peers, frames = output.item({"image": image, "text": "x"}, _STAMP, "CAM/1:output")
    item = pipe.receive(frames)
    assert peers == [b"peer"]
    assert isinstance(item, Item)
    assert (item.source, item.timestamp, item.sequence) == ("CAM/1:output", _STAMP, 1)
    assert item.data["text"] == "x"
    assert np.array_equal(item.data["image"], image)


def test_item_with_more_arrays_than_frames_still_arrives_whole() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=1)
    data = {str(n): np.full(400, n) for n in range(300)}
    _write(output, [joined], data)
    joined.deliver_all()
    (item,) = joined.items
    assert all(np.array_equal(item.data[key], value) for key, value in data.items())


def test_input_that_comes_late_has_missed_nothing() -> None:
    output = _output()
    for _ in range(5):
        _write(output, [])
    joined = _Joined(output, policy="drop", credit=1)
    _write(output, [joined])
    joined.deliver_all()
    assert [(item.sequence, item.missed) for item in joined.items] == [(6, 0)]


def test_input_without_credit_that_waits_holds_the_writer() -> None:
    output = _output()
    joined = _Joined(output, policy="wait", credit=1)
    assert _write(output, [joined])
    assert output.blocking() == [b"peer"]
    assert not _write(output, [joined])
    joined.deliver_all()
    joined.consume()
    joined.deliver_all()
    assert output.blocking() == []
    assert output.dropped == 0


def test_input_without_credit_that_drops_holds_nobody_and_knows_what_it_missed() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=1)
    for _ in range(4):
        assert _write(output, [joined])
    joined.deliver_all()
    joined.consume()
    joined.deliver_all()
    _write(output, [joined])
    joined.deliver_all()
    assert [(item.sequence, item.missed) for item in joined.items] == [(1, 0), (5, 3)]
    assert joined.consumer.dropped == joined.pipe.missed == output.dropped == 3


def test_end_of_stream_counts_what_was_dropped_last_and_needs_no_credit() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=1)
    for _ in range(3):
        _write(output, [joined])
    _end(output, [joined])
    assert joined.events[-1] == Ended(2)
    assert joined.pipe.missed == 2


def test_second_end_of_stream_counts_nothing_twice() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=1)
    _write(output, [joined])
    _write(output, [joined])
    _end(output, [joined])
    _end(output, [joined])
    assert joined.events[-2:] == [Ended(1), Ended(0)]


def test_stream_goes_on_after_its_end() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=5)
    _write(output, [joined])
    _end(output, [joined])
    _write(output, [joined])
    joined.deliver_all()
    assert [(item.sequence, item.missed) for item in joined.items] == [(1, 0), (2, 0)]


def test_item_that_comes_twice_is_taken_once() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=5)
    _write(output, [joined])
    frames = joined.to_input[0]
    assert isinstance(joined.pipe.receive(frames), Item)
    assert joined.pipe.receive(frames) is None
    assert (joined.pipe.received, joined.pipe.missed) == (1, 0)


def test_output_that_goes_tells_its_input() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=5)
    assert joined.pipe.receive(output.farewell()) == Closed()


def test_probe_says_nothing() -> None:
    output = _output()
    joined = _Joined(output, policy="drop", credit=5)
    assert joined.pipe.receive(output.probe()) is None


def test_items_of_another_life_are_not_taken() -> None:
    joined = _Joined(_output(), policy="drop", credit=5)
    other = PipelineOutput("CAM/1", "output", instance=b"E" * 16, epoch=2, description={})
    other.attach(b"peer", _attach(), 0)
    _peers, frames = other.item({"n": 1}, _STAMP, "CAM/1:output")
    assert joined.pipe.receive(frames) is None
    assert joined.pipe.received == 0


def test_detached_input_gets_nothing_and_holds_nobody() -> None:
    output = _output()
    joined = _Joined(output, policy="wait", credit=1)
    _write(output, [joined])
    output.detach(joined.peer)
    assert output.blocking() == []
    assert output.item({}, _STAMP, "s")[0] == []
    output.credit(joined.peer, 5, 0)
    output.detach(joined.peer)
    assert output.consumers == []
    assert output.dropped == 0


def test_input_is_silent_after_its_time_and_a_sign_of_life_helps() -> None:
    output = _output()
    after_ns = int(SILENT_AFTER_S * _S)
    for peer in (b"frozen", b"alive"):
        output.attach(peer, _attach(), 0)
    assert output.silent(after_ns) == []
    output.credit(b"alive", 0, after_ns)
    assert output.silent(after_ns + 1) == [b"frozen"]
    assert output.consumers[1].credit == 2
    assert output.silent(2 * after_ns + 1) == [b"frozen", b"alive"]


# -- refusals ------------------------------------------------------------------------------------


def test_unknown_policy_is_refused_with_those_that_exist() -> None:
    output = _output()
    with pytest.raises(BadConfigurationError, match="use one of wait, drop") as caught:
        output.attach(b"peer", _attach("sometimes"), 0)
    assert caught.value.device == "CAM/1"
    assert output.consumers == []


def test_refusal_reaches_the_input_as_the_same_class() -> None:
    pipe = PipelineInput(_attach(), _INSTANCE)
    error = UnknownPropertyError("there is no such output", device="CAM/1", key="output")
    event = pipe.receive(pack(Header(Kind.ERROR), encode(error.to_wire())))
    assert isinstance(event, Refused)
    assert isinstance(event.error, UnknownPropertyError)


def test_refusal_without_a_reason_is_still_a_refusal() -> None:
    event = PipelineInput(_attach(), _INSTANCE).receive(pack(Header(Kind.ERROR), encode([1])))
    assert isinstance(event, Refused)
    assert isinstance(event.error, RemoteError)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        ["CAM/1", "output", "drop"],
        ["CAM/1", "output", "drop", 0],
        ["CAM/1", "output", "drop", -1],
        ["CAM/1", "output", "drop", True],
        ["CAM/1", "output", "drop", 2.0],
        ["CAM/1", "output", 1, 2],
        [None, "output", "drop", 2],
    ],
    ids=repr,
)
def test_attach_of_another_form_is_malformed(body: object) -> None:
    with pytest.raises(MalformedMessageError):
        parse_attach(body)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        ["s", [1, 2, 3]],
        ["s", [1, 2, 3], []],
        ["s", [1, 2], {}],
        ["s", [1, 2, 3, 4], {}],
        ["s", [1, 2.0, 3], {}],
        ["s", "123", {}],
        ["s", None, {}],
        [b"s", [1, 2, 3], {}],
    ],
    ids=repr,
)
def test_item_of_another_form_is_malformed_and_counted_as_missed(body: object) -> None:
    joined = _Joined(_output(), policy="drop", credit=5)
    with pytest.raises(MalformedMessageError):
        joined.pipe.receive(pack(Header(Kind.ITEM, _INSTANCE, sequence=1), encode(body)))
    good = pack(Header(Kind.ITEM, _INSTANCE, sequence=2), encode(["s", [1, 2, 3], {}]))
    item = joined.pipe.receive(good)
    assert isinstance(item, Item)
    assert item.missed == 1


def test_output_of_another_version_is_refused() -> None:
    pipe = PipelineInput(_attach(), _INSTANCE)
    head = bytearray(pack(Header(Kind.ATTACHED), [])[0])
    head[2] += 1
    with pytest.raises(VersionMismatchError):
        pipe.receive([bytes(head)])


# -- any interleaving ----------------------------------------------------------------------------

_POLICIES = st.lists(
    st.tuples(st.sampled_from(list(Policy)), st.integers(1, 4)), min_size=1, max_size=4
)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "to_input", "to_output", "consume"]),
        st.integers(0, 3),
    ),
    max_size=150,
)


@given(_POLICIES, _STEPS)
def test_counts_agree_on_both_ends_and_credits_are_never_exceeded(
    policies: list[tuple[Policy, int]], steps: list[tuple[str, int]]
) -> None:
    output = _output()
    inputs = [
        _Joined(output, b"%d" % number, policy=policy, credit=credit)
        for number, (policy, credit) in enumerate(policies)
    ]
    for step, number in steps:
        joined = inputs[number % len(inputs)]
        if step == "write":
            held = any(one.policy == "wait" and one.consumer.credit == 0 for one in inputs)
            assert _write(output, inputs) is not held
        elif step == "to_input":
            joined.deliver_to_input()
        elif step == "to_output":
            joined.deliver_to_output()
        else:
            joined.consume()
        _check_credits(inputs)
    _end(output, inputs)
    for joined in inputs:
        _check_counts(output, joined)
    assert output.dropped == sum(joined.pipe.missed for joined in inputs)


def _check_credits(inputs: list[_Joined]) -> None:
    for joined in inputs:
        items = sum(unpack(frames).kind == Kind.ITEM for frames in joined.to_input)
        granting = len(joined.to_output)
        assert joined.consumer.credit >= 0
        assert items + joined.waiting + granting + joined.consumer.credit == joined.credit


def _check_counts(output: PipelineOutput, joined: _Joined) -> None:
    consumer = joined.consumer
    assert (joined.pipe.received, joined.pipe.missed) == (consumer.sent, consumer.dropped)
    assert consumer.sent + consumer.dropped == output.sequence
    assert [item.data["n"] for item in joined.items] == [item.sequence for item in joined.items]
    told = sum(event.missed for event in joined.events if isinstance(event, Item | Ended))
    assert told == joined.pipe.missed
    if consumer.policy is Policy.WAIT:
        assert joined.pipe.missed == 0
