"""Whether somebody is alive, told from when he last gave a sign of life.

A lease is renewed every `RENEW_S` and means nothing but "I was there". Death is never concluded
early: an interpreter can hold its lock for seconds in one call of a C library (3.6 s measured),
and a control system that declares living devices dead is worse than one that is a little late.
"""

from enum import StrEnum
from typing import Final

RENEW_S: Final = 2.0
SUSPECT_AFTER_S: Final = 6.0
"""Three missed renewals; above the longest pause seen in a healthy process."""
GONE_AFTER_S: Final = 9.0
"""From here on a device id may be claimed by somebody else; everybody knows within 10 s."""
BUSY_LAG_S: Final = 2.0
"""An event loop that is later than this makes its devices unusable for an operator."""


class Liveness(StrEnum):
    """What is known of a server process."""

    ONLINE = "online"
    BUSY = "busy"
    SUSPECT = "suspect"
    GONE = "gone"


def liveness(silent_s: float, lag_s: float = 0.0) -> Liveness:
    """Judge a process by its silence and by the lag it reported last, both in seconds."""
    if silent_s >= GONE_AFTER_S:
        return Liveness.GONE
    if silent_s >= SUSPECT_AFTER_S:
        return Liveness.SUSPECT
    if lag_s > BUSY_LAG_S:
        return Liveness.BUSY
    return Liveness.ONLINE
