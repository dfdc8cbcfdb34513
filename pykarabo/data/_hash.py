"""The ordered tree of values with attributes that configurations are made of."""

import copy
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, Final, TypeAlias, cast

from pykarabo.errors import InvalidNameError, WrongTypeError

from ._compare import has_changes, same

_MISSING: Final = object()
_PLACE: Final = 2
"""Length of a path with the name of an attribute."""
_SHOWN: Final = 100
"""Characters of a value in a printed tree."""

Path: TypeAlias = str | tuple[str, str | EllipsisType]
"""A path, a path with the name of an attribute, or a path with ``...`` for all its attributes."""


@dataclass(slots=True)
class _Element:
    value: Any
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])


class Hash(MutableMapping[str, Any]):
    """An ordered tree; keys are paths separated by dots, each element has attributes.

    ``h["a.b"] = 1`` makes the node ``a`` when it is not there, ``h["a.b", "unit"]`` is an
    attribute and ``h["a.b", ...]`` a copy of all of them. Iterating yields the keys of the first
    level in their order. Equality compares values, arrays, attributes and the order, and takes
    NaN as equal to NaN.

    Args:
        values: nothing, a map, another Hash (whose attributes are taken too), pairs of path and
            value, or paths and values in turn: ``Hash("a", 1, "b.c", 2)``. Plain dicts in a map
            become Hashes.

    Raises:
        WrongTypeError: a path without a value, or one that is no text.
    """

    __slots__ = ("_elements",)

    def __init__(self, *values: Any) -> None:
        self._elements: dict[str, _Element] = {}
        if len(values) == 1 and isinstance(values[0], Hash):
            for key, element in values[0]._elements.items():
                self._elements[key] = _Element(element.value, dict(element.attributes))
            return
        for path, value in _pairs(values):
            self[path] = Hash(value) if type(value) is dict else value

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

    def __getitem__(self, path: Path) -> Any:
        if isinstance(path, str):
            return self._find(path).value
        place, name = path
        attributes = self._find(place).attributes
        return dict(attributes) if isinstance(name, EllipsisType) else attributes[name]

    def __setitem__(self, path: Path, value: Any) -> None:
        if not isinstance(path, str):
            self._set_attributes(*path, value)
            return
        node, last = self._make(path)
        element = node._elements.get(last)
        if element is None:
            node._elements[last] = _Element(value)
        else:
            element.value = value

    def _set_attributes(self, path: str, name: str | EllipsisType, value: Any) -> None:
        element = self._find(path)
        if isinstance(name, EllipsisType):
            element.attributes = dict(value)
        else:
            element.attributes[name] = value

    def __delitem__(self, path: Path) -> None:
        if not isinstance(path, str):
            place, name = path
            attributes = self._find(place).attributes
            if isinstance(name, EllipsisType):
                attributes.clear()
            else:
                del attributes[name]
            return
        parent, _dot, last = path.rpartition(".")
        node = self[parent] if parent else self
        if not isinstance(node, Hash) or last not in node._elements:
            raise KeyError(path)
        del node._elements[last]

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str | tuple):
            return False
        if isinstance(path, tuple) and not (len(path) == _PLACE and isinstance(path[0], str)):
            return False
        try:
            self[cast(Path, path)]
        except KeyError:
            return False
        return True

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

    def leaves(self, *, intermediate: bool = False) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Yield path, value and attributes of all leaves, depth first.

        Empty nodes are leaves.

        Args:
            intermediate: yield nodes too, each before what is below it.
        """
        for key, element in self._elements.items():
            value = element.value
            below = isinstance(value, Hash) and bool(value)
            if intermediate or not below:
                yield key, value, element.attributes
            if below:
                for path, leaf, attributes in value.leaves(intermediate=intermediate):
                    yield f"{key}.{path}", leaf, attributes

    def paths(self, *, intermediate: bool = False) -> Iterator[str]:
        """Yield the paths of all leaves (empty nodes are leaves), and of nodes if asked for."""
        return (path for path, _value, _attributes in self.leaves(intermediate=intermediate))

    def flatten(self) -> dict[str, Any]:
        """Return the leaves by path.

        Raises:
            InvalidNameError: a key holds a dot, so that two leaves have one path.
        """
        flat: dict[str, Any] = {}
        for path, value, _attributes in self.leaves():
            if path in flat:
                raise InvalidNameError(
                    f"two elements of a Hash have the path '{path}'",
                    key=path,
                    remedy="use keys without dots",
                )
            flat[path] = value
        return flat

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> "Hash":
        """Build a tree from values by path."""
        made = cls()
        for path, value in values.items():
            made[path] = value
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return nested dicts, also within lists, without attributes."""
        return {key: _as_dict(element.value) for key, element in self._elements.items()}

    def merge(self, other: "Hash", *, replace_attributes: bool = False) -> None:
        """Take over what `other` holds, node by node; its values win.

        Args:
            replace_attributes: drop attributes that `other` does not have.
        """
        for key, element in other._elements.items():
            own = self._elements.get(key)
            if own is None:
                self._elements[key] = _copied(element)
                continue
            if replace_attributes:
                own.attributes.clear()
            own.attributes.update(_copied(element.attributes))
            if isinstance(own.value, Hash) and isinstance(element.value, Hash):
                own.value.merge(element.value, replace_attributes=replace_attributes)
            else:
                own.value = _copied(element.value)

    def subtract(self, other: "Hash", *, only_same: bool = False) -> None:
        """Remove the leaves that `other` has too, and the nodes that this leaves empty.

        Args:
            only_same: keep those whose value is another one there.
        """
        for key, element in other._elements.items():
            own = self._elements.get(key)
            if own is None:
                continue
            if isinstance(own.value, Hash) and isinstance(element.value, Hash) and own.value:
                own.value.subtract(element.value, only_same=only_same)
                gone = not own.value
            else:
                gone = not only_same or same(own.value, element.value)
            if gone:
                del self._elements[key]

    def diff(
        self, other: "Hash", *, relative: float = 0.0, absolute: float = 0.0
    ) -> dict[str, tuple[Any, Any]]:
        """Return the leaves that differ, by path: value here, value there; None where missing.

        Args:
            relative, absolute: what is no difference yet, as in `has_changes`; when both are 0,
                types and widths count too.
        """
        mine, theirs = self.flatten(), other.flatten()

        def differ(path: str) -> bool:
            if path not in mine or path not in theirs:
                return True
            if not (relative or absolute):
                return not same(mine[path], theirs[path])
            return has_changes(mine[path], theirs[path], relative=relative, absolute=absolute)

        return {path: (mine.get(path), theirs.get(path)) for path in mine | theirs if differ(path)}

    def deepcopy(self) -> "Hash":
        """Return a copy that shares nothing with this tree."""
        return copy.deepcopy(self)

    def equals(self, other: "Hash", *, order: bool = True, attributes: bool = True) -> bool:
        """Tell whether two trees hold the same.

        Args:
            order: whether the order of keys counts.
            attributes: whether attributes count.
        """
        if self._elements.keys() != other._elements.keys():
            return False
        if order and list(self) != list(other):
            return False
        return all(
            _same_elements(element, other._elements[key], order=order, attributes=attributes)
            for key, element in self._elements.items()
        )

    def similar(self, other: "Hash") -> bool:
        """Tell whether two trees have the same keys with values of the same types."""
        return self._elements.keys() == other._elements.keys() and all(
            element.value.similar(other._elements[key].value)
            if isinstance(element.value, Hash) and isinstance(other._elements[key].value, Hash)
            else type(element.value) is type(other._elements[key].value)
            for key, element in self._elements.items()
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hash) and self.equals(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Hash({self.to_dict()!r})"

    def pretty(self) -> str:
        """Return the tree as text to be read: a line per element, attributes behind its value."""
        return "\n".join(_lines(self, ""))


def _pairs(values: tuple[Any, ...]) -> Iterable[tuple[str, Any]]:
    if len(values) == 1:
        given = values[0]
        if given is None:
            return ()
        return given.items() if isinstance(given, Mapping) else _checked(given)
    if len(values) % 2:
        raise _no_pairs(f"{len(values)} arguments")
    return _checked(zip(values[::2], values[1::2], strict=True))


def _checked(pairs: Any) -> Iterator[tuple[str, Any]]:
    try:
        for path, value in pairs:
            if not isinstance(path, str):
                raise _no_pairs(f"{path!r} as a path")
            yield path, value
    except (TypeError, ValueError):
        raise _no_pairs(f"{pairs!r:.60}") from None


def _no_pairs(given: str) -> WrongTypeError:
    return WrongTypeError(
        f"a Hash cannot be made of {given}",
        remedy="give a map, pairs of path and value, or paths and values in turn",
    )


def _same_elements(left: _Element, right: _Element, *, order: bool, attributes: bool) -> bool:
    if attributes and not same(left.attributes, right.attributes):
        return False
    if isinstance(left.value, Hash) and isinstance(right.value, Hash):
        return left.value.equals(right.value, order=order, attributes=attributes)
    return same(left.value, right.value)


def _copied(value: Any) -> Any:
    return copy.deepcopy(value)


def _as_dict(value: Any) -> Any:
    if isinstance(value, Hash):
        return value.to_dict()
    return [_as_dict(item) for item in value] if type(value) is list else value


def _lines(node: Hash, indent: str) -> Iterator[str]:
    for key, value, attributes in node.elements():
        more = "".join(f"  {name}={_shown(item)}" for name, item in attributes.items())
        if isinstance(value, Hash):
            yield f"{indent}{key}{more}"
            yield from _lines(value, f"{indent}  ")
        elif type(value) is list and value and all(isinstance(item, Hash) for item in value):
            yield f"{indent}{key}{more}"
            for number, item in enumerate(value):
                yield f"{indent}  [{number}]"
                yield from _lines(item, f"{indent}    ")
        else:
            yield f"{indent}{key} = {_shown(value)}  ({_type_of(value)}){more}"


def _type_of(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        sizes = " x ".join(map(str, value.shape))
        return f"{value.dtype.name} {sizes}".rstrip()
    return type(value).__name__


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
