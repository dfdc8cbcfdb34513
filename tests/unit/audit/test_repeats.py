"""Refusals that are repeated: each is told or counted, exactly once."""

from hypothesis import given
from hypothesis import strategies as st

from pykarabo.audit._repeats import FIRST, MOST_KINDS, WINDOW_S, Repeats

_S = 10**9


def test_the_first_of_a_window_have_lines_of_their_own_and_the_others_one() -> None:
    repeats: Repeats[int] = Repeats()
    told = [number for number in range(100) if repeats.is_told("a", number, number)]
    assert told == list(range(FIRST))
    due_ns = int(WINDOW_S * _S)
    assert repeats.due_ns == due_ns
    assert list(repeats.ended(due_ns - 1)) == []
    assert list(repeats.ended(due_ns)) == [(99, 100 - FIRST, FIRST)]
    assert repeats.due_ns is None
    assert repeats.is_told("a", 100, 2 * _S)


def test_kinds_are_told_apart_as_long_as_they_are_few() -> None:
    repeats: Repeats[str] = Repeats()
    kinds = [f"k{number}" for number in range(MOST_KINDS)]
    assert all(repeats.is_told(kind, kind, 0) for kind in kinds)
    told = [repeats.is_told(f"made up {number}", "x", 0) for number in range(1_000)]
    assert sum(told) == FIRST
    assert list(repeats.ended(0, is_last=True)) == [("x", 1_000 - FIRST, 0)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, _S // 2)), max_size=300))
def test_none_is_lost_and_none_told_twice(steps: list[tuple[str, int]]) -> None:
    repeats: Repeats[int] = Repeats()
    now_ns = told = counted = 0
    for number, (kind, wait_ns) in enumerate(steps):
        now_ns += wait_ns // 20
        counted += sum(times for _entry, times, _since in repeats.ended(now_ns))
        told += repeats.is_told(kind, number, now_ns)
    counted += sum(times for _entry, times, _since in repeats.ended(now_ns, is_last=True))
    assert told + counted == len(steps)
