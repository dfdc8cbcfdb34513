"""Classes of single objects: what is injected into one object, others of its class do not get.

An object with injected properties has a class of its own, derived from the one that declares it,
and so has every node of it that holds injected properties. Thus they are checked like declared
ones, are read and assigned like them, and cost nothing as long as there are none. Nothing here
changes an object: a class that cannot be made leaves everything as it was.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from pykarabo.errors import BadConfigurationError

from ._configurable import Configurable, flat_configuration, given_twice, members_of
from ._descriptors import Property
from ._info import PropertyInfo
from ._nodes import ChoiceOfNodes, ListOfNodes, Node, named_nodes

Member: TypeAlias = Property[Any] | Node
_DECLARED: Final = "__pykarabo_declared__"
_Class: TypeAlias = type[Configurable]


def declared_class(cls: _Class) -> _Class:
    """Return the class that an author wrote, from that of a single object."""
    declared: _Class = vars(cls).get(_DECLARED, cls)
    return declared


def with_members(cls: _Class, members: Mapping[str, Any], below: str = "") -> _Class:
    """Return a class that has more properties and nodes, by attribute.

    Args:
        below: key of the node that they are put below.

    Raises:
        BadConfigurationError: they contradict themselves or what is there.
    """

    def inject(node: _Class, own: dict[str, Member]) -> None:
        for name, member in members.items():
            _refuse_unfit(node, name, member)
            own[name] = copy.copy(member)

    return _edited(cls, below.split(".") if below else [], inject)


def without_member(cls: _Class, key: str) -> _Class:
    """Return a class that lacks an injected property or node.

    Raises:
        BadConfigurationError: it was not injected.
    """
    *path, last = key.split(".")

    def remove(node: _Class, own: dict[str, Member]) -> None:
        name, _member = _find(node, last)
        if name in members_of(declared_class(node)):
            raise BadConfigurationError(
                f"property '{key}' is declared by class '{node.__name__}'",
                key=key,
                remedy="only what was injected can be removed",
            )
        del own[name]

    return _edited(cls, path, remove)


def with_attributes(cls: _Class, key: str, attributes: Mapping[str, Any]) -> _Class:
    """Return a class in which a property has other attributes.

    Raises:
        BadConfigurationError: there is no such attribute, or they contradict each other.
    """
    return with_all_attributes(cls, {key: attributes})


def with_all_attributes(cls: _Class, attributes: Mapping[str, Mapping[str, Any]]) -> _Class:
    """Return a class in which several properties, by dotted key, have other attributes.

    Raises:
        BadConfigurationError: there is no such property or attribute, or they contradict each
            other.
    """
    if not attributes:
        return cls
    own = _own_members(cls)
    below: dict[str, dict[str, Mapping[str, Any]]] = {}
    for key, given in attributes.items():
        above, dot, rest = key.partition(".")
        if dot:
            below.setdefault(above, {})[rest] = given
        else:
            name, member = _find(cls, key)
            own[name] = _require_property(member, key).with_attributes(given)
    for key, inner in below.items():
        name, member = _find(cls, key)
        if not isinstance(member, Node):
            raise _nothing_below(member)
        own[name] = member.with_class(with_all_attributes(member.node, inner))
    return _class_with(declared_class(cls), own)


def _require_property(member: Member, key: str) -> Property[Any]:
    if isinstance(member, Node):
        raise BadConfigurationError(
            f"'{key}' is a node, which has no attributes that can be changed",
            key=key,
            remedy="name a property below it",
        )
    return member


def _nothing_below(member: Member) -> BadConfigurationError:
    return BadConfigurationError(
        f"'{member.key}' is a property, nothing can be below it",
        key=member.key,
        remedy="name a node",
    )


def with_configured_nodes(
    cls: _Class, configuration: Mapping[str, Any], device: str
) -> tuple[_Class, dict[str, Any]]:
    """Return a class whose nodes hold what a configuration chooses, and the configuration of it.

    Raises:
        BadInputError: there is nothing like what it chooses.
    """
    own = _own_members(cls)
    rest = dict(configuration)
    for name, node in _members(members_of(cls).items()):
        if not isinstance(node, Node):
            continue
        given = _taken_below(rest, node.key, device)
        below = node.node
        if isinstance(node, ChoiceOfNodes):
            below, given = node.chosen(given, device)
        elif isinstance(node, ListOfNodes):
            below, given = node.listed(given, device)
        if isinstance(given, Mapping) and below.schema().has_configured_nodes:
            below, given = with_configured_nodes(below, given, f"{device}.{node.key}")
        own[name] = node.with_class(below)
        rest[node.key] = given
    return _class_with(declared_class(cls), own), rest


def configured_properties(
    cls: _Class, configuration: Mapping[str, Any], device: str
) -> list[PropertyInfo]:
    """Return the properties that a configuration of an object gives values to.

    Keys that there are not, or that cannot be configured, are left out.

    Raises:
        BadInputError: there is nothing like what it chooses.
    """
    if cls.schema().has_configured_nodes:
        cls, configuration = with_configured_nodes(cls, configuration, device)
    schema = cls.schema()
    given = flat_configuration(schema, configuration, device, errors=[])
    return [schema.properties[key] for key in given]


def _taken_below(configuration: dict[str, Any], key: str, device: str) -> Any:
    """Take what is configured of a node away: its map, and values by dotted keys."""
    given = named_nodes(configuration.pop(key, {}))
    dotted = [name for name in configuration if name.startswith(f"{key}.")]
    if not dotted or not isinstance(given, Mapping):
        return given
    below = dict(given)
    for name in dotted:
        _put(below, name.removeprefix(f"{key}."), configuration.pop(name), f"{device}.{key}")
    return below


def _put(tree: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Put a value into nested maps; none of those that were given is changed.

    Raises:
        BadConfigurationError: it is there already.
    """
    name, _dot, rest = path.partition(".")
    if not rest and name not in tree:
        tree[name] = value
        return
    inner = named_nodes(tree.get(name, {}))
    below = {rest: value} if rest else named_nodes(value)
    if not isinstance(inner, Mapping) or not isinstance(below, Mapping):
        raise given_twice(f"{where}.{name}", path)
    tree[name] = dict(inner)
    for key, item in below.items():
        _put(tree[name], key, item, f"{where}.{name}")


def _edited(
    cls: _Class, path: list[str], edit: Callable[[_Class, dict[str, Member]], None]
) -> _Class:
    """Return a class whose node at `path`, or which itself, has other members of its own."""
    own = _own_members(cls)
    if path:
        name, node = _find(cls, path[0])
        if not isinstance(node, Node):
            raise _nothing_below(node)
        own[name] = node.with_class(_edited(node.node, path[1:], edit))
    else:
        edit(cls, own)
    return _class_with(declared_class(cls), own)


def _class_with(declared: _Class, own: Mapping[str, Member]) -> _Class:
    inherited = members_of(declared)
    own = {name: member for name, member in own.items() if not _same_node(member, inherited, name)}
    if not own:
        return declared
    names = ("__module__", "__qualname__", "__doc__")
    namespace = {name: getattr(declared, name) for name in names}
    metaclass: Any = type(declared)
    made: _Class = metaclass(
        declared.__name__, (declared,), {**namespace, **own, _DECLARED: declared}
    )
    return made


def _same_node(member: Member, inherited: Mapping[str, Any], name: str) -> bool:
    """Tell whether a node is as it was declared: nothing is injected below it any more."""
    declared = inherited.get(name)
    return isinstance(member, Node) and isinstance(declared, Node) and declared.node is member.node


def _own_members(cls: _Class) -> dict[str, Member]:
    if _DECLARED not in vars(cls):
        return {}
    return dict(_members(vars(cls).items()))


def _members(attributes: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Member]]:
    return (item for item in attributes if isinstance(item[1], Property | Node))


def _find(cls: _Class, key: str) -> tuple[str, Member]:
    """Return the attribute that has a key, and what it is."""
    for name, member in _members(members_of(cls).items()):
        if member.key == key:
            return name, member
    raise BadConfigurationError(
        f"class '{cls.__name__}' has no property '{key}'", key=key, remedy="inject it first"
    )


def _refuse_unfit(cls: _Class, name: str, member: object) -> None:
    """Refuse what cannot be injected under a name."""
    if not isinstance(member, Property | Node):
        raise BadConfigurationError(
            f"'{name}' is no property and no node: {member!r:.60}",
            key=name,
            remedy="commands cannot be injected: declare them in the class, or inject a node whose"
            " class has them",
        )
    if not name.isidentifier() or "." in member.key:
        raise BadConfigurationError(
            f"'{name}' with the key '{member.key or name}' is no name of a property",
            key=name,
            remedy="use letters, digits and underscores; below=... puts it below a node",
        )
    if isinstance(members_of(declared_class(cls)).get(name), Property | Node):
        raise BadConfigurationError(
            f"class '{cls.__name__}' declares '{name}' already",
            key=name,
            remedy="use another name, or change its attributes with update_attributes",
        )
