"""Every error class travels under its own code and says what to do next."""

import ast
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pykarabo
from pykarabo import errors
from pykarabo.data import decode, encode
from pykarabo.errors import (
    BadInputError,
    NotExecutedError,
    OutcomeUnknownError,
    PykaraboError,
    RemoteError,
    did_you_mean,
    near_matches,
)

_ROOT: Final = Path(pykarabo.__file__).parents[1]
_SOURCES: Final = [*_ROOT.glob("pykarabo/**/*.py"), *_ROOT.glob("services/**/*.py")]
_CLASSES: Final = [
    item
    for item in vars(errors).values()
    if isinstance(item, type) and issubclass(item, PykaraboError)
]
_EXIT_CODES: Final = {
    NotExecutedError: (1, 3, 4),
    BadInputError: (3,),
    OutcomeUnknownError: (5,),
    RemoteError: (6,),
}
_TEXT = st.text(max_size=20)
_DETAILS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.text(min_size=1, max_size=5), st.none() | st.booleans() | st.integers(-9, 9) | _TEXT
)
_OPTIONAL = st.none() | _TEXT


def test_codes_are_unique() -> None:
    assert len({cls.code for cls in _CLASSES}) == len(_CLASSES)


@pytest.mark.parametrize("cls", _CLASSES)
def test_class_has_a_stable_code_an_exit_code_and_a_docstring(cls: type[PykaraboError]) -> None:
    assert cls.code == "".join(
        f"_{letter.lower()}" if letter.isupper() else letter
        for letter in cls.__name__.removesuffix("Error")
    ).lstrip("_")
    assert 0 < cls.exit_code < 8
    assert cls.__doc__
    for base, allowed in _EXIT_CODES.items():
        if issubclass(cls, base):
            assert cls.exit_code in allowed


@pytest.mark.parametrize("cls", _CLASSES)
@given(
    st.text(min_size=1, max_size=20),
    st.fixed_dictionaries(
        {"device": _OPTIONAL, "key": _OPTIONAL, "remedy": _OPTIONAL, "details": _DETAILS}
    ),
)
def test_error_arrives_as_what_it_was(
    cls: type[PykaraboError], message: str, more: dict[str, Any]
) -> None:
    sent = cls(message, **more)
    received = PykaraboError.from_wire(decode(encode(sent.to_wire())))
    assert type(received) is cls
    assert received.to_wire() == sent.to_wire()
    assert str(received) == str(sent)
    assert (sent.foreign, received.foreign) == (False, True)


@pytest.mark.parametrize("cls", _CLASSES)
def test_error_can_be_pickled_and_copied(cls: type[PykaraboError]) -> None:
    error = cls("bad", device="A/1", key="speed", remedy="go slower", details={"limit": 3})
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is cls
        assert twin.to_wire() == error.to_wire()


@given(
    st.dictionaries(
        st.sampled_from(["code", "message", "device", "key", "remedy", "details", "more"]),
        _DETAILS | st.none() | st.integers() | _TEXT | st.lists(_TEXT),
    )
)
def test_whatever_arrives_as_an_error_becomes_one(wire: dict[str, Any]) -> None:
    error = PykaraboError.from_wire(wire)
    assert isinstance(error.message, str)
    assert str(error)
    assert PykaraboError.from_wire(error.to_wire()).to_wire() == error.to_wire()


def test_error_of_a_later_version_is_a_remote_error_with_its_code() -> None:
    error = PykaraboError.from_wire({"code": "beam_lost", "message": "no beam"})
    assert type(error) is RemoteError
    assert error.details == {"code": "beam_lost"}


def _raised() -> Iterator[tuple[str, ast.Call]]:
    names = {cls.__name__ for cls in _CLASSES}
    for path in _SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in names
            ):
                yield f"{path.relative_to(_ROOT)}:{node.lineno}", node


def test_whatever_is_raised_says_what_helps() -> None:
    places = dict(_raised())
    assert len(places) > 50
    bare = [
        place
        for place, call in places.items()
        if "remedy" not in {item.arg for item in call.keywords}
    ]
    assert bare == []


def test_remedy_stands_behind_the_message() -> None:
    assert str(PykaraboError("it is late", remedy="wait")) == "it is late - wait"
    assert str(PykaraboError("it is late")) == "it is late"


@pytest.mark.parametrize(
    ("name", "found"), [("valeu", ["value"]), ("VALUE", ["value"]), ("zzz", []), ("", [])]
)
def test_near_names_are_found(name: str, found: list[str]) -> None:
    assert near_matches(name, ["value", "speed"]) == found
    assert bool(did_you_mean(name, ["value", "speed"])) == bool(found)
