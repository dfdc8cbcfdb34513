"""A property that contradicts itself is refused when its class is made, by class, name and line."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from pykarabo.data import (
    Array,
    Bool,
    Bytes,
    Choice,
    ChoiceOfNodes,
    Complex64,
    Configurable,
    DateTime,
    Float64,
    HashProperty,
    Image,
    Int8,
    Int32,
    ListOfNodes,
    Node,
    Property,
    RegexString,
    State,
    StateProperty,
    String,
    Table,
    UInt8,
    VectorBool,
    VectorFloat64,
    VectorInt32,
    VectorString,
    with_attributes,
)
from pykarabo.errors import BadConfigurationError


class _Row(Configurable):
    name = String()


class _BadRow(Configurable):
    inner = HashProperty()


class _NullableRow(Configurable):
    number = Float64(nullable=True)


class _Mode(Enum):
    SLOW = 1
    FAST = 2


def _any(value: Any) -> Any:
    """Hide from type checkers that a value is of a wrong type."""
    return value


_WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "default above maximum": (lambda: Float64(default=5, maximum=1), "default"),
    "default beyond the type": (lambda: UInt8(default=256), "uint8 holds 0 to 255"),
    "default no option": (lambda: String(default="c", options=["a", "b"]), "default"),
    "default not matching": (lambda: String(default="1", regex="[a-z]"), "default"),
    "default of another type": (lambda: Int32(default="one"), "default"),
    "default of another unit": (lambda: Float64(default="3 s", unit="mm"), "default"),
    "default None": (lambda: Int32(default=None), "not nullable"),
    "required with a default": (lambda: Int32(default=1, required=True), "required"),
    "required and read-only": (lambda: Int32(read_only=True, required=True), "read-only"),
    "minimum above maximum": (lambda: Float64(minimum=2, maximum=1), "minimum=2"),
    "nothing between": (lambda: Float64(minimum_exclusive=1, maximum=1), "nothing between"),
    "limit no number": (lambda: Float64(minimum=_any("low")), "no number"),
    "limit NaN": (lambda: Float64(maximum=float("nan")), "no number"),
    "warn outside alarm": (lambda: Float64(warn_high=9, alarm_high=8), "the warn_high 9"),
    "warn below alarm": (lambda: Float64(warn_low=1, alarm_low=2), "the alarm_low 2"),
    "warn low above alarm high": (lambda: Float64(warn_low=5, alarm_high=2), "warn_low=5"),
    "variance limits crossed": (
        lambda: Float64(rolling_window=9, warn_variance_high=2, alarm_variance_high=1),
        "the warn_variance_high 2",
    ),
    "variance without window": (lambda: Float64(warn_variance_high=1), "rolling_window"),
    "variance of one value": (lambda: Float64(alarm_variance_low=1, rolling_window=1), "window"),
    "unknown limit": (lambda: Float64(acknowledge=["alarm_hihg"]), "'alarm_hihg'"),
    "limit that is not there": (lambda: Float64(acknowledge=["alarm_high"]), "but has no limits"),
    "text of an unknown limit": (lambda: Float64(limit_info={"high": "close it"}), "'high'"),
    "negative hysteresis": (lambda: Float64(hysteresis=-1), "the hysteresis -1"),
    "negative delay": (lambda: Float64(alarm_delay=-0.1), "alarm_delay"),
    "negative dead-band": (lambda: Float64(deadband=-1), "deadband"),
    "negative relative dead-band": (lambda: Float64(relative_deadband=-1), "relative_deadband"),
    "endless delay": (lambda: Float64(warn_low=1, alarm_delay=1e300), "longer than ten years"),
    "endless interval": (lambda: String(archive_interval=float("inf")), "longer than ten years"),
    "negative interval": (lambda: Float64(archive_interval=-1), "archive_interval"),
    "negative window": (lambda: Float64(rolling_window=-1), "rolling_window"),
    "dead-band NaN": (lambda: Float64(deadband=float("nan")), "deadband"),
    "regex that does not compile": (lambda: String(regex="("), "compiled"),
    "regex of a convenience": (lambda: RegexString("["), "compiled"),
    "regex on a number": (lambda: Int32(regex="[0-9]"), "no regex"),
    "options of another type": (lambda: Int32(options=["a"]), "an option"),
    "options outside the limits": (lambda: Int32(options=[1, 5], maximum=4), "an option"),
    "no options": (lambda: Int32(options=[]), "no options"),
    "elements that are no options": (lambda: VectorInt32(options=["a"]), "an option"),
    "min_size above max_size": (lambda: VectorInt32(min_size=3, max_size=2), "min_size=3"),
    "negative size": (lambda: VectorInt32(min_size=-1), "min_size"),
    "sizes of a scalar": (lambda: Int32(max_size=3), "no max_size"),
    "negative shape": (lambda: Array(shape=(2, -1)), "-1"),
    "shape of no integers": (lambda: Array(shape=_any((2.5,))), "2.5"),
    "unknown dtype": (lambda: Array(dtype="float17"), "float17"),
    "dtype of texts": (lambda: Array(dtype="U8"), "no number"),
    "dtype of a vector": (lambda: VectorFloat64(dtype="float32"), "no dtype"),
    "shape of a text": (lambda: String(shape=(1,)), "no shape"),
    "unknown unit": (lambda: Float64(unit="florins"), "florins"),
    "unit that hangs": (lambda: Float64(unit="9**9**9**9"), "unit"),
    "unit of a text": (lambda: String(unit="mm"), "no unit"),
    "unit of a bool": (lambda: Bool(unit="mm"), "no unit"),
    "unknown state": (lambda: Int32(allowed_states=_any(["ONN"])), "'ONN'"),
    "limits of a text": (lambda: String(maximum=3), "no maximum"),
    "limits of a complex number": (lambda: Complex64(maximum=3), "no maximum"),
    "alarms of bytes": (lambda: Bytes(alarm_high=3), "no limits"),
    "alarms of bools": (lambda: VectorBool(warn_low=1), "no limits"),
    "dead-band of a state": (lambda: StateProperty(deadband=1), "no dead-band"),
    "options of a map": (lambda: HashProperty(options=[{}]), "no options"),
    "options of an array": (lambda: Array(options=[1]), "no options"),
    "limits of a date": (lambda: DateTime(minimum=1), "no minimum"),
    "date without zone": (lambda: DateTime(default="2026-01-01T00:00:00"), "time zone"),
    "unknown encoding": (lambda: Image(encoding=_any("grey")), "'gray'"),
    "choice of nothing": (lambda: Choice([]), "options"),
    "choice of several types": (lambda: Choice(["a", 1]), "all text"),
    "choice of bools": (lambda: Choice([True, False]), "all text"),
    "default of no member": (lambda: Choice(_Mode, default=3), "default"),
    "table without columns": (lambda: Table(Configurable), "without columns"),
    "table of maps": (lambda: Table(_BadRow), "'inner'"),
    "table of what can be None": (lambda: Table(_NullableRow), "None"),
    "table with a unit": (lambda: Table(_Row, unit="mm"), "no unit"),
    "group of unknown data": (lambda: Node(_Row, daq_data_type="shot"), "'shot'"),
    "choice of no groups": (lambda: ChoiceOfNodes({}), "nothing to choose"),
    "choice of another group": (lambda: ChoiceOfNodes({"a": _Row}, default="b"), "'b'"),
    "list that cannot be": (lambda: ListOfNodes(_Row, min_size=2, max_size=1), "min_size=2"),
}


@pytest.mark.parametrize("case", _WRONG)
def test_contradiction_is_refused_by_class_name_and_place(case: str) -> None:
    make, reason = _WRONG[case]
    with pytest.raises(BadConfigurationError) as caught:
        type("Motor", (Configurable,), {"speed": make()})
    assert "'Motor.speed'" in caught.value.message
    assert reason in caught.value.message
    assert caught.value.key == "speed"
    assert caught.value.remedy
    assert f"{Path(__file__).name}:" in caught.value.message


def test_two_properties_with_one_key_are_refused() -> None:
    with pytest.raises(BadConfigurationError, match=r"'Motor'.*'speed'.*test_declarations\.py:"):
        type("Motor", (Configurable,), {"speed": Int32(), "velocity": Int32(key="speed")})


def test_place_is_the_line_of_the_declaration() -> None:
    source = "\n\nclass Motor(Configurable):\n a = Int8()\n b = Float64(\n  default=3, maximum=1)"
    names = {"Configurable": Configurable, "Int8": Int8, "Float64": Float64, "__name__": "m"}
    with pytest.raises(BadConfigurationError, match=r"\(motor\.py:5\)"):
        exec(compile(source, "motor.py", "exec"), names)


def test_property_of_a_plain_base_class_is_checked_too() -> None:
    class Mixin:
        speed = Int32(maximum=1, default=2)

    with pytest.raises(BadConfigurationError, match=r"'Motor\.speed'"):
        type("Motor", (Mixin, Configurable), {})


@pytest.mark.parametrize(
    "made",
    [
        Float64(
            default="1 cm",
            unit="mm",
            minimum=0,
            maximum_exclusive=100,
            warn_high=50,
            alarm_high=80,
            hysteresis=1.0,
            alarm_delay=2.0,
            acknowledge=["alarm_high"],
            limit_info={"alarm_high": "close the valve"},
            rolling_window=10,
            alarm_variance_high=2.0,
            deadband=0.1,
            relative_deadband=0.01,
            archive_interval=1.0,
        ),
        Int32(options=[1, 2], default=2),
        VectorString(options=["a", "b"], regex="[a-z]", max_size=0),
        Array(dtype=">i2", shape=(0, None)),
        String(allowed_states=_any(["ON", State.OFF])),
        Float64(unit="kg*m**2/s"),
        Float64(unit="furlong"),
        Int32(nullable=True, default=None),
        Int32(nullable=True, required=True),
    ],
)
def test_what_makes_sense_is_taken(made: Property[Any]) -> None:
    cls: Any = type("Motor", (Configurable,), {"speed": made})
    assert cls.schema().properties["speed"].key == "speed"


def test_default_and_options_are_kept_as_plain_values() -> None:
    class Motor(Configurable):
        position = Float64(default="1 cm", unit="mm", options=["1 cm", 2])
        moved = DateTime(default="2026-01-01T00:00:00Z")

    infos = Motor.schema().properties
    assert (infos["position"].default, infos["position"].options) == (10.0, (10.0, 2.0))
    assert infos["moved"].default == "2026-01-01T00:00:00+00:00"


def test_what_belongs_to_the_type_cannot_be_changed_later() -> None:
    cls = type("Scan", (Configurable,), {"steps": Table(_Row), "mode": Choice(_Mode)})
    for key, attributes in (("steps", {"rows": _Row}), ("mode", {"option_names": ("A",)})):
        with pytest.raises(BadConfigurationError, match="no attribute"):
            with_attributes(cls, key, attributes)
    with pytest.raises(BadConfigurationError, match="_Mode"):
        with_attributes(cls, "mode", {"options": [1, 3]})
    changed = with_attributes(cls, "mode", {"options": [_Mode.FAST], "default": None})
    assert changed.schema().properties["mode"].option_names == ("FAST",)
