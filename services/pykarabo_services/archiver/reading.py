"""Reads the samples of a property from an archive: rows and chunks as one.

Everything here works on one connection in one transaction, so that a chunk that is made of rows
meanwhile is seen either as rows or as a chunk.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, and_, func, select

from pykarabo.errors import MalformedMessageError
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.buckets import Buckets
from pykarabo_services.archiver.codec import ChunkSamples, decode_chunk
from pykarabo_services.archiver.columns import of_chunks, of_rows
from pykarabo_services.archiver.gaps import Holes, Outage
from pykarabo_services.archiver.model import EventKind, Series, is_number
from pykarabo_services.archiver.outages import outages_of
from pykarabo_services.archiver.pages import (
    PAGE_BYTES,
    PAGE_SAMPLES,
    Page,
    Place,
    fitting,
    place_of,
)
from pykarabo_services.archiver.samples import Pieces, Samples, Times

_BATCH: Final = 1000
"""Rows, or chunks of numbers, that one statement asks for by name."""
_FEW: Final = 8
"""Chunks of other values: each holds a megabyte of them, or a single value that is larger."""
_IDENTITY: Final = (
    tables.sample.c.time_ns,
    tables.sample.c.epoch,
    tables.sample.c.seq,
    tables.sample.c.step,
)
_VALUE: Final = (
    tables.sample.c.int_value,
    tables.sample.c.float_value,
    tables.sample.c.text_value,
    tables.sample.c.blob_value,
)
_DESCRIPTION: Final = (
    tables.sample.c.quality,
    tables.sample.c.train_id,
    tables.sample.c.flags,
)
_NO_VALUE: Final = (*_IDENTITY, *_DESCRIPTION)
_ALL: Final = (*_NO_VALUE, *_VALUE)
_SUMMARY: Final = (
    tables.chunk.c.series_id,
    tables.chunk.c.first_ns,
    tables.chunk.c.last_ns,
    tables.chunk.c.count,
    tables.chunk.c.numbers,
    tables.chunk.c.minimum,
    tables.chunk.c.min_ns,
    tables.chunk.c.maximum,
    tables.chunk.c.max_ns,
    tables.chunk.c.total,
    tables.chunk.c.m2,
    tables.chunk.c.first_value,
    tables.chunk.c.last_value,
    tables.chunk.c.worst_quality,
)
_MOMENTS: Final = ("time_ns", "quality", "value")
_SHOWN: Final = (*_MOMENTS, "train_id", "flags")
_WHOLE: Final = (*_SHOWN, "epoch", "seq", "step")
"""Of samples that come from several places, what tells whether two are the same."""


class ArchivedProperty:
    """The samples of one property, of all the types that it had.

    Meets `decimation.PropertySource`.
    """

    def __init__(self, connection: Connection, device_id: str, series: Sequence[Series]) -> None:
        self._connection = connection
        self._device_id = device_id
        self._series = list(series)
        self._damaged: dict[tuple[int, int], str] = {}
        self._known_summaries: dict[tuple[int, int, int], Pieces] = {}
        self._known_spans: dict[tuple[int, int, int], bool] = {}

    @property
    def name(self) -> str:
        """The property as people write it."""
        return f"{self._device_id}.{self._series[0].key}"

    def has_numbers(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether all its samples of a span are single real numbers.

        What it was at another time, of another type, does not matter; where the span has no
        samples, it is enough that it ever had numbers.
        """
        others = [item for item in self._series if not is_number(item.value_type)]
        if any(self._has_some(item, start_ns, end_ns) for item in others):
            return False
        return len(others) < len(self._series)

    def _has_some(self, item: Series, start_ns: int, end_ns: int) -> bool:
        """Tell whether a series has samples in a span."""
        span = (item.id, start_ns, end_ns)
        if span not in self._known_spans:
            self._known_spans[span] = self._find_some(item, start_ns, end_ns)
        return self._known_spans[span]

    def _find_some(self, item: Series, start_ns: int, end_ns: int) -> bool:
        sample = tables.sample.c
        row = select(sample.time_ns).where(
            sample.series_id == item.id, sample.time_ns >= start_ns, sample.time_ns < end_ns
        )
        if self._connection.execute(row.limit(1)).first() is not None:
            return True
        chunks = self._index(item, start_ns, end_ns)
        ends = chunks[:, :2]
        if np.any((ends >= start_ns) & (ends < end_ns)):
            return True
        # A chunk that begins before the span and ends after it: it may have none within.
        around = self._decoded(item, self._data(item, chunks[:, 0]), ("time_ns",))
        return bool(np.any((around.time_ns >= start_ns) & (around.time_ns < end_ns)))

    # -- samples ----------------------------------------------------------------------------------

    def samples(self, start_ns: int, end_ns: int) -> Samples:
        """Return all samples of a span."""
        parts: list[Samples] = []
        for item in self._series:
            parts.append(self._rows(item, start_ns, end_ns))
            data = tables.chunk_data.c
            statement = select(data.first_ns, data.data).where(
                _in_span(tables.chunk_data, item.id, start_ns, end_ns)
            )
            chunks = self._connection.execute(statement.order_by(data.first_ns))
            parts.append(_within(self._decoded(item, chunks), start_ns, end_ns))
        return Samples.joined(parts)

    def at(self, times: Times) -> Samples:
        """Return the samples that are exactly at some of the sorted moments."""
        if not len(times):
            return Samples.none()
        rows = [part for item in self._series for part in self._rows_at(item, times)]
        alone = len(self._series) == 1 and not rows
        columns = _SHOWN if alone else _WHOLE
        chunks = [part for item in self._series for part in self._chunks_at(item, times, columns)]
        return Samples.joined([*rows, *chunks])

    def _rows_at(self, item: Series, times: Times) -> Iterator[Samples]:
        sample = tables.sample.c
        for start in range(0, len(times), _BATCH):
            some = times[start : start + _BATCH].tolist()
            statement = select(*_ALL).where(sample.series_id == item.id, sample.time_ns.in_(some))
            rows = self._connection.execute(statement.order_by(*_IDENTITY)).all()
            if rows:
                yield of_rows(item, rows)

    def _chunks_at(self, item: Series, times: Times, columns: Collection[str]) -> Iterator[Samples]:
        """Yield what chunks have at some moments; of values that are no numbers only that."""
        chunks = self._index(item, int(times[0]), int(times[-1]) + 1)
        asked = np.searchsorted(times, chunks[:, 0], "left")
        has_some = asked < np.searchsorted(times, chunks[:, 1], "right")
        found = self._data(item, chunks[has_some, 0])
        for some in [found] if is_number(item.value_type) else ([chunk] for chunk in found):
            part = self._decoded(item, some, columns)
            yield part[np.isin(part.time_ns, times)]

    def before(self, time_ns: int) -> Samples:
        """Return the last sample before a moment, if there is one."""
        earlier = [self._last_before(item, time_ns) for item in self._series]
        return Samples.joined(earlier)[-1:]

    def after(self, time_ns: int) -> Samples:
        """Return the first sample at or after a moment, if there is one."""
        later = [self._first_from(item, time_ns) for item in self._series]
        return Samples.joined(later)[:1]

    def _last_before(self, item: Series, time_ns: int) -> Samples:
        statement = select(*_ALL).where(
            tables.sample.c.series_id == item.id, tables.sample.c.time_ns < time_ns
        )
        newest = [column.desc() for column in _IDENTITY]
        row = self._connection.execute(statement.order_by(*newest).limit(1)).all()
        data = tables.chunk_data.c
        last = select(data.first_ns, data.data).where(
            data.series_id == item.id, data.first_ns < time_ns
        )
        found = self._connection.execute(last.order_by(data.first_ns.desc()).limit(1))
        chunk = self._decoded(item, found)
        return Samples.joined([of_rows(item, row), chunk[chunk.time_ns < time_ns][-1:]])[-1:]

    def _first_from(self, item: Series, time_ns: int) -> Samples:
        statement = select(*_ALL).where(
            tables.sample.c.series_id == item.id, tables.sample.c.time_ns >= time_ns
        )
        row = self._connection.execute(statement.order_by(*_IDENTITY).limit(1)).all()
        span = _in_span(tables.chunk_data, item.id, time_ns, None)
        data = tables.chunk_data.c
        # The chunk before it may have such a sample, or all of its samples are earlier.
        first = select(data.first_ns, data.data).where(span).order_by(data.first_ns).limit(2)
        chunk = self._decoded(item, self._connection.execute(first))
        return Samples.joined([of_rows(item, row), chunk[chunk.time_ns >= time_ns][:1]])[:1]

    def _rows(
        self, item: Series, start_ns: int, end_ns: int, columns: Sequence[Any] = _ALL
    ) -> Samples:
        statement = select(*columns).where(
            tables.sample.c.series_id == item.id,
            tables.sample.c.time_ns >= start_ns,
            tables.sample.c.time_ns < end_ns,
        )
        return of_rows(item, self._connection.execute(statement.order_by(*_IDENTITY)).all())

    def _decoded(
        self,
        item: Series,
        rows: Iterable[Row[int, bytes]],
        columns: Collection[str] = _WHOLE,
    ) -> Samples:
        """Return the samples of chunks; of a damaged one it is noted that they are missing."""
        chunks: list[ChunkSamples] = []
        for first_ns, content in rows:
            try:
                chunks.append(decode_chunk(content, columns))
            except MalformedMessageError as error:
                self._damaged[item.id, first_ns] = error.message
        return of_chunks(item, chunks, columns)

    def _data(self, item: Series, first_ns: Times) -> Iterable[Row[int, bytes]]:
        """Return the chunks of a series that begin at some moments."""
        data = tables.chunk_data.c
        batch = _BATCH if is_number(item.value_type) else _FEW
        for start in range(0, len(first_ns), batch):
            some = first_ns[start : start + batch].tolist()
            statement = select(data.first_ns, data.data).where(
                data.series_id == item.id, data.first_ns.in_(some)
            )
            yield from self._connection.execute(statement.order_by(data.first_ns))

    def _index(self, item: Series, start_ns: int, end_ns: int) -> Times:
        """Return first and last moment and number of samples of the chunks that touch a span."""
        chunk = tables.chunk.c
        statement = select(chunk.first_ns, chunk.last_ns, chunk.count).where(
            _in_span(tables.chunk, item.id, start_ns, end_ns), chunk.last_ns >= start_ns
        )
        rows = self._connection.execute(statement.order_by(chunk.first_ns)).all()
        return np.array([tuple(row) for row in rows], np.int64).reshape(-1, 3)

    # -- numbers ----------------------------------------------------------------------------------

    def count(self, buckets: Buckets) -> Times:
        """Return how many samples each bucket has, or more: what reading it may bring."""
        edges = buckets.edges
        counts = np.zeros(len(buckets) + 1, np.int64)
        for item in self._series:
            chunks = self._index(item, buckets.start_ns, buckets.end_ns)
            first = np.searchsorted(edges, chunks[:, 0], "right") - 1
            last = np.searchsorted(edges, chunks[:, 1], "right") - 1
            np.add.at(counts, np.clip(first, 0, None), chunks[:, 2])
            np.subtract.at(counts, np.clip(last + 1, 0, len(buckets)), chunks[:, 2])
        counts = np.cumsum(counts)[:-1]
        times = [self._row_times(item, buckets) for item in self._series]
        return counts + sum(np.histogram(some, edges)[0] for some in times)

    def _row_times(self, item: Series, buckets: Buckets) -> Times:
        sample = tables.sample.c
        statement = select(sample.time_ns).where(
            sample.series_id == item.id,
            sample.time_ns >= buckets.start_ns,
            sample.time_ns < buckets.end_ns,
        )
        return np.array(self._connection.execute(statement).scalars().all(), np.int64)

    def pieces(self, buckets: Buckets) -> Pieces:
        """Return what is known of the samples, in order; no piece has samples of two buckets.

        Of values that are no numbers it is known when and how many they were, and how good.
        """
        parts: list[Pieces] = []
        for item in self._series:
            parts.extend(self._pieces_of(item, buckets))
        return Pieces.joined(parts)

    def _pieces_of(self, item: Series, buckets: Buckets) -> list[Pieces]:
        are_numbers = is_number(item.value_type)
        columns = _ALL if are_numbers else _NO_VALUE
        rows = self._rows(item, buckets.start_ns, buckets.end_ns, columns)
        chunks = self._summaries(item, buckets.start_ns, buckets.end_ns)
        first = np.searchsorted(buckets.edges, chunks.first_ns, "right")
        last = np.searchsorted(buckets.edges, chunks.last_ns, "right")
        has_rows = np.searchsorted(rows.time_ns, chunks.first_ns, "left") < np.searchsorted(
            rows.time_ns, chunks.last_ns, "right"
        )
        inside = (first == last) & (first > 0) & (last <= len(buckets))
        whole = inside & ~has_rows
        cut = chunks.first_ns[~whole]
        needed = set(_WHOLE if has_rows.any() else _MOMENTS)
        if not are_numbers:
            needed.discard("value")
        samples = _within(
            self._decoded(item, self._data(item, cut), needed), buckets.start_ns, buckets.end_ns
        )
        loose = [Samples.joined([rows, samples])] if has_rows.any() else [rows, samples]
        return [chunks[whole], *(_in_runs(part, buckets, cut) for part in loose)]

    def _summaries(self, item: Series, start_ns: int, end_ns: int) -> Pieces:
        """Return what the chunks tell that touch a span; the answer to one question asks twice."""
        place = (item.id, start_ns, end_ns)
        if place not in self._known_summaries:
            self._known_summaries[place] = self._read_summaries(*place)
        return self._known_summaries[place]

    def _read_summaries(self, series_id: int, start_ns: int, end_ns: int) -> Pieces:
        chunk = tables.chunk.c
        statement = select(*_SUMMARY[1:]).where(
            _in_span(tables.chunk, series_id, start_ns, end_ns), chunk.last_ns >= start_ns
        )
        rows = self._connection.execute(statement.order_by(chunk.first_ns)).all()
        if not rows:
            return Pieces.none()
        return Pieces(*map(_column, zip(*rows, strict=True), _SUMMARY_TYPES))

    # -- pages ------------------------------------------------------------------------------------

    def page(self, start: Place, end_ns: int) -> Page:
        """Return the samples after a place, as many as fit into a message, in order.

        Args:
            start: the first page begins at ``Place(start_ns)``.
        """
        until_ns = self._page_end(start.time_ns, end_ns)
        found = self.samples(start.time_ns, until_ns)
        found = found[_is_after(found, start)]
        are_numbers = self.has_numbers(start.time_ns, until_ns)
        size = PAGE_SAMPLES if are_numbers else max(1, fitting(found.values, PAGE_BYTES)[0])
        if len(found) > size:
            return Page(found[:size], place_of(found, size - 1))
        return Page(found, None if until_ns >= end_ns else Place(until_ns))

    def _page_end(self, start_ns: int, end_ns: int) -> int:
        """Return up to when there are about as many samples as a page may have."""
        ends = [end_ns]
        for item in self._series:
            ends.append(self._chunks_end(item, start_ns, end_ns))
            ends.append(self._rows_end(item, start_ns, end_ns))
        return max(min(ends), start_ns + 1)

    def _chunks_end(self, item: Series, start_ns: int, end_ns: int) -> int:
        chunk = tables.chunk.c
        limit = PAGE_SAMPLES if is_number(item.value_type) else 1
        statement = select(chunk.last_ns, chunk.count).where(
            _in_span(tables.chunk, item.id, start_ns, end_ns), chunk.last_ns >= start_ns
        )
        samples = 0
        for last_ns, count in self._connection.execute(statement.order_by(chunk.first_ns)):
            samples += count
            if samples >= limit:
                return int(last_ns) + 1
        return end_ns

    def _rows_end(self, item: Series, start_ns: int, end_ns: int) -> int:
        sample = tables.sample.c
        size = (
            func.coalesce(func.length(sample.blob_value), 0)
            + func.coalesce(func.length(sample.text_value), 0)
            + PAGE_BYTES // PAGE_SAMPLES
        )
        statement = select(sample.time_ns, size).where(
            sample.series_id == item.id, sample.time_ns >= start_ns, sample.time_ns < end_ns
        )
        total = 0
        rows = self._connection.execute(statement.order_by(*_IDENTITY).limit(PAGE_SAMPLES))
        for number, (time_ns, bytes_) in enumerate(rows, start=1):
            total += bytes_
            if total >= PAGE_BYTES or number == PAGE_SAMPLES:
                rows.close()
                return int(time_ns) + 1
        return end_ns

    # -- what is missing --------------------------------------------------------------------------

    def holes(self, start_ns: int, end_ns: int) -> Holes:
        """Return the spans, also those that only begin or end there, of which not all is known."""
        return Holes(self.outages(start_ns, end_ns))

    def outages(self, start_ns: int, end_ns: int) -> list[Outage]:
        """Return what is missing in a span, and why."""
        known = outages_of(
            self._connection, self._device_id, start_ns, end_ns, key=self._series[0].key
        )
        return sorted([*known, *self.damages()], key=lambda item: item.from_ns)

    def damages(self) -> list[Outage]:
        """Return which chunks were found damaged so far: their samples are missing."""
        chunk = tables.chunk.c
        found: list[Outage] = []
        for (series_id, first_ns), reason in self._damaged.items():
            statement = select(chunk.last_ns, chunk.count).where(
                chunk.series_id == series_id, chunk.first_ns == first_ns
            )
            for last_ns, count in self._connection.execute(statement):
                found.append(Outage(first_ns, last_ns, EventKind.DAMAGED, count, reason))
        return found


def _in_runs(samples: Samples, buckets: Buckets, chunks: Times) -> Pieces:
    """Put together the samples of each bucket, but not of two chunks: another may be between."""
    borders = np.union1d(np.searchsorted(samples.time_ns, chunks), buckets.of(samples.time_ns)[1])
    return Pieces.of_runs(samples, borders[borders < len(samples)])


def _in_span(table: Any, series_id: int, start_ns: int, end_ns: int | None) -> ColumnElement[bool]:
    """Choose the chunks of a series that may have samples in a span: they do not overlap."""
    earlier = (
        select(func.max(tables.chunk.c.first_ns))
        .where(tables.chunk.c.series_id == series_id, tables.chunk.c.first_ns <= start_ns)
        .scalar_subquery()
    )
    chosen = and_(
        table.c.series_id == series_id,
        table.c.first_ns >= func.coalesce(earlier, start_ns),
    )
    return chosen if end_ns is None else and_(chosen, table.c.first_ns < end_ns)


def _within(samples: Samples, start_ns: int, end_ns: int) -> Samples:
    inside = (samples.time_ns >= start_ns) & (samples.time_ns < end_ns)
    return samples if inside.all() else samples[inside]


def _is_after(samples: Samples, place: Place) -> NDArray[np.bool_]:
    after = samples.time_ns > place.time_ns
    same = samples.time_ns == place.time_ns
    for column, bound in zip((samples.epoch, samples.seq, samples.step), place[1:], strict=True):
        after |= same & (column > bound)
        same &= column == bound
    return after


_INT: Final = (np.int64, -1)
_FLOAT: Final = (np.float64, np.nan)
_SUMMARY_TYPES: Final = (
    *(_INT,) * 4,
    _FLOAT,
    _INT,
    _FLOAT,
    _INT,
    *(_FLOAT,) * 4,
    (np.uint8, 0),
)


def _column(values: Sequence[Any], kind: tuple[Any, Any]) -> NDArray[Any]:
    dtype, missing = kind
    if None in values:
        values = [missing if value is None else value for value in values]
    return np.array(values, dtype)
