"""Polling: methods of a device that are run again and again on a fixed grid of times.

The grid does not drift: a run that takes longer than its interval misses points of the grid, which
are counted and not made up for. What failed is counted too, and shown in the property ``polls``.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pykarabo.data import PropertyInfo, State, ValueType
from pykarabo.errors import BadConfigurationError

if TYPE_CHECKING:
    from ._device import Device

_F = TypeVar("_F", bound=Callable[..., Any])
LOOK_S: Final = 0.5
"""A new interval is noticed this late at most."""
MAX_BACKOFF_S: Final = 30.0
"""What fails again and again is tried at least so often, or at its interval if that is longer."""
_MAX_DOUBLINGS: Final = 20
TELL_S: Final = 1.0
"""Overruns are published this late at most."""
_DURATION_EVERY: Final = 10
"""Durations alone are published in every tenth `TELL_S` only."""


class OnFailure(StrEnum):
    """What a failed run does to its loop."""

    ERROR = "error"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class PollInfo:
    """How a method is polled: `interval` in s, or the key of a property that holds it."""

    interval: float | str
    on_failure: OnFailure


def poll(*, interval: float | str, on_failure: str = "error") -> Callable[[_F], _F]:
    """Run a method of a device again and again while the device is online.

    The method takes no arguments; one that is not ``async`` runs in a worker thread.

    Args:
        interval: from the beginning of one run to the beginning of the next, in s; or the name of
            a property that holds it, in any unit of time. Zero or less pauses.
        on_failure: ``error`` puts the device into state ERROR and pauses the loop; ``retry``
            counts the failure and goes on, after longer and longer pauses of up to 30 s.

    Raises:
        BadConfigurationError: there is no such way to react to failures.
    """
    info = PollInfo(interval, _on_failure(on_failure))

    def mark(function: _F) -> _F:
        function.__pykarabo_poll__ = info  # type: ignore[attr-defined]
        return function

    return mark


def _on_failure(name: str) -> OnFailure:
    try:
        return OnFailure(name)
    except ValueError:
        raise BadConfigurationError(
            f"a loop cannot react to failures with '{name}'",
            remedy=f"choose one of {', '.join(OnFailure)}",
        ) from None


class PollLoop:
    """One method that is run on a fixed grid of times.

    Args:
        interval_s: tells the present interval; zero or less pauses.
        changed: called after every run and every change.

    Attributes:
        duration_s: how long the latest run took.
        overruns: points of the grid that were missed.
        error: what the latest run failed with; empty after one that went well.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Any],
        interval_s: Callable[[], float],
        *,
        on_failure: OnFailure,
        failed: Callable[[str, Exception, OnFailure], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.duration_s = 0.0
        self.runs = 0
        self.overruns = 0
        self.failures = 0
        self.error = ""
        self._work = work
        self._interval_s = interval_s
        self._on_failure = on_failure
        self._failed = failed
        self._changed = changed
        self._going = asyncio.Event()
        self._going.set()
        self._failed_in_row = 0

    @property
    def paused(self) -> bool:
        """Whether it waits to be resumed."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Begin no further run; one that is under way ends."""
        self._going.clear()
        self._changed()

    def resume(self) -> None:
        """Run again, at once and on a new grid."""
        self._failed_in_row = 0
        self._going.set()
        self._changed()

    def shown(self) -> dict[str, Any]:
        """Return what others see of it."""
        return {
            "period": self._interval_s(),
            "duration": round(self.duration_s, 6),
            "runs": self.runs,
            "overruns": self.overruns,
            "failures": self.failures,
            "paused": self.paused,
            "error": self.error,
        }

    async def run(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.paused:
                await self._going.wait()
                due = loop.time()
            period_s = self._interval_s()
            began = loop.time()
            if period_s > 0:
                await self._run_once()
                ended = loop.time()
                self.duration_s = ended - began
                due = self._next(due, ended, period_s)
                self._changed()
            due = await self._wait(due, period_s)

    def _next(self, due: float, ended: float, period_s: float) -> float:
        """Return the last point of the grid that has passed, and count those that were missed."""
        missed = int((ended - due) // period_s)
        if missed > 0:
            self.overruns += missed
        return due + max(0, missed) * period_s

    async def _wait(self, last: float, period_s: float) -> float:
        """Wait for the point of the grid after `last`; a new interval begins a new grid."""
        loop = asyncio.get_running_loop()
        backoff_s = self._backoff_s(period_s)
        while not self.paused:
            now = loop.time()
            present_s = self._interval_s()
            if present_s != period_s:
                last, period_s, backoff_s = max(last, now - present_s), present_s, 0.0
            left = last + max(period_s, backoff_s) - now
            if period_s > 0 and left <= 0:
                return last + max(period_s, backoff_s)
            await asyncio.sleep(min(left, LOOK_S) if period_s > 0 else LOOK_S)
        return last

    def _backoff_s(self, period_s: float) -> float:
        """Return for how long a loop waits that fails again and again; on its grid."""
        if not self._failed_in_row or period_s <= 0:
            return 0.0
        points: int = 2 ** min(self._failed_in_row - 1, _MAX_DOUBLINGS)
        return min(points, max(1, int(MAX_BACKOFF_S // period_s))) * period_s

    async def _run_once(self) -> None:
        self.runs += 1
        try:
            if inspect.iscoroutinefunction(self._work):
                await self._work()
            else:
                await asyncio.to_thread(self._work)
        except Exception as error:  # noqa: BLE001 - the end of the author's work
            self.failures += 1
            self._failed_in_row += 1
            self.error = f"{type(error).__name__}: {error}"
            if self._on_failure is OnFailure.ERROR:
                self._going.clear()
            self._failed(self.name, error, self._on_failure)
        else:
            self._failed_in_row = 0
            self.error = ""


class Polls:
    """The loops of one device."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self._loops: dict[str, PollLoop] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._told: dict[str, Any] = {}
        for name, info in declared_polls(type(device)).items():  # type: ignore[arg-type]  # hashable
            self._make(name, getattr(device, name), info)

    def _make(self, name: str, work: Callable[[], Any], info: PollInfo) -> PollLoop:
        self._loops[name] = PollLoop(
            name,
            work,
            self._interval(name, info.interval),
            on_failure=info.on_failure,
            failed=self._failed,
            changed=self._changed,
        )
        return self._loops[name]

    def _interval(self, name: str, interval: float | str) -> Callable[[], float]:
        if not isinstance(interval, str):
            return lambda: interval
        device_id = self._device.context.device_id
        info = self._device.schema().require_property(interval, device_id)
        factor = _seconds(info, name)
        return lambda: float(self._device.values()[interval].value) * factor

    def start(self) -> None:
        """Begin what the class declares."""
        for loop in self._loops.values():
            self._device.spawn(loop.run(), name=f"poll {loop.name}")
        if self._loops:
            self._tell()

    def add(self, work: Callable[[], Any], interval: float | str, on_failure: str) -> PollLoop:
        """Begin another loop; raises `BadConfigurationError` if it runs already."""
        name = getattr(work, "__name__", "poll")
        if name in self._loops:
            raise BadConfigurationError(
                f"'{name}' of '{self._device.context.device_id}' is polled already",
                device=self._device.context.device_id,
                remedy="pause and resume it",
            )
        loop = self._make(name, work, PollInfo(interval, _on_failure(on_failure)))
        self._device.spawn(loop.run(), name=f"poll {name}")
        self._changed()
        return loop

    def loop(self, name: str) -> PollLoop:
        """Return a loop by the name of its method.

        Raises:
            BadConfigurationError: there is none.
        """
        if name not in self._loops:
            known = ", ".join(self._loops) or "nothing"
            raise BadConfigurationError(
                f"'{name}' of '{self._device.context.device_id}' is not polled",
                device=self._device.context.device_id,
                remedy=f"it polls {known}",
            )
        return self._loops[name]

    def pause(self) -> None:
        """Begin no further run of any loop, and publish nothing more of them."""
        for loop in self._loops.values():
            loop.pause()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _failed(self, name: str, error: Exception, policy: OnFailure) -> None:
        device = self._device
        if policy is OnFailure.ERROR:
            device.log.error("polling '%s' failed", name, exc_info=error)
            device.set_values({"state": State.ERROR, "status": f"polling {name} failed: {error}"})
        elif not self._told.get(name, {}).get("error"):
            device.log.warning("polling '%s' failed and is tried again: %s", name, error)
        device.spawn(device.tell_exception(name, error), name="on_exception")
        self._tell()

    def _changed(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self._due)

    def _due(self) -> None:
        self._timer = None
        self._ticks += 1
        if self._ticks % _DURATION_EVERY == 0 or self._counts_differ():
            self._tell()
        else:
            self._changed()

    def _counts_differ(self) -> bool:
        """Whether more has changed than the numbers of every run."""
        return any(
            _lasting(loop.shown()) != _lasting(self._told.get(name, {}))
            for name, loop in self._loops.items()
        )

    def _tell(self) -> None:
        self._told = {name: loop.shown() for name, loop in self._loops.items()}
        self._device.set_values({"polls": self._told})


def _lasting(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shown.items() if key not in ("duration", "runs")}


def _seconds(info: PropertyInfo, name: str) -> float:
    """Return how many seconds one unit of a property is; raises `BadConfigurationError`."""
    if info.unit in ("", "s"):
        return 1.0
    second = PropertyInfo(f"interval of {name}", ValueType.FLOAT64, unit="s")
    return float(second.validate(f"1 {info.unit}"))


@functools.cache
def declared_polls(cls: type) -> Mapping[str, PollInfo]:
    """Return how the methods of a class are polled that are marked so, by attribute."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        members.update(vars(base))
    return {
        name: member.__pykarabo_poll__
        for name, member in members.items()
        if hasattr(member, "__pykarabo_poll__")
    }
