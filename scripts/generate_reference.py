#!/usr/bin/env python3
"""Write docs/reference/properties.md and attributes.md from the code.

    .venv/bin/python scripts/generate_reference.py

What Karabo has stands in docs/reference/karabo-properties.json, row by row, with the pykarabo names
that stand for it (``module.Class`` or ``module.Class.field`` below `pykarabo.data`) or the reason
why there is none. Every name is looked up; descriptions are taken from docstrings.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, NamedTuple

import pykarabo.data
import pykarabo.device
from pykarabo.data import (
    AccessLevel,
    AccessMode,
    Encoding,
    Node,
    Property,
    PropertyInfo,
    ValueType,
)
from pykarabo.data._declaration import LIMITS, SENSE
from pykarabo.data._types import COMPLEXES, FLOATS, INTEGER_LIMITS
from pykarabo.data._unit_names import MISREAD, PREFIXES, UNITS, WITHOUT_PREFIX

ROOT: Final = Path(__file__).resolve().parent.parent
INVENTORY: Final = ROOT / "docs/reference/karabo-properties.json"
FOLDER: Final = ROOT / "docs/reference"
_WRITTEN: Final = "This page is written from the code by\n`scripts/generate_reference.py`."
_PROPERTIES: Final = f"""\
# Properties

The kinds of property that a class can declare, what each takes, and what stands for the types of
Karabo. All are in `pykarabo.data`. {_WRITTEN}
"""
_ATTRIBUTES: Final = f"""\
# Attributes of properties

What a declaration can say beside its type, such as `Float64(unit="mm", minimum=0.0)`, and what
stands for the attributes of Karabo. A declaration that contradicts itself is refused when its
class is made; the error names class, property, file and line. Limits, dead-bands and
archive settings can be given to single devices, too: [Keep a facility as
code](../how-to/facility-as-code.md). {_WRITTEN}
"""
NOT_DECLARED: Final = {
    "key": "the attribute's name unless `key=` is given",
    "value_type": "follows from the class",
    "access_mode": "`read_only=`, `init_only=`; otherwise reconfigurable",
    "option_names": "follows from `Choice` of an `Enum` class",
    "node": "follows from `Node`, `ChoiceOfNodes`, `ListOfNodes`",
    "node_kind": "follows from `ChoiceOfNodes`, `ListOfNodes`",
    "rows": "follows from the classes given to `Table` and `ListOfNodes`",
    "encoding": "`Image` only",
    "daq_data_type": "`Node` only",
}


_VECTORS: Final = frozenset(kind for kind in ValueType if kind.is_vector)
_GROUPS: Final = {
    "integers": frozenset(INTEGER_LIMITS),
    "floats": FLOATS,
    "complex numbers": COMPLEXES,
    "all vectors": _VECTORS,
    "vectors of integers": frozenset(ValueType(f"vector_{kind}") for kind in INTEGER_LIMITS),
    "vectors of floats": frozenset(ValueType(f"vector_{kind}") for kind in FLOATS),
    "vectors of complex numbers": frozenset(ValueType(f"vector_{kind}") for kind in COMPLEXES),
}
"""What the types are called together."""


class Entry(NamedTuple):
    """A row of the inventory."""

    section: str
    karabo: str
    names: tuple[str, ...]
    reason: str


def entries(inventory: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the rows of the inventory."""
    for section, rows in inventory.items():
        for karabo, found in rows.items():
            yield Entry(section, karabo, tuple(found.get("names", ())), found.get("reason", ""))


def problem_of(entry: Entry) -> str | None:
    """Return what a row lacks: a name that exists, or a reason."""
    if not entry.names and not entry.reason:
        return "has neither a name nor a reason"
    for name in entry.names:
        if not exists(name):
            return f"names '{name}', which there is not"
    return None


def exists(name: str) -> bool:
    """Tell whether a dotted name is one of `pykarabo.data` or `pykarabo.device`."""
    first, *rest = name.split(".")
    for module in (pykarabo.data, pykarabo.device):
        found: Any = getattr(module, first, None)
        if found is not None and (not rest or _has(found, rest)):
            return True
    return False


def _has(found: Any, path: list[str]) -> bool:
    name, *rest = path
    if rest or not inspect.isclass(found):
        return bool(rest) and hasattr(found, name) and _has(getattr(found, name), rest)
    return hasattr(found, name) or name in inspect.signature(found).parameters


# -- pages --------------------------------------------------------------------------------------


def properties_page(inventory: Mapping[str, Any]) -> str:
    """Return the page of the kinds of property."""
    parts = [_PROPERTIES, "## Kinds of property\n", _table(("class", "travels as", "holds"))]
    parts += [_row(f"`{cls.__name__}`", _kind(cls), _first_line(cls)) for cls in _descriptors()]
    parts += ["\n## Units\n", _units_text(), _table(("Karabo", "`unit=`", "also"))]
    for karabo, (first, *others) in UNITS.items():
        parts.append(_row(karabo, _code(first) or "none", ", ".join(map(_code, others)) or "-"))
    parts += ["\n### Prefixes\n", _table(("Karabo", "symbol", "word"))]
    parts += [_row(name, *(_code(text) or "none" for text in PREFIXES[name])) for name in PREFIXES]
    parts += ["\n## Encodings of images\n", ", ".join(f"`{item.value}`" for item in Encoding) + "."]
    parts += _karabo(inventory, ("Value types", "Descriptors"))
    return "\n".join(parts) + "\n"


def attributes_page(inventory: Mapping[str, Any]) -> str:
    """Return the page of the attributes."""
    meanings = documented(PropertyInfo)
    parts = [_ATTRIBUTES, "## All attributes\n", _table(("attribute", "default", "for", "meaning"))]
    for item in fields(PropertyInfo):
        name = item.name
        default = getattr(PropertyInfo("", ValueType.ANY), name)
        meaning = meanings.get(name, "")
        if name in NOT_DECLARED:
            meaning = "; ".join(filter(None, (meaning, NOT_DECLARED[name])))
        parts.append(_row(_code(name), _default(name, default), _kinds(name), meaning))
    parts += ["\n## Access\n", _table(("mode", "written"))]
    parts += [_row(f"`{mode.value}`", _MODES[mode]) for mode in AccessMode]
    parts.append("\nLevels, each of which may do what the lower ones may: ")
    parts[-1] += ", ".join(f"`{level.name}`" for level in AccessLevel) + "."
    parts += ["\n## Limits that can be acknowledged\n", ", ".join(map(_code, LIMITS)) + "."]
    parts += _karabo(inventory, ("Attributes", "Display types"))
    return "\n".join(parts) + "\n"


_MODES: Final = {
    AccessMode.INIT_ONLY: "by the configuration when the object is made, and by the object",
    AccessMode.READ_ONLY: "by the object only",
    AccessMode.RECONFIGURABLE: "from outside at any time that `allowed_states` allow",
}


def documented(cls: type) -> dict[str, str]:
    """Return what the docstring of a class says of each of its attributes."""
    text = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    meanings: dict[str, str] = {}
    for block in re.split(r"\n(?=    \S)", text.split("\n\n")[0]):
        names, _colon, meaning = block.strip().partition(": ")
        for name in names.split(", "):
            meanings[name] = " ".join(meaning.replace("``", "`").split()).rstrip(".")
    return meanings


def _descriptors() -> list[type]:
    found = (getattr(pykarabo.data, name) for name in pykarabo.data.__all__)
    return [
        item
        for item in found
        if inspect.isclass(item) and issubclass(item, Property | Node) and item is not Property
    ]


def _kind(cls: type) -> str:
    if issubclass(cls, Node):
        return "its members, below its name"
    if cls is pykarabo.data.Choice:
        return "`string`, `int64`, `float64`"
    return f"`{getattr(cls, 'value_type', ValueType.ANY)}`"


def _first_line(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split()).replace("``", "`")


def _kinds(name: str) -> str:
    kinds = SENSE.get(name)
    if kinds is None:
        return "nodes" if name in ("daq_data_type", "node", "node_kind") else "all"
    left, shown = set(kinds), list[str]()
    for word, group in _GROUPS.items():
        if group <= left:
            shown.append(word)
            left -= group
    return ", ".join([*shown, *(f"`{kind}`" for kind in ValueType if kind in left)])


def _default(name: str, default: Any) -> str:
    if name in ("key", "value_type"):
        return ""
    if isinstance(default, Mapping):
        return "`{}`"
    return f"`{default.name.lower()}`" if hasattr(default, "name") else f"`{default!r}`"


def _units_text() -> str:
    without = ", ".join(name for name in UNITS if name in WITHOUT_PREFIX)
    misread = ", ".join(sorted(map(_code, MISREAD)))
    return (
        "`unit=` takes any name of [pint](https://pint.readthedocs.io). A prefix is written before"
        f" the unit, `mm` or `millimeter`; {without} take none, and of a quotient the numerator has"
        f" it, `mm/s`. pint reads {misread} as something else: write the word, `hectobar`.\n"
    )


def _karabo(inventory: Mapping[str, Any], sections: tuple[str, ...]) -> Iterator[str]:
    for section in sections:
        yield f"\n## Karabo: {section.lower()}\n"
        yield _table(("Karabo", "pykarabo", "note"))
        for entry in entries({section: inventory[section]}):
            names = ", ".join(map(_code, entry.names)) or "none"
            yield _row(_code(entry.karabo), names, entry.reason or "-")


def _table(header: tuple[str, ...]) -> str:
    return f"| {' | '.join(header)} |\n|{' --- |' * len(header)}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def pages() -> dict[Path, str]:
    """Return the pages by where they stand."""
    inventory = json.loads(INVENTORY.read_text("utf-8"))
    return {
        FOLDER / "properties.md": properties_page(inventory),
        FOLDER / "attributes.md": attributes_page(inventory),
    }


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
