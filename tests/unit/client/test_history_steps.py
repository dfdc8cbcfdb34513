"""Whom a client asks for history, and what it does when that one does not answer."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pytest

from pykarabo.client import DeviceRecord, History
from pykarabo.client._history import HistoryRequest, reading_history
from pykarabo.client._steps import Ask, AskDirectory, Step, Steps
from pykarabo.errors import (
    BusyError,
    ConnectionLostError,
    DatabaseUnavailableError,
    NotConnectedError,
    PykaraboError,
    UnknownDeviceError,
    UnknownPropertyError,
)
from pykarabo.wire import Call

SECOND: Final = 10**9


def reader(device_id: str, state: str = "ON") -> dict[str, Any]:
    record = DeviceRecord(
        device_id, "HistoryReader", "S", "00", 1, state=state, tags=("interface:History",)
    )
    return record.to_wire()


def page(first: int, count: int, following: list[int] | None = None) -> dict[str, Any]:
    columns = {
        "time_ns": np.arange(first, first + count, dtype=np.int64),
        "value": np.arange(first, first + count, dtype=np.float64),
        "quality": np.zeros(count, np.uint8),
    }
    return {
        "device_id": "D",
        "key": "x",
        "operator": "raw",
        "sampled": False,
        "unit": "",
        "columns": columns,
        "before": None,
        "gaps": [],
        "following": following,
        "mark": [1, 2],
    }


def run(
    steps: Steps[History], devices: list[dict[str, Any]], answer: Callable[[Call], Any]
) -> tuple[History, list[str]]:
    """Carry out steps with made-up answers; returns the result and who was asked."""
    asked: list[str] = []

    def reply(step: Step) -> Any:
        if isinstance(step, AskDirectory):
            return {"devices": devices, "servers": []}
        assert isinstance(step, Ask)
        assert isinstance(step.request, Call)
        asked.append(step.device_id)
        return answer(step.request)

    step = next(steps)
    while True:
        try:
            try:
                found = reply(step)
            except PykaraboError as error:
                step = steps.throw(error)
            else:
                step = steps.send(found)
        except StopIteration as done:
            return done.value, asked


def request(**more: Any) -> HistoryRequest:
    return HistoryRequest(device_id="D", key="x", since=0, until=1, **more)


@pytest.mark.parametrize(
    "error", [NotConnectedError, BusyError, ConnectionLostError, DatabaseUnavailableError]
)
def test_another_reader_is_asked_when_one_does_not_answer(error: type[PykaraboError]) -> None:
    failed: list[str] = []

    def answer(call: Call) -> Any:
        if not failed:
            failed.append(call.device)
            raise error("not now")
        return page(0, 3)

    found, asked = run(reading_history(request(), 0), [reader("R/1"), reader("R/2")], answer)
    assert found.values.tolist() == [0.0, 1.0, 2.0]
    assert sorted(asked) == ["R/1", "R/2"]


def test_what_is_wrong_with_the_question_is_told_at_once() -> None:
    def answer(_call: Call) -> Any:
        raise UnknownPropertyError("no such property")

    with pytest.raises(UnknownPropertyError):
        run(reading_history(request(), 0), [reader("R/1"), reader("R/2")], answer)


def test_error_of_the_last_one_is_told_when_nobody_answers() -> None:
    def answer(call: Call) -> Any:
        raise NotConnectedError(f"{call.device} is away")

    with pytest.raises(NotConnectedError, match="is away"):
        run(reading_history(request(), 0), [reader("R/1"), reader("R/2")], answer)
    with pytest.raises(UnknownDeviceError, match="nobody in this domain keeps a history"):
        run(reading_history(request(), 0), [], answer)


def test_reader_in_error_is_not_asked_while_there_is_another() -> None:
    devices = [reader("R/1", "ERROR"), reader("R/2"), reader("R/3", "ERROR")]
    for _ in range(10):
        _found, asked = run(reading_history(request(), 0), devices, lambda _call: page(0, 1))
        assert asked == ["R/2"]


def test_pages_are_fetched_until_there_is_none() -> None:
    seen: list[Any] = []

    def answer(call: Call) -> Any:
        after = call.kwargs["after"]
        seen.append(after)
        first = 0 if after is None else after[0]
        return page(first, 2, [first + 2, -1, -1, -1] if first < 4 else None)

    found, _asked = run(reading_history(request(reader="R/1"), 0), [], answer)
    assert found.values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert seen == [None, [2, -1, -1, -1], [4, -1, -1, -1]]


@pytest.mark.parametrize(("stopped_ns", "end_ns"), [(70 * SECOND, 70 * SECOND), (0, 99)])
def test_run_stands_for_its_times_and_one_that_goes_on_ends_now(
    stopped_ns: int, end_ns: int
) -> None:
    recorder = DeviceRecord("RUN/1", "RunRecorder", "S", "00", 1).to_wire()
    spans: list[Any] = []

    def answer(call: Call) -> Mapping[str, Any]:
        if call.command == "run_details":
            assert call.args == [12]
            return {"started_ns": 50, "stopped_ns": stopped_ns}
        spans.append(call.args[2:])
        return page(50, 1)

    wanted = HistoryRequest(device_id="D", key="x", run=12)
    run(reading_history(wanted, 99), [recorder, reader("R/1")], answer)
    assert spans == [[50, end_ns]]
