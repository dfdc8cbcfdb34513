"""Values at given moments, made of the samples around them, with holes where nobody knows.

The archive stores changes: until the next sample a value stays as it was, except in a gap, of which
nobody knows what happened in it.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pykarabo_services.archiver.buckets import Buckets
from pykarabo_services.archiver.figures import Columns
from pykarabo_services.archiver.gaps import Holes
from pykarabo_services.archiver.samples import Floats, Places, Samples, Times


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
    keep = own | _is_known(samples, places, ends - 1, holes)
    return _rows(samples, begins[keep], places[keep])


def _is_known(samples: Samples, places: Places, until: Times, holes: Holes) -> NDArray[np.bool_]:
    """Tell where there is a sample that holds until a moment."""
    exists = places >= 0
    earlier = samples.time_ns[np.where(exists, places, 0)] if len(samples) else until
    return exists & ~holes.cover(earlier, until)


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
    no_before = (before < 0) | ((at_before < times) & holes.cover(at_before, times))
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
