"""Whatever is given to a property becomes a value of its type, or an error that names it."""

import math
import time
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import (
    Array,
    Bool,
    Bytes,
    Choice,
    Complex128,
    Configurable,
    Float32,
    Float64,
    Hash,
    HashProperty,
    Int8,
    Int64,
    State,
    StateProperty,
    String,
    Timestamp,
    UInt64,
    VectorFloat64,
    VectorInt8,
    VectorString,
    decode,
    encode,
)
from pykarabo.errors import BadInputError, OutOfRangeError, WrongShapeError, WrongUnitError


class _Every(Configurable):
    """Has a property of every kind."""

    flag = Bool()
    small = Int8()
    whole = Int64(minimum=-5, maximum=5)
    large = UInt64()
    number = Float64(unit="mm", minimum=-1.0, maximum_exclusive=1.0)
    short = Float32()
    phase = Complex128()
    text = String(regex="[a-z]*")
    raw = Bytes()
    mode = Choice(["slow", "fast"])
    curve = VectorFloat64(min_size=1, max_size=3, default=[0.0])
    steps = VectorInt8()
    words = VectorString(max_size=2)
    table = Array(dtype="uint16", shape=(None, 2))
    tree = HashProperty()
    state = StateProperty()


_PROPERTIES: Final = dict(_Every.schema().properties)
_NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([2**63, 2**64, math.inf, math.nan, -0.0])
)
_SCALARS = (
    st.none()
    | st.booleans()
    | _NUMBERS
    | st.complex_numbers()
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.sampled_from(["3 mm", "1 s", "1e400 mm", "nan mm", "inf", "slow", "ON", "1 parsec/", "%"])
    | st.sampled_from([np.float32(1.5), np.int64(3), np.bool_(True), State.ON, object(), Timestamp])
    | st.builds(np.zeros, st.lists(st.integers(0, 3), max_size=3).map(tuple))
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("key", _PROPERTIES)
@given(_VALUES)
def test_value_is_taken_or_refused_by_name(key: str, value: Any) -> None:
    info = _PROPERTIES[key]
    refused: BadInputError | None = None
    plain: Any = None
    try:
        plain = info.validate(value, device="A/1")
    except BadInputError as error:
        refused = error
    if refused is not None:
        assert (refused.device, refused.key) == ("A/1", key)
        assert f"A/1.{key}" in refused.message
        assert refused.remedy
        assert "\n" not in str(refused)
    elif info.value_type != "hash":
        again = info.validate(decode(encode(plain)), device="A/1")
        assert type(again) is type(plain)


@given(st.floats(-1.0, 1.0, exclude_max=True))
def test_number_within_the_limits_is_kept_exactly(number: float) -> None:
    assert _PROPERTIES["number"].validate(number) == number


@pytest.mark.parametrize("number", [1.0, math.nextafter(-1.0, -2.0), math.nan, math.inf, "1 m"])
def test_number_beyond_the_limits_is_out_of_range(number: Any) -> None:
    with pytest.raises(OutOfRangeError):
        _PROPERTIES["number"].validate(number)


@given(st.integers(-128, 127))
def test_integer_of_the_type_is_kept_in_scalar_and_vector(number: int) -> None:
    assert _PROPERTIES["small"].validate(number) == number
    assert _PROPERTIES["steps"].validate([number]).tolist() == [number]


@given(st.integers(128) | st.integers(max_value=-129))
def test_integer_beyond_the_type_is_refused_in_scalar_and_vector(number: int) -> None:
    for key in ("small", "steps"):
        with pytest.raises(BadInputError):
            _PROPERTIES[key].validate(number if key == "small" else [number])


@pytest.mark.parametrize(
    "text",
    ["9**9**9**9", "9^9^9^9 mm", "(9)**(9**9)", "mm**9**9**9**9", "1 parsec/", " ", "x" * 10**6],
)
def test_text_that_is_no_quantity_is_refused_at_once(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(WrongUnitError) as caught:
        _PROPERTIES["number"].validate(text)
    assert time.monotonic() - started < 1
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "number"), [("0.05 cm", 0.5), ("5e-4 m", 0.5), ("1e-4 m**2/m", 0.1)]
)
def test_quantity_as_text_is_converted(text: str, number: float) -> None:
    assert _PROPERTIES["number"].validate(text) == pytest.approx(number)


@pytest.mark.parametrize("given_", ["hunter2", "x" * 9, 7, ["hunter2"]])
def test_a_secret_value_is_not_in_the_words_of_its_refusal(given_: Any) -> None:
    class Safe(Configurable):
        pin = String(secret=True, regex="[0-9]*", description="Four digits.")

    info = Safe.schema().properties["pin"]
    assert info.validate("4711") == "4711"
    with pytest.raises(BadInputError, match="Four digits") as caught:
        info.validate(given_, device="A/1")
    assert (caught.value.device, caught.value.key) == ("A/1", "pin")
    assert str(given_) not in str(caught.value)


def _with_attribute(name: Any) -> Hash:
    tree = Hash("a", 1)
    tree["a", name] = 2
    return tree


def test_keys_of_a_map_may_be_members_of_an_enumeration() -> None:
    assert _PROPERTIES["tree"].validate({State.ON: 1}) == {"ON": 1}


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("text", "a\ud800", "holds a surrogate, which is no character"),
        ("words", ["a", "b\udcff"], "holds a surrogate, which is no character"),
        ("tree", {"a": object()}, "cannot travel"),
        ("tree", {"a": "\ud800"}, "cannot travel"),
        ("tree", Hash(".".join("a" * 21), 1), "nested deeper than 20"),
        ("tree", {"a": {1: 2}}, "1 is no text of up to 512 characters, as a key"),
        ("tree", {"a": [{"k" * 513: 2}]}, "is no text of up to 512 characters"),
        ("tree", _with_attribute("n" * 513), "is no text of up to 512 characters"),
        ("tree", _with_attribute(5), "5 is no text of up to 512 characters"),
    ],
)
def test_what_could_not_travel_is_refused_where_it_is_given(
    key: str, value: Any, problem: str
) -> None:
    with pytest.raises(BadInputError, match=problem) as raised:
        _PROPERTIES[key].validate(value, device="A/1")
    assert raised.value.key == key
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("info", "value", "problem"),
    [
        (VectorString(), ["x" * 1_000] * 5_000, "cannot hold 4.8 MiB"),
        (VectorString(), ["x"] * 40_001, "cannot hold 40002 texts"),
        (String(), "\u20ac" * 1_500_000, "cannot hold 4.3 MiB"),
        (HashProperty(), {f"{i:04}" + "\u20ac" * 500: i for i in range(8_000)}, "hold 11.5 MiB"),
    ],
)
def test_texts_of_more_than_a_message_holds_are_refused(
    info: Any, value: Any, problem: str
) -> None:
    class Holder(Configurable):
        """Holds it."""

        held = info

    described = Holder.schema().properties["held"]
    with pytest.raises(WrongShapeError, match=problem):
        described.check_size(described.validate(value, device="A/1"), device="A/1")
