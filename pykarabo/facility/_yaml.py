"""A YAML file with the lines of its entries, so that an error can say where to look.

A file that comes from somewhere else must do no harm: it may not be large or deep, an alias is
refused, because a few lines of aliases can stand for gigabytes, a tag, which makes something else
of what is written, and a name that stands twice in one place, of which YAML silently takes the
last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import BadConfigurationError

if TYPE_CHECKING:
    import yaml

MAX_BYTES: Final = 8 * 2**20
"""Ten thousand devices with twenty properties each; reading it takes seconds."""
MAX_DEPTH: Final = 40
"""Values may be 32 deep, below a device of a server."""

_YAML_TAG: Final = "tag:yaml.org,2002:"
_NO_TAGS: Final = (None, f"{_YAML_TAG}str")
"""Everything can be a text."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, and per dotted place the line on which that begins."""

    path: Path
    content: Any
    lines: Mapping[str, int]

    def wrong(self, place: str, problem: str, remedy: str | None) -> BadConfigurationError:
        """Return an error that names file, line and place."""
        where = [str(self.path)]
        line = self.line_of(place)
        if line is not None:
            where.append(f"line {line}")
        if place:
            where.append(place)
        return BadConfigurationError(f"{', '.join(where)}: {problem}", remedy=remedy)

    def line_of(self, place: str) -> int | None:
        """Return the line of an entry, or of the nearest one that it is below."""
        while place and place not in self.lines:
            place = place.rpartition(".")[0]
        return self.lines.get(place)


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        BadConfigurationError: it cannot be read, is no YAML, is too large or too deep, has an
            alias or a tag, or has a name twice in one place.
    """
    import yaml

    # Ten times as fast where it is there, with the same marks.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = _text_of(path)
    try:
        _refuse_bombs(path, yaml.parse(text, loader))
        root, content = _read(loader(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "is no YAML"
        line = None if mark is None else int(mark.line) + 1
        raise _wrong(path, line, problem, "correct the file there") from None
    except ValueError as error:  # such as the 40th of May
        raise _wrong(path, None, str(error), "correct it, or put it in quotes") from None
    lines: dict[str, int] = {}
    items: dict[str, int] = {}
    for place, line, is_item in _entries(root, ""):
        if is_item:
            items[place] = line
            continue
        if place in lines:
            raise Document(path, None, {place: line}).wrong(
                place, f"the same name is on line {lines[place]}", "give every entry its own name"
            )
        lines[place] = line
    return Document(path, content, {**items, **lines})


def _read(loader: Any) -> "tuple[yaml.Node | None, Any]":
    """Return the document's nodes, which know their lines, and what they stand for."""
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _wrong(path: Path, line: int | None, problem: str, remedy: str) -> BadConfigurationError:
    return Document(path, None, {} if line is None else {"": line}).wrong("", problem, remedy)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(MAX_BYTES + 1)
        text = packed[:MAX_BYTES].decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise _wrong(path, None, f"cannot be read: {reason}", "name a YAML file") from None
    if len(packed) > MAX_BYTES:
        raise _wrong(
            path, None, f"is larger than {MAX_BYTES // 2**20} MiB", "split the facility in domains"
        )
    return text


def _refuse_bombs(path: Path, events: "Iterator[yaml.Event]") -> None:
    """Refuse aliases, tags and deep nesting before anything is built of them."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _wrong(
                path, line, f"there is an alias, '*{event.anchor}'", "write out what it stands for"
            )
        tag = getattr(event, "tag", None)
        if tag not in _NO_TAGS:
            name = str(tag).replace(_YAML_TAG, "!!")
            raise _wrong(
                path, line, f"there is a tag, '{name}'", "write the value alone, a text in quotes"
            )
        if depth > MAX_DEPTH:
            raise _wrong(path, line, f"is nested deeper than {MAX_DEPTH} levels", "make it flatter")


def _entries(node: "yaml.Node | None", place: str) -> Iterator[tuple[str, int, bool]]:
    """Yield the dotted place and the line of every entry, and whether it is one of a list."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield f"{place}[{number}]", item.start_mark.line + 1, True
            yield from _entries(item, f"{place}[{number}]")
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        below = f"{place}.{key.value}" if place else str(key.value)
        yield below, key.start_mark.line + 1, False
        yield from _entries(value, below)
