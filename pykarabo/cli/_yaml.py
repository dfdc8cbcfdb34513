"""A YAML file with the lines of its entries, so that an error can say where to look."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pykarabo.errors import BadConfigurationError

if TYPE_CHECKING:
    import yaml


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, and per dotted place the line on which that begins."""

    path: Path
    content: Any
    lines: Mapping[str, int]

    def wrong(self, place: str, problem: str, remedy: str | None) -> BadConfigurationError:
        """Return an error that names file, line and place."""
        where = [str(self.path)]
        if place in self.lines:
            where.append(f"line {self.lines[place]}")
        if place:
            where.append(place)
        return BadConfigurationError(f"{', '.join(where)}: {problem}", remedy=remedy)


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        BadConfigurationError: it cannot be read, is no YAML, or has a name twice in one place.
    """
    import yaml

    empty = Document(path, None, {})
    try:
        text = path.read_text()
        root = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise empty.wrong("", f"cannot be read: {reason}", "name a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "is no YAML"
        known = {} if mark is None else {"": int(mark.line) + 1}
        raise Document(path, None, known).wrong("", problem, "correct the file there") from None
    lines: dict[str, int] = {}
    for place, line in _entries(root, "", set()):
        if place in lines:
            raise Document(path, None, {place: line}).wrong(
                place, f"the same name is on line {lines[place]}", "give every entry its own name"
            )
        lines[place] = line
    return Document(path, content, lines)


def _entries(node: "yaml.Node | None", place: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """Yield the dotted place and the line of every named entry; an alias is entered once."""
    import yaml

    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return
    seen.add(id(node))
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        below = f"{place}.{key.value}" if place else str(key.value)
        yield below, key.start_mark.line + 1
        yield from _entries(value, below, seen)
