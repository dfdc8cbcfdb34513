"""Every operator on real tables gives what a plain loop over the samples gives."""

import math
import re
import statistics
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import StaticPool, create_engine

from pykarabo.data import ValueType
from pykarabo.errors import NotAnOptionError, OutOfRangeError, WrongTypeError
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.buckets import Buckets, equal_buckets, regular_buckets
from pykarabo_services.archiver.decimation import Question, answer
from pykarabo_services.archiver.model import DeviceEvent, EventKind, Sample
from pykarabo_services.archiver.operators import OPERATORS, operator_of
from pykarabo_services.archiver.reading import ArchivedProperty
from tests.services.archiver.stored import DEVICE, Stored, plain

FLOAT: Final = ValueType.FLOAT64
_values = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(-3, 3).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf, None, -0.0]),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[Sample]], list[Sample]]:
    """Draw chunks of samples that do not overlap, and rows anywhere, some of them in chunks too."""
    times = draw(st.lists(st.integers(0, 400), max_size=60))
    samples = [
        Sample(time_ns, draw(_values), train_id=time_ns, quality=draw(st.integers(0, 4)), seq=seq)
        for seq, time_ns in enumerate(sorted(times))
    ]
    chunks: list[list[Sample]] = []
    rows: list[Sample] = []
    while samples:
        size = draw(st.integers(1, 12))
        some, samples = samples[:size], samples[size:]
        while samples and samples[0].time_ns == some[-1].time_ns:
            some.append(samples.pop(0))
        if draw(st.booleans()):
            chunks.append(some)
            rows += [sample for sample in some if draw(st.integers(0, 9)) == 0]
        else:
            rows += some
    late = draw(st.lists(st.integers(0, 400), max_size=3))
    rows += [
        Sample(time_ns, draw(st.floats(-5, 5)), seq=1000 + place)
        for place, time_ns in enumerate(late)
    ]
    return chunks, rows


_engine: Final = create_engine("sqlite://", poolclass=StaticPool)


@contextmanager
def archive() -> Generator[Stored]:
    """Give an empty archive, and take back what was put into it."""
    tables.metadata.create_all(_engine)
    with _engine.connect() as connection:
        yield Stored(connection)
        connection.rollback()


def filled(
    stored: Stored, history: tuple[list[list[Sample]], list[Sample]]
) -> tuple[ArchivedProperty, list[Sample]]:
    chunks, rows = history
    series = stored.series_of(FLOAT)
    for chunk in chunks:
        stored.chunk(series, chunk)
    stored.rows(series, rows)
    everything = {(item.time_ns, item.seq): item for item in [*chain(*chunks), *rows]}
    return stored.property(FLOAT), [everything[name] for name in sorted(everything)]


def finite(samples: list[Sample]) -> list[float]:
    values = (sample.value for sample in samples)
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def _deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def _moment(values: list[float], power: int) -> float:
    n, spread = len(values), _deviation(values)
    if n < power:
        return math.nan
    mean = statistics.fmean(values)
    total = sum(((value - mean) / spread) ** power for value in values) if spread else 0.0
    if power == 3:
        return n / ((n - 1) * (n - 2)) * total
    factor = n * (n + 1) / ((n - 1) * (n - 2) * (n - 3))
    return factor * total - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


def _quotient(values: list[float]) -> float:
    mean = statistics.fmean(values) if values else 0.0
    return _deviation(values) / abs(mean) if mean else math.nan


_FIGURES: Final[dict[str, Callable[[list[float]], float]]] = {
    "mean": lambda values: statistics.fmean(values) if values else math.nan,
    "min": lambda values: min(values, default=math.nan),
    "max": lambda values: max(values, default=math.nan),
    "sum": lambda values: math.fsum(values) if values else math.nan,
    "std": _deviation,
    "variance": lambda values: statistics.variance(values) if len(values) > 1 else math.nan,
    "population_variance": lambda v: statistics.pvariance(v) if v else math.nan,
    "median": lambda values: statistics.median(values) if values else math.nan,
    "jitter": _quotient,
    "skewness": lambda values: _moment(values, 3),
    "kurtosis": lambda values: _moment(values, 4),
}


def _buckets_of(buckets: Buckets, samples: list[Sample]) -> list[tuple[int, int, list[Sample]]]:
    edges = buckets.edges.tolist()
    spans = pairwise(edges)
    found = [
        (start, end, [item for item in samples if start <= item.time_ns < end])
        for start, end in spans
    ]
    return [bucket for bucket in found if bucket[2]]


def near(found: Any, expected: list[float]) -> bool:
    tolerance = 1e-6 * max([1.0, *(abs(value) for value in expected if math.isfinite(value))])
    return bool(np.allclose(found, expected, rtol=1e-6, atol=tolerance, equal_nan=True))


@pytest.mark.parametrize("name", _FIGURES)
@settings(max_examples=25)
@given(history=histories(), points=st.integers(1, 9), start=st.integers(0, 200))
def test_figure_is_that_of_a_plain_loop(name: str, history: Any, points: int, start: int) -> None:
    question = Question(start_ns=start, end_ns=start + 190, operator=name, points=points)
    with archive() as stored:
        source, samples = filled(stored, history)
        found = answer(source, question).columns
    expected = _buckets_of(question.buckets(), samples)
    assert found["time_ns"].tolist() == [bucket[0] for bucket in expected]
    assert found["end_ns"].tolist() == [bucket[1] for bucket in expected]
    assert found["quality"].tolist() == [max(s.quality for s in bucket[2]) for bucket in expected]
    if name in ("skewness", "kurtosis", "jitter"):  # of nearly equal numbers these are noise
        steady = [_deviation(finite(bucket[2])) > 1e-3 for bucket in expected]
    else:
        steady = [True] * len(expected)
    figures = [_FIGURES[name](finite(bucket[2])) for bucket in expected]
    assert near(
        found[name][steady], [f for f, is_good in zip(figures, steady, strict=True) if is_good]
    )


@settings(max_examples=100)
@given(history=histories(), points=st.integers(1, 9), start=st.integers(0, 200))
def test_count_first_and_last_are_those_of_a_plain_loop(
    history: Any, points: int, start: int
) -> None:
    asked = Question(start_ns=start, end_ns=start + 190, points=points)
    with archive() as stored:
        source, samples = filled(stored, history)
        counts = answer(source, replace(asked, operator="count")).columns
        total = answer(source, replace(asked, operator="ncount")).columns
        first = answer(source, replace(asked, operator="first")).columns
        last = answer(source, replace(asked, operator="last")).columns
    expected = [bucket[2] for bucket in _buckets_of(asked.buckets(), samples)]
    assert counts["count"].tolist() == [len(bucket) for bucket in expected]
    assert total["ncount"].tolist() == [sum(len(bucket) for bucket in expected)]
    assert _shown(first) == [_fact(bucket[0]) for bucket in expected]
    assert _shown(last) == [_fact(bucket[-1]) for bucket in expected]


def _shown(columns: Any) -> list[tuple[int, str, int]]:
    rows = zip(*(columns[name].tolist() for name in ("time_ns", "value", "quality")), strict=True)
    return [(time_ns, _text(value), quality) for time_ns, value, quality in rows]


def _fact(sample: Sample) -> tuple[int, str, int]:
    return sample.time_ns, _text(sample.value), sample.quality


def _text(value: Any) -> str:
    return repr(None if value is None else float(value))


@pytest.mark.parametrize("form", ["rows", "chunks"])
def test_one_of_the_samples_of_a_moment_is_kept(form: str) -> None:
    values = [5.0, 3.0, 9.0, 9.0, 1.0, 7.0]
    samples = [
        Sample(at, value, seq=10 * at + number, quality=number % 4)
        for at in (10, 30)
        for number, value in enumerate(values)
    ]
    with archive() as stored:
        series = stored.series_of(FLOAT)
        if form == "rows":
            stored.rows(series, samples)
        else:
            stored.chunk(series, samples[:6])
            stored.chunk(series, samples[6:])
        source = stored.property(FLOAT)
        asked = Question(start_ns=0, end_ns=40, every_ns=20)
        kept = {
            name: _shown(answer(source, replace(asked, operator=name)).columns)
            for name in ("first", "last", "optimized_last", "optimized")
        }
    first, low, high, last = (samples[number] for number in (0, 4, 2, 5))
    assert kept["first"] == [_fact(first), _fact(samples[6])]
    assert kept["last"] == kept["optimized_last"] == [_fact(last), _fact(samples[11])]
    assert kept["optimized"][:4] == [_fact(item) for item in (first, high, low, last)]
    assert len(kept["optimized"]) == 8


@pytest.mark.parametrize(("points", "values"), [(1, [9.0]), (2, [9.0, 1.0]), (3, [9.0, 1.0, 7.0])])
def test_the_more_important_peaks_are_kept_where_there_is_no_room_for_four(
    points: int, values: list[float]
) -> None:
    with archive() as stored:
        numbers = [5.0, 9.0, 3.0, 1.0, math.nan, 7.0]
        samples = [Sample(at, value, seq=at) for at, value in enumerate(numbers)]
        stored.rows(stored.series_of(FLOAT), samples)
        asked = Question(start_ns=0, end_ns=9, operator="optimized", points=points)
        found = answer(stored.property(FLOAT), asked).columns
    assert found["value"].tolist() == values


@settings(max_examples=100)
@given(history=histories(), points=st.integers(4, 40), start=st.integers(0, 200))
def test_optimized_keeps_the_ends_and_the_peaks_of_every_bucket_and_invents_nothing(
    history: Any, points: int, start: int
) -> None:
    question = Question(start_ns=start, end_ns=start + 190, operator="optimized", points=points)
    with archive() as stored:
        source, samples = filled(stored, history)
        found = answer(source, question)
    inside = [item for item in samples if start <= item.time_ns < start + 190]
    kept = set(
        zip(found.columns["time_ns"].tolist(), found.columns["train_id"].tolist(), strict=True)
    )
    assert kept <= {(item.time_ns, item.train_id) for item in inside}
    if len(inside) <= points:
        assert found.operator == "raw"
        assert len(found.columns["value"]) == len(inside)
        return
    shown = _shown(found.columns)
    assert len(shown) <= points
    for start_ns, end_ns, bucket in _buckets_of(question.buckets(4), samples):
        of_bucket = [item for item in shown if start_ns <= item[0] < end_ns]
        assert (of_bucket[0], of_bucket[-1]) == (_fact(bucket[0]), _fact(bucket[-1]))
        values = [float(value) for _at, value, _quality in of_bucket if value != "None"]
        at_kept, numbers = [v for v in values if math.isfinite(v)], finite(bucket)
        assert not numbers or (min(at_kept), max(at_kept)) == (min(numbers), max(numbers))


@settings(max_examples=100)
@given(history=histories(), start=st.integers(0, 200), step=st.integers(1, 5))
def test_raw_and_every_nth_are_the_samples_in_order_each_once(
    history: Any, start: int, step: int
) -> None:
    asked = Question(start_ns=start, end_ns=start + 150)
    with archive() as stored:
        source, samples = filled(stored, history)
        raw = source.samples(start, start + 150)
        every = answer(source, replace(asked, operator=f"nth:{step}")).columns
    inside = [item for item in samples if start <= item.time_ns < start + 150]
    assert [item[:1] + item[2:] for item in plain(raw)] == [item[:1] + item[2:] for item in inside]
    for found, item in zip(raw.values, inside, strict=True):
        assert found == item.value or (math.isnan(found) and math.isnan(item.value))
    assert every["time_ns"].tolist() == [item.time_ns for item in inside[::step]]


@settings(max_examples=60)
@given(history=histories(), band=st.sampled_from([0.0, 0.5, 2.0]))
def test_dead_band_keeps_what_is_far_from_the_one_kept_before(history: Any, band: float) -> None:
    question = Question(start_ns=0, end_ns=401, operator=f"dead_band:{band}")
    with archive() as stored:
        source, samples = filled(stored, history)
        found = answer(source, question).columns
    expected: list[float] = []
    for item in samples:
        value = math.nan if item.value is None else float(item.value)
        if expected and (value == expected[-1] or abs(value - expected[-1]) <= band):
            continue
        if expected and math.isnan(value) and math.isnan(expected[-1]):
            continue
        expected.append(value)
    numbers = [math.nan if value is None else float(value) for value in found["value"]]
    assert np.array_equal(numbers, expected, equal_nan=True)


@settings(max_examples=60)
@given(history=histories(), points=st.integers(1, 4))
def test_flyers_are_left_out_of_the_mean_and_returned_alone(history: Any, points: int) -> None:
    asked = Question(start_ns=0, end_ns=401, points=points)
    with archive() as stored:
        source, samples = filled(stored, history)
        mean = answer(source, replace(asked, operator="ignore_flyers:1.437")).columns["mean"]
        flyers = answer(source, replace(asked, operator="flyers:1.437")).columns["time_ns"]
    expected, beyond = [], []
    for _start, _end, bucket in _buckets_of(asked.buckets(), samples):
        numbers = finite(bucket)
        middle = statistics.fmean(numbers) if numbers else 0.0
        limit = 1.437 * _deviation(numbers) if len(numbers) > 1 else math.inf
        assume(limit == 0 or limit > 1e-3)  # what is nearly alike is told apart by rounding alone
        if limit == 0:
            limit = math.inf
        near_mean = [value for value in numbers if abs(value - middle) <= limit]
        expected.append(statistics.fmean(near_mean) if near_mean else math.nan)
        beyond += [
            item.time_ns
            for item in bucket
            if finite([item]) and abs(finite([item])[0] - middle) > limit
        ]
    assert near(mean, expected)
    assert flyers.tolist() == beyond


@settings(max_examples=100)
@given(
    history=histories(),
    points=st.integers(1, 12),
    start=st.integers(0, 200),
    gap=st.tuples(st.integers(0, 400), st.integers(0, 60)),
)
def test_values_at_moments_are_known_ones_and_never_cross_a_hole(
    history: Any, points: int, start: int, gap: tuple[int, int]
) -> None:
    asked = Question(start_ns=start, end_ns=start + 190, points=points)
    hole = (gap[0], gap[0] + gap[1])
    with archive() as stored:
        source, samples = filled(stored, history)
        event = DeviceEvent(
            device_id=DEVICE, time_ns=hole[0], until_ns=hole[1], kind=EventKind.GAP, lost=3
        )
        stored.event(event)
        found = {
            name: answer(source, replace(asked, operator=name)).columns
            for name in ("first_fill", "last_fill", "nearest", "linear")
        }
    edges = asked.buckets().edges.tolist()
    for start_ns, end_ns in pairwise(edges):
        inside = [item for item in samples if start_ns <= item.time_ns < end_ns]
        before = [item for item in samples if item.time_ns < start_ns][-1:]
        _check(found["first_fill"], start_ns, inside[:1] or _known(before, start_ns, hole))
        _check(found["last_fill"], start_ns, inside[-1:] or _known(before, end_ns - 1, hole))
        _check_nearest(found["nearest"], start_ns, samples, hole)
        _check_linear(found["linear"], start_ns, samples, hole)


def _crosses(earlier: int, later: int, hole: tuple[int, int]) -> bool:
    return hole[0] < later and hole[1] > earlier


def _known(samples: list[Sample], at: int, hole: tuple[int, int]) -> list[Sample]:
    """Return what holds at a moment: all values are read at the end of a gap."""
    return [] if hole[0] <= at < hole[1] else samples


def _check(columns: Any, time_ns: int, expected: list[Sample]) -> None:
    rows = np.flatnonzero(columns["time_ns"] == time_ns)
    assert columns["sample_ns"][rows].tolist() == [item.time_ns for item in expected]


def _check_nearest(columns: Any, at: int, samples: list[Sample], hole: tuple[int, int]) -> None:
    rows = np.flatnonzero(columns["time_ns"] == at)
    before = [item for item in samples if item.time_ns <= at][-1:]
    known = before if before and before[0].time_ns == at else _known(before, at, hole)
    after = [item for item in samples if item.time_ns >= at][:1]
    known += [item for item in after if not _crosses(at, item.time_ns, hole)]
    reachable = [abs(item.time_ns - at) for item in known]
    found = [abs(time_ns - at) for time_ns in columns["sample_ns"][rows].tolist()]
    assert found == ([min(reachable)] if reachable else [])


def _check_linear(columns: Any, at: int, samples: list[Sample], hole: tuple[int, int]) -> None:
    rows = np.flatnonzero(columns["time_ns"] == at)
    before = [item for item in samples if item.time_ns <= at][-1:]
    after = [item for item in samples if item.time_ns >= at][:1]
    if before and before[0].time_ns == at:
        after = before
    ends = [*before, *after]
    if (
        len(ends) < 2
        or len(finite(ends)) < 2
        or _crosses(before[0].time_ns, after[0].time_ns, hole)
    ):
        assert len(rows) == 0
        return
    (low, high), whole = finite(ends), after[0].time_ns - before[0].time_ns
    share = (at - before[0].time_ns) / whole if whole else 0.0
    assert near(columns["value"][rows], [low + share * (high - low)])


@given(start=st.integers(-(2**62), 2**62), length=st.integers(1, 10**18), count=st.integers(1, 50))
def test_equal_buckets_cover_the_span_and_differ_by_a_nanosecond(
    start: int, length: int, count: int
) -> None:
    edges = equal_buckets(start, start + length, count).edges.tolist()
    assert (edges[0], edges[-1]) == (start, start + length)
    widths = [end - begin for begin, end in pairwise(edges)]
    assert len(widths) == min(count, length)
    assert min(widths) > 0
    assert max(widths) - min(widths) <= 1


@given(start=st.integers(0, 10**6), length=st.integers(1, 10**4), every=st.integers(1, 500))
def test_regular_buckets_begin_at_multiples_whatever_was_asked(
    start: int, length: int, every: int
) -> None:
    edges = regular_buckets(start, start + length, every).edges.tolist()
    assert (edges[0], edges[-1]) == (start, start + length)
    assert edges == sorted(set(edges))
    assert all(edge % every == 0 for edge in edges[1:-1])
    assert all(end - begin <= every for begin, end in pairwise(edges))


def test_empty_span_and_too_many_buckets_are_refused() -> None:
    with pytest.raises(OutOfRangeError, match="its end is not after"):
        equal_buckets(5, 5, 1)
    with pytest.raises(OutOfRangeError, match="1 to 100000 are possible"):
        regular_buckets(0, 10**9, 1)


@pytest.mark.parametrize(
    "text", ["lastSample", "firstFill", "optimLastSample", "popvariance", "loess", "errorbar"]
)
def test_names_of_the_archiver_appliance_are_known(text: str) -> None:
    assert operator_of(text)[0].name in OPERATORS


@pytest.mark.parametrize(("text", "value"), [("nth:5", 5), ("nth_7", 7), ("deadBand(0.5)", 0.5)])
def test_parameter_is_written_behind_the_name(text: str, value: float) -> None:
    assert operator_of(text)[1] == value


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_found_by_its_name(name: str) -> None:
    assert operator_of(name)[0].name == name


def test_wrong_operators_are_told_with_what_is_right() -> None:
    with pytest.raises(NotAnOptionError, match="did you mean mean"):
        operator_of("meen")
    with pytest.raises(NotAnOptionError, match="use one of: raw"):
        operator_of("'; DROP TABLE")
    with pytest.raises(OutOfRangeError, match="has no parameter"):
        operator_of("mean:3")
    with pytest.raises(OutOfRangeError, match="not negative"):
        operator_of("nth:-3")
    with pytest.raises(OutOfRangeError, match=r"negative and at most 1, such as loess:0\.3"):
        operator_of("loess_900")


def test_text_is_sampled_and_says_so_and_has_no_mean() -> None:
    with archive() as stored:
        series = stored.series_of(ValueType.STRING)
        samples = [Sample(time_ns, f"text {time_ns}", seq=time_ns) for time_ns in range(100)]
        stored.chunk(series, samples[:50])
        stored.rows(series, samples[50:])
        source = stored.property(ValueType.STRING)
        asked = Question(start_ns=0, end_ns=100, operator="optimized", points=10)
        found = answer(source, asked)
        with pytest.raises(WrongTypeError, match="no numbers that 'mean' could be made of"):
            answer(source, Question(start_ns=0, end_ns=100, operator="mean"))
    assert (found.operator, found.sampled) == ("last", True)
    assert found.columns["value"].tolist() == [f"text {n}" for n in range(9, 100, 10)]


@pytest.mark.parametrize("form", ["rows", "a chunk before", "a chunk around"])
def test_text_at_another_time_takes_no_numbers_away(form: str) -> None:
    with archive() as stored:
        text, numbers = stored.series_of(ValueType.STRING), stored.series_of(FLOAT)
        texts = [Sample(at, "off", seq=at) for at in (1, 2, 900)]
        if form == "rows":
            stored.rows(text, texts)
        elif form == "a chunk before":
            stored.chunk(text, texts[:2])
        else:
            stored.chunk(text, texts)
        samples = [Sample(100 + at, float(at % 50), seq=100 + at) for at in range(300)]
        stored.chunk(numbers, samples[:150])
        stored.rows(numbers, samples[150:])
        source = stored.property(ValueType.STRING, FLOAT)
        asked = Question(start_ns=50, end_ns=500, points=8)
        mean = answer(source, replace(asked, operator="mean", points=1)).columns["mean"]
        peaks = answer(source, replace(asked, operator="optimized"))
        line = answer(source, replace(asked, operator="linear", every_ns=50)).columns
        whole = Question(start_ns=0, end_ns=500, operator="mean")
        with pytest.raises(WrongTypeError, match="no numbers that 'mean' could be made of"):
            answer(source, whole)
    assert mean.tolist() == [24.5]
    assert (peaks.operator, peaks.sampled) == ("optimized", False)
    assert {0.0, 49.0} <= set(peaks.columns["value"].tolist())
    assert peaks.columns["value"].dtype == np.float64
    assert line["time_ns"].tolist() == [100, 150, 200, 250, 300, 350]


def test_page_of_the_reference_lists_the_operators() -> None:
    page = Path(__file__).resolve().parents[3] / "docs/reference/history-operators.md"
    written = re.findall(
        r"^\| `(\w+)` \| (.+) \| (yes|no) \|$", page.read_text("utf-8"), re.MULTILINE
    )
    known = [
        (item.name, item.meaning, "yes" if item.any_type else "no") for item in OPERATORS.values()
    ]
    assert written == known
