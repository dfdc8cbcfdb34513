"""What an archive does not know: when, and whether values from before still hold."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pykarabo_services.archiver.model import EventKind
from pykarabo_services.archiver.samples import Times

_UNHEALED: Final = frozenset({EventKind.LIMITED, EventKind.REJECTED, EventKind.DAMAGED})


class Outage(NamedTuple):
    """A span of time in which changes are missing, or may be.

    At the end of most, all values of the device were read: what has no newer sample then is as it
    was before. Where values were left out on purpose, nobody knows before the next sample.

    Attributes:
        to_ns: None when it is not over.
        lost: how many messages or values; None when nobody knows.
        key: of which property; empty for all of the device.
    """

    from_ns: int
    to_ns: int | None
    kind: str
    lost: int | None
    reason: str
    key: str = ""

    @property
    def is_healed(self) -> bool:
        """Whether all values were known at its end."""
        return self.kind not in _UNHEALED

    def is_of(self, key: str) -> bool:
        """Tell whether a property's changes are missing."""
        return self.key in ("", key)

    def covers(self, sample_ns: int, time_ns: int) -> bool:
        """Tell whether a sample may not be what was at a later moment."""
        if self.is_healed:
            return self.from_ns <= time_ns and (self.to_ns is None or self.to_ns > time_ns)
        return self.from_ns < time_ns and (self.to_ns is None or self.to_ns > sample_ns)


@dataclass(frozen=True, slots=True)
class _Spans:
    """Spans of time in order and apart from each other."""

    from_ns: Times
    to_ns: Times

    @classmethod
    def of(cls, spans: Iterable[tuple[int, int]]) -> "_Spans":
        merged: list[list[int]] = []
        for start, end in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        table = np.array(merged, np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    def between(self, earlier: Times, later: Times) -> NDArray[np.bool_]:
        """Tell for each pair of moments whether one of the spans is between or around them."""
        begun = np.searchsorted(self.from_ns, later, side="left")
        over = np.searchsorted(self.to_ns, earlier, side="right")
        return begun > over

    def around(self, times: Times) -> NDArray[np.bool_]:
        """Tell for each moment whether it is in one of the spans, or at its beginning."""
        begun = np.searchsorted(self.from_ns, times, side="right")
        over = np.searchsorted(self.to_ns, times, side="right")
        return begun > over


class Holes:
    """What the archive does not know."""

    def __init__(self, outages: Iterable[Outage]) -> None:
        spans = [
            (gap, (gap.from_ns, _NEVER if gap.to_ns is None else gap.to_ns)) for gap in outages
        ]
        self._all = _Spans.of(span for _gap, span in spans)
        self._healed = _Spans.of(span for gap, span in spans if gap.is_healed)
        self._others = _Spans.of(span for gap, span in spans if not gap.is_healed)

    def between(self, earlier: Times, later: Times) -> NDArray[np.bool_]:
        """Tell for each pair of moments whether changes between them may be missing."""
        return self._all.between(earlier, later)

    def cover(self, samples: Times, later: Times) -> NDArray[np.bool_]:
        """Tell for each sample whether it may not be what was at a later moment."""
        return self._healed.around(later) | self._others.between(samples, later)


_NEVER: Final = np.iinfo(np.int64).max
