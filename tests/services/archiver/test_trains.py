"""The samples of trains are found, whatever is without a train before, among and after them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import ValueType
from pykarabo_services.archiver import codec, trains
from pykarabo_services.archiver.model import Sample, Series
from pykarabo_services.archiver.trains import span_of
from tests.services.archiver.stored import Stored
from tests.services.archiver.test_decimation import archive

FLOAT = ValueType.FLOAT64


def store(stored: Stored, samples: list[Sample], chunked: list[bool]) -> list[Series]:
    """Store samples in two series, in tens: as chunks or as rows."""
    series = [stored.series_of(FLOAT), stored.series_of(ValueType.INT32)]
    for number, start in enumerate(range(0, len(samples), 10)):
        keep = stored.chunk if chunked[number % len(chunked)] else stored.rows
        keep(series[number % 2], samples[start : start + 10])
    return series


@given(
    steps=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), st.booleans()), max_size=60),
    chunked=st.lists(st.booleans(), min_size=1),
    first=st.integers(1, 60),
    count=st.integers(0, 20),
)
def test_trains_are_those_of_a_plain_loop(
    steps: list[tuple[int, int, bool]], chunked: list[bool], first: int, count: int
) -> None:
    samples: list[Sample] = []
    time_ns, train = -100, 1
    for later, more, has_train in steps:
        time_ns, train = time_ns + later, train + more
        samples.append(Sample(time_ns, 1, train_id=train if has_train else 0, seq=len(samples)))
    last = first + count
    with archive() as stored:
        found = span_of(stored.connection, store(stored, samples, chunked), first, last)
    wanted = [item.time_ns for item in samples if first <= item.train_id <= last]
    later_ones = [item.time_ns for item in samples if item.train_id > last]
    if not wanted:
        assert found is None
        return
    assert found == (wanted[0], later_ones[0] if later_ones else wanted[-1] + 1)


@pytest.mark.parametrize("chunked", [True, False])
def test_no_sample_without_a_train_is_looked_at_twice(
    chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [Sample(at, 1.0, train_id=1000 + at if at < 100 else 0, seq=at) for at in range(4000)]
    read: list[bytes] = []

    def counted(content: bytes, wanted: tuple[str, ...]) -> object:
        read.append(bytes(content))
        return codec.decode_chunk(content, wanted)

    monkeypatch.setattr(trains, "decode_chunk", counted)
    with archive() as stored:
        series = store(stored, samples, [chunked])
        assert span_of(stored.connection, series, 1010, 1012) == (10, 13)
    assert len(read) < 2 * len(samples) / 10
