"""Dates with times: aware in Python, ISO 8601 text on the wire."""

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import WrongTypeError

from ._refusal import refusal, shown, wrong_type

if TYPE_CHECKING:
    from ._info import PropertyInfo

ZERO: Final = "1970-01-01T00:00:00+00:00"
_TOO_FINE: Final = re.compile(r"[.,]\d{7}")


def moment_of(info: "PropertyInfo", value: Any, device: str | None) -> str:
    """Return a moment as ISO 8601 text with its offset from UTC, to the microsecond.

    Raises:
        WrongTypeError: it is no moment, has no time zone or is finer than a microsecond.
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise wrong_type(info, value, device) from None
        if _TOO_FINE.search(value):
            problem = f"cannot be {shown(value)}, which is finer than a microsecond"
            raise refusal(WrongTypeError, info, device, problem, "round it to microseconds")
    if not isinstance(moment, datetime):
        raise wrong_type(info, value, device)
    if moment.utcoffset() is None:
        problem = f"cannot be {shown(value)}, which has no time zone"
        remedy = "give datetime.now(UTC), datetime(..., tzinfo=...), or text that ends with +00:00"
        raise refusal(WrongTypeError, info, device, problem, remedy)
    return moment.isoformat()
