"""What a command takes and returns follows from its annotations, or is refused at once."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import pytest

from pykarabo.data import CommandInfo, ValueType, decode, encode, registry
from pykarabo.device import command
from pykarabo.errors import BadConfigurationError, BadInputError, WrongTypeError


class _Point(TypedDict):
    x: float


def _info(function: Any, **arguments: Any) -> CommandInfo:
    found: CommandInfo = command(**arguments)(function).__pykarabo_command__
    return found


def _many(
    self: Any,
    *,
    point: _Point,
    tree: dict[str, Any],
    mapping: Mapping[str, int],
    image: npt.NDArray[np.float64],
    words: list[str],
    points: list[_Point],
    pair: tuple[int, ...],
    either: int | str,
    maybe: float | None,
    later: float | None = None,
    times: int = 1,
) -> dict[str, Any]:
    return {}


def test_every_kind_of_parameter_has_a_type() -> None:
    info = _info(_many, units={"maybe": "mm"})
    kinds = {item.name: item.value_type for item in info.parameters}
    assert kinds == {
        "point": ValueType.HASH,
        "tree": ValueType.HASH,
        "mapping": ValueType.HASH,
        "image": ValueType.ARRAY,
        "words": ValueType.VECTOR_STRING,
        "points": ValueType.ANY,
        "pair": ValueType.ANY,
        "either": ValueType.ANY,
        "maybe": ValueType.FLOAT64,
        "later": ValueType.FLOAT64,
        "times": ValueType.INT64,
    }
    assert info.returns == "hash"
    assert CommandInfo.from_wire(decode(encode(info.to_wire()))) == info


def test_none_is_taken_where_the_annotation_says_so() -> None:
    def move(self: Any, to: float | None, times: int = 1) -> None: ...

    info = _info(move, units={"to": "mm"})
    assert info.bind([None], {}, "A/1") == {"to": None}
    assert info.bind([1 * registry().cm], {}, "A/1") == {"to": 10.0}
    with pytest.raises(WrongTypeError, match="lacks its argument 'to'"):
        info.bind([], {}, "A/1")
    with pytest.raises(BadInputError, match="times"):
        info.bind([1.0, "many"], {}, "A/1")


def test_structured_argument_must_be_a_map() -> None:
    def move(self: Any, to: _Point) -> _Point:
        return to

    info = _info(move)
    assert info.bind([{"x": 1.0}], {}, "A/1") == {"to": {"x": 1.0}}
    with pytest.raises(WrongTypeError, match=r"move\(to\)"):
        info.bind([[1.0]], {}, "A/1")


def _dated(self: Any, at: datetime) -> None: ...
def _objects(self: Any, things: list[object]) -> None: ...
def _union(self: Any, at: int | datetime) -> None: ...
def _result(self: Any) -> datetime:
    return datetime.now(UTC)


def _wrong_default(self: Any, times: int = "once") -> None: ...  # type: ignore[assignment]
def _untyped(self: Any, times) -> None: ...  # type: ignore[no-untyped-def]
def _variable(self: Any, *times: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_dated, "parameter 'at' of command '_dated'.*datetime"),
        (_objects, "parameter 'things'.*object"),
        (_union, "parameter 'at'.*datetime"),
        (_result, "the result of command '_result'"),
        (_wrong_default, "parameter 'times'.*default.*'once'"),
        (_untyped, "parameter 'times'.*no type"),
        (_variable, "parameter 'times'.*no type"),
    ],
)
def test_what_cannot_travel_is_refused_when_the_class_is_made(function: Any, reason: str) -> None:
    with pytest.raises(BadConfigurationError, match=reason) as caught:
        command()(function)
    assert caught.value.remedy


def test_unknown_unit_and_unit_of_no_parameter_are_refused() -> None:
    with pytest.raises(BadConfigurationError, match=r"'maybe'.*'florins'"):
        _info(_many, units={"maybe": "florins"})
    with pytest.raises(BadConfigurationError, match="'speed', which is no parameter"):
        _info(_many, units={"speed": "mm"})


async def _login(self: Any, user: str, password: str) -> None:
    """Let somebody in."""


def test_secret_parameters_and_what_is_not_audited_travel() -> None:
    info = CommandInfo.from_wire(_info(_login, secrets=["password"], audited=False).to_wire())
    assert [item.secret for item in info.parameters] == [False, True]
    assert not info.audited
    assert _info(_login).audited
    with pytest.raises(BadConfigurationError, match="a secret for 'pin'"):
        _info(_login, secrets=["pin"])


def test_a_secret_argument_is_not_in_the_words_of_its_refusal() -> None:
    info = _info(_login, secrets=["password"])
    with pytest.raises(WrongTypeError, match=r"login\(password\)") as caught:
        info.bind(["anna", ["hunter2"]], {}, "A/1")
    assert "hunter2" not in str(caught.value.to_wire())
