"""Moments and spans of time as people write them."""

import re
from datetime import datetime, timedelta
from typing import Final

from pykarabo.errors import WrongTypeError

from ._timestamp import Timestamp

_UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86_400 * 10**9,
    "w": 7 * 86_400 * 10**9,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.ASCII)
_SPAN: Final = re.compile(rf"\s*(?:{_PART.pattern}\s*)+", re.ASCII)
_RELATIVE: Final = re.compile(r"\s*(now|today|yesterday)?\s*(?:([-+])(.+))?", re.ASCII)
_SECONDS_AND_ZONE: Final = re.compile(
    r"\d\d:?\d\d:?\d\d([.,]\d+)?(Z|[+-]\d\d(:?\d\d(:?\d\d)?)?)\s*\Z", re.ASCII
)
_LONGEST: Final = 100
_REMEDY: Final = (
    "write -2h, -1h30min, now, today, yesterday, or a date and time such as "
    "2026-03-01T12:30:00 (local), 2026-03-01T12:30:00Z or 2026-03-01"
)


def span_ns(text: str) -> int:
    """Return how long a span such as ``10s``, ``1min`` or ``1h30min`` is.

    Units are ns, us, ms, s, min, h, d (of 24 hours) and w.

    Raises:
        WrongTypeError: it is no such span.
    """
    if len(text) > _LONGEST or not _SPAN.fullmatch(text):
        raise WrongTypeError(
            f"'{text:.60}' is no span of time", remedy="write 10s, 5min, 2h, 1d or 1h30min"
        )
    total = 0
    for number, unit in _PART.findall(text):
        if unit not in _UNITS_NS:
            meant = "min" if unit == "m" else ", ".join(_UNITS_NS)
            raise WrongTypeError(
                f"'{unit}' in '{text:.60}' is no unit of time", remedy=f"write {meant}"
            )
        whole, _point, fraction = number.partition(".")
        total += int(whole) * _UNITS_NS[unit]
        total += int(fraction or "0") * _UNITS_NS[unit] // 10 ** len(fraction)
    return total


def moment_ns(text: str, now_ns: int) -> int:
    """Return the moment that a text names, in ns since 1970.

    ``now``; ``-2h`` or ``now-1h30min`` before now; ``today`` and ``yesterday`` for the beginning of
    the day, ``today+9h`` for nine by the clock on the wall; or ISO 8601, of which the time may be
    left out for midnight. Without a zone it is local time.

    Raises:
        WrongTypeError: it names no moment.
    """
    relative = _RELATIVE.fullmatch(text) if len(text) <= _LONGEST else None
    if relative is None or not text.strip():
        return _iso_ns(text)
    word, sign, span = relative.groups()
    later_ns = 0 if sign is None else span_ns(span) if sign == "+" else -span_ns(span)
    if word in (None, "now"):
        return now_ns + later_ns
    try:
        return _of_day_ns(now_ns, word == "yesterday", later_ns)
    except (ValueError, OverflowError) as error:
        raise WrongTypeError(f"'{text:.60}' names no moment", remedy=_REMEDY) from error


def _of_day_ns(now_ns: int, yesterday: bool, later_ns: int) -> int:
    """Return when the clock on the wall shows a time of a day, which may have 23 or 25 hours."""
    day = datetime.fromtimestamp(now_ns // 10**9).date() - timedelta(days=int(yesterday))
    seconds, below_ns = divmod(later_ns, 10**9)
    midnight = datetime(day.year, day.month, day.day)
    return _local_ns(midnight + timedelta(seconds=seconds)) + below_ns


def _local_ns(moment: datetime) -> int:
    """Return a moment in ns; local where it has no zone.

    A time that the clock on the wall leaves out is as long after the leap as it was to be before.
    """
    # Not astimezone(): it would go from such a time to the hour before.
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 10**9 + moment.microsecond * 1000


def _iso_ns(text: str) -> int:
    try:
        if _SECONDS_AND_ZONE.search(text):
            return Timestamp.from_iso(text).to_ns()
        whole, fraction = _without_fraction(text.strip())
        return _local_ns(datetime.fromisoformat(whole)) + fraction
    except (ValueError, OverflowError, WrongTypeError) as error:
        raise WrongTypeError(f"'{text:.60}' names no moment", remedy=_REMEDY) from error


def _without_fraction(text: str) -> tuple[str, int]:
    """Split off the fraction of a second, which Python cuts to microseconds, in ns."""
    found = re.fullmatch(r"(.*\d\d:?\d\d:?\d\d)[.,](\d{1,9})", text)
    if found is None:
        return text, 0
    return found[1], int(found[2].ljust(9, "0"))
