"""The variance of the latest values, which keeps its digits however long it runs."""

from typing import Final, NamedTuple


class _Moments(NamedTuple):
    """Of some numbers: how many, their mean, and the sum of squared distances from it."""

    numbers: int
    mean: float
    squares: float

    def merged(self, other: "_Moments") -> "_Moments":
        """Return the moments of both groups together."""
        count = self.numbers + other.numbers
        if not self.numbers or not other.numbers:
            return self if self.numbers else other
        distance = other.mean - self.mean
        mean = self.mean + distance * (other.numbers / count)
        spread = distance * distance * (self.numbers * other.numbers / count)
        return _Moments(count, mean, self.squares + other.squares + spread)


_NONE: Final = _Moments(0, 0.0, 0.0)


class RollingVariance:
    """Takes numbers and tells the sample variance of the latest `window` of them.

    The window is a queue of two stacks, each of whose entries holds the moments of all below it.
    Nothing is ever subtracted, so that an outlier leaves no error behind when it has left the
    window. A number costs about two merges on average.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._old: list[_Moments] = []
        self._new: list[float] = []
        self._newest = _NONE

    def push(self, number: float) -> None:
        """Take a finite number; the oldest one beyond the window is forgotten."""
        if len(self._old) + len(self._new) >= self._window:
            self._drop_oldest()
        self._new.append(number)
        self._newest = self._newest.merged(_Moments(1, number, 0.0))

    def _drop_oldest(self) -> None:
        if not self._old:
            below = _NONE
            for number in reversed(self._new):
                below = _Moments(1, number, 0.0).merged(below)
                self._old.append(below)
            self._new.clear()
            self._newest = _NONE
        self._old.pop()

    def value(self) -> float | None:
        """Return the variance in squared units, None as long as there are fewer numbers."""
        if len(self._old) + len(self._new) < self._window:
            return None
        oldest = self._old[-1] if self._old else _NONE
        return oldest.merged(self._newest).squares / (self._window - 1)
