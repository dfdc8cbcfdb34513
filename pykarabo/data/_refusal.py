"""Saying what is wrong with a value, and saying it of several values at once."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import BadInputError, InvalidValuesError, WrongTypeError

if TYPE_CHECKING:
    from ._info import PropertyInfo

_MAX_SHOWN: Final = 60


def shown(value: Any) -> str:
    """Return a value as one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def refusal(
    kind: type[BadInputError], info: "PropertyInfo", device: str | None, problem: str, remedy: str
) -> BadInputError:
    """Return the error that names the property, what is wrong with its value, and what would do."""
    name = f"{device}.{info.key}" if device else info.key
    return kind(f"'{name}' {problem}", device=device, key=info.key, remedy=remedy)


def wrong_type(info: "PropertyInfo", value: Any, device: str | None) -> BadInputError:
    """Return the error of a value that is of another type than the property."""
    shape = f" of shape {info.shape}" if info.shape is not None else ""
    unit = f" in {info.unit}" if info.unit else ""
    wanted = f"{info.dtype or ''} {info.value_type}".strip()
    return refusal(
        WrongTypeError,
        info,
        device,
        f"cannot be {shown(value)} ({type(value).__name__})",
        f"give a value of type {wanted}{shape}{unit}",
    )


def raise_all(errors: Iterable[BadInputError], device: str | None) -> None:
    """Raise the error that there is, or one that lists all; nothing happens without any.

    Raises:
        BadInputError: the only one.
        InvalidValuesError: there are several.
    """
    found = list(errors)
    if not found:
        return
    if len(found) == 1:
        raise found[0]
    raise InvalidValuesError(
        f"{len(found)} values are refused: {'; '.join(error.message for error in found)}",
        device=device,
        remedy="correct all of them; nothing was set",
        details={"errors": [error.to_wire() for error in found]},
    )
