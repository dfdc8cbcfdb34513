"""What can be made of the samples of a property: one entry for each operator.

An operator returns columns. Where it computes a figure of the samples of a bucket, `time_ns` and
`end_ns` are the bucket's; where it keeps samples, `time_ns` is the sample's own. A bucket without
samples is left out. NaN and infinities are samples, but no part of a figure.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pykarabo.errors import NotAnOptionError, OutOfRangeError, WrongTypeError, near_matches
from pykarabo_services.archiver import figures
from pykarabo_services.archiver.figures import PEAKS, Kept, OfPieces, OfSamples, of_buckets
from pykarabo_services.archiver.loess import SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator.

    Attributes:
        name: what it is called.
        meaning: what it returns, in one line; P is its parameter, N the points asked for.
        of_pieces: how it is made without reading every sample.
        of_samples: how it is made of all of them; these are numbers.
        keeps: which samples of each bucket it keeps, the more important before the less.
        any_type: whether it is defined for what is no number.
        parameter: its default; None where it has none.
        largest: what its parameter may be at most.
        raw_if_fewer: whether all samples are returned where they are no more than asked for.
        aliases: other names, as the EPICS Archiver Appliance has them.
    """

    name: str
    meaning: str
    of_pieces: OfPieces | None = None
    of_samples: OfSamples | None = None
    keeps: tuple[Kept, ...] = ()
    any_type: bool = False
    parameter: float | None = None
    largest: float = math.inf
    raw_if_fewer: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def per_bucket(self) -> int:
        """How many rows a bucket may become."""
        return max(1, len(self.keeps))


_KEEPING: Final = (
    Operator(name="raw", meaning="every sample", any_type=True),
    Operator(
        name="optimized",
        meaning="every sample if they are no more than N; else the first, smallest, largest and "
        "last one of each of N / 4 buckets; of what is no number, the last one of each of N",
        keeps=PEAKS,
        any_type=True,
        raw_if_fewer=True,
        aliases=("caplotbinning",),
    ),
    Operator(
        name="optimized_last",
        meaning="every sample if they are no more than N; else the last one of each bucket",
        keeps=(Kept.LAST,),
        any_type=True,
        raw_if_fewer=True,
        aliases=("optimlastsample",),
    ),
    Operator(
        name="first",
        meaning="the first sample of each bucket",
        keeps=(Kept.FIRST,),
        any_type=True,
        aliases=("firstsample",),
    ),
    Operator(
        name="last",
        meaning="the last sample of each bucket",
        keeps=(Kept.LAST,),
        any_type=True,
        aliases=("lastsample",),
    ),
    Operator(
        name="nth",
        meaning="every P-th sample",
        of_samples=figures.every_nth,
        any_type=True,
        parameter=10.0,
    ),
    Operator(
        name="dead_band",
        meaning="the samples that are further than P from the one before them that is kept",
        of_samples=figures.dead_band,
        parameter=0.0,
    ),
    Operator(
        name="flyers",
        meaning="the samples that are more than P standard deviations from their bucket's mean",
        of_samples=figures.flyers,
        parameter=3.0,
    ),
)
_COMPUTING: Final = (
    Operator(
        name="statistics",
        meaning="mean, standard deviation (n - 1), minimum, maximum and count",
        of_pieces=of_buckets(figures.statistics),
    ),
    Operator(
        name="mean",
        meaning="the mean",
        of_pieces=of_buckets(lambda groups: {"mean": groups.mean}),
    ),
    Operator(
        name="min",
        meaning="the smallest number",
        of_pieces=of_buckets(lambda groups: {"min": groups.minimum}),
    ),
    Operator(
        name="max",
        meaning="the largest number",
        of_pieces=of_buckets(lambda groups: {"max": groups.maximum}),
    ),
    Operator(
        name="sum",
        meaning="the sum",
        of_pieces=of_buckets(lambda groups: {"sum": figures.total(groups)}),
    ),
    Operator(
        name="count",
        meaning="how many samples",
        of_pieces=of_buckets(lambda groups: {"count": groups.count}),
        any_type=True,
    ),
    Operator(
        name="std",
        meaning="the standard deviation (n - 1)",
        of_pieces=of_buckets(lambda groups: {"std": figures.deviation(groups)}),
    ),
    Operator(
        name="variance",
        meaning="the variance (n - 1)",
        of_pieces=of_buckets(lambda groups: {"variance": groups.variance}),
    ),
    Operator(
        name="population_variance",
        meaning="the variance (n)",
        of_pieces=of_buckets(lambda groups: {"population_variance": groups.population_variance}),
        aliases=("popvariance",),
    ),
    Operator(
        name="jitter",
        meaning="the standard deviation as a share of the mean",
        of_pieces=of_buckets(lambda groups: {"jitter": figures.jitter(groups)}),
    ),
    Operator(
        name="error_bar",
        meaning="mean and standard deviation",
        of_pieces=of_buckets(
            lambda groups: {"mean": groups.mean, "std": figures.deviation(groups)}
        ),
    ),
    Operator(name="median", meaning="the median", of_samples=figures.median),
    Operator(
        name="skewness",
        meaning="the skewness, without bias",
        of_samples=figures.moment(figures.SKEWNESS, "skewness"),
    ),
    Operator(
        name="kurtosis",
        meaning="the kurtosis above that of a normal distribution, without bias",
        of_samples=figures.moment(figures.KURTOSIS, "kurtosis"),
    ),
    Operator(
        name="ignore_flyers",
        meaning="the mean of what is at most P standard deviations from the mean",
        of_samples=figures.without_flyers,
        parameter=3.0,
    ),
    Operator(
        name="loess",
        meaning="the smooth curve in the middle of the bucket: a local regression of which each "
        "line is made of a share P of the bucket's samples, 0.3 if not given",
        of_samples=figures.loess,
        parameter=SHARE,
        largest=1.0,
    ),
    Operator(name="ncount", meaning="how many samples there are in all", any_type=True),
)
_TELLING: Final = (
    Operator(
        name="first_fill",
        meaning="the first sample of each bucket; where it has none, the one before it",
        any_type=True,
    ),
    Operator(
        name="last_fill",
        meaning="the last sample of each bucket; where it has none, the one before it",
        any_type=True,
    ),
    Operator(
        name="nearest",
        meaning="the sample nearest to the beginning of each bucket",
        any_type=True,
    ),
    Operator(
        name="linear",
        meaning="the value at the beginning of each bucket, on a line between two samples",
    ),
)
OPERATORS: Final[Mapping[str, Operator]] = {
    item.name: item for item in (*_KEEPING, *_COMPUTING, *_TELLING)
}
_NAMES: Final[Mapping[str, Operator]] = {
    name.replace("_", ""): item
    for item in OPERATORS.values()
    for name in (item.name, *item.aliases)
}
_TEXT: Final = re.compile(
    r"\s*([A-Za-z_]+?)_?\s*(?:[:(]?\s*([-+.\d][-+.\deE]*)\s*\)?)?\s*", re.ASCII
)


def operator_of(text: str) -> tuple[Operator, float]:
    """Return the operator and the parameter that a text such as ``mean`` or ``nth:5`` names.

    Raises:
        NotAnOptionError: there is none of this name; near matches are named.
        OutOfRangeError: it takes no such parameter.
    """
    found = _TEXT.fullmatch(text)
    name = found[1].replace("_", "").lower() if found else ""
    operator = _NAMES.get(name)
    if found is None or operator is None:
        near = near_matches(name or text, OPERATORS)
        raise NotAnOptionError(
            f"there is no operator '{text:.60}'",
            remedy=f"did you mean {near[0]}?" if near else f"use one of: {', '.join(OPERATORS)}",
        )
    return operator, _parameter_of(operator, found[2])


def _parameter_of(operator: Operator, text: str | None) -> float:
    if text is None:
        return operator.parameter or 0.0
    if operator.parameter is None:
        raise OutOfRangeError(
            f"the operator {operator.name} has no parameter", remedy=f"write '{operator.name}'"
        )
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and 0 <= value <= operator.largest):
        limit = "" if math.isinf(operator.largest) else f" and at most {operator.largest:g}"
        raise OutOfRangeError(
            f"'{text}' is no parameter of {operator.name}",
            remedy=f"write a number that is not negative{limit}, such as "
            f"{operator.name}:{operator.parameter or 3:g}",
        )
    return value


def require_numbers(operator: Operator, name: str) -> None:
    """Raise `WrongTypeError` where an operator is not defined for what is no number."""
    if not operator.any_type:
        fit = ", ".join(item.name for item in OPERATORS.values() if item.any_type)
        raise WrongTypeError(
            f"'{name}' has no numbers that '{operator.name}' could be made of",
            remedy=f"use one of: {fit}",
        )
