"""The warnings and alarms of one device, and what of its changes is too small to publish."""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pykarabo.data import (
    ATTRIBUTES,
    Alarm,
    AlarmCondition,
    AlarmMachine,
    DeadBand,
    PropertyInfo,
    PropertyValue,
    Quality,
    Schema,
    Timestamp,
    has_deadband,
    has_limits,
    most_significant_alarm,
    same,
)
from pykarabo.errors import BadConfigurationError, UnknownAlarmError
from pykarabo.transport import Clock

_SINCE_DIGITS: Final = 9
_EXPLICIT: Final = (AlarmCondition.WARN, AlarmCondition.ALARM, AlarmCondition.INTERLOCK)
_JUDGED_BY: Final = (
    *(name for name in ATTRIBUTES if not name.startswith("archive")),
    "value_type",
    "dtype",
)
"""The attributes of a property that its values are watched by."""


class _Monitor:
    """What watches one property: its limits, its dead-band, or both."""

    def __init__(self, info: PropertyInfo, before: "_Monitor | None") -> None:
        earlier = None if before is None else before.machine
        self.info = info
        self.machine: AlarmMachine | None = None
        if has_limits(info) or earlier is not None:
            self.machine = AlarmMachine(info, earlier)
        self.band = DeadBand(info) if has_deadband(info) else None

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        return () if self.machine is None else self.machine.alarms

    @property
    def quality(self) -> Quality:
        return Quality.VALID if self.machine is None else self.machine.quality

    @property
    def due_ns(self) -> int | None:
        return None if self.machine is None else self.machine.due_ns

    def is_indifferent(self, value: Any) -> bool:
        """Tell whether a value is VALID and changes no alarm."""
        return self.machine is None or self.machine.changes_nothing(value)

    def passes(self, value: PropertyValue) -> bool:
        """Tell whether a value is to be published."""
        return self.band is None or self.band.passes(value)

    def judge(self, value: PropertyValue, now_ns: int, *, measured: bool) -> PropertyValue:
        if self.machine is None:
            return value._replace(quality=Quality.VALID)
        quality = self.machine.update(value.value, now_ns, value.timestamp, measured=measured)
        return value._replace(quality=quality)


class Declaration(NamedTuple):
    """Properties that are to be watched, and what comes of it for the values that there are.

    Attributes:
        judged: values with their quality.
        shown: what the device's properties will show of its alarms; empty if they stay the same.
    """

    watched: Mapping[str, PropertyInfo]
    monitors: dict[str, _Monitor]
    judged: dict[str, PropertyValue]
    alarms: tuple[Alarm, ...]
    shown: dict[str, Any]


class DeviceAlarms:
    """Judges the values of a device where they are set, in any thread.

    Args:
        store: keeps a value under its key and, if told so, publishes it.
        values: tells what is kept.
        show: sets the properties ``alarm_condition`` and ``alarms``.

    A property is watched from its first value on that is not VALID by itself, or is set: devices
    have many limits that nothing ever comes near to.

    Attributes:
        watched: the properties that have limits or a dead-band; nothing is done for others.
        lock: while it is held no other thread sets a value of those.
    """

    def __init__(
        self,
        device_id: str,
        *,
        clock: Clock,
        store: Callable[[str, PropertyValue, bool], None],
        values: Callable[[], Mapping[str, PropertyValue]],
        show: Callable[[dict[str, Any]], None],
        log: logging.Logger,
    ) -> None:
        self.watched: Mapping[str, PropertyInfo] = {}
        self._monitors: dict[str, _Monitor] = {}
        self._device_id = device_id
        self._clock = clock
        self._store = store
        self._values = values
        self._show = show
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.lock = threading.RLock()
        self._own: dict[str, Alarm] = {}
        self._shown: tuple[Alarm, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._open = False

    # -- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to wait for the ends of delays."""
        self._open = True
        self._wait()

    def close(self) -> None:
        """Wait for nothing any more."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def declare(self, schema: Schema, values: Mapping[str, PropertyValue]) -> None:
        """Watch the properties of a schema from now on; initial values get their quality."""
        with self.lock:
            declared = self.prepared(schema, values, ())
            self.take_over(declared)
            for key, value in declared.judged.items():
                self._store(key, value, False)
            self._show(declared.shown)

    def prepared(
        self, schema: Schema, values: Mapping[str, PropertyValue], measured: Collection[str]
    ) -> Declaration:
        """Return what it is to watch the properties of a schema; nothing is changed yet.

        Who calls it holds `lock` until he has called `take_over`.

        Args:
            values: what is kept under descriptions that are new.
            measured: keys of `values` that were set already, so that what they pass must be
                acknowledged if it is declared so.
        """
        monitors: dict[str, _Monitor] = {}
        judged: dict[str, PropertyValue] = {}
        for key, info in schema.watched.items():
            before, value = self._monitors.get(key), values.get(key)
            if before is not None and self._goes_on(before, info, value):
                monitors[key] = before
                if value is not None:
                    judged[key] = value._replace(quality=before.quality)
            elif before is not None or (value is not None and value.quality is not Quality.VALID):
                monitors[key] = monitor = _Monitor(info, before)
                if value is not None:
                    judged[key] = self._judged_first(monitor, value, measured=key in measured)
        monitors |= self._left_without(schema.watched)
        alarms = self._all_of(monitors)
        return Declaration(schema.watched, monitors, judged, alarms, self._to_show(alarms))

    def _left_without(self, watched: Collection[str]) -> dict[str, _Monitor]:
        """Return what holds alarms that nobody has acknowledged of what is watched no more."""
        left = {
            key: _Monitor(PropertyInfo(key, before.info.value_type), before)
            for key, before in self._monitors.items()
            if key not in watched and before.alarms
        }
        return {key: monitor for key, monitor in left.items() if monitor.alarms}

    def _goes_on(self, before: _Monitor, info: PropertyInfo, value: PropertyValue | None) -> bool:
        """Tell whether a property is judged as before, and what has become of it still counts."""
        alike = all(getattr(before.info, name) == getattr(info, name) for name in _JUDGED_BY)
        return alike and (value is None or same(value.value, self._values()[info.key].value))

    def take_over(self, declared: Declaration) -> None:
        """Watch what was prepared from now on; who calls it shows what has changed."""
        self._monitors, self.watched = declared.monitors, declared.watched
        before, self._shown = self._shown, declared.alarms
        self._log_changes(before, declared.alarms)
        self._wait()

    def _judged_first(
        self, monitor: _Monitor, value: PropertyValue, *, measured: bool
    ) -> PropertyValue:
        """Return a value that others know already, with its quality."""
        judged = monitor.judge(value, self._clock.monotonic_ns(), measured=measured)
        if monitor.band is not None:
            monitor.band.told(judged)
        return judged

    # -- values ---------------------------------------------------------------------------------

    def _monitor(self, key: str) -> _Monitor | None:
        """Return what watches a property from now on, None if nothing has to."""
        monitor = self._monitors.get(key)
        if monitor is None and key in self.watched:
            monitor = _Monitor(self.watched[key], None)
            self._judged_first(monitor, self._values()[key], measured=False)
            self._monitors[key] = monitor
            if monitor.quality is not Quality.VALID or monitor.due_ns is not None:
                self._tell()  # a thread has set it before it got its limits
                self._wait()
        return monitor

    def take(self, key: str, value: Any, at: Timestamp) -> None:
        """Judge, keep and publish a value of a property that is watched."""
        with self.lock:
            monitor = self._monitor(key)
            if monitor is None:  # its limits were taken away while another thread set it
                self._store(key, PropertyValue(value, at), True)
                return
            told = PropertyValue(value, at)
            if monitor.is_indifferent(value):
                self._store(key, told, monitor.passes(told))
                return
            before, due_ns = monitor.alarms, monitor.due_ns
            judged = monitor.judge(told, self._clock.monotonic_ns(), measured=True)
            self._store(key, judged, monitor.passes(judged))
            if monitor.alarms is not before:
                self._tell()
            if monitor.due_ns != due_ns:
                self._wait()

    def look(self) -> None:
        """Raise what has been beyond its limit for long enough."""
        with self.lock:
            now_ns = self._clock.monotonic_ns()
            for key, monitor in list(self._monitors.items()):
                if monitor.machine is not None and _is_due(monitor, now_ns):
                    self._requalify(key, monitor, monitor.machine.pass_time(now_ns))
            self._tell()
            self._wait()

    def _requalify(self, key: str, monitor: _Monitor, quality: Quality) -> None:
        """Publish the present value once more when only its quality is another one."""
        value = self._values()[key]
        if value.quality is not quality:
            value = value._replace(quality=quality)
            if monitor.band is not None:
                monitor.band.told(value)
            self._store(key, value, True)

    def _wait(self) -> None:
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._wait)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self.lock:
            due = [item.due_ns for item in self._monitors.values() if item.due_ns is not None]
        if due and self._open:
            left_s = max(0, min(due) - self._clock.monotonic_ns()) / 1e9
            self._timer = self._loop.call_later(left_s, self.look)

    # -- alarms ---------------------------------------------------------------------------------

    def raise_own(
        self, source: str, condition: str, text: str, at: Timestamp, needs_acknowledge: bool
    ) -> None:
        """Raise an alarm that no limit stands for, or change its severity or text.

        Raises:
            BadConfigurationError: it bears the name of a property with limits, or a condition that
                is not one of ``warn``, ``alarm``, ``interlock``.
        """
        if source in self.watched:
            raise self._unfit(source, "bears the name of a property with limits", "rename it")
        if condition not in _EXPLICIT:
            raise self._unfit(source, f"cannot be '{condition}'", f"give {' or '.join(_EXPLICIT)}")
        alarm = Alarm(
            source,
            AlarmCondition(condition),
            at,
            text=text,
            needs_acknowledge=needs_acknowledge,
        )
        with self.lock:
            known = self._own.get(source)
            if known is not None and known.condition is alarm.condition:
                alarm = replace(known, text=text, needs_acknowledge=needs_acknowledge, present=True)
            self._own[source] = alarm
            self._tell()

    def _unfit(self, source: str, problem: str, remedy: str) -> BadConfigurationError:
        return BadConfigurationError(
            f"alarm '{source}' of '{self._device_id}' {problem}",
            device=self._device_id,
            key=source,
            remedy=remedy,
        )

    def clear_own(self, source: str) -> None:
        """End an alarm that no limit stands for; one that nobody has acknowledged may stay."""
        with self.lock:
            known = self._own.get(source)
            if known is not None:
                self._keep_own(replace(known, present=False))
                self._tell()

    def acknowledge(self, source: str, by: str) -> None:
        """Note who knows of the alarms of a property, or of one that the author has raised.

        Raises:
            UnknownAlarmError: there is none.
        """
        with self.lock:
            if not any(alarm.source == source for alarm in self._shown):
                there = ", ".join(sorted({alarm.source for alarm in self._shown})) or "none"
                raise UnknownAlarmError(
                    f"device '{self._device_id}' has no alarm '{source}'",
                    device=self._device_id,
                    key=source,
                    remedy=f"its property 'alarms' shows what there is: {there}",
                )
            known = self._own.get(source)
            if known is not None and not known.acknowledged_by:
                self._keep_own(replace(known, acknowledged_by=by))
            monitor = self._monitors.get(source)
            if monitor is not None and monitor.machine is not None:
                monitor.machine.acknowledge(by)
            self._tell()

    def _keep_own(self, alarm: Alarm) -> None:
        if alarm.over:
            del self._own[alarm.source]
        else:
            self._own[alarm.source] = alarm

    def _tell(self) -> None:
        """Show what has changed, if anything has."""
        alarms = self._all_of(self._monitors)
        shown = self._to_show(alarms)
        if shown:
            before, self._shown = self._shown, alarms
            self._log_changes(before, alarms)
            self._show(shown)

    def _all_of(self, monitors: Mapping[str, _Monitor]) -> tuple[Alarm, ...]:
        limits = (alarm for monitor in monitors.values() for alarm in monitor.alarms)
        return (*limits, *self._own.values())

    def _to_show(self, alarms: tuple[Alarm, ...]) -> dict[str, Any]:
        """Return the properties that show alarms, as far as they change."""
        if alarms == self._shown:
            return {}
        shown: dict[str, Any] = {"alarms": {_name(alarm): _row(alarm) for alarm in alarms}}
        worst = _worst(alarms)
        if worst is not _worst(self._shown):
            shown["alarm_condition"] = worst.value
        return shown

    def _log_changes(self, before: Iterable[Alarm], after: Iterable[Alarm]) -> None:
        known = {_name(alarm): alarm for alarm in before}
        for alarm in after:
            was = known.pop(_name(alarm), None)
            if was is None or (alarm.present and not was.present):
                level = logging.WARNING if alarm.condition.rank == 1 else logging.ERROR
                self._log.log(level, "%s%s", _name(alarm), _said(alarm))
            elif was.present and not alarm.present:
                self._log.info("%s is over and waits to be acknowledged", _name(alarm))
            elif alarm.acknowledged_by != was.acknowledged_by:
                self._log.info("%s acknowledged by %s", _name(alarm), alarm.acknowledged_by)
        for name in known:
            self._log.info("%s is over", name)


def _is_due(monitor: _Monitor, now_ns: int) -> bool:
    due_ns = monitor.due_ns
    return due_ns is not None and due_ns <= now_ns


def _worst(alarms: Iterable[Alarm]) -> AlarmCondition:
    return most_significant_alarm(alarm.condition for alarm in alarms)


def _name(alarm: Alarm) -> str:
    return f"{alarm.source}/{alarm.condition}"


def _said(alarm: Alarm) -> str:
    """Return what is known of an alarm, for the log."""
    number = "" if alarm.value is None else f" at {alarm.value:g}"
    return f"{number}: {alarm.text}" if alarm.text else number


def _row(alarm: Alarm) -> dict[str, Any]:
    return {
        "source": alarm.source,
        "condition": alarm.condition.value,
        "severity": alarm.condition.severity.value,
        "value": alarm.value,
        "since": alarm.since.iso(_SINCE_DIGITS),
        "text": alarm.text,
        "needs_acknowledge": alarm.needs_acknowledge,
        "acknowledged_by": alarm.acknowledged_by,
        "present": alarm.present,
    }
