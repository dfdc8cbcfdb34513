"""``project.yaml``: the items of a project in their order, and the line on which each stands.

It is read as YAML's nodes: all that an index holds is text, so nothing is ever made of a tag. A
name that stands twice in one place, of which YAML silently takes the last, is refused, and so are
aliases, because a few lines of them can stand for gigabytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    LimitExceededError,
    did_you_mean,
)

from .model import ATTRIBUTES, MAX_ITEMS, PARENTS, Item, Kind, check_uuid

if TYPE_CHECKING:
    import yaml

FORMAT: Final = 1
INDEX: Final = "project.yaml"
_LISTS: Final[Mapping[Kind, str]] = {
    Kind.SUBPROJECT: "subprojects",
    Kind.SCENE: "scenes",
    Kind.MACRO: "macros",
    Kind.SERVER: "servers",
    Kind.DEVICE: "devices",
    Kind.CONFIGURATION: "configurations",
}
_TEXT: Final = "tag:yaml.org,2002:str"
_MAX_DEPTH: Final = 20
"""A configuration lies seven levels deep."""
_MAX_EVENTS: Final = 40 * MAX_ITEMS
"""An item is a dozen values at most, and the ends of its lists."""


class _Entry(NamedTuple):
    line: int
    node: "yaml.Node"


# -- writing ------------------------------------------------------------------------------------


def write_index(items: Sequence[Item]) -> bytes:
    """Return the index of a project's items, which are in the order of the tree."""
    import yaml

    names = {item.uuid: item.name for item in items}
    index: dict[str, Any] = {"format": FORMAT}
    entries: dict[str, dict[str, Any]] = {}
    for item in items:
        entry = entries[item.uuid] = _entry(item, names)
        if item.parent:
            entries[item.parent].setdefault(_LISTS[item.kind], []).append(entry)
    index |= entries[items[0].uuid]
    return yaml.safe_dump(index, sort_keys=False, allow_unicode=True, width=100).encode()


def _entry(item: Item, names: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": item.name, "uuid": item.uuid}
    attributes = {name: value for name, value in item.attributes.items() if value}
    active = attributes.pop("active", None)
    entry |= dict(sorted(attributes.items()))
    if active is not None:
        entry["active"] = names[active]
    return entry


# -- reading ------------------------------------------------------------------------------------


def read_index(content: bytes, place: str) -> list[Item]:
    """Return the items that an index lists, without their texts.

    Args:
        place: the file, for errors.

    Raises:
        BadInputError: names the file, the line and what is wrong there.
        LimitExceededError: it holds more than a project can.
    """
    return _Reader(place).read(content)


class _Reader:
    """Reads one index."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._items: list[Item] = []
        self._lines: dict[str, int] = {}

    def read(self, content: bytes) -> list[Item]:
        root = self._root(content)
        entries = self._entries(root, "a project")
        form = entries.pop("format", None)
        if form is None or form.node.value != str(FORMAT):
            raise self._wrong(
                form and form.line, f"it has no 'format: {FORMAT}'", "install a newer pykarabo"
            )
        self._add(entries, root.start_mark.line + 1, Kind.PROJECT, "", 0)
        return self._items

    def _wrong(self, line: int | None, problem: str, remedy: str) -> BadConfigurationError:
        return BadConfigurationError(f"{self._where(line)}: {problem}", remedy=remedy)

    def _where(self, line: int | None) -> str:
        return f"{self._place}, line {line}" if line else self._place

    def _root(self, content: bytes) -> "yaml.Node":
        import yaml

        # Ten times as fast where it is there, with the same marks.
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise self._wrong(line, "it is no text in UTF-8", "correct it there") from None
        try:
            self._refuse_bombs(yaml.parse(text, loader))
            root: yaml.Node | None = yaml.compose(text, loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or " ".join(str(error).split())[:300]
            place = None if mark is None else int(mark.line) + 1
            raise self._wrong(place, problem or "it is no YAML", "correct it there") from None
        if root is None:
            raise self._wrong(None, "it is empty", "export the project again")
        return root

    def _refuse_bombs(self, events: "Iterable[yaml.Event]") -> None:
        """Refuse aliases, tags, depth and size before anything is built of them."""
        import yaml

        depth = 0
        for number, event in enumerate(events):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            line = 1 if event.start_mark is None else event.start_mark.line + 1
            tag = getattr(event, "tag", None)
            if isinstance(event, yaml.AliasEvent):
                raise self._wrong(
                    line, f"an alias, '*{event.anchor}'", "write out what it stands for"
                )
            if tag not in (None, "!", _TEXT):
                raise self._wrong(
                    line, f"a tag, '{tag[:100]}'", "remove it: there is only text here"
                )
            if depth > _MAX_DEPTH or number > _MAX_EVENTS:
                raise LimitExceededError(
                    f"{self._where(line)}: it is nested deeper or holds more than a project can",
                    remedy="divide it into subprojects",
                )

    def _entries(self, node: "yaml.Node", what: str) -> dict[str, _Entry]:
        """Return what a map holds, each name with its line."""
        import yaml

        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(
                line, f"{what} is no map: it holds no names with values", "correct it there"
            )
        entries: dict[str, _Entry] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if name in entries:
                raise self._wrong(
                    line,
                    f"'{name[:64]}' of {what} is on line {entries[name].line} already",
                    "keep one of them, with the entries of both",
                )
            entries[name] = _Entry(line, value)
        return entries

    def _add(
        self, entries: dict[str, _Entry], line: int, kind: Kind, parent: str, position: int
    ) -> None:
        lists = {
            inner: entries.pop(name)
            for inner, name in _LISTS.items()
            if PARENTS[inner] is kind and name in entries
        }
        active = entries.pop("active", None) if kind is Kind.DEVICE else None
        item = self._item(entries, line, kind, parent, position)
        place = len(self._items)
        self._items.append(item)
        for inner, listed in lists.items():
            self._add_list(listed, inner, item.uuid)
        if active is not None:
            self._items[place] = self._with_active(item, active, place)

    def _item(
        self, entries: dict[str, _Entry], line: int, kind: Kind, parent: str, position: int
    ) -> Item:
        for name, entry in entries.items():
            self._check_name(name, entry.line, kind)
        texts = {name: self._text(name, entry) for name, entry in entries.items()}
        try:
            item = Item(
                uuid=check_uuid(texts.pop("uuid", None)),
                kind=kind,
                name=texts.pop("name", ""),
                parent=parent,
                position=position,
                attributes=texts,
            )
        except (BadInputError, LimitExceededError) as error:
            error.message = f"{self._where(line)}: a {kind}: {error.message}"
            raise
        if item.uuid in self._lines:
            raise self._wrong(
                line,
                f"{kind} '{item.name}' has the uuid of what is on line {self._lines[item.uuid]}",
                "remove one of them; what is new has a uuid of its own",
            )
        self._lines[item.uuid] = line
        return item

    def _check_name(self, name: str, line: int, kind: Kind) -> None:
        lists = {listed for inner, listed in _LISTS.items() if PARENTS[inner] is kind}
        known = {"name", "uuid"} | ATTRIBUTES[kind] | lists
        if name not in known:
            raise self._wrong(
                line,
                f"a {kind} cannot have '{name[:64]}'",
                did_you_mean(name, known) or f"it has: {', '.join(sorted(known))}",
            )

    def _text(self, name: str, entry: _Entry) -> str:
        import yaml

        node = entry.node
        if isinstance(node, yaml.ScalarNode) and node.tag == _TEXT:
            return str(node.value)
        if isinstance(node, yaml.ScalarNode):
            kind = str(node.tag).rpartition(":")[2]
            problem = f"'{name}': '{str(node.value)[:64]}' is {kind}, not text"
            raise self._wrong(entry.line, problem, "put it in quotes")
        raise self._wrong(entry.line, f"'{name}' is no text", "write one text behind it")

    def _add_list(self, listed: _Entry, kind: Kind, parent: str) -> None:
        import yaml

        if not isinstance(listed.node, yaml.SequenceNode):
            raise self._wrong(
                listed.line, f"'{_LISTS[kind]}' is no list", "begin each entry with '-'"
            )
        for number, node in enumerate(listed.node.value):
            entries = self._entries(node, f"a {kind}")
            self._add(entries, node.start_mark.line + 1, kind, parent, number)

    def _with_active(self, device: Item, active: _Entry, place: int) -> Item:
        name = self._text("active", active)
        below = [item for item in self._items[place:] if item.parent == device.uuid]
        for item in below:
            if item.name == name:
                attributes = {**device.attributes, "active": item.uuid}
                return replace(device, attributes=attributes)
        raise self._wrong(
            active.line,
            f"'{device.name}' has no configuration '{name}', which is to be active",
            did_you_mean(name, [item.name for item in below]) or "name one of its configurations",
        )
