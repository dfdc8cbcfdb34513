"""What projects are made of, what they may hold, and what their storage must do.

A project is a tree of items, each with a uuid that never changes and a name for people::

    project                     in a folder
    ├── subproject              refers to another project
    ├── scene, macro            a text
    └── server
        └── device              of a class; one of its configurations may be active
            └── configuration   a text: values as JSON

Each item has a version, which counts how often it was saved. Who saves names the version that he
has read; with another one the save is refused with who saved it meanwhile and when, so that nothing
is overwritten unseen. A save is one batch of changes: all of it is done or nothing. The order of
the items below one parent is the parent's matter, and a new order a new version of the parent: two
people may add scenes to a project at once, and may not arrange it at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, Self

from pykarabo.errors import (
    BadConfigurationError,
    LimitExceededError,
    WrongTypeError,
)

from ._names import (
    MAX_ATTRIBUTES,
    MAX_DESCRIPTION,
    MAX_FOLDER,
    MAX_ITEMS,
    MAX_NAME,
    MAX_SAVE,
    MAX_TEXT,
    Kind,
    check_folder,
    check_name,
    check_uuid,
    encode,
    free_name,
    new_uuid,
)

__all__ = [
    "ATTRIBUTES",
    "MAX_ATTRIBUTES",
    "MAX_ITEMS",
    "MAX_SAVE",
    "MAX_TEXT",
    "PARENTS",
    "TEXTS",
    "Author",
    "Changes",
    "Item",
    "Kind",
    "Match",
    "ProjectRecord",
    "ProjectStorage",
    "Saved",
    "VersionedText",
    "check_folder",
    "check_name",
    "check_uuid",
    "free_name",
    "new_uuid",
]

PARENTS: Final[Mapping[Kind, Kind]] = {
    Kind.SUBPROJECT: Kind.PROJECT,
    Kind.SCENE: Kind.PROJECT,
    Kind.MACRO: Kind.PROJECT,
    Kind.SERVER: Kind.PROJECT,
    Kind.DEVICE: Kind.SERVER,
    Kind.CONFIGURATION: Kind.DEVICE,
}
TEXTS: Final = frozenset({Kind.SCENE, Kind.MACRO, Kind.CONFIGURATION})
ATTRIBUTES: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.PROJECT: frozenset({"folder", "description"}),
    Kind.SUBPROJECT: frozenset({"project"}),
    Kind.SCENE: frozenset({"description"}),
    Kind.MACRO: frozenset({"description"}),
    Kind.SERVER: frozenset({"host"}),
    Kind.DEVICE: frozenset({"class_id", "active"}),
    Kind.CONFIGURATION: frozenset({"description"}),
}
_LENGTHS: Final[Mapping[str, int]] = {"folder": MAX_FOLDER, "description": MAX_DESCRIPTION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a project.

    Args:
        parent: uuid of the item above; empty for a project.
        position: place among the items of its parent.
        version: how often it was saved; 0 for one that never was.
        text: of a scene, macro or configuration; None where it is not known or not changed.
        size: bytes of the text.
        saved_by: whoever saved this version, at `saved_ns` (since 1970).
    """

    uuid: str
    kind: Kind
    name: str
    parent: str = ""
    position: int = 0
    version: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    text: str | None = None
    size: int = 0
    saved_ns: int = 0
    saved_by: str = ""

    def __post_init__(self) -> None:
        check_uuid(self.uuid)
        check_name(self.name, self.kind)
        if self.kind in PARENTS:
            check_uuid(self.parent)
        elif self.parent:
            raise BadConfigurationError(
                f"project '{self.name}' cannot lie in another item", remedy="add a subproject"
            )
        self._check_attributes()
        if self.text is not None:
            self._check_text(self.text)

    def _check_attributes(self) -> None:
        strange = set(self.attributes) - ATTRIBUTES[self.kind]
        if strange:
            raise BadConfigurationError(
                f"{self.kind} '{self.name}' cannot have '{min(strange)[:64]}'",
                remedy=f"it has: {', '.join(sorted(ATTRIBUTES[self.kind]))}",
            )
        for name, value in self.attributes.items():
            if len(value) > _LENGTHS.get(name, MAX_NAME * 2):
                raise LimitExceededError(
                    f"'{name}' of {self.kind} '{self.name}' has {len(value)} characters",
                    remedy=f"use up to {_LENGTHS.get(name, MAX_NAME * 2)}",
                )
            encode(value, f"'{name}' of {self.kind} '{self.name}'")
        check_folder(self.attributes.get("folder", ""))
        if self.kind is Kind.SUBPROJECT:
            check_uuid(self.attributes.get("project"))
        if self.attributes.get("active"):
            check_uuid(self.attributes["active"])

    def _check_text(self, text: str) -> None:
        if self.kind not in TEXTS:
            raise BadConfigurationError(
                f"a {self.kind} has no text", remedy=f"put it into one of: {', '.join(TEXTS)}"
            )
        size = len(encode(text, f"{self.kind} '{self.name}'"))
        if size > MAX_TEXT:
            raise LimitExceededError(
                f"{self.kind} '{self.name}' has {size} bytes, {MAX_TEXT} are allowed",
                remedy="make it smaller: keep large images and arrays in files of their own",
            )

    def to_wire(self) -> dict[str, Any]:
        """Return the item as data that can travel."""
        wire = {
            "uuid": self.uuid,
            "kind": str(self.kind),
            "name": self.name,
            "parent": self.parent,
            "position": self.position,
            "version": self.version,
            "attributes": dict(self.attributes),
            "size": self.size,
            "saved_ns": self.saved_ns,
            "saved_by": self.saved_by,
        }
        return wire if self.text is None else wire | {"text": self.text}

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Rebuild an item.

        Raises:
            BadInputError: it is none, or may not be so.
        """
        data = _mapping(wire, "an item")
        kind = _text(data, "kind")
        if kind not in list(Kind):
            raise WrongTypeError(
                f"there is no kind of item '{kind[:64]}'", remedy=f"use {', '.join(Kind)}"
            )
        attributes = _mapping(data.get("attributes", {}), "attributes")
        text = data.get("text")
        return cls(
            uuid=check_uuid(data.get("uuid")),
            kind=Kind(kind),
            name=_text(data, "name"),
            parent=_text(data, "parent", default=""),
            position=_number(data, "position"),
            version=_number(data, "version"),
            attributes={str(name): _text(attributes, name) for name in attributes},
            text=None if text is None else _text(data, "text"),
            size=_number(data, "size"),
            saved_ns=_number(data, "saved_ns"),
            saved_by=_text(data, "saved_by", default=""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """One batch: all of it is done or nothing.

    Args:
        items: new ones (version 0) and changed ones (the version that was read).
        removed: uuid and version of all that goes, with everything below it.
        order: per parent the uuids of its items of one kind or several, as they are to stand.
        parents: of each parent in `order` that is not among `items`, the version that was read.
    """

    items: Sequence[Item] = ()
    removed: Mapping[str, int] = field(default_factory=dict[str, int])
    order: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    parents: Mapping[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        if len(self.items) + len(self.removed) > MAX_SAVE:
            raise LimitExceededError(
                f"more than {MAX_SAVE} items in one save", remedy="save in several steps"
            )
        seen = set(self.removed)
        for item in self.items:
            if item.uuid in seen:
                raise BadConfigurationError(
                    f"{item.kind} '{item.name}' ({item.uuid}) is named twice in one save",
                    remedy="name it once; what is new has a uuid of its own",
                )
            seen.add(item.uuid)

    def __add__(self, other: "Changes") -> "Changes":
        """Return both batches as one."""
        return Changes(
            items=[*self.items, *other.items],
            removed={**self.removed, **other.removed},
            order={**self.order, **other.order},
            parents={**self.parents, **other.parents},
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the changes as data that can travel."""
        return {
            "items": [item.to_wire() for item in self.items],
            "removed": dict(self.removed),
            "order": {parent: list(children) for parent, children in self.order.items()},
            "parents": dict(self.parents),
        }

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Rebuild changes.

        Raises:
            BadInputError: they are none, or one may not be so.
        """
        data = _mapping(wire, "changes")
        items = _sequence(data.get("items", []), "items")
        removed = _mapping(data.get("removed", {}), "removed")
        order = _mapping(data.get("order", {}), "order")
        parents = _mapping(data.get("parents", {}), "parents")
        return cls(
            items=[Item.from_wire(item) for item in items],
            removed={check_uuid(name): _number(removed, name) for name in removed},
            order={
                check_uuid(parent): [check_uuid(item) for item in _sequence(children, "order")]
                for parent, children in order.items()
            },
            parents={check_uuid(name): _number(parents, name) for name in parents},
        )


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and when, in ns since 1970."""

    name: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRecord:
    """A project in a list."""

    uuid: str
    name: str
    folder: str
    description: str
    version: int
    saved_ns: int
    saved_by: str
    items: int
    trashed: bool
    last_loaded_ns: int

    def key(self) -> str:
        """Return what lists are sorted by, and go on behind."""
        return "\n".join((self.folder, self.name, self.uuid))


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An item that was looked for, and the project that it is in."""

    project: str
    project_name: str
    folder: str
    uuid: str
    kind: Kind
    name: str

    def key(self) -> str:
        """Return what lists are sorted by, and go on behind."""
        return "\n".join((self.folder, self.project_name, self.name, self.uuid))


class VersionedText(NamedTuple):
    """A text, and the version of its item that it belongs to."""

    version: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a save has done: the new version of each item, and the projects they belong to."""

    versions: Mapping[str, int]
    projects: Sequence[str]


class ProjectStorage(Protocol):
    """Where projects are kept."""

    async def projects(self, *, trashed: bool = False) -> list[ProjectRecord]:
        """Return all projects, by folder and name; those in the trash, or those that are not."""
        ...

    async def items(self, project: str) -> list[Item]:
        """Return a project's items without texts, each behind its parent, in their order."""
        ...

    async def texts(self, items: Collection[str], *, max_bytes: int) -> dict[str, VersionedText]:
        """Return texts, as many as fit; at least one."""
        ...

    async def save(self, changes: Changes, author: Author, *, overwrite: bool = False) -> Saved:
        """Do all of the changes or nothing; ChangedMeanwhileError when somebody was faster."""
        ...

    async def set_trashed(
        self,
        project: str,
        author: Author,
        *,
        trashed: bool,
        name: str | None = None,
        folder: str | None = None,
    ) -> None:
        """Put a project into the trash, or take it out, to another name or folder if need be."""
        ...

    async def note_loaded(self, project: str, *, at_ns: int) -> None:
        """Note when a project was loaded last."""
        ...

    async def duplicate(
        self, project: str, author: Author, *, name: str, folder: str | None, alone: bool = False
    ) -> list[str]:
        """Copy a project and those below it; return the uuids of the copies, the outer first."""
        ...

    async def find(self, patterns: Mapping[Kind, str], *, class_id: str = "") -> list[Match]:
        """Return the items whose name matches the pattern of their kind."""
        ...


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise WrongTypeError(f"{what}: {type(value).__name__}, not a map", remedy="send a map")


def _sequence(value: object, what: str) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    raise WrongTypeError(f"{what}: {type(value).__name__}, not a list", remedy="send a list")


def _text(data: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = data.get(name, default)
    if isinstance(value, str):
        return value
    raise WrongTypeError(f"'{name}': {type(value).__name__}, not text", remedy="send text")


def _number(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise WrongTypeError(f"'{name}' is no number from 0 on", remedy="send such a number")
