"""The states of devices and their kinship, as Karabo names them (karabo/common/states.py)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

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

    def is_derived_from(self, other: "State") -> bool:
        """Tell whether this state is `other` or a special case of it."""
        state: State | None = self
        while state is not None:
            if state is other:
                return True
            state = state.parent
        return False


_RANKS: Final = (
    State.DISABLED,
    State.STATIC,
    State.RUNNING,
    State.PAUSED,
    State.CHANGING,
    State.INTERLOCKED,
    State.ERROR,
    State.INIT,
    State.KNOWN,
    State.UNKNOWN,
)


def _rank(state: State) -> int:
    ancestor: State | None = state
    while ancestor is not None:
        if ancestor in _RANKS:
            return _RANKS.index(ancestor)
        ancestor = ancestor.parent
    return 0


def most_significant(states: Iterable[State]) -> State:
    """Return the state of a group that an operator must know first; UNKNOWN for an empty one."""
    best: State | None = None
    for state in states:
        if best is None or _rank(state) >= _rank(best):
            best = state
    return State.UNKNOWN if best is None else best
