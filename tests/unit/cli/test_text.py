"""What programs read loses nothing; what people read fits a line."""

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pykarabo.cli import print_json, print_table, to_text
from pykarabo.cli._text import to_json
from pykarabo.data import PropertyValue, Quality, State, Timestamp


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(to_json(value), allow_nan=False))


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_plain_values_come_through_json_unchanged(value: Any) -> None:
    assert _through_json(value) == value


@given(arrays.arrays(st.sampled_from(["f4", "f8", "i8", "u8", "?"]), st.just((2, 3))))
def test_arrays_come_through_json_with_every_digit(array: Any) -> None:
    back = np.array(_through_json(array), dtype=float if array.dtype.kind == "f" else array.dtype)
    assert np.array_equal(back.astype(array.dtype), array, equal_nan=array.dtype.kind == "f")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_become_texts_that_float_reads(number: float) -> None:
    text = _through_json(number)
    assert isinstance(text, str)
    assert np.array_equal(float(text), number, equal_nan=True)


def test_complex_numbers_become_pairs() -> None:
    assert _through_json(np.array([1 + 2j])) == [[1.0, 2.0]]


def test_bytes_become_base_64() -> None:
    assert base64.b64decode(_through_json(b"\x00\xff")["base64"]) == b"\x00\xff"


def test_a_property_value_keeps_time_train_and_quality() -> None:
    value = PropertyValue(State.ON, Timestamp(1, 5 * 10**17, 77), Quality.WARN)
    assert _through_json({"state": value}) == {
        "state": {
            "value": "ON",
            "timestamp": "1970-01-01T00:00:01.500000000Z",
            "train_id": 77,
            "quality": "warn",
        }
    }


def test_a_json_document_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": "x\ny"})
    assert capsys.readouterr().out == '{"a": "x\\ny"}\n'


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.0, "mm", "1 mm"),
        (0.1 + 0.2, "", "0.3"),
        (True, "", "true"),
        (None, "", "None"),
        ("a\nb", "", "a b"),
        (State.ON, "", "ON"),
        (np.arange(3), "s", "[0, 1, 2] s"),
        (np.arange(20), "", "[0, 1, 2, 3, 4, 5, 6, 7, … (20 in all)]"),
        (np.zeros((2, 3), "uint16"), "", "array 2 x 3 uint16"),
        (["a", "b"], "", "[a, b]"),
        ({"a": np.float32(0.5)}, "", '{"a": 0.5}'),
        ("x" * 200, "", "x" * 100 + "…"),
    ],
)
def test_a_table_shows_a_value_short(value: Any, unit: str, text: str) -> None:
    assert to_text(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1 + 0.2, "mm", "0.30000000000000004 mm"),
        ("a\nb", "", "a\nb"),
        (1 + 2j, "", "(1+2j)"),
        (math.nan, "", "nan"),
        (np.arange(20), "", str(list(range(20)))),
        ({"a": [1]}, "", '{"a": [1]}'),
    ],
)
def test_a_single_value_is_shown_whole(value: Any, unit: str, text: str) -> None:
    assert to_text(value, unit, whole=True) == text


def test_a_table_outside_a_terminal_has_aligned_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("name", "x"), [("a", "1"), ("longer", "")])
    assert capsys.readouterr().out == "name    x\na       1\nlonger\n"


def test_an_empty_table_shows_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "x"), [])
    assert capsys.readouterr().out == "name  x\n"
