"""Answers to those who ask for history, as plain maps that travel; functions of a connection."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from pykarabo.errors import OutOfRangeError
from pykarabo_services.archiver import catalog, tables
from pykarabo_services.archiver.buckets import require_span
from pykarabo_services.archiver.decimation import Answer, Question, answer
from pykarabo_services.archiver.figures import kept
from pykarabo_services.archiver.gaps import Outage
from pykarabo_services.archiver.model import QUALITIES, packed, size_of
from pykarabo_services.archiver.operators import operator_of
from pykarabo_services.archiver.pages import PAGE_BYTES, Place
from pykarabo_services.archiver.past import PastValue, past_device
from pykarabo_services.archiver.reading import ArchivedProperty
from pykarabo_services.archiver.samples import Samples
from pykarabo_services.archiver.trains import span_of

_TOLD: Final = 5
"""Fields of an outage that travel, without its property: who asks knows it, or the reason says."""
MAX_GAPS: Final = 2_000
"""Of one answer, so that it stays within a message; further ones are told as one."""
_PAST_BYTES: Final = 120
"""Of a value besides itself: its key, time, train and quality."""
_PLAIN: Final = (str, int, float, bool, bytes, type(None))


def history(
    connection: Connection,
    device_id: str,
    key: str,
    question: Question,
    *,
    after: Sequence[int] | None = None,
    trains: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return what an operator makes of a property's samples, or the samples: a page of it.

    Args:
        after: what the page before gave as ``following``; the first page has all the rest.

    Raises:
        UnknownDeviceError, UnknownPropertyError: nothing of it is archived.
    """
    # Who asks is told of a wrong operator and of an empty span whatever the archive has.
    operator, _parameter = operator_of(question.operator)
    require_span(question.start_ns, question.end_ns)
    source = ArchivedProperty(connection, device_id, catalog.series_of(connection, device_id, key))
    place = Place(question.start_ns) if after is None else _place(after)
    if operator.name == "raw":
        page = source.page(place, question.end_ns)
        identity = {"epoch": page.samples.epoch, "seq": page.samples.seq}
        made = Answer("raw", kept(page.samples) | identity, following=page.following)
    else:
        made = answer(source, question, None if after is None else place)
    columns = made.columns
    if trains is not None and made.operator == "raw":
        is_asked = (columns["train_id"] >= trains[0]) & (columns["train_id"] <= trains[1])
        columns = {name: column[is_asked] for name, column in columns.items()}
    first = after is None
    outages = source.outages(question.start_ns, question.end_ns) if first else source.damages()
    return {
        "device_id": device_id,
        "key": key,
        "operator": made.operator,
        "sampled": made.sampled,
        "unit": catalog.unit_of(connection, device_id, key, question.end_ns),
        "columns": {name: _travelling(column) for name, column in columns.items()},
        "before": _before(source, question.start_ns) if first else None,
        "gaps": _gaps(outages),
        "following": None if made.following is None else list(made.following),
        "mark": _mark(connection, device_id),
    }


def _place(after: Sequence[int]) -> Place:
    if len(after) != len(Place._fields):
        raise OutOfRangeError(
            "'after' names no place in a history",
            remedy="give what the page before has returned as 'following'",
        )
    return Place(*after)


def _travelling(column: NDArray[Any]) -> Any:
    """Return a column as it travels; what is no plain value is packed, one by one."""
    if column.dtype.kind != "O":
        return column
    values = column.tolist()
    if all(isinstance(value, _PLAIN) for value in values):
        return values
    return {"packed": [packed(value) for value in values]}


def _before(source: ArchivedProperty, time_ns: int) -> list[Any] | None:
    """Return the last sample before a moment: value, time, train and quality."""
    found: Samples = source.before(time_ns)
    if not len(found):
        return None
    value = found.values[0]
    plain = value.item() if isinstance(value, np.generic) else value
    quality = QUALITIES[int(found.quality[0])].value
    return [plain, int(found.time_ns[0]), int(found.train_id[0]), quality]


def _gaps(outages: Sequence[Outage]) -> list[list[Any]]:
    told: list[list[Any]] = [list(item[:_TOLD]) for item in outages[:MAX_GAPS]]
    if len(outages) > MAX_GAPS:
        rest = outages[MAX_GAPS:]
        ends = [item.to_ns for item in rest]
        end_ns = None if None in ends else max(item for item in ends if item is not None)
        told.append([rest[0].from_ns, end_ns, "gap", None, f"{len(rest)} more gaps"])
    return told


def _mark(connection: Connection, device_id: str) -> list[int] | None:
    """Return up to which message of which life of a device all is in the archive."""
    mark = tables.mark.c
    statement = select(mark.epoch, mark.seq).where(mark.device_id == device_id)
    found = connection.execute(statement).first()
    return None if found is None else list(found)


def past(
    connection: Connection, device_id: str, time_ns: int, *, after: str | None = None
) -> dict[str, Any]:
    """Return what a device was at a moment: as many of its values as a message holds.

    Args:
        after: the key that the page before gave as ``following``; the first page has all the rest.

    Raises:
        UnknownDeviceError: nothing of it is archived.
    """
    found = past_device(connection, device_id, time_ns)
    values = [item for item in found.values if after is None or item.key > after]
    page = values[: _fitting(values)]
    answer = {
        "values": packed([_past_row(item) for item in page]),
        "following": page[-1].key if len(page) < len(values) else None,
    }
    if after is not None:
        return answer
    described = found.described
    return answer | {
        "device_id": device_id,
        "time_ns": time_ns,
        "present": found.present,
        "away": found.away,
        "schema": None if described is None else described.content,
        "schema_since_ns": 0 if described is None else described.since_ns,
        "gaps": _gaps([_named(gap) for gap in found.outages if _is_open(gap, time_ns)]),
    }


def _is_open(gap: Outage, time_ns: int) -> bool:
    return gap.to_ns is None or gap.to_ns > time_ns


def _named(gap: Outage) -> Outage:
    """Have the reason say of which property a gap is."""
    return gap._replace(reason=f"{gap.key}: {gap.reason}") if gap.key else gap


def _fitting(values: Sequence[PastValue]) -> int:
    """Return how many values fit into a message; one at least, if there is one."""
    total = 0
    for number, item in enumerate(values):
        total += size_of(item.sample.value) + _PAST_BYTES
        if number and total > PAGE_BYTES:
            return number
    return len(values)


def _past_row(value: PastValue) -> list[Any]:
    """Return key, value, time, train, quality, and whether it is certain."""
    sample = value.sample
    quality = QUALITIES[sample.quality].value
    return [value.key, sample.value, sample.time_ns, sample.train_id, quality, value.certain]


def span_of_trains(
    connection: Connection, device_id: str, key: str, first: int, last: int
) -> list[int]:
    """Return when the samples of a range of trains begin, and when they are over.

    Raises:
        UnknownDeviceError, UnknownPropertyError: nothing of it is archived.
        OutOfRangeError: no sample is of these trains.
    """
    found = span_of(connection, catalog.series_of(connection, device_id, key), first, last)
    if found is None:
        raise OutOfRangeError(
            f"'{device_id}.{key}' has no sample of the trains {first} to {last}",
            device=device_id,
            key=key,
            remedy="ask for other trains, or by time",
        )
    return list(found)
