"""Warnings and alarms of a property: which limit is passed, since when, and who knows.

An `AlarmMachine` judges the values of one property. Each of its limits is by itself in one of
these states::

    inside ──beyond──► pending ──alarm_delay over──► raised ──back──► gone
      ▲                   │                                            │
      └──────back─────────┘            (`acknowledge` names the limit and nobody has: it stays)

* Beyond is strictly beyond: a value equal to a limit is inside. Back is inside by `hysteresis`.
* The delay begins with the first value beyond and ends with the first that is not. It ends without
  a further value too: `due_ns` says when to ask again.
* NaN says nothing: the quality is INVALID, and warnings, alarms and delays stay as they are. So
  they do with None and with an empty vector, which are no fault of a sensor.
* Of a vector the worst elements count; those that are NaN are left out. It is INVALID if some are
  NaN and no other is beyond a limit.
* Variance limits judge the sample variance of the latest `rolling_window` finite values, from the
  moment that there are so many.
* A warning is not told while the alarm on its side is raised.
* The quality says what the value is, not what was: it is VALID again when the value is back, also
  while an alarm stays because nobody has acknowledged it.

No clock is used: times are arguments.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ._deadband import has_deadband
from ._numpy import np
from ._timestamp import Timestamp
from ._types import FLOATS, INTEGER_LIMITS, Quality
from ._variance import RollingVariance

if TYPE_CHECKING:
    from ._info import PropertyInfo

_NS: Final = 1e9
MOST_SECONDS: Final = 3.2e8
"""Ten years: nobody waits longer, and nanoseconds of so much fit into any integer."""
TOO_LONG: Final = f"which is longer than ten years ({MOST_SECONDS:g} s)"
_ORDERED: Final = ("i", "u", "f")
"""Kinds of numpy types whose values can be compared."""
_SMALLEST_WINDOW: Final = 2
_ORDER: Final = (
    ("warn_low", "warn_high"),
    ("alarm_low", "alarm_high"),
    ("alarm_low", "warn_low"),
    ("warn_high", "alarm_high"),
    ("warn_variance_low", "warn_variance_high"),
    ("alarm_variance_low", "alarm_variance_high"),
    ("alarm_variance_low", "warn_variance_low"),
    ("warn_variance_high", "alarm_variance_high"),
)
"""Pairs of limits of which the first is not above the second."""


class AlarmCondition(StrEnum):
    """A kind of warning or alarm, in rising order of severity.

    The name of a limit is the condition of being beyond it. Karabo's spelling, such as
    ``warnLow``, is understood too.
    """

    NONE = "none"
    WARN = "warn"
    WARN_LOW = "warn_low"
    WARN_HIGH = "warn_high"
    WARN_VARIANCE_LOW = "warn_variance_low"
    WARN_VARIANCE_HIGH = "warn_variance_high"
    ALARM = "alarm"
    ALARM_LOW = "alarm_low"
    ALARM_HIGH = "alarm_high"
    ALARM_VARIANCE_LOW = "alarm_variance_low"
    ALARM_VARIANCE_HIGH = "alarm_variance_high"
    INTERLOCK = "interlock"

    @classmethod
    def _missing_(cls, value: object) -> "AlarmCondition | None":
        return _KARABO_NAMES.get(value) if isinstance(value, str) else None

    @property
    def severity(self) -> "AlarmCondition":
        """NONE, WARN, ALARM or INTERLOCK."""
        return AlarmCondition(self.value.partition("_")[0])

    @property
    def rank(self) -> int:
        """0 for NONE, 1 for warnings, 2 for alarms, 3 for interlocks."""
        return _SEVERITIES.index(self.severity)

    @property
    def quality(self) -> Quality:
        """The quality of a value in this condition."""
        return (Quality.VALID, Quality.WARN, Quality.ALARM, Quality.ALARM)[self.rank]


_SEVERITIES: Final = (
    AlarmCondition.NONE,
    AlarmCondition.WARN,
    AlarmCondition.ALARM,
    AlarmCondition.INTERLOCK,
)


def _karabo_name(condition: AlarmCondition) -> str:
    first, *rest = condition.value.split("_")
    return first + "".join(word.capitalize() for word in rest)


_KARABO_NAMES: Final = {_karabo_name(condition): condition for condition in AlarmCondition}


def most_significant_alarm(conditions: Iterable[AlarmCondition]) -> AlarmCondition:
    """Return the most severe condition, the last of equally severe ones; NONE if there is none."""
    worst = AlarmCondition.NONE
    for condition in conditions:
        if condition.rank >= worst.rank:
            worst = condition
    return worst


@dataclass(frozen=True, slots=True)
class Alarm:
    """A warning or alarm that is there.

    Attributes:
        source: key of the property, or the name that the device's author gave it.
        condition: which limit is passed, or how severe it is.
        since: time stamp of the first value beyond the limit.
        value: that value; of a vector its worst element, of a variance limit the variance.
        text: what to do.
        needs_acknowledge: it stays until somebody has acknowledged it.
        acknowledged_by: who has, "" if nobody.
        present: whether it still is so; else it only waits to be acknowledged.
    """

    source: str
    condition: AlarmCondition
    since: Timestamp
    value: float | None = None
    text: str = ""
    needs_acknowledge: bool = False
    acknowledged_by: str = ""
    present: bool = True

    @property
    def over(self) -> bool:
        """Whether it is to be forgotten."""
        return not self.present and (not self.needs_acknowledge or bool(self.acknowledged_by))


class _Extent(NamedTuple):
    """What counts of a value: its smallest and largest number, and whether all are numbers."""

    low: float
    high: float
    complete: bool = True


class _Began(NamedTuple):
    """The first value beyond a limit."""

    now_ns: int
    at: Timestamp
    number: float


class _Limit:
    """One limit of a property, and what has become of it."""

    __slots__ = (
        "_bound", "_delay_ns", "_hysteresis", "_is_low", "_key", "_needs_acknowledge", "_text",
        "alarm", "began", "condition", "measured",
    )  # fmt: skip

    def __init__(self, info: "PropertyInfo", condition: AlarmCondition, bound: float) -> None:
        self.condition = condition
        self.alarm: Alarm | None = None
        self.began: _Began | None = None
        self.measured = False
        self._key = info.key
        self._bound = bound
        self._hysteresis = info.hysteresis
        self._delay_ns = round(info.alarm_delay * _NS)
        self._is_low = condition.value.endswith("low")
        self._needs_acknowledge = condition.value in info.acknowledge
        self._text = info.limit_info.get(condition.value, "")

    @property
    def inside(self) -> tuple[float, float]:
        """The smallest and the largest number that are not beyond it."""
        return (self._bound, math.inf) if self._is_low else (-math.inf, self._bound)

    @property
    def calm(self) -> bool:
        """Whether there is nothing to tell, nor to wait for."""
        return self.alarm is None and self.began is None

    @property
    def raised(self) -> bool:
        """Whether the value is beyond it, for long enough."""
        return self.alarm is not None and self.alarm.present

    @property
    def due_ns(self) -> int | None:
        """When the delay is over."""
        return None if self.began is None else self.began.now_ns + self._delay_ns

    def take_over(self, other: "_Limit") -> None:
        """Go on where the same limit of an earlier declaration stands."""
        self.began, self.measured = other.began, other.measured
        self.alarm = None if other.alarm is None else replace(other.alarm, text=self._text)

    def judge(self, extent: _Extent, now_ns: int, at: Timestamp, *, measured: bool) -> None:
        """Take a value."""
        number = extent.low if self._is_low else extent.high
        beyond = number < self._bound if self._is_low else number > self._bound
        if beyond:
            self.measured = measured
            if self.raised:
                self._require_acknowledge()
            elif self.began is None:
                self.began = _Began(now_ns, at, number)
            self.pass_time(now_ns)
        elif extent.complete:
            self.began = None
            if self.alarm is not None and self._is_back(number):
                self._keep(replace(self.alarm, present=False))

    def _is_back(self, number: float) -> bool:
        if self._is_low:
            return number >= self._bound + self._hysteresis
        return number <= self._bound - self._hysteresis

    def pass_time(self, now_ns: int) -> None:
        """Raise what has been beyond for long enough."""
        began = self.began
        if began is None or now_ns - began.now_ns < self._delay_ns:
            return
        self.began = None
        if self.alarm is not None:
            self._keep(replace(self.alarm, present=True))
        else:
            self._keep(
                Alarm(
                    self._key,
                    self.condition,
                    began.at,
                    value=began.number,
                    text=self._text,
                    needs_acknowledge=self._needs_acknowledge and self.measured,
                )
            )

    def _require_acknowledge(self) -> None:
        """Let what an initial value has raised stay, once a measured one confirms it."""
        alarm = self.alarm
        wanted = self._needs_acknowledge and self.measured
        if alarm is not None and wanted and not alarm.needs_acknowledge:
            self._keep(replace(alarm, needs_acknowledge=True))

    def acknowledge(self, by: str) -> None:
        """Note who knows."""
        if self.alarm is not None and not self.alarm.acknowledged_by:
            self._keep(replace(self.alarm, acknowledged_by=by))

    def _keep(self, alarm: Alarm) -> None:
        self.alarm = None if alarm.over else alarm


_PLAIN: Final = (
    AlarmCondition.WARN_LOW,
    AlarmCondition.WARN_HIGH,
    AlarmCondition.ALARM_LOW,
    AlarmCondition.ALARM_HIGH,
)
_VARIANCE: Final = (
    AlarmCondition.WARN_VARIANCE_LOW,
    AlarmCondition.WARN_VARIANCE_HIGH,
    AlarmCondition.ALARM_VARIANCE_LOW,
    AlarmCondition.ALARM_VARIANCE_HIGH,
)
LIMITS: Final = (*_PLAIN, *_VARIANCE)
"""The conditions that are limits of properties."""


def has_limits(info: "PropertyInfo") -> bool:
    """Tell whether a property has a limit of any kind."""
    return any(getattr(info, limit.value) is not None for limit in LIMITS)


class AlarmMachine:
    """The warnings and alarms of one property.

    Args:
        info: the property, with its limits.
        before: the machine of an earlier declaration of the property; what nobody has
            acknowledged yet is lost neither with a new limit nor with the limit.

    Attributes:
        alarms: what is there; another tuple when something has changed.
        left: of those the ones of limits that there are no more, until they are acknowledged.
        quality: that of the latest value.
    """

    def __init__(self, info: "PropertyInfo", before: "AlarmMachine | None" = None) -> None:
        self.alarms: tuple[Alarm, ...] = ()
        self.left: tuple[Alarm, ...] = ()
        self.quality = Quality.VALID
        self._limits = _limits_of(info, _PLAIN)
        self._variances = _limits_of(info, _VARIANCE)
        self._window = RollingVariance(info.rolling_window) if self._variances else None
        self._inside = _common(limit.inside for limit in self._limits)
        self._extent: _Extent | None = None
        self._has_nan = False
        self._calm = False
        if before is not None:
            self._take_over(before)
        self._conclude()

    def _take_over(self, before: "AlarmMachine") -> None:
        known = {limit.condition: limit for limit in before.limits()}
        left = {alarm.condition: alarm for alarm in before.left}
        for limit in self.limits():
            if limit.condition in known:
                limit.take_over(known.pop(limit.condition))
            limit.alarm = left.pop(limit.condition, limit.alarm)
        gone = [limit.alarm for limit in known.values() if limit.alarm is not None]
        ended = (replace(alarm, present=False) for alarm in (*left.values(), *gone))
        self.left = tuple(alarm for alarm in ended if not alarm.over)

    def limits(self) -> Iterator[_Limit]:
        """Yield the limits, those of the variance last."""
        yield from self._limits
        yield from self._variances

    def changes_nothing(self, value: Any) -> bool:
        """Tell cheaply whether a value is inside all limits and every one before it was.

        Such a value needs no `update`; most are.
        """
        if not self._calm or (type(value) is not float and type(value) is not int):
            return False
        low, high = self._inside
        return low <= value <= high

    @property
    def due_ns(self) -> int | None:
        """When the next delay is over; None if none runs."""
        if self._calm:
            return None
        return min(
            (limit.due_ns for limit in self.limits() if limit.due_ns is not None), default=None
        )

    def update(self, value: Any, now_ns: int, at: Timestamp, *, measured: bool = True) -> Quality:
        """Take a value and return its quality.

        Args:
            now_ns: the time from which delays are measured; it never jumps.
            at: the value's time stamp.
            measured: False for an initial value, which nobody has to acknowledge.
        """
        self._extent, self._has_nan = _extent(value)
        if self._extent is not None:
            for limit in self._limits:
                limit.judge(self._extent, now_ns, at, measured=measured)
            self._judge_variance(self._extent, now_ns, at, measured=measured)
        return self.pass_time(now_ns)

    def _judge_variance(
        self, extent: _Extent, now_ns: int, at: Timestamp, *, measured: bool
    ) -> None:
        if self._window is None or not measured or not math.isfinite(extent.high):
            return
        self._window.push(extent.high)
        variance = self._window.value()
        if variance is not None:
            for limit in self._variances:
                limit.judge(_Extent(variance, variance), now_ns, at, measured=True)

    def pass_time(self, now_ns: int) -> Quality:
        """Raise what has been beyond its limit for long enough; returns the quality now."""
        for limit in self.limits():
            limit.pass_time(now_ns)
        self._conclude()
        return self.quality

    def acknowledge(self, by: str) -> None:
        """Note who knows of all that is there."""
        for limit in self.limits():
            limit.acknowledge(by)
        self.left = ()
        self._conclude()

    def _conclude(self) -> None:
        raised = {limit.condition for limit in self.limits() if limit.raised}
        alarms = self.left + tuple(
            limit.alarm
            for limit in self.limits()
            if limit.alarm is not None and _SIBLINGS.get(limit.condition) not in raised
        )
        if alarms != self.alarms:
            self.alarms = alarms
        self.quality = most_significant_alarm(raised).quality
        is_limited = bool(self._limits or self._variances)
        if self._has_nan and is_limited and (self._extent is None or not raised):
            self.quality = Quality.INVALID
        self._calm = (
            self.quality is Quality.VALID
            and self._window is None
            and all(limit.calm for limit in self._limits)
        )


def _common(ranges: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Return what several ranges have in common."""
    low, high = -math.inf, math.inf
    for first, last in ranges:
        low, high = max(low, first), min(high, last)
    return low, high


_SIBLINGS: Final = {
    limit: AlarmCondition(limit.value.replace("warn", "alarm"))
    for limit in LIMITS
    if limit.value.startswith("warn")
}
"""The alarm limit on the same side, by warning limit."""


def _limits_of(info: "PropertyInfo", conditions: Iterable[AlarmCondition]) -> list[_Limit]:
    bounds = ((condition, _bound(info, condition.value)) for condition in conditions)
    return [_Limit(info, condition, bound) for condition, bound in bounds if bound is not None]


def _bound(info: "PropertyInfo", name: str) -> float | None:
    """Return a limit as the property's type holds it: a value equal to it is inside."""
    bound: float | None = getattr(info, name)
    if (
        bound is None
        or "variance" in name
        or "float32" not in (info.value_type.element, info.dtype)
    ):
        return bound
    return float(np.float32(bound))


def _extent(value: Any) -> tuple[_Extent | None, bool]:
    """Return what counts of a value, None if it has no numbers, and whether one is missing."""
    if isinstance(value, int | float):
        return (None, True) if math.isnan(value) else (_Extent(value, value), False)
    if value is None:
        return None, False
    array = np.asarray(value)
    missing = bool(np.isnan(array).any()) if array.dtype.kind == "f" else False
    numbers = array[~np.isnan(array)] if missing else array
    if not numbers.size:
        return None, missing
    return _Extent(numbers.min().item(), numbers.max().item(), complete=not missing), missing


def quality_of(info: "PropertyInfo", value: Any) -> Quality:
    """Judge a value by itself: without delay, hysteresis, variance and what was before."""
    if all(getattr(info, limit.value) is None for limit in _PLAIN):
        return Quality.VALID
    extent, missing = _extent(value)
    for severity in (AlarmCondition.ALARM, AlarmCondition.WARN):
        if extent is not None and _is_beyond(info, severity, extent):
            return severity.quality
    return Quality.INVALID if missing else Quality.VALID


def _is_beyond(info: "PropertyInfo", severity: AlarmCondition, extent: _Extent) -> bool:
    low, high = _bound(info, f"{severity}_low"), _bound(info, f"{severity}_high")
    return (low is not None and extent.low < low) or (high is not None and extent.high > high)


# -- declarations -------------------------------------------------------------------------------


def limits_problem(info: "PropertyInfo") -> str | None:
    """Return how limits and dead-bands of a property contradict themselves, None if they do not."""
    return next(filter(None, (check(info) for check in _CHECKS)), None)


def _type_problem(info: "PropertyInfo") -> str | None:
    element = info.value_type.element
    kind = np.dtype(info.dtype).kind if info.dtype is not None else ""
    if has_limits(info) and element not in (*INTEGER_LIMITS, *FLOATS) and kind not in _ORDERED:
        return f"is of type {info.value_type}, which has no limits"
    if has_deadband(info) and not element.is_number and kind not in (*_ORDERED, "c"):
        return f"is of type {info.value_type}, which has no dead-band"
    if (info.value_type.is_vector or kind) and _limits_of(info, _VARIANCE):
        return "is a vector, which has no variance limits"
    return None


def _number_problem(info: "PropertyInfo") -> str | None:
    for name in ("hysteresis", "alarm_delay", "rolling_window", "deadband", "relative_deadband"):
        number = getattr(info, name)
        if not 0 <= number < math.inf:
            return f"has the {name} {number}, which is no finite number from 0 on"
    if info.alarm_delay > MOST_SECONDS:
        return f"has the alarm_delay {info.alarm_delay}, {TOO_LONG}"
    for limit in LIMITS:
        bound = getattr(info, limit.value)
        if bound is not None and not math.isfinite(bound):
            return f"has the {limit} {bound}, which nothing or all is beyond"
    return None


def _order_problem(info: "PropertyInfo") -> str | None:
    for below, above in _ORDER:
        low, high = getattr(info, below), getattr(info, above)
        if low is not None and high is not None and low > high:
            return f"has the {below} {low} above the {above} {high}"
    for severity in ("warn", "alarm"):
        low, high = getattr(info, f"{severity}_low"), getattr(info, f"{severity}_high")
        if low is not None and high is not None and info.hysteresis > high - low:
            return (
                f"has the hysteresis {info.hysteresis}, more than {severity}_low and "
                f"{severity}_high are apart: a {severity} could not end"
            )
    return None


def _name_problem(info: "PropertyInfo") -> str | None:
    declared = [limit.value for limit in LIMITS if getattr(info, limit.value) is not None]
    for attribute in ("acknowledge", "limit_info"):
        for name in getattr(info, attribute):
            if name not in declared:
                known = ", ".join(declared) or "no limits"
                return f"names '{name}' in {attribute}, but has {known}"
    return None


def _window_problem(info: "PropertyInfo") -> str | None:
    if _limits_of(info, _VARIANCE) and info.rolling_window < _SMALLEST_WINDOW:
        return f"has variance limits, but a rolling_window of {info.rolling_window}: 2 is the least"
    return None


_CHECKS: Final[tuple[Callable[["PropertyInfo"], str | None], ...]] = (
    _type_problem,
    _number_problem,
    _order_problem,
    _name_problem,
    _window_problem,
)
