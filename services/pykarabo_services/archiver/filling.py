"""Values at given moments, made of the samples around them, with holes where nobody knows.

The archive stores changes: until the next sample a value stays as it was, unless there is a gap
between, of which nobody knows what happened in it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pykarabo_services.archiver.buckets import Buckets
from pykarabo_services.archiver.figures import Columns
from pykarabo_services.archiver.samples import Floats, Places, Samples, Times


@dataclass(frozen=True, slots=True)
class Holes:
    """Spans of time of which the archive does not know all, in order and apart from each other."""

    from_ns: Times
    to_ns: Times

    @classmethod
    def of(cls, spans: "list[tuple[int, int]]") -> "Holes":
        """Return spans in order; those that touch each other become one."""
        merged: list[list[int]] = []
        for start, end in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        table = np.array(merged, np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    def between(self, earlier: Times, later: Times) -> NDArray[np.bool_]:
        """Tell for each pair of moments whether a hole is between them."""
        begun = np.searchsorted(self.from_ns, later, side="left")
        over = np.searchsorted(self.to_ns, earlier, side="right")
        return begun > over


def _rows(samples: Samples, times: Times, places: Places) -> Columns:
    chosen = samples[places]
    return {
        "time_ns": times,
        "value": chosen.values,
        "quality": chosen.quality,
        "train_id": chosen.train_id,
        "sample_ns": chosen.time_ns,
    }


def _first_fill(samples: Samples, buckets: Buckets, holes: Holes) -> Columns:
    begins, ends = buckets.edges[:-1], buckets.edges[1:]
    places = np.searchsorted(samples.time_ns, begins)
    own = places < np.searchsorted(samples.time_ns, ends)
    places = np.where(own, places, places - 1)
    keep = own | _is_known(samples, places, begins, holes)
    return _rows(samples, begins[keep], places[keep])


def _last_fill(samples: Samples, buckets: Buckets, holes: Holes) -> Columns:
    begins, ends = buckets.edges[:-1], buckets.edges[1:]
    places = np.searchsorted(samples.time_ns, ends) - 1
    own = places >= np.searchsorted(samples.time_ns, begins)
    keep = own | _is_known(samples, places, ends, holes)
    return _rows(samples, begins[keep], places[keep])


def _is_known(samples: Samples, places: Places, until: Times, holes: Holes) -> NDArray[np.bool_]:
    """Tell where there is a sample, and no hole between it and a moment."""
    exists = places >= 0
    earlier = samples.time_ns[np.where(exists, places, 0)] if len(samples) else until
    return exists & ~holes.between(earlier, until)


def _neighbours(samples: Samples, times: Times) -> tuple[Places, Places]:
    """Return the places of the samples at or before, and at or after each moment."""
    before = np.searchsorted(samples.time_ns, times, side="right") - 1
    return before, np.searchsorted(samples.time_ns, times, side="left")


_FAR: Final = np.iinfo(np.int64).max


def _nearest(samples: Samples, buckets: Buckets, holes: Holes) -> Columns:
    times = buckets.edges[:-1]
    if not len(samples):
        return _rows(samples, times[:0], np.empty(0, np.intp))
    before, after = _neighbours(samples, times)
    at_before = samples.time_ns[np.maximum(before, 0)]
    at_after = samples.time_ns[np.minimum(after, len(samples) - 1)]
    no_before = (before < 0) | holes.between(at_before, times)
    no_after = (after >= len(samples)) | holes.between(times, at_after)
    back = np.where(no_before, _FAR, times - at_before)
    ahead = np.where(no_after, _FAR, at_after - times)
    keep = ~(no_before & no_after)
    return _rows(samples, times[keep], np.where(back <= ahead, before, after)[keep])


def _linear(samples: Samples, buckets: Buckets, holes: Holes) -> Columns:
    times = buckets.edges[:-1]
    before, after = _neighbours(samples, times)
    keep = (before >= 0) & (after < len(samples))
    times, before, after = times[keep], before[keep], after[keep]
    at_before, at_after = samples.time_ns[before], samples.time_ns[after]
    values = samples.numbers
    with np.errstate(invalid="ignore"):
        share = _shares(times - at_before, at_after - at_before)
        line = values[before] + share * (values[after] - values[before])
    line = np.where(before == after, values[before], line)
    keep = np.isfinite(line) & ~holes.between(at_before, at_after)
    return {
        "time_ns": times[keep],
        "value": line[keep],
        "quality": np.maximum(samples.quality[before], samples.quality[after])[keep],
    }


def _shares(part: Times, whole: Times) -> Floats:
    """Return which share of a span of time a part of it is, 0 of no span."""
    share = np.zeros(len(part))
    np.divide(part, whole, out=share, where=whole > 0)
    return share


FILLS: Final[Mapping[str, Callable[[Samples, Buckets, Holes], Columns]]] = {
    "first_fill": _first_fill,
    "last_fill": _last_fill,
    "nearest": _nearest,
    "linear": _linear,
}
"""By name of the operator; the samples are those in the buckets and one on each side of them."""
