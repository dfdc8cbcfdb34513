"""The ordered tree of values with attributes that configurations are made of."""

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ._numpy import np

_MISSING: Final = object()


@dataclass(slots=True)
class _Element:
    value: Any
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])


class Hash(MutableMapping[str, Any]):
    """An ordered tree; keys are paths separated by dots, each element has attributes.

    ``h["a.b"] = 1`` makes the node ``a`` when it is not there. Iterating yields the keys of the
    first level in their order. Equality compares values, arrays and attributes, and takes NaN as
    equal to NaN.
    """

    __slots__ = ("_elements",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._elements: dict[str, _Element] = {}
        for key, value in (values or {}).items():
            self[key] = Hash(value) if type(value) is dict else value

    # -- paths ----------------------------------------------------------------------------------

    def _find(self, path: str) -> _Element:
        node: Any = self
        *parents, last = path.split(".")
        for name in parents:
            element = node._elements.get(name)
            node = element.value if element is not None else None
            if not isinstance(node, Hash):
                raise KeyError(path)
        try:
            return cast(_Element, node._elements[last])
        except KeyError:
            raise KeyError(path) from None

    def _make(self, path: str) -> "tuple[Hash, str]":
        node = self
        *parents, last = path.split(".")
        for name in parents:
            element = node._elements.get(name)
            if element is None or not isinstance(element.value, Hash):
                element = node._elements[name] = _Element(Hash())
            node = cast(Hash, element.value)
        return node, last

    def __getitem__(self, path: str) -> Any:
        return self._find(path).value

    def __setitem__(self, path: str, value: Any) -> None:
        node, last = self._make(path)
        element = node._elements.get(last)
        if element is None:
            node._elements[last] = _Element(value)
        else:
            element.value = value

    def __delitem__(self, path: str) -> None:
        parent, _dot, last = path.rpartition(".")
        node = self[parent] if parent else self
        if not isinstance(node, Hash) or last not in node._elements:
            raise KeyError(path)
        del node._elements[last]

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.get(path, _MISSING) is not _MISSING

    def __iter__(self) -> Iterator[str]:
        return iter(self._elements)

    def __len__(self) -> int:
        return len(self._elements)

    def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes of an element; they can be changed there."""
        return self._find(path).attributes

    def set(self, path: str, value: Any, **attributes: Any) -> None:
        """Set a value and its attributes."""
        node, last = self._make(path)
        node._elements[last] = _Element(value, attributes)

    def set_element(self, key: str, value: Any, attributes: Mapping[str, Any]) -> None:
        """Set an element of the first level; a dot in `key` means nothing here."""
        self._elements[key] = _Element(value, dict(attributes))

    def elements(self) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Yield key, value and attributes of the first level."""
        for key, element in self._elements.items():
            yield key, element.value, element.attributes

    # -- the whole tree -------------------------------------------------------------------------

    def paths(self, *, intermediate: bool = False) -> Iterator[str]:
        """Yield the paths of all leaves (empty nodes are leaves), and of nodes if asked for."""
        for key, element in self._elements.items():
            value = element.value
            if isinstance(value, Hash) and value:
                if intermediate:
                    yield key
                for below in value.paths(intermediate=intermediate):
                    yield f"{key}.{below}"
            else:
                yield key

    def flatten(self) -> dict[str, Any]:
        """Return the leaves by path."""
        return {path: self[path] for path in self.paths()}

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> "Hash":
        """Build a tree from values by path."""
        made = cls()
        for path, value in values.items():
            made[path] = value
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts, without attributes."""
        return {
            key: element.value.to_dict() if isinstance(element.value, Hash) else element.value
            for key, element in self._elements.items()
        }

    def merge(self, other: "Hash", *, replace_attributes: bool = False) -> None:
        """Take over what `other` holds, node by node; its values win.

        Args:
            replace_attributes: drop attributes that `other` does not have.
        """
        for key, element in other._elements.items():
            own = self._elements.get(key)
            if own is None:
                self._elements[key] = copy.deepcopy(element)
                continue
            if replace_attributes:
                own.attributes.clear()
            own.attributes.update(element.attributes)
            if isinstance(own.value, Hash) and isinstance(element.value, Hash):
                own.value.merge(element.value, replace_attributes=replace_attributes)
            else:
                own.value = copy.deepcopy(element.value)

    def diff(self, other: "Hash") -> dict[str, tuple[Any, Any]]:
        """Return the leaves that differ, by path: value here, value there; None where missing."""
        mine, theirs = self.flatten(), other.flatten()
        return {
            path: (mine.get(path), theirs.get(path))
            for path in mine | theirs
            if path not in mine or path not in theirs or not same(mine[path], theirs[path])
        }

    def deepcopy(self) -> "Hash":
        """Return a copy that shares nothing with this tree."""
        return copy.deepcopy(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hash) or list(self) != list(other):
            return False
        return all(
            same(element.value, other._elements[key].value)
            and same(element.attributes, other._elements[key].attributes)
            for key, element in self._elements.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Hash({self.to_dict()!r})"


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal, arrays by content and type, NaN equal to NaN."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return _same_arrays(left, right)
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    return bool(left == right or (left != left and right != right))  # noqa: PLR0124 - NaN


def _same_arrays(left: Any, right: Any) -> bool:
    if not (isinstance(left, np.ndarray) and isinstance(right, np.ndarray)):
        return False
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind in "fc"))
