"""Text of the command line becomes values of the property's type, or a plain refusal."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.cli._parsing import loosely, parse_argument, parse_value, split_assignment
from pykarabo.data import ParameterInfo, PropertyInfo, ValueType
from pykarabo.errors import BadInputError, WrongTypeError, WrongUnitError


def _parse(text: str, kind: ValueType, **more: Any) -> Any:
    """Parse as `set` does: our reading, then the property's own check."""
    info = PropertyInfo("key", kind, **more)
    return info.validate(parse_value(text, info, "A/B/1"), device="A/B/1")


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", ValueType.INT32, 3),
        ("-3", ValueType.INT64, -3),
        ("3", ValueType.FLOAT64, 3.0),
        ("-1e-3", ValueType.FLOAT64, -0.001),
        ("inf", ValueType.FLOAT64, float("inf")),
        ("1+2j", ValueType.COMPLEX128, 1 + 2j),
        ("1 - 2j", ValueType.COMPLEX128, 1 - 2j),
        ("[1, -2]", ValueType.COMPLEX128, 1 - 2j),
        ("on", ValueType.BOOL, True),
        ("TRUE", ValueType.BOOL, True),
        ("1", ValueType.BOOL, True),
        ("off", ValueType.BOOL, False),
        ("false", ValueType.BOOL, False),
        ("0", ValueType.BOOL, False),
        ("12", ValueType.STRING, "12"),
        ("a=b,c", ValueType.STRING, "a=b,c"),
        ("", ValueType.STRING, ""),
        ("@@home", ValueType.STRING, "@home"),
        ("ON", ValueType.STATE, "ON"),
        ("äb", ValueType.BYTES, "äb".encode()),
        ("a, b", ValueType.VECTOR_STRING, ["a", "b"]),
        ('["a, b", "c"]', ValueType.VECTOR_STRING, ["a, b", "c"]),
        ("", ValueType.VECTOR_STRING, []),
        ('{"a": [1, true]}', ValueType.HASH, {"a": [1, True]}),
    ],
)
def test_text_becomes_a_value_of_the_type(text: str, kind: ValueType, value: Any) -> None:
    found = _parse(text, kind)
    assert found == value
    assert type(found) is type(value) or kind is ValueType.STATE


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("1,2,3", ValueType.VECTOR_INT32, [1, 2, 3]),
        ("[1, 2]", ValueType.VECTOR_UINT8, [1, 2]),
        ("1.5, -2", ValueType.VECTOR_FLOAT64, [1.5, -2.0]),
        ("", ValueType.VECTOR_FLOAT64, []),
        ("on,off,1", ValueType.VECTOR_BOOL, [True, False, True]),
        ("1+1j, 2", ValueType.VECTOR_COMPLEX128, [1 + 1j, 2]),
        ("[[1, 1], [2, 0]]", ValueType.VECTOR_COMPLEX128, [1 + 1j, 2]),
    ],
)
def test_lists_are_json_or_separated_by_commas(
    text: str, kind: ValueType, values: list[Any]
) -> None:
    found = _parse(text, kind)
    assert found.dtype == kind.dtype
    assert found.tolist() == values


def test_a_nested_list_becomes_an_array() -> None:
    found = _parse("[[1, 2], [3, 4]]", ValueType.ARRAY, dtype="uint16", shape=(2, None))
    assert found.tolist() == [[1, 2], [3, 4]]
    assert found.dtype == np.uint16


def test_nan_is_a_number() -> None:
    assert np.isnan(_parse("nan", ValueType.FLOAT64))


@pytest.mark.parametrize("text", ["3 cm", "3cm", "30 mm", "30"])
def test_a_number_may_have_its_unit(text: str) -> None:
    assert _parse(text, ValueType.FLOAT64, unit="mm") == pytest.approx(30.0)


def test_a_unit_of_another_dimension_is_refused() -> None:
    with pytest.raises(WrongUnitError, match=r"A/B/1\.key"):
        _parse("3 s", ValueType.FLOAT64, unit="mm")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("perhaps", ValueType.BOOL),
        ("on,perhaps", ValueType.VECTOR_BOOL),
        ("1.5", ValueType.INT32),
        ("x", ValueType.FLOAT64),
        ("[1, 2", ValueType.VECTOR_INT32),
        ("1,x", ValueType.VECTOR_FLOAT64),
        ("[1, 2, 3]", ValueType.COMPLEX128),
        ("ONN", ValueType.STATE),
        ("5", ValueType.HASH),
    ],
)
def test_a_text_that_cannot_be_the_value_is_refused_by_name(text: str, kind: ValueType) -> None:
    with pytest.raises(BadInputError, match=r"A/B/1\.key") as refused:
        _parse(text, kind)
    assert refused.value.remedy


def test_an_array_is_taken_from_a_numpy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert _parse(f"@{tmp_path}/a.npy", ValueType.ARRAY, dtype="int64").shape == (2, 3)


def test_a_list_is_taken_from_a_json_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    assert _parse(f"@{tmp_path}/a.json", ValueType.VECTOR_INT32).tolist() == [1, 2]


def test_text_and_bytes_are_taken_from_a_file_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1}\n')
    assert _parse(f"@{path}", ValueType.STRING) == '{"a": 1}\n'
    assert _parse(f"@{path}", ValueType.BYTES) == b'{"a": 1}\n'


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    for name in ("missing.json", "bad.npy"):
        with pytest.raises(WrongTypeError, match=name):
            _parse(f"@{tmp_path}/{name}", ValueType.VECTOR_INT32)


def test_an_argument_is_refused_with_the_command_it_is_for() -> None:
    parameter = ParameterInfo("fast", ValueType.BOOL)
    with pytest.raises(WrongTypeError, match=r"A/B/1\.move\(fast\)"):
        parse_argument("perhaps", parameter, "move", "A/B/1")


def test_an_argument_of_any_type_is_what_it_looks_like() -> None:
    parameter = ParameterInfo("value", ValueType.ANY)
    read = [parse_argument(text, parameter, "c", "D") for text in ("1", "a", "[1]", "true", "1e3")]
    assert read == [1, "a", [1], True, 1000.0]


@given(st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1) | st.booleans())
def test_what_json_writes_is_read_back(value: float | int | bool) -> None:
    assert loosely(json.dumps(value)) == value


@given(st.text())
def test_no_text_makes_the_reading_of_numbers_fail(text: str) -> None:
    info = PropertyInfo("key", ValueType.VECTOR_COMPLEX128)
    if not text.startswith("@") or text.startswith("@@"):
        parse_value(text, info, "D")


def test_an_assignment_is_split_at_the_first_equals_sign() -> None:
    assert split_assignment("A/1.b=c=d") == ("A/1.b", "c=d")
    assert split_assignment("a=") == ("a", "")


@pytest.mark.parametrize("text", ["a", "=a", ""])
def test_text_without_a_name_and_an_equals_sign_is_no_assignment(text: str) -> None:
    with pytest.raises(click.UsageError):
        split_assignment(text)
