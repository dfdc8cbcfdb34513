"""When a value was true: time to the attosecond, and the train it belongs to."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

ATTO: Final = 10**18
_ATTO_PER_NS: Final = 10**9
_NS: Final = 10**9
_MAX_DIGITS: Final = 18


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

    def iso(self, precision: int = 6) -> str:
        """Return ISO 8601 in UTC with `precision` digits of a second, 0 to 18.

        A moment that no calendar knows is shown in seconds since 1970.
        """
        digits = max(0, min(_MAX_DIGITS, precision))
        try:
            day = datetime.fromtimestamp(self.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        except (ValueError, OverflowError, OSError):
            day = str(self.seconds)
        rest = f".{self.fraction:018d}"[: digits + 1] if digits else ""
        return f"{day}{rest}Z"


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
