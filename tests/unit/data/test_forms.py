"""Whatever a Hash or a Schema holds comes back from every form as it was, or is refused."""

import contextlib
import io
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykarabo.data import (
    Hash,
    Limits,
    Schema,
    decode,
    encode,
    from_binary,
    from_json,
    from_xml,
    read_hdf5,
    same,
    to_binary,
    to_json,
    to_xml,
    write_hdf5,
)
from pykarabo.errors import (
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
    VersionMismatchError,
    WrongTypeError,
)
from tests.unit.data.values import SCHEMAS, VALUES, hashes


class _Form(NamedTuple):
    name: str
    write: Callable[[Any], bytes]
    read: Callable[..., Any]


def _to_hdf5(value: Any) -> bytes:
    file = io.BytesIO()
    write_hdf5(value, file)
    return file.getvalue()


def _from_hdf5(content: bytes, *limits: Limits) -> Any:
    return read_hdf5(io.BytesIO(content), *limits)


_FORMS: Final = [
    _Form("json", lambda value: to_json(value).encode(), from_json),
    _Form("xml", lambda value: to_xml(value).encode(), from_xml),
    _Form("binary", to_binary, from_binary),
    _Form("hdf5", _to_hdf5, _from_hdf5),
]
_ANY_FORM: Final = pytest.mark.parametrize("form", _FORMS, ids=[form.name for form in _FORMS])
_TYPED: Final = (MalformedMessageError, LimitExceededError, VersionMismatchError)


def _nested(levels: int) -> Hash:
    made = Hash({"leaf": 1})
    for _ in range(levels - 1):
        made = Hash({"node": made})
    return made


@_ANY_FORM
@settings(max_examples=40)
@given(VALUES | hashes())
def test_value_comes_back_as_it_was(form: _Form, value: Any) -> None:
    assert same(form.read(form.write(value)), value)


@_ANY_FORM
@settings(max_examples=20)
@given(SCHEMAS)
def test_schema_comes_back_as_it_was(form: _Form, schema: Schema) -> None:
    back = form.read(form.write(Hash({"schema": schema})))["schema"]
    assert type(back) is Schema
    assert same(back.to_wire(), schema.to_wire())
    assert back.version == schema.version


@settings(max_examples=20)
@given(hashes())
def test_forms_agree_with_each_other_and_with_the_wire(value: Hash) -> None:
    for form in _FORMS:
        value = form.read(form.write(value))
    assert same(value, decode(encode(value)))


@_ANY_FORM
def test_arrays_keep_every_bit_and_are_read_only(form: _Form) -> None:
    payload = np.array([0x7FF8DEAD00000001, 0x8000000000000000], np.uint64).view(np.float64)
    large = np.random.default_rng(1).bytes(8 * 1_000)
    value = Hash({"nan": payload, "large": np.frombuffer(large, ">f8").reshape(10, 100)})
    back = form.read(form.write(value))
    assert back["nan"].tobytes() == payload.tobytes()
    assert back["large"].tobytes() == large
    assert back["large"].dtype == np.dtype(">f8")
    assert not back["large"].flags.writeable


class _Gear(Enum):
    HIGH = 3


@_ANY_FORM
@pytest.mark.parametrize(
    ("given_value", "stored"),
    [
        ((1, (2, "x")), [1, [2, "x"]]),
        (frozenset({3}), [3]),
        (_Gear.HIGH, 3),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
    ],
)
def test_relatives_are_stored_as_what_they_are_related_to(
    form: _Form, given_value: Any, stored: Any
) -> None:
    assert same(form.read(form.write(Hash({"it": given_value})))["it"], stored)


@_ANY_FORM
@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        "\ud800",
        {1: 2},
        {"\udfff": 1},
        object(),
        np.array(["a"]),
        np.array([object()]),
        np.ma.masked_array([1, 2], [True, False]),
        np.datetime64(1, "s"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_stored_is_refused_with_its_path(form: _Form, value: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"'motor\.list\.1'"):
        form.write(Hash({"motor": {"list": [0, value]}}))


@_ANY_FORM
def test_depth_is_limited_alike_in_both_directions(form: _Form) -> None:
    assert same(form.read(form.write(_nested(64))), _nested(64))
    with pytest.raises(LimitExceededError):
        form.write(_nested(65))
    with pytest.raises(LimitExceededError):
        form.read(form.write(_nested(9)), Limits(max_depth=8))
    assert form.read(form.write(_nested(8)), Limits(max_depth=8)) == _nested(8)


@_ANY_FORM
def test_number_of_values_and_bytes_is_limited(form: _Form) -> None:
    many = form.write(Hash({"many": [None] * 400, "text": "x" * 20_000}))
    with pytest.raises(LimitExceededError):
        form.read(many, Limits(max_nodes=100))
    with pytest.raises(LimitExceededError):
        form.read(form.write(Hash({"long" * 200: 1})), Limits())
    if form.name != "hdf5":
        with pytest.raises(LimitExceededError):
            form.read(many, Limits(max_body=1_000))


@_ANY_FORM
@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_with_a_type(form: _Form, content: bytes) -> None:
    with pytest.raises(_TYPED):
        form.read(content)


@_ANY_FORM
@settings(max_examples=100)
@given(st.data())
def test_damaged_content_is_refused_with_a_type_or_understood(
    form: _Form, data: st.DataObject
) -> None:
    content = bytearray(form.write(_EXAMPLE))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(*_TYPED):
        form.read(bytes(content))


@_ANY_FORM
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_cut_content_is_refused(form: _Form, share: float) -> None:
    content = form.write(_EXAMPLE)
    with pytest.raises(_TYPED):
        form.read(content[: int(len(content) * share)])


def _example() -> Hash:
    made = Hash({"motor": {"speed": 1.5, "name": "M\0 <1>", "steps": np.int16(4)}})
    made.set("motor.trace", np.arange(6.0).reshape(2, 3), unit="mm", limits=[1, 2.5, None])
    made["rows"] = [Hash({"a": 1j}), Hash({"a": b"\0\xff"})]
    made["schema"] = Schema("Motor")
    made["map"] = {"big": np.zeros(400), "none": None}
    return made


_EXAMPLE: Final = _example()


def test_later_version_is_refused_and_both_are_named() -> None:
    later: dict[str, bytes] = {
        "json": to_json(1).replace('"version": 1', '"version": 7').encode(),
        "xml": to_xml(1).replace('version="1">', 'version="7">').encode(),
        "binary": to_binary(1)[:8] + (7).to_bytes(4, "big") + to_binary(1)[12:],
        "hdf5": _later_hdf5(),
    }
    for form in _FORMS:
        with pytest.raises(VersionMismatchError, match=r"version 7.*version 1"):
            form.read(later[form.name])


def _later_hdf5() -> bytes:
    import h5py

    file = io.BytesIO(_to_hdf5(1))
    with h5py.File(file, "r+") as root:
        root.attrs["pykarabo_version"] = 7
    return file.getvalue()


@_ANY_FORM
def test_refusal_is_an_error_of_pykarabo_with_a_remedy(form: _Form) -> None:
    with pytest.raises(PykaraboError) as caught:
        form.read(b"nothing of ours")
    assert caught.value.remedy
