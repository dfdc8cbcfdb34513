"""Operators on values of any size: chosen samples only, and as many as fit into a message."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

import numpy as np
import pytest

from pykarabo.data import ValueType
from pykarabo_services.archiver import codec, columns, decimation, model, reading
from pykarabo_services.archiver.decimation import Question, answer
from pykarabo_services.archiver.model import Sample
from pykarabo_services.archiver.reading import ArchivedProperty
from tests.services.archiver.stored import Stored
from tests.services.archiver.test_decimation import archive

VECTOR: Final = ValueType.VECTOR_FLOAT64
COUNT: Final = 200
LENGTH: Final = 50
SPAN: Final = {"start_ns": 95, "end_ns": 1905}


def samples() -> list[Sample]:
    return [
        Sample(10 * at, np.full(LENGTH, float(at)), train_id=at, quality=at % 5, seq=at)
        for at in range(COUNT)
    ]


@pytest.fixture(params=["rows", "chunks", "both"])
def source(request: Any) -> Iterator[ArchivedProperty]:
    """Give an archive of vectors."""
    with archive() as stored:
        series, known = stored.series_of(VECTOR), samples()
        ends = {"rows": 0, "chunks": COUNT, "both": COUNT // 2}
        end = ends[str(request.param)]
        for start in range(0, end, 7):
            stored.chunk(series, known[start : min(start + 7, end)])
        stored.rows(series, known[end:])
        yield stored.property(VECTOR)


def whole(source: ArchivedProperty, question: Question) -> tuple[list[Any], int]:
    """Return times and first elements of an answer, and in how many pages it came."""
    after, pages, rows = None, 0, []
    while True:
        found = answer(source, question, after)
        values = [float(value[0]) for value in found.columns["value"]]
        rows += list(zip(found.columns["time_ns"].tolist(), values, strict=True))
        pages, after = pages + 1, found.following
        if after is None:
            return rows, pages


ASKED: Final = [
    ("first", {"points": 20}),
    ("last", {"points": 20}),
    ("optimized", {"every_ns": 95}),
    ("optimized_last", {"points": 1000}),
    ("nth:3", {}),
    ("first_fill", {"every_ns": 7}),
    ("last_fill", {"points": 30}),
    ("nearest", {"points": 30}),
]


@pytest.mark.parametrize(("operator", "how"), ASKED)
def test_pages_are_together_what_one_answer_is(
    source: ArchivedProperty,
    operator: str,
    how: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question = Question(**SPAN, operator=operator, **how)
    rows, few = whole(source, question)
    assert few == 1 or operator == "optimized_last"  # every sample: a chunk is a page
    for module in (decimation, reading):
        monkeypatch.setattr(module, "PAGE_BYTES", 2000)
    paged, pages = whole(source, question)
    assert paged == rows
    assert pages > len(rows) / 5


def test_samples_are_those_of_their_buckets(source: ArchivedProperty) -> None:
    def values(operator: str, **how: int) -> list[float]:
        return [
            value for _at, value in whole(source, Question(**SPAN, operator=operator, **how))[0]
        ]

    assert values("first", every_ns=500) == [10, 50, 100, 150]
    assert values("last", every_ns=500) == [49, 99, 149, 190]
    assert values("nth:50") == [10, 60, 110, 160]
    assert values("last_fill", every_ns=500) == [49, 99, 149, 190]
    assert values("nearest", points=2) == [9, 100]
    count = answer(source, Question(**SPAN, operator="count", every_ns=500)).columns
    assert count["count"].tolist() == [40, 50, 50, 41]
    assert answer(source, Question(**SPAN, operator="ncount")).columns["ncount"].tolist() == [181]


@pytest.mark.parametrize(("operator", "most"), [("last", 14), ("count", 0), ("last_fill", 80)])
def test_no_more_values_are_read_than_those_that_are_chosen_and_share_a_chunk_with_them(
    source: ArchivedProperty, operator: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            read.append(work)
            return work(*arguments)

        return run

    monkeypatch.setattr(codec, "unpacked", counted(model.unpacked))
    monkeypatch.setattr(columns, "from_columns", counted(model.from_columns))
    answer(source, Question(**SPAN, operator=operator, points=2))
    assert len(read) <= most


def test_numbers_come_in_pages_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decimation, "PAGE_ROWS", 10)
    with archive() as stored:
        known = [Sample(at // 3, float(at), seq=at) for at in range(100)]
        stored.rows(stored.series_of(ValueType.FLOAT64), known)
        question = Question(start_ns=0, end_ns=50, operator="nth:2")
        found, after = [], None
        while True:
            page = answer(stored.property(ValueType.FLOAT64), question, after)
            found.append(page.columns["value"].tolist())
            after = page.following
            if after is None:
                break
    assert list(chain(*found)) == [float(at) for at in range(0, 100, 2)]
    assert all(10 <= len(values) <= 12 for values in found[:-1])


def test_a_moment_beside_other_types_is_not_lost() -> None:
    with archive() as stored:
        _mixed(stored)
        source = stored.property(VECTOR, ValueType.STRING, ValueType.INT32)
        found = answer(source, Question(start_ns=0, end_ns=60, operator="last", every_ns=20))
    assert [str(value) for value in found.columns["value"]] == ["[1. 2.]", "text", "3"]


def _mixed(stored: Stored) -> None:
    stored.chunk(stored.series_of(VECTOR), [Sample(5, np.array([1.0, 2.0]), seq=1)])
    stored.rows(stored.series_of(ValueType.STRING), [Sample(25, "text", seq=2)])
    stored.chunk(stored.series_of(ValueType.INT32), [Sample(45, 3, seq=3)])
