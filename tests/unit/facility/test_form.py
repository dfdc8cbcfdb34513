"""Values of every type are written into a facility file and read back as they were."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pykarabo.data import (
    Array,
    Bool,
    Bytes,
    Complex128,
    Configurable,
    Float64,
    HashProperty,
    PropertyInfo,
    String,
    Table,
    UInt64,
    VectorBool,
    VectorComplex128,
    VectorFloat32,
    VectorInt64,
    VectorString,
    checked_configuration,
    same,
)
from pykarabo.errors import BadInputError
from pykarabo.facility import read_facility
from pykarabo.facility._form import to_form


class Row(Configurable):
    name = String()
    size = Float64(unit="mm")


class Holder(Configurable):
    number = Float64()
    big = UInt64()
    flag = Bool()
    text = String(nullable=True)
    raw = Bytes()
    phase = Complex128()
    flags = VectorBool()
    steps = VectorFloat32()
    counts = VectorInt64()
    words = VectorString()
    phases = VectorComplex128()
    image = Array(dtype="uint16", shape=(None, 2))
    free = Array(nullable=True)
    rows = Table(Row)
    more = HashProperty()


VALUES: list[tuple[str, Any]] = [
    ("number", 1e-7),
    ("number", 0.1 + 0.2),
    ("number", math.nan),
    ("number", -math.inf),
    ("big", 2**64 - 1),
    ("flag", True),
    ("text", "a: b # c\n\tü € \x00 'x' \"y\" ${HOME} $$"),
    ("text", ""),
    ("text", "yes"),
    ("text", "1e3"),
    ("text", "2026-01-01"),
    ("text", None),
    ("raw", b"\x00\xff$"),
    ("phase", complex(1.5, math.inf)),
    ("flags", [True, False]),
    ("steps", [0.1, math.nan]),
    ("counts", []),
    ("counts", [-(2**63)]),
    ("words", ["", "on", "${X}", "- a"]),
    ("phases", [1j]),
    ("image", np.array([[1, 2], [65535, 0]], dtype="uint16")),
    ("free", np.array([[1.5]], dtype="float32")),
    ("rows", [{"name": "a", "size": 1.0}, {"name": "on", "size": 0.1}]),
    ("more", {"a": {"b": [1, None, "x"]}, "$odd": 1}),
    ("more", {"n": np.array([1, 2], dtype="int8"), "c": 1j}),
]


@pytest.mark.parametrize(("key", "value"), VALUES, ids=lambda item: repr(item)[:30])
def test_a_value_that_is_written_and_read_is_the_same(tmp_path: Path, key: str, value: Any) -> None:
    info = Holder.schema().properties[key]
    plain = info.validate(value)
    path = tmp_path / "facility.yaml"
    device = {"class": "Holder", key: to_form(plain, info)}
    path.write_text(yaml.safe_dump({"servers": {"S": {"devices": {"D": device}}}}))
    found = read_facility(path, {}).servers["S"].devices["D"].configuration
    errors: list[BadInputError] = []
    again = checked_configuration(Holder.schema(), found, "D", errors=errors)
    assert errors == []
    assert same(again[key], plain)


def test_what_yaml_can_hold_is_written_as_people_write_it() -> None:
    properties = Holder.schema().properties

    def written(key: str, value: Any, info: PropertyInfo | None = None) -> Any:
        info = info or properties[key]
        return to_form(info.validate(value), info)

    assert written("steps", [0.5]) == [0.5]
    assert written("image", [[1, 2]]) == [[1, 2]]
    assert written("rows", [{"name": "a", "size": 2}]) == [{"name": "a", "size": 2.0}]
    assert written("more", {"a": [1]}) == {"a": [1]}
    assert written("number", 3) == 3.0
    limits = PropertyInfo("x", properties["big"].value_type, default=5)
    assert written("x", 7, limits) == 7
