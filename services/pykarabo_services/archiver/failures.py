"""What of a device cannot be recorded because of an error that nobody foresaw."""

import logging
from typing import Final

from pykarabo.errors import PykaraboError
from pykarabo_services.archiver.model import EventKind
from pykarabo_services.archiver.withheld import Withheld

_REASON: Final = 500
"""Characters of an error: what it says may be as long as a value."""
_log = logging.getLogger(__name__)


class Failures:
    """Notes, counts and logs it, so that the others go on and nothing is lost silently.

    Attributes:
        count: how often something could not be recorded.
    """

    def __init__(self, device_id: str, withheld: Withheld) -> None:
        self.count = 0
        self._device_id = device_id
        self._withheld = withheld
        self._logged: set[str] = set()

    def begin_anew(self) -> None:
        """Log again what fails: the device has another schema."""
        self._logged.clear()

    def note(self, error: Exception, now_ns: int, *, key: str = "", lost: int = 1) -> PykaraboError:
        """Return the error for who is to be told.

        Args:
            key: of which property; empty for a whole message.
            lost: how many values are not stored.
        """
        name = f"{self._device_id}.{key}" if key else self._device_id
        noted = PykaraboError(
            f"what '{name}' tells cannot be recorded: {error!r}",
            device=self._device_id,
            key=key or None,
            remedy="see the archiver's log; until it is mended, keep it out of the archive with "
            "archive=False or the archiver's 'excluded'",
        )
        if key not in self._logged:
            self._logged.add(key)
            _log.error("%s", noted, exc_info=error)
        self.count += max(lost, 1)
        if lost:
            reason = f"it could not be recorded: {error!r}"[:_REASON]
            self._withheld.leave_out(EventKind.REJECTED, key, reason, now_ns, count=lost)
        return noted
