"""How much a property can hold: what would not travel is refused where it is given."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
_NUMBERS: Final = frozenset({float, int, bool, type(None)})
_SMALL: Final = frozenset({*_NUMBERS, str, State})
"""Types of which every value travels; the length of a text was looked at before."""


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


def extent(value: Any) -> tuple[int, int]:
    """Return the bytes of a plain value's arrays and texts, and how many items it is in a message.

    Each number, text and array is one.
    """
    length = items = 0
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        items += 1
        if type(part) in _NUMBERS:
            continue
        if isinstance(part, list | tuple):
            texts = _joined(cast("Sequence[Any]", part))
            if texts is None:
                waiting += part
            else:
                length += _length(texts)
                items += len(part)
        elif isinstance(part, dict | Mapping):
            items += _ELEMENT_ITEMS * len(part)
            length += sum(_length(name) for name in _names(part))
            waiting += _children(part)
        else:
            length += _length(part)
    return length, items


def _joined(values: "Sequence[Any]") -> str | None:
    """Return a list of texts as one; None if there is anything else in it."""
    if not values or type(values[0]) is not str:
        return None
    try:
        return "".join(values)
    except TypeError:
        return None


def _children(tree: "Mapping[str, Any]") -> "Collection[Any]":
    """Return what is right below a map, attributes too."""
    if isinstance(tree, Hash):
        elements = tree.elements()
        return [part for _key, item, more in elements for part in (item, *more.values())]
    return tree.values()


def _names(tree: "Mapping[str, Any]") -> "Iterable[str]":
    """Return the keys of a map, and the names of a Hash's attributes."""
    if isinstance(tree, Hash):
        return [name for key, _item, more in tree.elements() for name in (key, *more)]
    return tree


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    if isinstance(value, bytes | bytearray):
        return len(value)
    return value.nbytes if isinstance(value, np.ndarray) else 0


def problem_of_tree(tree: "Mapping[str, Any]") -> str | None:
    """Return why a map could not travel as a property's value for its form; None if it can."""
    level: list[Any] = [tree]
    for _ in range(MAX_VALUE_DEPTH):
        below: list[Any] = []
        for part in level:
            children: Collection[Any] = part
            if not isinstance(part, list | tuple):
                children = _children(part)
                wrong = [name for name in _names(part) if not _is_name(name)]
                if wrong:
                    return f"{shown(wrong[0])} is no text of up to {_LONGEST} characters, as a key"
            below += [
                item
                for item in children
                if type(item) not in _SMALL and isinstance(item, Mapping | list | tuple)
            ]
        if not below:
            return None
        level = below
    return f"it is nested deeper than {MAX_VALUE_DEPTH} levels"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= _LONGEST


def arrays_in(value: Any) -> Iterator["np.ndarray[Any, Any]"]:
    """Yield the arrays of a plain value: itself, or the columns or the pixels in it."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item)
