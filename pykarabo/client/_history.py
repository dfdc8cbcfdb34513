"""Asking for what devices were: finding who knows, paging, and trying another who knows.

Any device that keeps the interface `History` can be asked. Nothing here knows how it keeps what it
tells.
"""

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from pykarabo.data import (
    PropertyValue,
    Quality,
    Schema,
    Timestamp,
    decode,
    joined_columns,
    moment_ns,
    span_ns,
)
from pykarabo.errors import (
    BadInputError,
    BusyError,
    ExpiredError,
    HelloRequiredError,
    NotConnectedError,
    OutcomeUnknownError,
    OutOfRangeError,
    PykaraboError,
    UnknownDeviceError,
    WrongInstanceError,
    WrongTypeError,
)
from pykarabo.wire import Call

from ._finding import DeviceFilter, finding_devices
from ._history_types import History, HistoryGap, Past
from ._records import check_device_id
from ._steps import Ask, Steps

Moment: TypeAlias = str | datetime | Timestamp | float
"""A moment: text such as ``-2h`` or ISO 8601 (local time without a zone), a `datetime` (local
without a zone), a `Timestamp`, or seconds since 1970."""

INTERFACE: Final = "History"
RUNS: Final = "RunRecorder"
OPEN_END: Final = Timestamp.from_ns(2**63 - 1)
"""The last moment that an archive can name, in ns since 1970."""
_EARLIEST_NS: Final = -(2**63)
TIMEOUT_S: Final = 60.0
"""A history of years is read from the disk."""
_TRY_ANOTHER: Final = (
    NotConnectedError,
    WrongInstanceError,
    HelloRequiredError,
    BusyError,
    ExpiredError,
    OutcomeUnknownError,
)
_UNREADABLE: Final = frozenset({"database_unavailable", "database_read_only"})


class HistoryOptions(TypedDict, total=False):
    """Which part of a history is wanted, and what is to be made of it.

    Attributes:
        since, until: from when up to when; what is at the end is left out. The end is now where
            it is not given.
        trains: first and last train, instead of times.
        run: number of a recorded run, instead of times.
        points: how many points a plot has room for; it gets its peaks, see the operator
            ``optimized``. Without, every sample is returned.
        every: how long a bucket of the operator is, as text such as ``1min`` or in seconds; all
            begin at multiples of it. Without, the span is cut into equal ones.
        operator: what is made of the samples of a bucket: ``mean``, ``statistics``, ``last_fill``
            and others that the reference lists.
        reader: the device to ask; by default any that has the history.
    """

    since: Moment
    until: Moment
    trains: tuple[int, int]
    run: int
    points: int
    every: str | float
    operator: str
    reader: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRequest:
    """What is wanted of a property's history; see `HistoryOptions`."""

    device_id: str
    key: str
    since: Moment | None = None
    until: Moment = "now"
    trains: tuple[int, int] | None = None
    run: int | None = None
    points: int = 0
    every: str | float | None = None
    operator: str | None = None
    reader: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What the device that knows is asked besides the span."""
        operator = self.operator or ("optimized" if self.points else "raw")
        if self.every is not None and operator.strip().lower() == "raw":
            raise BadInputError(
                "'every' is how long the buckets of an operator are, and every sample is asked for",
                device=self.device_id,
                key=self.key,
                remedy="name an operator too, such as mean, last or last_fill, or leave it out",
            )
        return {
            "operator": operator,
            "points": self.points,
            "every_ns": 0 if self.every is None else _span_ns(self.every),
        }


def moment_of(moment: Moment, now_ns: int, name: str = "time") -> int:
    """Return a moment in ns since 1970.

    Args:
        name: of the argument that it was given as.

    Raises:
        WrongTypeError: it names none.
        OutOfRangeError: an archive has no number for it.
    """
    found = _moment_ns(moment, now_ns)
    if not _EARLIEST_NS <= found <= OPEN_END.to_ns():
        raise OutOfRangeError(
            f"'{name}' is {moment}, and an archive reaches from 1678 to 2262",
            remedy=f"give '{name}' between these, or 'now'",
        )
    return found


def _moment_ns(moment: Moment, now_ns: int) -> int:
    if isinstance(moment, str):
        return moment_ns(moment, now_ns)
    if isinstance(moment, Timestamp):
        return moment.to_ns()
    if isinstance(moment, datetime):
        whole = int(moment.replace(microsecond=0).timestamp())
        return whole * 10**9 + moment.microsecond * 1000
    if type(moment) in (int, float) and math.isfinite(moment):
        return round(moment * 10**9)
    raise WrongTypeError(
        f"{moment!r} is no moment", remedy="give text, a datetime, or seconds since 1970"
    )


def _span_ns(span: str | float) -> int:
    found = span_ns(span) if isinstance(span, str) else round(span * 1e9)
    if found <= 0:
        raise BadInputError(f"{span!r} is no length of a bucket", remedy="give 10s, or seconds")
    return found


# -- who is asked ---------------------------------------------------------------------------------


def _readers(wanted: str | None) -> Steps[list[str]]:
    """Find who can be asked, in any order: several share the work."""
    if wanted is not None:
        return [check_device_id(wanted)]
    found = yield from finding_devices("*", DeviceFilter(interface=INTERFACE))
    if not found:
        raise UnknownDeviceError(
            "nobody in this domain keeps a history",
            remedy="start an archiver and a reader: pykarabo instantiate HistoryReader DEVICE "
            "--server SERVER",
        )
    usable = [record.device_id for record in found if record.state != "ERROR"]
    chosen = usable or [record.device_id for record in found]
    random.shuffle(chosen)
    return chosen


def _ask(readers: Sequence[str], command: str, *args: Any, **kwargs: Any) -> Steps[Any]:
    """Ask one of those who know; another one where that does not answer."""
    failure: PykaraboError | None = None
    for reader in readers:
        call = Call(reader, command, list(args), kwargs)
        try:
            answer = yield Ask(reader, call, TIMEOUT_S)
        except PykaraboError as error:
            if not isinstance(error, _TRY_ANOTHER) and error.code not in _UNREADABLE:
                raise
            failure = error
        else:
            return answer
    if failure is None:
        raise AssertionError("nobody was asked")
    raise failure


# -- histories ------------------------------------------------------------------------------------


@dataclass(slots=True)
class HistoryPages:
    """A history page by page.

    Attributes:
        is_raw: whether the page before had every sample, as some operators have where there are
            few; the next ones have them too.
    """

    request: HistoryRequest
    now_ns: int
    readers: list[str]
    span: tuple[int, int] | None = None
    after: list[int] | None = None
    is_raw: bool = False
    mark: tuple[int, int] | None = None

    def next_page(self) -> Steps[tuple[History, bool]]:
        """Read the next page; returns it and whether there are more."""
        request = self.request
        if not self.readers:
            self.readers += yield from _readers(request.reader)
        if self.span is None:
            self.span = yield from _span(request, self.readers, self.now_ns)
        arguments = request.arguments | {"after": self.after}
        if self.is_raw:
            arguments["operator"] = "raw"
        if request.trains is not None:
            arguments["trains"] = list(request.trains)
        answer = yield from _ask(
            self.readers, "history", request.device_id, request.key, *self.span, **arguments
        )
        self.after = answer["following"]
        self.is_raw = answer["operator"] == "raw"
        self.mark = None if answer["mark"] is None else tuple(answer["mark"])
        return _history(answer, self.span), self.after is not None

    def whole(self) -> Steps[History]:
        """Read all pages and put them together."""
        parts: list[History] = []
        more = True
        while more:
            page, more = yield from self.next_page()
            parts.append(page)
        return _joined(parts)


def reading_history(request: HistoryRequest, now_ns: int) -> Steps[History]:
    """Read a history as a whole."""
    return HistoryPages(request, now_ns, []).whole()


def _span(request: HistoryRequest, readers: Sequence[str], now_ns: int) -> Steps[tuple[int, int]]:
    """Return from when to when: by time, by train or by run; one of these."""
    given = [request.since is not None, request.trains is not None, request.run is not None]
    if sum(given) != 1:
        raise BadInputError(
            "a history needs one beginning: 'since', 'trains' or 'run'",
            device=request.device_id,
            key=request.key,
            remedy="write since='-2h', trains=(first, last) or run=12",
        )
    if request.run is not None:
        return (yield from _span_of_run(request.run, now_ns))
    if request.trains is not None:
        first, last = request.trains
        start_ns, end_ns = yield from _ask(
            readers, "span_of_trains", request.device_id, request.key, first, last
        )
        return start_ns, end_ns
    since = request.since if request.since is not None else "now"
    return moment_of(since, now_ns, "since"), moment_of(request.until, now_ns, "until")


def _span_of_run(run: int, now_ns: int) -> Steps[tuple[int, int]]:
    found = yield from finding_devices("*", DeviceFilter(class_id=RUNS))
    if len(found) != 1:
        names = ", ".join(record.device_id for record in found)
        raise UnknownDeviceError(
            f"there are several run recorders: {names}" if found else "there is no run recorder",
            remedy="give the times of the run instead: 'pykarabo run show' has them",
        )
    recorder = found[0].device_id
    details = yield Ask(recorder, Call(recorder, "run_details", [run]))
    return details["started_ns"], details["stopped_ns"] or now_ns


def _history(answer: Mapping[str, Any], span: tuple[int, int]) -> History:
    return History(
        device_id=answer["device_id"],
        key=answer["key"],
        operator=answer["operator"],
        sampled=answer["sampled"],
        unit=answer["unit"],
        start_ns=span[0],
        end_ns=span[1],
        columns={name: _column(column) for name, column in answer["columns"].items()},
        before=None if answer["before"] is None else _value(answer["before"]),
        gaps=tuple(HistoryGap(*gap) for gap in answer["gaps"]),
    )


def _column(column: Any) -> NDArray[Any]:
    if isinstance(column, np.ndarray):
        return column
    values = column
    if isinstance(column, Mapping):
        values = [decode([packed]) for packed in column["packed"]]
    return _objects(values)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # numpy would look into vectors
        array[place] = value
    return array


def _value(row: Sequence[Any]) -> PropertyValue:
    value, time_ns, train_id, quality = row
    return PropertyValue(value, Timestamp.from_ns(time_ns, train_id), Quality(quality))


def _joined(parts: Sequence[History]) -> History:
    """Put pages together."""
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: joined_columns([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    gaps = {gap for part in parts for gap in part.gaps}
    return replace(parts[0], columns=columns, gaps=tuple(sorted(gaps, key=_begins)))


def _begins(gap: HistoryGap) -> int:
    return gap.from_ns


# -- the past -------------------------------------------------------------------------------------


def reading_past(device_id: str, time: Moment, reader: str | None, now_ns: int) -> Steps[Past]:
    """Read what a device was at a moment."""
    time_ns = moment_of(time, now_ns)
    readers = yield from _readers(reader)
    answer = page = yield from _ask(readers, "past", device_id, time_ns)
    rows = decode([page["values"]])
    while page["following"] is not None:
        page = yield from _ask(readers, "past", device_id, time_ns, after=page["following"])
        rows += decode([page["values"]])
    schema = None if answer["schema"] is None else Schema.from_wire(decode([answer["schema"]]))
    return Past(
        device_id=device_id,
        time_ns=time_ns,
        present=answer["present"],
        away=answer["away"],
        schema=schema,
        values={row[0]: _value(row[1:5]) for row in rows},
        uncertain=frozenset(row[0] for row in rows if not row[5]),
        gaps=tuple(HistoryGap(*gap) for gap in answer["gaps"]),
    )


def finding_archived(pattern: str, reader: str | None) -> Steps[list[str]]:
    """Find the devices that have a history."""
    readers = yield from _readers(reader)
    found = yield from _ask(readers, "archived", pattern)
    return list(found)


def now_ns() -> int:
    """Return the present moment of this host."""
    return time.time_ns()
