"""What a server remembers of its events, and for how long."""

from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Limits, decode, encode
from pykarabo.wire import Entry, EventSource, Journal, Kind, Publisher, parse_replay
from pykarabo.wire._journal import REPLAY_EVENTS

_A, _B = b"A" * 16, b"B" * 16
_S = 1_000_000_000


def _entry(sequence: int, size: int = 10) -> Entry:
    return Entry(sequence, Kind.EVENT, (bytes(size),))


def _numbers(journal: Journal, instance: bytes, first: int) -> list[int] | None:
    found = journal.since(instance, first)
    return None if found is None else [entry.sequence for entry in found[0]]


def test_entries_of_an_instance_come_back_in_order() -> None:
    journal = Journal()
    for sequence in (1, 2, 3):
        journal.add(_A, _entry(sequence), 0)
        journal.add(_B, _entry(sequence + 10), 0)
    assert _numbers(journal, _A, 2) == [2, 3]
    assert _numbers(journal, _B, 11) == [11, 12, 13]


def test_what_was_never_there_or_is_forgotten_is_none() -> None:
    journal = Journal(max_age_s=60)
    assert journal.since(_A, 1) is None
    journal.add(_A, _entry(1), 0)
    journal.add(_A, _entry(2), 61 * _S)
    assert journal.since(_A, 1) is None
    assert _numbers(journal, _A, 2) == [2]
    journal.add(_B, _entry(1), 200 * _S)
    assert journal.since(_A, 2) is None


def test_answer_is_cut_where_it_becomes_long_but_never_empty() -> None:
    journal = Journal()
    for sequence in range(1, 6):
        journal.add(_A, _entry(sequence, 1_000), 0)
    found = journal.since(_A, 1, max_bytes=2_500)
    assert found is not None
    assert ([entry.sequence for entry in found[0]], found[1]) == ([1, 2], True)
    found = journal.since(_A, 5, max_bytes=1)
    assert found is not None
    assert ([entry.sequence for entry in found[0]], found[1]) == ([5], False)


def test_answer_with_many_small_events_is_within_the_limits_of_a_message() -> None:
    publisher = Publisher(_A, 1)
    source = EventSource("D/1", _A, 1)
    for _ in range(REPLAY_EVENTS + 10):
        publisher.event(source, [["value", 1, 0, 0, 0, "valid"]], 0)
    answer = decode(encode(publisher.replay(source, 1)))
    found = parse_replay("D/1", _A, answer)
    assert found is not None
    assert (len(found[0]), found[1]) == (REPLAY_EVENTS, True)
    worst = [[1, Kind.EVENT, [b""] * Limits().max_frames]] * REPLAY_EVENTS
    assert decode(encode([worst, True])) == [worst, True]


@given(
    st.lists(
        st.tuples(st.sampled_from([_A, _B]), st.integers(0, 400), st.integers(0, 2 * _S)),
        max_size=80,
    )
)
def test_memory_is_bounded_and_what_is_kept_is_the_latest(
    additions: list[tuple[bytes, int, int]],
) -> None:
    journal = Journal(max_age_s=5, max_bytes=4_000)
    counts = {_A: 0, _B: 0}
    now_ns = 0
    for instance, size, step_ns in additions:
        now_ns += step_ns
        counts[instance] += 1
        journal.add(instance, _entry(counts[instance], size), now_ns)
        assert journal.bytes <= 4_000
    for instance, count in counts.items():
        for first in range(1, count + 1):
            numbers = _numbers(journal, instance, first)
            assert numbers is None or numbers == list(range(first, count + 1))
    if additions:
        assert _numbers(journal, additions[-1][0], counts[additions[-1][0]]) is not None
