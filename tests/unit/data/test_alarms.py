"""The machine that judges a property's values: limits, hysteresis, delay, acknowledgement."""

import math
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import (
    Alarm,
    AlarmCondition,
    AlarmMachine,
    PropertyInfo,
    Quality,
    Timestamp,
    ValueType,
    most_significant_alarm,
)

_S: Final = 10**9
_FOUR: Final[dict[str, Any]] = {
    "warn_low": -5.0,
    "warn_high": 5.0,
    "alarm_low": -10.0,
    "alarm_high": 10.0,
}
_NUMBERS = st.floats(-20, 20) | st.sampled_from([math.nan, math.inf, -math.inf, 5.0, 10.0])


def _info(kind: ValueType = ValueType.FLOAT64, **attributes: Any) -> PropertyInfo:
    return PropertyInfo("pressure", kind, **attributes)


class _Judge:
    """An alarm machine with a clock."""

    def __init__(self, kind: ValueType = ValueType.FLOAT64, **attributes: Any) -> None:
        self.machine = AlarmMachine(_info(kind, **attributes))
        self.now_s = 0.0

    def set(self, value: Any, after_s: float = 0.0, *, measured: bool = True) -> Quality:
        self.now_s += after_s
        now_ns = round(self.now_s * _S)
        at = Timestamp.from_ns(now_ns)
        return self.machine.update(value, now_ns, at, measured=measured)

    def wait(self, seconds: float) -> Quality:
        self.now_s += seconds
        return self.machine.pass_time(round(self.now_s * _S))

    @property
    def alarm(self) -> Alarm:
        alarms = self.machine.alarms
        assert len(alarms) == 1
        return alarms[0]

    @property
    def conditions(self) -> list[str]:
        return [str(alarm.condition) for alarm in self.machine.alarms]


# -- conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "severity", "quality"),
    [
        ("none", "none", Quality.VALID),
        ("warn", "warn", Quality.WARN),
        ("warnLow", "warn", Quality.WARN),
        ("warnHigh", "warn", Quality.WARN),
        ("warnVarianceLow", "warn", Quality.WARN),
        ("warnVarianceHigh", "warn", Quality.WARN),
        ("alarm", "alarm", Quality.ALARM),
        ("alarmLow", "alarm", Quality.ALARM),
        ("alarmHigh", "alarm", Quality.ALARM),
        ("alarmVarianceLow", "alarm", Quality.ALARM),
        ("alarmVarianceHigh", "alarm", Quality.ALARM),
        ("interlock", "interlock", Quality.ALARM),
    ],
)
def test_conditions_of_karabo_are_known(name: str, severity: str, quality: Quality) -> None:
    condition = AlarmCondition(name)
    assert condition.severity == severity
    assert condition.quality is quality
    assert AlarmCondition(condition.value) is condition


@pytest.mark.parametrize("name", ["", "warnlow", "fire", 3])
def test_other_conditions_are_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="not a valid AlarmCondition"):
        AlarmCondition(name)


def test_the_worst_condition_wins_and_the_last_of_equal_ones() -> None:
    low, high = AlarmCondition.ALARM_LOW, AlarmCondition.ALARM_HIGH
    assert most_significant_alarm([low, AlarmCondition.WARN, high]) is high
    assert most_significant_alarm([high, low, AlarmCondition.WARN_HIGH]) is low
    assert most_significant_alarm([low, AlarmCondition.INTERLOCK, high]) == "interlock"
    assert most_significant_alarm([]) is AlarmCondition.NONE


# -- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "quality", "condition"),
    [
        (0.0, Quality.VALID, []),
        (5.0, Quality.VALID, []),
        (5.1, Quality.WARN, ["warn_high"]),
        (-5.1, Quality.WARN, ["warn_low"]),
        (10.0, Quality.WARN, ["warn_high"]),
        (10.1, Quality.ALARM, ["alarm_high"]),
        (-math.inf, Quality.ALARM, ["alarm_low"]),
        (math.inf, Quality.ALARM, ["alarm_high"]),
        (math.nan, Quality.INVALID, []),
        (None, Quality.VALID, []),
    ],
)
def test_limits(value: Any, quality: Quality, condition: list[str]) -> None:
    judge = _Judge(**_FOUR)
    assert judge.set(value) is quality
    assert judge.conditions == condition
    assert _info(**_FOUR).quality_of(value) is quality


def test_an_alarm_tells_what_where_since_when_and_what_to_do() -> None:
    judge = _Judge(alarm_high=10.0, limit_info={"alarm_high": "close the valve"})
    judge.set(1.0)
    judge.set(12.0, after_s=3)
    judge.set(15.0, after_s=1)
    assert judge.machine.alarms == (
        Alarm(
            "pressure",
            AlarmCondition.ALARM_HIGH,
            Timestamp(3, 0),
            value=12.0,
            text="close the valve",
        ),
    )


def test_nothing_is_told_anew_while_nothing_changes() -> None:
    judge = _Judge(**_FOUR)
    judge.set(12.0)
    before = judge.machine.alarms
    judge.set(13.0, after_s=1)
    assert judge.machine.alarms is before


@pytest.mark.parametrize("kind", [ValueType.FLOAT32, ValueType.VECTOR_FLOAT32, ValueType.ARRAY])
def test_a_value_of_32_bits_that_equals_its_limit_is_inside(kind: ValueType) -> None:
    attributes: dict[str, Any] = {"alarm_high": 0.1}
    if kind is ValueType.ARRAY:
        attributes["dtype"] = "float32"
    value: Any = float(np.float32(0.1))
    if kind is not ValueType.FLOAT32:
        value = np.array([value], np.float32)
    assert _Judge(kind, **attributes).set(value) is Quality.VALID
    assert _info(kind, **attributes).quality_of(value) is Quality.VALID
    assert _Judge(kind, **attributes).set(value * np.float32(1.001)) is Quality.ALARM


def test_the_first_and_last_value_of_64_bits_are_judged_exactly() -> None:
    judge = _Judge(ValueType.UINT64, alarm_high=2**63 + 1024)
    assert judge.set(2**63 + 1024) is Quality.VALID
    assert judge.set(2**63 + 1025) is Quality.ALARM


@given(st.lists(_NUMBERS, max_size=20))
def test_without_memory_the_quality_is_that_of_the_value(values: list[float]) -> None:
    judge = _Judge(**_FOUR)
    for value in values:
        assert judge.set(value, after_s=1) is _info(**_FOUR).quality_of(value)
        assert judge.machine.due_ns is None


# -- hysteresis ---------------------------------------------------------------------------------


def test_hysteresis_keeps_alarm_and_warning_until_the_value_is_well_inside() -> None:
    judge = _Judge(**_FOUR, hysteresis=1.0)
    qualities = [judge.set(value) for value in (10.5, 9.5, 9.0, 4.5, 4.0, 4.9)]
    assert [str(quality) for quality in qualities] == [
        "alarm",
        "alarm",
        "warn",
        "warn",
        "valid",
        "valid",
    ]


def test_hysteresis_of_a_lower_limit() -> None:
    judge = _Judge(alarm_low=-10.0, hysteresis=2.0)
    assert [judge.set(value) for value in (-11.0, -8.1, -8.0)] == ["alarm", "alarm", "valid"]


# -- delay --------------------------------------------------------------------------------------


def test_a_short_excursion_raises_nothing() -> None:
    judge = _Judge(alarm_high=10.0, alarm_delay=5.0)
    assert judge.set(11.0) is Quality.VALID
    assert judge.set(11.0, after_s=4.999) is Quality.VALID
    assert judge.set(9.0) is Quality.VALID
    assert judge.machine.due_ns is None
    assert judge.set(11.0, after_s=1) is Quality.VALID
    assert judge.machine.due_ns == round((4.999 + 1 + 5) * _S)


def test_the_delay_ends_without_another_value() -> None:
    judge = _Judge(alarm_high=10.0, alarm_delay=5.0)
    judge.set(11.0, after_s=2)
    assert judge.machine.due_ns == 7 * _S
    assert judge.wait(4.9) is Quality.VALID
    assert judge.wait(0.1) is Quality.ALARM
    assert judge.machine.alarms[0].since == Timestamp(2, 0)
    assert judge.machine.due_ns is None


def test_a_value_within_the_hysteresis_stops_the_delay() -> None:
    judge = _Judge(alarm_high=10.0, alarm_delay=5.0, hysteresis=2.0)
    judge.set(11.0)
    judge.set(9.5, after_s=1)
    assert judge.wait(10) is Quality.VALID


def test_the_warning_comes_while_the_alarm_still_waits() -> None:
    judge = _Judge(warn_high=5.0, alarm_high=10.0, alarm_delay=5.0)
    judge.set(6.0)
    judge.set(11.0, after_s=4)
    assert judge.wait(1) is Quality.WARN
    assert judge.wait(3.9) is Quality.WARN
    assert judge.wait(0.1) is Quality.ALARM
    assert judge.conditions == ["alarm_high"]


# -- acknowledgement ----------------------------------------------------------------------------


def test_an_alarm_stays_until_it_is_acknowledged() -> None:
    judge = _Judge(alarm_high=10.0, acknowledge=("alarm_high",))
    judge.set(11.0)
    assert judge.set(1.0) is Quality.VALID
    alarm = judge.alarm
    assert (alarm.present, alarm.needs_acknowledge, alarm.acknowledged_by) == (False, True, "")
    judge.machine.acknowledge("ada@lab")
    assert judge.conditions == []


def test_an_alarm_that_is_acknowledged_stays_while_it_is_so() -> None:
    judge = _Judge(alarm_high=10.0, acknowledge=("alarm_high",))
    judge.set(11.0)
    judge.machine.acknowledge("ada@lab")
    judge.machine.acknowledge("bob@lab")
    assert judge.machine.alarms[0].acknowledged_by == "ada@lab"
    judge.set(1.0)
    assert judge.conditions == []
    judge.set(11.0)
    assert [alarm.acknowledged_by for alarm in judge.machine.alarms] == [""]


def test_an_alarm_that_comes_back_before_it_is_acknowledged_is_the_same() -> None:
    judge = _Judge(alarm_high=10.0, acknowledge=("alarm_high",))
    judge.set(11.0)
    judge.set(1.0, after_s=1)
    assert judge.set(12.0, after_s=1) is Quality.ALARM
    alarm = judge.alarm
    assert (alarm.present, alarm.since, alarm.value) == (True, Timestamp(0, 0), 11.0)


def test_an_initial_value_need_not_be_acknowledged_until_a_measured_one_confirms_it() -> None:
    judge = _Judge(warn_low=1.0, acknowledge=("warn_low",))
    assert judge.set(0.0, measured=False) is Quality.WARN
    judge.set(2.0)
    assert judge.conditions == []
    judge.set(0.0, measured=False)
    judge.set(0.0)
    judge.set(2.0)
    assert [alarm.present for alarm in judge.machine.alarms] == [False]


# -- NaN and vectors ----------------------------------------------------------------------------


def test_nan_neither_ends_nor_raises_an_alarm() -> None:
    judge = _Judge(alarm_high=10.0)
    assert [judge.set(value) for value in (math.nan, 11.0, math.nan)] == [
        "invalid",
        "alarm",
        "invalid",
    ]
    assert judge.conditions == ["alarm_high"]
    assert judge.set(1.0) is Quality.VALID
    assert judge.conditions == []


@pytest.mark.parametrize("nothing", [None, np.array([])])
def test_no_value_neither_ends_nor_raises_an_alarm(nothing: Any) -> None:
    judge = _Judge(ValueType.VECTOR_FLOAT64, alarm_high=10.0)
    judge.set(np.array([11.0]))
    assert judge.set(nothing) is Quality.ALARM
    assert judge.conditions == ["alarm_high"]
    assert judge.set(np.array([1.0])) is Quality.VALID


def test_a_delay_goes_on_through_nan() -> None:
    judge = _Judge(alarm_high=10.0, alarm_delay=5.0)
    judge.set(11.0)
    judge.set(math.nan, after_s=1)
    assert judge.wait(4) is Quality.INVALID
    assert judge.conditions == ["alarm_high"]


@pytest.mark.parametrize(
    ("values", "quality"),
    [
        ([], Quality.VALID),
        ([1, 2], Quality.VALID),
        ([1, 6], Quality.WARN),
        ([6, -11, 0], Quality.ALARM),
        ([math.nan, 1], Quality.INVALID),
        ([math.nan, 11], Quality.ALARM),
        ([math.nan, math.nan], Quality.INVALID),
    ],
)
def test_one_element_of_a_vector_suffices(values: list[float], quality: Quality) -> None:
    judge = _Judge(ValueType.VECTOR_FLOAT64, **_FOUR)
    assert judge.set(np.array(values, dtype=float)) is quality
    assert _info(ValueType.VECTOR_FLOAT64, **_FOUR).quality_of(np.array(values)) is quality


def test_an_element_that_becomes_nan_does_not_end_an_alarm() -> None:
    judge = _Judge(ValueType.VECTOR_FLOAT64, alarm_high=10.0)
    judge.set(np.array([11.0, 1.0]))
    assert judge.set(np.array([math.nan, 1.0])) is Quality.ALARM
    assert judge.set(np.array([3.0, 1.0])) is Quality.VALID


def test_the_value_told_of_a_vector_is_its_worst_element() -> None:
    judge = _Judge(ValueType.VECTOR_INT8, alarm_high=10, alarm_low=-10)
    judge.set(np.array([11, 127, -128], dtype=np.int8))
    assert {str(alarm.condition): alarm.value for alarm in judge.machine.alarms} == {
        "alarm_low": -128,
        "alarm_high": 127,
    }


# -- variance -----------------------------------------------------------------------------------


def test_variance_is_judged_when_the_window_is_full() -> None:
    judge = _Judge(rolling_window=3, warn_variance_low=0.1, alarm_variance_high=4.0)
    qualities = [judge.set(value) for value in (1.0, 1.0, 1.0, 2.0, 9.0, 9.0, 9.1)]
    assert qualities == ["valid", "valid", "warn", "valid", "alarm", "alarm", "warn"]
    assert judge.conditions == ["warn_variance_low"]
    assert judge.machine.alarms[0].value == pytest.approx(0.01 / 3)


def test_variance_forgets_nothing_that_is_not_finite_and_counts_nothing_of_it() -> None:
    judge = _Judge(rolling_window=2, alarm_variance_high=4.0)
    qualities = [judge.set(value) for value in (1.0, math.nan, math.inf, 1.5, 9.0)]
    assert qualities == ["valid", "invalid", "valid", "valid", "alarm"]


def test_initial_values_are_no_measurement_of_the_variance() -> None:
    judge = _Judge(rolling_window=2, alarm_variance_high=4.0)
    assert judge.set(0.0, measured=False) is Quality.VALID
    assert judge.set(100.0) is Quality.VALID
    assert judge.set(101.0) is Quality.VALID


# -- another declaration ------------------------------------------------------------------------


def test_what_waits_to_be_acknowledged_survives_another_limit_and_its_removal() -> None:
    judge = _Judge(alarm_high=10.0, acknowledge=("alarm_high",))
    judge.set(11.0)
    judge.set(1.0)
    wider = AlarmMachine(_info(alarm_high=20.0, acknowledge=("alarm_high",)), judge.machine)
    assert [alarm.present for alarm in wider.alarms] == [False]
    other = AlarmMachine(_info(alarm_low=0.0), judge.machine)
    assert other.alarms == wider.alarms
    other.acknowledge("op")
    assert other.alarms == ()


class _Expected:
    """What an upper alarm limit of 10 that must be acknowledged is to do, in other words."""

    def __init__(self, delay: float, hysteresis: float) -> None:
        self._delay_ns = round(delay * _S)
        self._hysteresis = hysteresis
        self._since_ns: int | None = None
        self._known = False
        self.shown: bool | None = None

    def wait(self, now_ns: int) -> None:
        if self._since_ns is not None and now_ns - self._since_ns >= self._delay_ns:
            self._since_ns = None
            self._known = self._known and self.shown is not None
            self.shown = True

    def set(self, value: float, now_ns: int) -> None:
        if value > 10.0:
            if not self.shown and self._since_ns is None:
                self._since_ns = now_ns
            self.wait(now_ns)
        elif value <= 10.0:
            self._since_ns = None
            if self.shown and value <= 10.0 - self._hysteresis:
                self.shown = None if self._known else False

    def acknowledge(self) -> None:
        if self.shown is not None:
            self._known = True
            self.shown = self.shown or None


@given(
    st.lists(st.tuples(_NUMBERS, st.floats(0, 3), st.booleans()), max_size=30),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from([0.0, 3.0]),
)
def test_alarms_are_as_expected_in_any_order_of_values_waits_and_acknowledgements(
    steps: list[tuple[float, float, bool]], delay: float, hysteresis: float
) -> None:
    judge = _Judge(
        alarm_high=10.0, alarm_delay=delay, hysteresis=hysteresis, acknowledge=("alarm_high",)
    )
    expected = _Expected(delay, hysteresis)
    for value, pause, acknowledged in steps:
        judge.wait(pause)
        expected.wait(round(judge.now_s * _S))
        if acknowledged:
            judge.machine.acknowledge("ada")
            expected.acknowledge()
        judge.set(value)
        expected.set(value, round(judge.now_s * _S))
        shown = [alarm.present for alarm in judge.machine.alarms]
        assert shown == ([] if expected.shown is None else [expected.shown])
        quality = Quality.ALARM if expected.shown else Quality.VALID
        assert judge.machine.quality is (Quality.INVALID if math.isnan(value) else quality)
