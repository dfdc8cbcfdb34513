"""The hierarchy of states, and which state of a group wins."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import (
    PropertyValue,
    Quality,
    State,
    StateSignifier,
    Timestamp,
    most_significant,
)
from pykarabo.errors import BadConfigurationError

_STATES = st.sampled_from(State)
_LOW_TO_HIGH = (
    State.DISABLED,
    State.OPENED,
    State.CLOSED,
    State.ACQUIRING,
    State.PAUSED,
    State.MOVING,
    State.HEATING,
    State.COOLING,
    State.INTERLOCKED,
    State.ERROR,
    State.INIT,
    State.KNOWN,
    State.UNKNOWN,
)


def test_there_are_68_states_below_three_roots() -> None:
    assert len(State) == 68
    assert [state for state in State if state.parent is None] == [
        State.UNKNOWN,
        State.KNOWN,
        State.INIT,
    ]


def test_every_state_is_the_child_of_its_parent() -> None:
    for state in State:
        assert all(child.parent is state for child in state.children)
        assert state.parent is None or state in state.parent.children


@pytest.mark.parametrize(
    ("state", "lineage"),
    [
        ("RAMPING_UP", "RAMPING_UP INCREASING CHANGING NORMAL KNOWN"),
        ("MONITORING", "MONITORING ACTIVE STATIC NORMAL KNOWN"),
        ("INTERLOCK_OK", "INTERLOCK_OK STATIC NORMAL KNOWN"),
        ("INTERLOCK_BROKEN", "INTERLOCK_BROKEN DISABLED KNOWN"),
        ("PROCESSING", "PROCESSING RUNNING NORMAL KNOWN"),
        ("ERROR", "ERROR KNOWN"),
        ("UNKNOWN", "UNKNOWN"),
    ],
)
def test_lineage(state: str, lineage: str) -> None:
    assert " ".join(State(state).lineage()) == lineage


@given(_STATES, _STATES)
def test_derived_means_on_the_way_to_the_root(state: State, other: State) -> None:
    assert state.is_derived_from(other) == (other in list(state.lineage()))
    if state is not other and state.is_derived_from(other):
        assert not other.is_derived_from(state)


@pytest.mark.parametrize(("lower", "higher"), list(combinations(_LOW_TO_HIGH, 2)))
def test_default_order(lower: State, higher: State) -> None:
    assert most_significant([lower, higher]) is higher
    assert most_significant([higher, lower]) is higher


def test_of_equal_ones_the_last_wins() -> None:
    assert most_significant([State.ON, State.OPENED]) is State.OPENED
    assert most_significant([State.OPENED, State.ON]) is State.ON
    assert most_significant([State.MOVING, State.HOMING]) is State.HOMING


def test_a_device_at_work_never_hides_an_error() -> None:
    assert most_significant([State.ERROR, State.NORMAL]) is State.ERROR


def test_options_turn_the_pairs_around() -> None:
    other = StateSignifier(
        static_more_significant=State.ACTIVE, changing_more_significant=State.INCREASING
    )
    assert other.most_significant([State.OPENED, State.CLOSED]) is State.OPENED
    assert other.most_significant([State.HEATING, State.COOLING]) is State.HEATING
    assert other.most_significant([State.ERROR, State.HEATING]) is State.ERROR


def test_own_order() -> None:
    own = StateSignifier([State.ERROR, State.UNKNOWN, State.INIT, State.KNOWN, State.MOVING])
    assert own.most_significant([State.ON, State.UNKNOWN, State.ERROR]) is State.ON
    assert own.most_significant([State.MOVING, State.ON]) is State.MOVING


def test_an_order_that_forgets_states_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match=r"no place for UNKNOWN, .*ERROR"):
        StateSignifier([State.PASSIVE, State.ACTIVE])


def test_an_order_that_names_a_state_twice_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match="twice"):
        StateSignifier([State.KNOWN, State.INIT, State.UNKNOWN, State.KNOWN])


@pytest.mark.parametrize("option", ["static_more_significant", "changing_more_significant"])
def test_an_option_takes_one_of_two_states(option: str) -> None:
    with pytest.raises(BadConfigurationError, match="give State"):
        StateSignifier(**{option: State.ERROR})  # type: ignore[arg-type]  # one of the two


def test_no_states_are_unknown_and_other_text_is_refused() -> None:
    assert most_significant([]) is State.UNKNOWN
    with pytest.raises(ValueError, match="DANCING"):
        most_significant(["DANCING"])  # type: ignore[list-item]


def test_the_newest_time_stamp_comes_with_the_state() -> None:
    values = [
        PropertyValue(State.ON, Timestamp(3, 0)),
        PropertyValue("ERROR", Timestamp(1, 0), Quality.WARN),
        PropertyValue(State.MOVING, Timestamp(2, 5, 7)),
    ]
    found = StateSignifier().most_significant_value(values)
    assert found == PropertyValue("ERROR", Timestamp(3, 0), Quality.WARN)


def test_no_values_have_no_time_stamp() -> None:
    with pytest.raises(ValueError, match="no time stamp"):
        StateSignifier().most_significant_value([])


@given(st.lists(_STATES, min_size=1))
def test_the_winner_is_one_of_the_group_and_nobody_beats_it(states: list[State]) -> None:
    winner = most_significant(states)
    assert winner in states
    assert all(most_significant([state, winner]) is winner for state in states)
