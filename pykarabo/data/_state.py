"""The states of devices and their kinship, as Karabo names them (karabo/common/states.py)."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from pykarabo.errors import BadConfigurationError

from ._value import PropertyValue

_TREE: Final = {
    "": "UNKNOWN KNOWN INIT",
    "KNOWN": "DISABLED NORMAL ERROR",
    "DISABLED": "INTERLOCKED PAUSED INTERLOCK_BROKEN",
    "NORMAL": "STATIC CHANGING RUNNING",
    "STATIC": "ACTIVE PASSIVE INTERLOCK_OK",
    "RUNNING": "ACQUIRING PROCESSING",
    "CHANGING": "DECREASING INCREASING HOMING ROTATING MOVING SWITCHING OPENING CLOSING SEARCHING",
    "DECREASING": "COOLING MOVING_LEFT MOVING_DOWN MOVING_BACK ROTATING_CNTCLK RAMPING_DOWN "
    "EXTRACTING STOPPING EMPTYING DISENGAGING SWITCHING_OFF",
    "INCREASING": "HEATING MOVING_RIGHT MOVING_UP MOVING_FORWARD ROTATING_CLK RAMPING_UP "
    "INSERTING STARTING FILLING ENGAGING SWITCHING_ON",
    "PASSIVE": "WARM COLD PRESSURIZED CLOSED OFF INSERTED STOPPED UNLOCKED DISENGAGED IGNORING",
    "ACTIVE": "COOLED HEATED EVACUATED OPENED ON EXTRACTED STARTED LOCKED ENGAGED MONITORING",
}
_PARENTS: Final = {
    child: parent for parent, children in _TREE.items() for child in children.split()
}


class State(StrEnum):
    """What a device is doing.

    ERROR means an error of the hardware; a lost connection or trouble in software is UNKNOWN. A
    state derived from CHANGING is on its way and ends in one derived from STATIC.
    """

    UNKNOWN = "UNKNOWN"
    KNOWN = "KNOWN"
    INIT = "INIT"
    DISABLED = "DISABLED"
    NORMAL = "NORMAL"
    ERROR = "ERROR"
    INTERLOCKED = "INTERLOCKED"
    PAUSED = "PAUSED"
    INTERLOCK_BROKEN = "INTERLOCK_BROKEN"
    STATIC = "STATIC"
    CHANGING = "CHANGING"
    RUNNING = "RUNNING"
    ACTIVE = "ACTIVE"
    PASSIVE = "PASSIVE"
    INTERLOCK_OK = "INTERLOCK_OK"
    ACQUIRING = "ACQUIRING"
    PROCESSING = "PROCESSING"
    DECREASING = "DECREASING"
    INCREASING = "INCREASING"
    HOMING = "HOMING"
    ROTATING = "ROTATING"
    MOVING = "MOVING"
    SWITCHING = "SWITCHING"
    OPENING = "OPENING"
    CLOSING = "CLOSING"
    SEARCHING = "SEARCHING"
    COOLING = "COOLING"
    MOVING_LEFT = "MOVING_LEFT"
    MOVING_DOWN = "MOVING_DOWN"
    MOVING_BACK = "MOVING_BACK"
    ROTATING_CNTCLK = "ROTATING_CNTCLK"
    RAMPING_DOWN = "RAMPING_DOWN"
    EXTRACTING = "EXTRACTING"
    STOPPING = "STOPPING"
    EMPTYING = "EMPTYING"
    DISENGAGING = "DISENGAGING"
    SWITCHING_OFF = "SWITCHING_OFF"
    HEATING = "HEATING"
    MOVING_RIGHT = "MOVING_RIGHT"
    MOVING_UP = "MOVING_UP"
    MOVING_FORWARD = "MOVING_FORWARD"
    ROTATING_CLK = "ROTATING_CLK"
    RAMPING_UP = "RAMPING_UP"
    INSERTING = "INSERTING"
    STARTING = "STARTING"
    FILLING = "FILLING"
    ENGAGING = "ENGAGING"
    SWITCHING_ON = "SWITCHING_ON"
    WARM = "WARM"
    COLD = "COLD"
    PRESSURIZED = "PRESSURIZED"
    CLOSED = "CLOSED"
    OFF = "OFF"
    INSERTED = "INSERTED"
    STOPPED = "STOPPED"
    UNLOCKED = "UNLOCKED"
    DISENGAGED = "DISENGAGED"
    IGNORING = "IGNORING"
    COOLED = "COOLED"
    HEATED = "HEATED"
    EVACUATED = "EVACUATED"
    OPENED = "OPENED"
    ON = "ON"
    EXTRACTED = "EXTRACTED"
    STARTED = "STARTED"
    LOCKED = "LOCKED"
    ENGAGED = "ENGAGED"
    MONITORING = "MONITORING"

    @property
    def parent(self) -> "State | None":
        """The more general state, None for UNKNOWN, KNOWN and INIT."""
        name = _PARENTS[self.value]
        return State(name) if name else None

    @property
    def children(self) -> "tuple[State, ...]":
        """The states that are derived from this one directly."""
        return tuple(State(name) for name in _TREE.get(self.value, "").split())

    def lineage(self) -> "Iterator[State]":
        """Yield this state, its parent, and so on up to a root."""
        state: State | None = self
        while state is not None:
            yield state
            state = state.parent

    def is_derived_from(self, other: "State") -> bool:
        """Tell whether this state is `other` or a special case of it."""
        return other in self.lineage()


class StateSignifier:
    """Finds the state of a group that an operator must know first.

    By default, from least to most significant: DISABLED, ACTIVE, PASSIVE, RUNNING, PAUSED,
    CHANGING with its INCREASING and DECREASING, INTERLOCKED, ERROR, INIT, KNOWN, UNKNOWN. NORMAL
    and STATIC themselves stand between DISABLED and ACTIVE.

    Args:
        order: another order, from least to most significant; a state that is not in it has the
            place of its nearest ancestor that is.
        static_more_significant: which of ACTIVE and PASSIVE wins over the other.
        changing_more_significant: which of INCREASING and DECREASING wins over the other.

    Raises:
        BadConfigurationError: `order` names a state twice or leaves one without a place, or an
            option is none of its two states.
    """

    def __init__(
        self,
        order: Iterable[State] | None = None,
        *,
        static_more_significant: State = State.PASSIVE,
        changing_more_significant: State = State.DECREASING,
    ) -> None:
        static = _pair(State.ACTIVE, State.PASSIVE, static_more_significant)
        changing = _pair(State.INCREASING, State.DECREASING, changing_more_significant)
        default = (*_LOWER, *static, *_MIDDLE, *changing, *_UPPER)
        self.order: tuple[State, ...] = default if order is None else tuple(order)
        places = {state: place for place, state in enumerate(self.order)}
        _refuse_gaps(self.order, places)
        self._ranks = {
            state: next(places[item] for item in state.lineage() if item in places)
            for state in State
        }

    def most_significant(self, states: Iterable[State]) -> State:
        """Return the most significant state, the last of equal ones; UNKNOWN if there is none."""
        best: State | None = None
        for state in map(State, states):
            if best is None or self._ranks[state] >= self._ranks[best]:
                best = state
        return State.UNKNOWN if best is None else best

    def most_significant_value(self, values: Iterable[PropertyValue]) -> PropertyValue:
        """Return the most significant state of several, with the newest of all time stamps.

        Raises:
            ValueError: there is none, hence no time stamp.
        """
        known = list(values)
        if not known:
            raise ValueError("no states, and so no time stamp")
        best = self.most_significant(State(value.value) for value in known)
        found = next(value for value in reversed(known) if value.value == best)
        newest = max(value.timestamp for value in known)
        return PropertyValue(found.value, newest, found.quality, found.sequence)


_LOWER: Final = (State.DISABLED, State.NORMAL, State.STATIC)
_MIDDLE: Final = (State.RUNNING, State.PAUSED, State.CHANGING)
_UPPER: Final = (State.INTERLOCKED, State.ERROR, State.INIT, State.KNOWN, State.UNKNOWN)


def _pair(first: State, second: State, winner: State) -> tuple[State, State]:
    """Return two states with the more significant one last."""
    if winner not in (first, second):
        raise BadConfigurationError(
            f"{winner} cannot be the more significant one of {first} and {second}",
            remedy=f"give State.{first} or State.{second}",
        )
    return (second, first) if winner is first else (first, second)


def _refuse_gaps(order: tuple[State, ...], places: Mapping[State, int]) -> None:
    """Refuse an order that would hide states: a forgotten ERROR would lose against ON."""
    if len(places) < len(order):
        raise BadConfigurationError(
            f"the order {', '.join(order)} names a state twice", remedy="name each state once"
        )
    missing = [state for state in State if not any(item in places for item in state.lineage())]
    if missing:
        raise BadConfigurationError(
            f"the order {', '.join(order)} has no place for {', '.join(missing)}",
            remedy="add them, or the states that they are derived from",
        )


_DEFAULT: Final = StateSignifier()


def most_significant(states: Iterable[State]) -> State:
    """Return the state of a group that an operator must know first; UNKNOWN for an empty one.

    Raises:
        ValueError: a text that is no state.
    """
    return _DEFAULT.most_significant(states)
