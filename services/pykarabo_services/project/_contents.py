"""What the texts of scenes, macros and configurations may be; checked before they are kept.

A scene is shown by every client that opens it, so it may not load anything, run anything, or be
larger when it is read than it looks.
"""

import re
from dataclasses import replace
from typing import Any, Final
from xml.parsers import expat

from pykarabo.data import Limits, from_json, to_json
from pykarabo.errors import (
    BadConfigurationError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
)

from .model import MAX_TEXT, Item, Kind

MAX_ELEMENTS: Final = 100_000
MAX_DEPTH: Final = 64
_CONFIGURATION: Final = Limits(max_depth=32, max_nodes=100_000, max_body=MAX_TEXT)
_INSIDE: Final = ("#", "data:")
_LINK: Final = ("#", "data:", "http://", "https://")
_REFERENCES: Final = frozenset({"href", "src"})
_FORBIDDEN: Final = frozenset({"script", "foreignobject", "iframe", "handler", "include"})
_URL: Final = re.compile(r"""(?:url\(|@import)\s*["']?\s*(?!["']?\s*(?:#|data:))""", re.IGNORECASE)
_SCENE_REMEDY: Final = "draw it anew, or remove that from the file"


def checked(item: Item) -> Item:
    """Return an item whose text is what its kind says; a configuration in the form that all have.

    Raises:
        BadConfigurationError: names the item, the line and what is wrong there.
        LimitExceededError: it is too deep or has too many parts.
    """
    if item.text is None:
        return item
    if item.kind is Kind.SCENE:
        _SceneCheck(item.name).run(item.text)
    elif item.kind is Kind.CONFIGURATION:
        text = to_json(_configuration(item.name, item.text))
        return replace(item, text=text, size=len(text.encode()))
    return item


def _configuration(name: str, text: str) -> Any:
    try:
        value = from_json(text, _CONFIGURATION)
    except MalformedMessageError as error:
        raise BadConfigurationError(
            f"configuration '{name}' cannot be read: {error.message}", remedy=error.remedy
        ) from None
    except PykaraboError as error:
        error.message = f"configuration '{name}': {error.message}"
        raise
    if not hasattr(value, "keys"):
        raise BadConfigurationError(
            f"configuration '{name}' holds a {type(value).__name__}, not values by their keys",
            remedy="save the values of a device",
        )
    return value


class _SceneCheck:
    """Reads a scene once, from beginning to end, and keeps nothing of it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._depth = 0
        self._elements = 0
        self._in_style = False
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.ProcessingInstructionHandler = self._refuse_instruction
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text

    def run(self, text: str) -> None:
        try:
            self._parser.Parse(text.encode(), True)
        except expat.ExpatError as error:
            raise BadConfigurationError(
                f"scene '{self._name}' is no SVG: {error}", remedy=_SCENE_REMEDY
            ) from None

    def _wrong(self, what: str) -> BadConfigurationError:
        line = self._parser.CurrentLineNumber
        return BadConfigurationError(
            f"scene '{self._name}', line {line}: {what}", remedy=_SCENE_REMEDY
        )

    def _refuse_doctype(self, *_arguments: Any) -> None:
        raise self._wrong("a document type declaration, which may define entities")

    def _refuse_instruction(self, target: str, _data: str) -> None:
        raise self._wrong(f"an instruction '{target[:32]}'")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2].lower()
        if self._elements == 0 and name != "svg":
            raise self._wrong(f"begins with '{name[:32]}', not with 'svg'")
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_ELEMENTS or self._depth > MAX_DEPTH:
            raise LimitExceededError(
                f"scene '{self._name}' has more than {MAX_ELEMENTS} elements or more than "
                f"{MAX_DEPTH} of them inside each other",
                remedy="divide it into several scenes",
            )
        if name in _FORBIDDEN:
            raise self._wrong(f"an element '{name}', which may run programs")
        self._in_style = name == "style"
        for attribute, value in attributes.items():
            self._check_attribute(name, attribute.rpartition(" ")[2].lower(), value)

    def _check_attribute(self, element: str, name: str, value: str) -> None:
        allowed = _LINK if element == "a" else _INSIDE
        if name in _REFERENCES and value and not value.strip().lower().startswith(allowed):
            raise self._wrong(f"'{element}' refers to '{value[:64]}', outside of the scene")
        if name.startswith("on") and "(" in value:
            raise self._wrong(f"'{element}' runs a program: {name}")
        if _URL.search(value):
            raise self._wrong(f"'{name}' of '{element}' loads something from outside of the scene")

    def _end(self, _tag: str) -> None:
        self._depth -= 1
        self._in_style = False

    def _text(self, text: str) -> None:
        if self._in_style and _URL.search(text):
            raise self._wrong("a style loads something from outside of the scene")
