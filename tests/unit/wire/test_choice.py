"""What a subscriber chooses: its name on the wire, and what it makes of values."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import PropertyValue, Row, Timestamp, to_row
from pykarabo.errors import BadConfigurationError, MalformedMessageError
from pykarabo.wire import CHOICE_PREFIX, Choice, ChosenStream, EventSource, parse_stream

_S = 1_000_000_000
_CHOICES = st.builds(
    Choice,
    st.none() | st.lists(st.from_regex(r"[a-z_]{1,20}(\.[a-z]{1,5})?", fullmatch=True)).map(tuple),
    st.none() | st.floats(0.001, 1_000),
    st.none() | st.lists(st.tuples(st.integers(0, 50), st.integers(51, 99)), max_size=3).map(tuple),
    st.none() | st.lists(st.integers(1, 9), max_size=3).map(tuple),
)


def _row(key: str, value: Any) -> Row:
    return to_row(key, PropertyValue(value, Timestamp(1, 2)))


@given(_CHOICES)
def test_choice_comes_out_of_the_name_as_it_went_in(choice: Choice) -> None:
    assert parse_stream(choice.stream("MOTOR/1")) == ("MOTOR/1", choice)


def test_equal_choices_share_a_stream() -> None:
    one = Choice(max_rate_hz=2.0, keys=("a",)).stream("D/1")
    two = Choice(keys=("a",), max_rate_hz=2.0).stream("D/1")
    assert one == two
    assert Choice().stream("D/1") == "D/1"


@pytest.mark.parametrize(
    "choice",
    [
        Choice(max_rate_hz=0.0),
        Choice(max_rate_hz=-1.0),
        Choice(max_rate_hz=float("nan")),
        Choice(max_rate_hz=1e9),
        Choice(region=((5, 5),)),
        Choice(region=((-1, 5),)),
        Choice(binning=(0,)),
        Choice(keys=tuple(f"property_{number}" for number in range(1_000))),
    ],
    ids=repr,
)
def test_choice_that_means_nothing_is_refused_where_it_is_made(choice: Choice) -> None:
    with pytest.raises(BadConfigurationError):
        choice.stream("D/1")


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", '{"what":1}', '{"keys":"a"}', '{"keys":5}', '{"max_rate_hz":"fast"}',
     '{"max_rate_hz":0}', '{"max_rate_hz":NaN}', '{"region":[[1]]}', '{"region":[[5,2]]}',
     '{"region":[[1.5,2]]}', '{"binning":[0]}', '{"binning":[true]}', "[" * 1_500,
     '{"keys":["' + "a" * 3_000 + '"]}'],
)  # fmt: skip
def test_choice_of_another_form_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        parse_stream(f"{CHOICE_PREFIX}D/1\0{text}")


def test_nodes_choose_what_is_below_them_and_nothing_else() -> None:
    choice = Choice(keys=("node", "a"))
    rows = [_row(key, 1) for key in ("node.x", "node.y.z", "nodes", "a", "ab")]
    assert [row[0] for row in choice.reduce(rows)] == ["node.x", "node.y.z", "a"]


def test_region_and_binning_of_an_image() -> None:
    image = np.arange(6 * 8, dtype=np.uint16).reshape(6, 8)
    choice = Choice(region=((1, 6), (2, 8)), binning=(2, 3))
    (row,) = choice.reduce([_row("image", image)])
    expected = image[1:5, 2:8].reshape(2, 2, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(row[1], expected)
    assert row[2:] == _row("image", 0)[2:]


def test_binning_keeps_the_colours_of_an_image_apart() -> None:
    image = np.zeros((4, 4, 3))
    image[..., 1] = 1.0
    (row,) = Choice(binning=(4, 4)).reduce([_row("image", image)])
    np.testing.assert_array_equal(row[1], [[[0.0, 1.0, 0.0]]])


def test_values_without_these_dimensions_are_left_alone() -> None:
    line = np.arange(5)
    rows = Choice(region=((0, 2), (0, 2)), binning=(2, 2)).reduce(
        [_row("line", line), _row("number", 5)]
    )
    assert rows[0][1] is line
    assert rows[1][1] == 5


def test_chosen_stream_sends_the_latest_values_when_they_are_due() -> None:
    chosen = ChosenStream(EventSource("s", bytes(16), 1), Choice(keys=("a",), max_rate_hz=10))
    assert chosen.due_ns(0) is None
    chosen.offer([_row("b", 1)])
    assert chosen.due_ns(0) is None
    chosen.offer([_row("a", 1)])
    assert chosen.due_ns(5) == 5
    assert chosen.take(5) == [_row("a", 1)]
    for value in (2, 3, 4):
        chosen.offer([_row("a", value)])
    assert chosen.due_ns(_S // 100) == _S // 10 + 5
    assert chosen.due_ns(_S) == _S
    assert chosen.take(_S) == [_row("a", 4)]
    assert chosen.due_ns(2 * _S) is None
