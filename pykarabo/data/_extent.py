"""How much a property can hold: what would not travel is refused where it is given."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from pykarabo.errors import WrongShapeError

from ._hash import Hash
from ._limits import MAX_VALUE_BYTES, MAX_VALUE_DEPTH, MAX_VALUE_ITEMS, Limits
from ._numpy import np
from ._refusal import refusal, shown
from ._state import State

if TYPE_CHECKING:
    from ._info import PropertyInfo

_LONGEST: Final = Limits().max_key
_ELEMENT_ITEMS: Final = 2
"""What an element of a map or Hash takes besides its row and its value: key and attributes."""


def check_length(info: "PropertyInfo", length: int, device: str | None) -> None:
    """Refuse more bytes than a value may have; raises `WrongShapeError`."""
    if length > MAX_VALUE_BYTES:
        raise refusal(
            WrongShapeError,
            info,
            device,
            f"cannot hold {length / 2**20:.1f} MiB",
            f"give {MAX_VALUE_BYTES >> 20} MiB at most, or use an array in a pipeline output",
        )


def check_value_size(info: "PropertyInfo", value: Any, device: str | None) -> None:
    """Refuse what would not travel as a property; raises `WrongShapeError`."""
    if type(value) in _SMALL:
        return
    length, items = extent(value)
    check_length(info, length, device)
    if items > MAX_VALUE_ITEMS:
        raise refusal(
            WrongShapeError,
            info,
            device,
            f"cannot hold {items} texts, arrays and other values",
            f"give {MAX_VALUE_ITEMS} at most: an array of numbers counts as one",
        )


_SMALL: Final = frozenset({float, int, bool, str, type(None), State})
"""Types of which every value travels; the length of a text was looked at before."""


def extent(value: Any) -> tuple[int, int]:
    """Return the bytes of a plain value's arrays and texts, and how many items it is in a message.

    Each number, text and array is one.
    """
    if isinstance(value, list | tuple):
        return _extent_of_list(cast("Sequence[Any]", value))
    if isinstance(value, Hash):
        parts = ((item, *attributes.values()) for _key, item, attributes in value.elements())
        return _sum(map(extent, parts), _ELEMENT_ITEMS * len(value))
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        return _sum(map(extent, fields.values()), _ELEMENT_ITEMS * len(fields))
    return _length(value), 1


def _extent_of_list(values: "Sequence[Any]") -> tuple[int, int]:
    try:
        text = "".join(values)  # most are of texts
    except TypeError:
        return _sum(map(extent, values), 0)
    return _length(text), len(values) + 1


def _length(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    return len(value) if isinstance(value, bytes | bytearray) else 0


def _sum(extents: Iterable[tuple[int, int]], own: int) -> tuple[int, int]:
    length, items = 0, own + 1
    for more_length, more_items in extents:
        length += more_length
        items += more_items
    return length, items


def problem_of_tree(value: Any, level: int = 1) -> str | None:
    """Return why a map could not travel as a property's value for its form; None if it can."""
    if not isinstance(value, Mapping | list | tuple):
        return None
    if level > MAX_VALUE_DEPTH:
        return f"it is nested deeper than {MAX_VALUE_DEPTH} levels"
    parts: Iterable[Any] = value
    if isinstance(value, Hash):
        parts = (part for _, item, more in value.elements() for part in (item, *more.values()))
    elif isinstance(value, Mapping):
        wrong = next((key for key in value if type(key) is not str or len(key) > _LONGEST), None)
        if wrong is not None:
            return f"{shown(wrong)} is no text of up to {_LONGEST} characters, as keys are"
        parts = value.values()
    found = (problem_of_tree(part, level + 1) for part in parts if type(part) not in _SMALL)
    return next((problem for problem in found if problem is not None), None)


def arrays_in(value: Any) -> Iterator["np.ndarray[Any, Any]"]:
    """Yield the arrays of a plain value: itself, or the columns or the pixels in it."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item)
