"""Declaring groups of properties: plain ones, one of several, and any number of them.

A schema, a configuration, a proxy and the wire know plain nodes only. The class of an object
whose configuration chooses what is below a node is derived when the object is made, as for
injected properties, and holds what was chosen::

    stage = ChoiceOfNodes({"linear": Linear, "rotary": Rotary})     {"stage": {"rotary": {...}}}
    axes = ListOfNodes(Axis)                                        {"axes": {"x": {...}, "y": {}}}

Thus ``stage.rotary.speed`` and ``axes.x.position`` are ordinary keys. The schema of a class, which
a configuration is written from, shows all alternatives of a choice, and in `rows` what each node
of a list holds.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, overload

from pykarabo.errors import BadConfigurationError, NotAnOptionError, WrongShapeError, WrongTypeError

from ._descriptors import declared_at
from ._info import PropertyInfo
from ._types import AccessLevel, AccessMode, ValueType

if TYPE_CHECKING:
    from ._configurable import BoundNode, Configurable

DAQ_DATA_TYPES: Final = ("", "train", "pulse")


class Node:
    """A group of properties and commands below a common name, described by a class.

    Args:
        node: the `Configurable` class that declares what the group holds.
        key: the group's name where it differs from the attribute's.
        daq_data_type: ``train`` or ``pulse``, whatever the values of the group belong to.
    """

    kind = ""

    def __init__(
        self,
        node: "type[Configurable]",
        *,
        key: str = "",
        description: str = "",
        label: str = "",
        daq_data_type: str = "",
    ) -> None:
        self.node = node
        self.key = key
        self.place = declared_at()
        self._description = description
        self._label = label
        self._daq_data_type = daq_data_type

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = self.key or name

    def describe(self, owner: type) -> None:
        """Check the declaration for the class that it stands in.

        Raises:
            BadConfigurationError: it contradicts itself; class, node, file and line are named.
        """
        if self._daq_data_type not in DAQ_DATA_TYPES:
            raise self._contradiction(
                owner, f"has the daq_data_type {self._daq_data_type!r}: give 'train' or 'pulse'"
            )

    def _contradiction(self, owner: type, problem: str) -> BadConfigurationError:
        return BadConfigurationError(
            f"node '{owner.__name__}.{self.key}' {problem} ({self.place})",
            key=self.key,
            remedy="correct its declaration",
        )

    def with_class(self, node: "type[Configurable]") -> "Node":
        """Return the same group with another class."""
        changed = copy.copy(self)
        changed.node = node
        return changed

    @property
    def info(self) -> PropertyInfo:
        """The entry of the group itself."""
        return PropertyInfo(
            self.key,
            ValueType.HASH,
            description=self._description or (self.node.__doc__ or "").partition("\n")[0],
            label=self._label,
            access_mode=AccessMode.READ_ONLY,
            access_level=AccessLevel.OBSERVER,
            daq_data_type=self._daq_data_type,
            node=True,
            node_kind=self.kind,
            **self._more(),
        )

    def _more(self) -> dict[str, Any]:
        """Return what the entry tells more."""
        return {}

    @overload
    def __get__(self, instance: None, owner: type) -> "Node": ...

    @overload
    def __get__(self, instance: "Configurable", owner: type) -> "BoundNode": ...

    def __get__(self, instance: "Configurable | None", owner: type) -> "Node | BoundNode":
        if instance is None:
            return self
        return self.bind(instance, "")

    def bind(self, root: "Configurable", prefix: str) -> "BoundNode":
        """Return the node of a certain object; `prefix` is the dotted key of what it is below."""
        from ._configurable import BoundNode

        return BoundNode(root, self.node, f"{prefix}{self.key}.")


class ChoiceOfNodes(Node):
    """One of several groups, chosen by the configuration of an object when it is made.

    The configuration gives a map of one entry: ``{"stage": {"rotary": {"speed": 3.0}}}``, or only
    the name, ``{"stage": "rotary"}``. The chosen group is below its name, ``stage.rotary.speed``.

    Args:
        nodes: by name the `Configurable` class of each group.
        default: the group without a configuration; otherwise the first.
        required: a configuration must choose.
    """

    kind = "choice"

    def __init__(
        self,
        nodes: "Mapping[str, type[Configurable]]",
        *,
        default: str = "",
        required: bool = False,
        **arguments: Any,
    ) -> None:
        self._nodes = dict(nodes)
        self._default = default or next(iter(self._nodes), "")
        self._required = required
        super().__init__(_group_of({name: Node(node) for name, node in nodes.items()}), **arguments)

    def describe(self, owner: type) -> None:
        """Check the declaration for the class that it stands in."""
        super().describe(owner)
        if not self._nodes:
            raise self._contradiction(owner, "has nothing to choose of")
        if self._default not in self._nodes:
            raise self._contradiction(owner, f"has the default '{self._default}', which it has not")

    def _more(self) -> dict[str, Any]:
        return {
            "options": tuple(self._nodes),
            "default": None if self._required else self._default,
            "required": self._required,
        }

    def chosen(self, given: Any, device: str) -> tuple["type[Configurable]", dict[str, Any]]:
        """Return the class of the node, and the configuration of what is below it.

        Raises:
            NotAnOptionError: there is no such group, several were given, or none.
        """
        below = named_nodes(given)
        if not isinstance(below, Mapping):
            raise self._refused(device, f"cannot be {given!r}")
        names = list(below) or ([] if self._required else [self._default])
        if len(names) != 1:
            raise self._refused(device, f"must be one, not {len(names)}")
        name = names[0]
        if name not in self._nodes:
            raise self._refused(device, f"cannot be '{name}'")
        return _group_of({name: Node(self._nodes[name])}), {name: below.get(name, {})}

    def _refused(self, device: str, problem: str) -> NotAnOptionError:
        return NotAnOptionError(
            f"'{device}.{self.key}' {problem}",
            device=device,
            key=self.key,
            remedy=f"choose one of {', '.join(self._nodes)}",
        )

    def bind(self, root: "Configurable", prefix: str) -> "BoundNode":
        """Return the node of a certain object; the chosen group can be reached through it."""
        from ._configurable import BoundChoice

        return BoundChoice(root, self.node, f"{prefix}{self.key}.")


class ListOfNodes(Node):
    """Any number of groups of one class, given by the configuration of an object when it is made.

    The configuration gives a map of them by name, ``{"axes": {"x": {}, "y": {"speed": 3.0}}}``, or
    a list, whose groups are named ``item0``, ``item1`` and so on. Each is below its name:
    ``axes.x.speed``. For groups of several classes, list a class that holds a `ChoiceOfNodes`.

    Args:
        node: the `Configurable` class of each group.
        min_size, max_size: how many groups there can be.
    """

    kind = "list"

    def __init__(
        self,
        node: "type[Configurable]",
        *,
        min_size: int | None = None,
        max_size: int | None = None,
        **arguments: Any,
    ) -> None:
        self._item = node
        self._sizes = (min_size or 0, max_size)
        super().__init__(_group_of({}), **arguments)

    def describe(self, owner: type) -> None:
        """Check the declaration for the class that it stands in."""
        super().describe(owner)
        low, high = self._sizes
        if low < 0 or (high is not None and high < low):
            raise self._contradiction(owner, f"has min_size={low} and max_size={high}")

    def _more(self) -> dict[str, Any]:
        low, high = self._sizes
        return {
            "rows": tuple(self._item.schema().properties.values()),
            "min_size": low or None,
            "max_size": high,
            "required": low > 0,
        }

    def listed(self, given: Any, device: str) -> tuple["type[Configurable]", dict[str, Any]]:
        """Return the class of the node, and the configuration of what is below it.

        Raises:
            WrongTypeError, WrongShapeError: these are no groups, or too many or too few.
        """
        below = named_nodes(given)
        named = isinstance(below, Mapping) and all(
            isinstance(item, Mapping) and str(name).isidentifier() for name, item in below.items()
        )
        if not named:
            raise WrongTypeError(
                f"'{device}.{self.key}' cannot be {given!r:.60}",
                device=device,
                key=self.key,
                remedy="give a map of maps by name, of letters, digits and '_', or a list",
            )
        low, high = self._sizes
        if len(below) < low or (high is not None and len(below) > high):
            raise WrongShapeError(
                f"'{device}.{self.key}' cannot have {len(below)} nodes",
                device=device,
                key=self.key,
                remedy=f"give {low} to {'any number of' if high is None else high}",
            )
        return _group_of({name: Node(self._item) for name in below}), dict(below)

    def bind(self, root: "Configurable", prefix: str) -> "BoundNode":
        """Return the node of a certain object, which iterates over its groups."""
        from ._configurable import BoundList

        return BoundList(root, self.node, f"{prefix}{self.key}.")


def named_nodes(given: Any) -> Any:
    """Return what a configuration gives below a node as a map by name, if it can be one."""
    if isinstance(given, str):
        return {given: {}}
    if isinstance(given, list | tuple):
        return {f"item{number}": item for number, item in enumerate(given)}
    return given


def _group_of(nodes: Mapping[str, Node]) -> "type[Configurable]":
    from ._configurable import Configurable

    made: type[Configurable] = type("Group", (Configurable,), {"__doc__": "", **nodes})
    return made


def child_nodes(cls: "type[Configurable]") -> Iterator[Node]:
    """Yield the nodes that a class declares, in their order."""
    from ._configurable import members_of

    return (member for member in members_of(cls).values() if isinstance(member, Node))
