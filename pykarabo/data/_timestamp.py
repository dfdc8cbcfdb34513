"""When a value was true: time to the attosecond, and the train it belongs to."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pykarabo.errors import WrongTypeError

ATTO: Final = 10**18
_ATTO_PER_NS: Final = 10**9
_NS: Final = 10**9
_MAX_DIGITS: Final = 18
_HOURS: Final = 24
_SIXTY: Final = 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO: Final = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[T ](\d\d):?(\d\d):?(\d\d)(?:[.,](\d{1,18}))?"
    r"(Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)",
    re.ASCII,
)


class Timestamp(NamedTuple):
    """A moment in UTC.

    Attributes:
        seconds: whole seconds since 1970.
        fraction: attoseconds (1e-18 s) since then.
        train_id: the train it belongs to, 0 where none is known.
    """

    seconds: int
    fraction: int
    train_id: int = 0

    @classmethod
    def from_ns(cls, time_ns: int, train_id: int = 0) -> "Timestamp":
        """Return the moment `time_ns` ns after 1970."""
        seconds, rest = divmod(time_ns, _NS)
        return cls(seconds, rest * _ATTO_PER_NS, train_id)

    def to_ns(self) -> int:
        """Return ns since 1970, rounded down."""
        return self.seconds * _NS + self.fraction // _ATTO_PER_NS

    def to_float(self) -> float:
        """Return seconds since 1970, to about a microsecond."""
        return self.seconds + self.fraction / ATTO

    def with_train(self, train_id: int) -> "Timestamp":
        """Return the same moment with another train id."""
        return Timestamp(self.seconds, self.fraction, train_id)

    def attoseconds_since(self, earlier: "Timestamp") -> int:
        """Return the exact time between two moments in attoseconds; negative if it is earlier."""
        return (self.seconds - earlier.seconds) * ATTO + self.fraction - earlier.fraction

    def seconds_since(self, earlier: "Timestamp") -> float:
        """Return the time between two moments in seconds; differences below 100 days to 1 ns."""
        return self.attoseconds_since(earlier) / ATTO

    def later_by(self, seconds: float) -> "Timestamp":
        """Return the moment `seconds` later, or earlier if negative, without a train id."""
        whole, rest = divmod(self.fraction + round(seconds * _NS) * _ATTO_PER_NS, ATTO)
        return Timestamp(self.seconds + whole, rest)

    def by_train(self) -> tuple[int, int, int]:
        """Return what sorts moments by train, and by time within a train."""
        return self.train_id, self.seconds, self.fraction

    def iso(self, precision: int = 6, *, local: bool = False) -> str:
        """Return ISO 8601 with `precision` digits of a second, 0 to 18; further ones are cut off.

        A moment that no calendar knows is shown in seconds since 1970.

        Args:
            local: in this host's zone, with its distance from UTC; else in UTC.
        """
        digits = max(0, min(_MAX_DIGITS, precision))
        rest = f".{self.fraction:018d}"[: digits + 1] if digits else ""
        try:
            moment = datetime.fromtimestamp(self.seconds, UTC)
            if not local:
                return moment.isoformat()[:_SECOND_ENDS] + rest + "Z"
            text = moment.astimezone().isoformat()
        except (ValueError, OverflowError, OSError):
            return f"{self.seconds}{rest}Z"
        return text[:_SECOND_ENDS] + rest + text[_SECOND_ENDS:]

    @classmethod
    def from_iso(cls, text: str, train_id: int = 0) -> "Timestamp":
        """Return the moment that ISO 8601 names, to the last of up to 18 digits of a second.

        ``2026-03-01T12:30:00.25Z``, ``2026-03-01T13:30:00+01:00`` and ``20260301T123000Z``.

        Raises:
            WrongTypeError: it is no moment, or has no zone, so that nobody knows which it is.
        """
        found = _ISO.fullmatch(text.strip())
        try:
            if found is None:
                raise ValueError("it has another form, or no zone")
            *whole, fraction, zone = found.groups()
            day = datetime(*map(int, whole), tzinfo=UTC) - _offset(zone)  # type: ignore[misc, arg-type]
        except (ValueError, OverflowError) as error:
            raise WrongTypeError(
                f"'{text:.60}' is no moment: {error}",
                remedy="give date, time and zone, such as 2026-03-01T12:30:00.25Z",
            ) from None
        seconds = (day - _EPOCH) // timedelta(seconds=1)
        return cls(seconds, int((fraction or "").ljust(_MAX_DIGITS, "0")), train_id)


_SECOND_ENDS: Final = len("2026-03-01T12:30:00")


def _offset(zone: str) -> timedelta:
    """Return the distance from UTC that ISO 8601 names; raises `ValueError` beyond a day."""
    if zone == "Z":
        return timedelta()
    digits = zone[1:].replace(":", "")
    hours, minutes, seconds = (int(digits[at : at + 2] or 0) for at in (0, 2, 4))
    if hours >= _HOURS or max(minutes, seconds) >= _SIXTY:
        raise ValueError(f"no zone is {zone} from UTC")
    found = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -found if zone[0] == "-" else found


@dataclass(frozen=True, slots=True)
class TrainReference:
    """How train ids relate to time: train `train_id` began at `time_ns`, one every `period_ns`."""

    train_id: int
    time_ns: int
    period_ns: int

    def train_at(self, time_ns: int) -> int:
        """Return the train at a moment; 0 before the first."""
        return max(0, self.train_id + (time_ns - self.time_ns) // self.period_ns)

    def time_of(self, train_id: int) -> int:
        """Return when a train begins, in ns since 1970."""
        return self.time_ns + (train_id - self.train_id) * self.period_ns
