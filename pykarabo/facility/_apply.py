"""Carrying a plan out, and taking back what was done when a step fails.

A control system cannot undo everything: a device that is started again has lost what only its
process knew, and of a call whose answer never came nobody knows whether it ran. So every step has
an outcome of its own, which is told as it is. A step whose outcome is unknown is looked at, and is
taken back like one that was done unless it certainly was not.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from pykarabo.client import BlockingClient, own_server_id
from pykarabo.data import PropertyValue, same
from pykarabo.errors import (
    CancelledByCallerError,
    ChangedMeanwhileError,
    NotExecutedError,
    PykaraboError,
    RemoteError,
    UnknownDeviceError,
)

from ._file import FacilityServer, NamedConfiguration
from ._steps import Kind, Step

START_S: Final = 35.0
"""The server gives `on_initialize` 10 s; a process of its own has 30 s."""
_GIVEN: Final = "given_attributes"
STOP_S: Final = 20.0
"""The server gives `on_stop` 5 s; a process of its own has 15 s."""


class Outcome(StrEnum):
    """What became of a step."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_TRIED = "not tried"
    UNDONE = "undone"
    NOT_UNDONE = "not undone"


class _Looked(StrEnum):
    """What one sees when one looks at a step of unknown outcome."""

    THERE = "it is as the step wanted it"
    ABSENT = "it is as it was before"
    PARTLY = "it is neither as before nor as wanted"
    NOTHING = "it could not be looked at"


@dataclass(slots=True)
class Result:
    """A step and what became of it; `told` says more in words."""

    step: Step
    outcome: Outcome = Outcome.NOT_TRIED
    error: PykaraboError | None = None
    told: str = ""


class Processes(Protocol):
    """Starts and stops server processes of this host."""

    def start(self, server_id: str, server: FacilityServer, time_source: str | None) -> None:
        """Start a server without devices, and wait until it answers."""
        ...

    def stop(self, server_id: str) -> None:
        """Stop a server, and wait until it has ended."""
        ...


class Applier:
    """Carries steps out in their order.

    Args:
        processes: how servers are started and stopped.
        store: device id of the configuration store, if steps are about it.
        tell: takes each result, as soon as there is one.
    """

    def __init__(
        self,
        client: BlockingClient,
        processes: Processes,
        tell: Callable[[Result], None],
        *,
        store: str | None = None,
    ) -> None:
        self.results: list[Result] = []
        self.store = store
        self._client = client
        self._processes = processes
        self._tell = tell
        self._written: dict[int, Mapping[str, PropertyValue]] = {}
        """By the number of a step: its properties as they were read when it had written them."""

    def carry_out(self, steps: Sequence[Step]) -> PykaraboError | None:
        """Carry steps out; returns why one of them failed, and then takes all of them back."""
        begun = [Result(step) for step in steps]
        self.results += begun
        for result in begun:
            self._try(result)
            if result.error is not None:
                self.take_back()
                return result.error
        return None

    def _try(self, result: Result) -> None:
        try:
            self._do(result.step)
            result.outcome = Outcome.DONE
        except NotExecutedError as error:
            result.outcome, result.error = Outcome.FAILED, error
        except PykaraboError as error:
            result.error = error
            self._judge(result, error)
        except KeyboardInterrupt:
            result.error = CancelledByCallerError("interrupted", remedy="look at what is told here")
            self._judge(result, result.error)
        self._tell(result)

    def _judge(self, result: Result, error: PykaraboError) -> None:
        """Say what became of a step that may have been carried out."""
        looked = self._look(result.step)
        failed = isinstance(error, RemoteError) and looked is _Looked.ABSENT
        result.outcome = Outcome.FAILED if failed else Outcome.UNKNOWN
        result.told = "" if failed else looked

    def take_back(self) -> None:
        """Undo what was done and what may have been done, the latest first."""
        for result in reversed(self.results):
            maybe = result.outcome is Outcome.UNKNOWN and result.told != _Looked.ABSENT
            if result.outcome is not Outcome.DONE and not maybe:
                continue
            try:
                self._undo(result.step)
            except PykaraboError as error:
                result.told = str(error)
                result.outcome = Outcome.NOT_UNDONE
            else:
                result.outcome = Outcome.UNDONE
                result.told = _lost(result.step)
            self._tell(result)

    # -- steps ----------------------------------------------------------------------------------

    def _do(self, step: Step) -> None:
        match step.kind:
            case Kind.STOP:
                self._stop(step.server, step.target)
            case Kind.STOP_SERVER:
                self._processes.stop(step.target)
            case Kind.START_SERVER if step.options is not None:
                self._processes.start(step.target, step.options, step.time_source)
            case Kind.START:
                self._start(step, step.values, step.attributes)
            case Kind.SET:
                self._client.set(step.target, step.values, expected=step.expected)
                self._remember(step)
            case Kind.GIVE:
                self._give(step, step.attributes, expected=step.attributes_before)
            case _:
                self._do_in_store(step)

    def _do_in_store(self, step: Step) -> None:
        if step.kind is Kind.DELETE:
            self._store("delete", step.target, step.name)
        elif step.named is not None:
            self._save(step, step.named)
        else:
            raise AssertionError(f"a step that says too little: {step}")

    def _undo(self, step: Step) -> None:
        match step.kind:
            case Kind.STOP:
                self._start(step, step.before, step.attributes_before)
            case Kind.STOP_SERVER if step.options is not None:
                self._processes.start(step.target, step.options, step.time_source)
            case Kind.START_SERVER:
                self._processes.stop(step.target)
            case Kind.START:
                self._stop_if_there(step)
            case Kind.SET:
                self._client.set(step.target, step.before, expected=self._expected(step))
            case Kind.GIVE:
                if self._look(step) is not _Looked.ABSENT:
                    self._give(step, step.attributes_before, expected=step.attributes)
            case _:
                self._undo_in_store(step)

    def _undo_in_store(self, step: Step) -> None:
        before = step.named_before
        if step.kind is Kind.DELETE:
            self._store("undelete", step.target, step.name)
            if before is not None and before.active:
                self._mark(step.target, step.name)
            return
        if before is None:
            self._store("delete", step.target, step.name)
        else:
            self._save(step, before)
        if step.named is not None and step.named.active and step.marked_before:
            self._mark(step.target, step.marked_before)

    def _mark(self, device_id: str, name: str) -> None:
        """Have a configuration be the active one again, if it is there and is not."""
        for item in self._store("names", device_id):
            if item["name"] == name and not item["active"]:
                self._store("describe", device_id, name, active=True)

    def _remember(self, step: Step) -> None:
        """Read what was written: it is taken back only while nobody has written anything else."""
        try:
            self._written[id(step)] = self._client.read(step.target, list(step.values))
        except PykaraboError:
            return  # it is read when it is to be taken back

    def _expected(self, step: Step) -> Mapping[str, PropertyValue]:
        """Return what a step has written; raises `ChangedMeanwhileError` if others did since."""
        known = self._written.get(id(step))
        if known is not None:
            return known
        now = self._client.read(step.target, list(step.values))
        for key, item in now.items():
            if not (same(item.value, step.values[key]) or same(item.value, step.before[key])):
                raise ChangedMeanwhileError(
                    f"'{step.target}.{key}' is {item.value!r}, which this has not written",
                    device=step.target,
                    key=key,
                    remedy="look at the device",
                )
        return now

    def _start(self, step: Step, values: Any, attributes: Any) -> None:
        given = {"attributes": dict(attributes)} if attributes else {}  # older servers take none
        self._client.device(step.server).call(
            "instantiate",
            step.class_id,
            step.target,
            dict(values),
            step.own_process,
            **given,
            timeout_s=START_S,
            once_key=secrets.token_hex(8),
        )

    def _give(self, step: Step, attributes: Any, *, expected: Any) -> None:
        home = own_server_id(step.server, step.target) if step.own_process else step.server
        self._client.device(home).call(
            "set_attributes",
            step.target,
            dict(attributes),
            dict(expected),
            once_key=secrets.token_hex(8),
        )

    def _stop(self, server_id: str, device_id: str) -> None:
        self._client.device(server_id).call("shutdown_device", device_id, timeout_s=STOP_S)

    def _stop_if_there(self, step: Step) -> None:
        if self._is_there(step.target):
            self._stop(step.server, step.target)

    def _save(self, step: Step, named: NamedConfiguration) -> None:
        self._store(
            "put",
            step.target,
            step.name,
            step.class_id,
            dict(named.values),
            comment=named.comment,
            priority=named.priority,
            active=named.active,
        )

    def _store(self, command: str, *args: Any, **kwargs: Any) -> Any:
        return self._client.device(self.store or "").call(command, *args, **kwargs)

    # -- looking --------------------------------------------------------------------------------

    def _is_there(self, device_id: str) -> bool:
        try:
            return bool(self._client.directory("resolve", device_id)["status"] != "gone")
        except UnknownDeviceError:
            return False

    def _look(self, step: Step) -> _Looked:
        try:
            match step.kind:
                case Kind.SET:
                    return self._compare(step)
                case Kind.GIVE:
                    return self._compare_attributes(step)
                case Kind.START | Kind.START_SERVER:
                    return _Looked.THERE if self._is_there(step.target) else _Looked.ABSENT
                case Kind.STOP | Kind.STOP_SERVER:
                    return _Looked.ABSENT if self._is_there(step.target) else _Looked.THERE
                case _:
                    return _Looked.NOTHING
        except PykaraboError:
            return _Looked.NOTHING

    def _compare(self, step: Step) -> _Looked:
        values = self._client.read(step.target, list(step.values))
        now = {key: item.value for key, item in values.items()}
        if same(now, dict(step.values)):
            return _Looked.THERE
        return _Looked.ABSENT if same(now, dict(step.before)) else _Looked.PARTLY

    def _compare_attributes(self, step: Step) -> _Looked:
        now = self._client.read(step.target, [_GIVEN])[_GIVEN].value
        if same(now, dict(step.attributes)):
            return _Looked.THERE
        return _Looked.ABSENT if same(now, dict(step.attributes_before)) else _Looked.PARTLY


def _lost(step: Step) -> str:
    """Return what taking a step back could not bring back."""
    if step.kind is Kind.STOP:
        return "it was started again with the configuration that it had"
    return ""
