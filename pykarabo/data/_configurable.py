"""Classes whose attributes are described, checked and time-stamped properties."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType, NoneType
from typing import Any, ClassVar, Final, Self, cast

from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    MissingValueError,
    ReadOnlyError,
)

from ._descriptors import Property
from ._info import CommandInfo, OutputInfo, PropertyInfo
from ._nodes import Node, child_nodes
from ._refusal import raise_all
from ._schema import Schema
from ._timestamp import Timestamp
from ._types import AccessMode, Quality
from ._value import PropertyValue

_IMMUTABLE: Final = (bool, int, float, complex, str, bytes, NoneType)


class Configurable:
    """Base of everything that has properties.

    Args:
        configuration: initial values by dotted key, or nested maps for nodes.

    Raises:
        BadInputError: the configuration does not fit; several errors come as one
            `InvalidValuesError` that lists them.
    """

    __pykarabo_schema__: ClassVar[Schema]
    __pykarabo_initial__: ClassVar[Mapping[str, tuple[Any, Quality]]]
    _values: dict[str, PropertyValue]

    def __init__(self, configuration: Mapping[str, Any] | None = None) -> None:
        self._values = {}
        given = self._checked_configuration(configuration or {})
        at = self._timestamp()
        shared = _shared_initial_values(type(self))
        for key, info in self.schema().properties.items():
            if key in given:
                plain, quality = given[key], info.quality_of(given[key])
            elif key in shared:
                plain, quality = shared[key]
            elif not info.node:
                plain, quality = _initial(info)
            else:
                continue
            self._values[key] = PropertyValue(plain, at, quality)

    def _checked_configuration(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plain values of a configuration by dotted key; become what it chooses."""
        name = self._name()
        if self.schema().has_configured_nodes:
            from ._injection import with_configured_nodes

            made, configuration = with_configured_nodes(type(self), configuration, name)
            self.__class__ = cast("type[Self]", made)
        schema = self.schema()
        errors: list[BadInputError] = []
        given = flat_configuration(schema, configuration, name, errors=errors)
        plain: dict[str, Any] = {}
        for key, value in given.items():
            try:
                plain[key] = schema.properties[key].validate(value, device=name)
            except BadInputError as error:
                errors.append(error)
        errors += (_missing(name, key) for key in schema.required if key not in given)
        raise_all(errors, name)
        return plain

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _refuse_taken_names(cls)
        for member in members_of(cls).values():
            if isinstance(member, Property | Node):
                member.describe(cls)
        cls.schema()

    @classmethod
    def schema(cls) -> Schema:
        """Return the description of the class; of an object, with what was injected into it."""
        # Kept by the class itself: that of a single object lives no longer than it is needed.
        known: Schema | None = cls.__dict__.get("__pykarabo_schema__")
        if known is None:
            known = cls.__pykarabo_schema__ = _schema_of(cls)
        return known

    def _name(self) -> str:
        """Return what error messages call this object."""
        return type(self).__name__

    def _timestamp(self) -> Timestamp:
        """Return the moment at which values are set; the base class has no clock."""
        return Timestamp(0, 0, 0)

    def _assign(self, info: PropertyInfo, value: Any) -> None:
        """Check and keep a value that is assigned to a property."""
        plain = info.validate(value, device=self._name())
        self._values[info.key] = PropertyValue(plain, self._timestamp(), info.quality_of(plain))

    def _plain_value_of(self, key: str) -> Any:
        """Return the present plain value of a property."""
        return self._values[key].value

    def _change_value(self, key: str, change: Callable[[Any], Any]) -> None:
        """Set a property to what becomes of its present plain value."""
        self._assign(self.schema().properties[key], change(self._plain_value_of(key)))

    def _brought_values(
        self,
        cls: "type[Configurable]",
        touched: Collection[str],
        before: Mapping[str, PropertyValue],
        *,
        strict: bool,
    ) -> dict[str, PropertyValue]:
        """Return the values that this object has new, or anew, when it becomes one of `cls`.

        Args:
            touched: keys of the properties and nodes whose description is another one.
            before: what is kept now.
            strict: refuse a present value that does not fit, instead of dropping it.

        Raises:
            BadConfigurationError: a present value or unit contradicts; nothing has changed.
        """
        known = self.schema().properties
        return {
            info.key: self._carried(info, known.get(info.key), before.get(info.key), strict=strict)
            for info in iterate_leaves(cls.schema())
            if info.key not in before or is_below(info.key, touched)
        }

    def _become(
        self,
        cls: "type[Configurable]",
        brought: Mapping[str, PropertyValue],
        before: Mapping[str, PropertyValue],
    ) -> list[str]:
        """Become an object of `cls`, which is a class of its own; nothing here can fail.

        Other threads read and set values meanwhile. What is new is there before its description
        is, and what they have set since `before` stays as it is.

        Returns:
            the keys of `brought` that another thread has set.
        """
        values, after = self._values, cls.schema().properties
        values.update({key: value for key, value in brought.items() if key not in before})
        self.__class__ = cast("type[Self]", cls)
        for key in before:
            if key not in after or after[key].node:
                del values[key]
        newer: list[str] = []
        for key, value in brought.items():
            # Threads take turns only where something is called: not between these two lines.
            if key in before and values[key] is before[key]:
                values[key] = value
            elif key in before:
                newer.append(key)
        return newer

    def _carried(
        self,
        info: PropertyInfo,
        before: PropertyInfo | None,
        value: PropertyValue | None,
        *,
        strict: bool,
    ) -> PropertyValue:
        """Return a present value under a new description if it fits, else the initial one."""
        if value is not None and before is not None and before.value_type is info.value_type:
            self._refuse_other_unit(info, before)
            try:
                plain = info.validate(value.value, device=self._name())
                return PropertyValue(plain, value.timestamp, info.quality_of(plain))
            except BadInputError as error:
                if strict:
                    raise BadConfigurationError(
                        f"its present value does not fit: {error.message}",
                        key=info.key,
                        remedy="set it to one that fits before and after, then change attributes",
                    ) from None
        plain, quality = _initial(info)
        return PropertyValue(plain, self._timestamp(), quality)

    def _refuse_other_unit(self, info: PropertyInfo, before: PropertyInfo) -> None:
        """Refuse another unit: a client that does not know it yet would write wrong numbers."""
        if info.unit != before.unit:
            raise BadConfigurationError(
                f"the unit of '{info.key}' is '{before.unit}' and cannot become '{info.unit}'",
                key=info.key,
                remedy="inject a property of another name",
            )


class BoundNode:
    """A node of a certain object; its properties are the object's, below the node's name.

    Commands of the node's class can be called on it.
    """

    def __init__(self, root: Configurable, node: type[Configurable], prefix: str) -> None:
        object.__setattr__(self, "_root", root)
        object.__setattr__(self, "_described", (type(root), node))
        object.__setattr__(self, "_prefix", prefix)

    def _node_class(self) -> type[Configurable]:
        """The present class of the node: injection may have replaced it."""
        root_class, node = self._described
        if root_class is not type(self._root):
            root_class = type(self._root)
            node = _node_class(root_class, self._prefix)
            object.__setattr__(self, "_described", (root_class, node))
        found: type[Configurable] = node
        return found

    @property
    def __pykarabo_class__(self) -> type[Configurable]:
        """The class that describes the node."""
        return self._node_class()

    def __getattr__(self, name: str) -> Any:
        member = inspect.getattr_static(self._node_class(), name)
        if isinstance(member, Property):
            return member.read(self._root, self._prefix + member.key)
        if isinstance(member, Node):
            return member.bind(self._root, self._prefix)
        if inspect.isfunction(member):
            return functools.partial(member, self)
        return member

    def __setattr__(self, name: str, value: Any) -> None:
        member = inspect.getattr_static(self._node_class(), name, None)
        if not isinstance(member, Property):
            raise AttributeError(f"node '{self._prefix[:-1]}' has no property '{name}'")
        self._root._assign(self._root.schema().properties[self._prefix + member.key], value)


def root_of(owner: object) -> object:
    """Return the object that a node belongs to; of what is no node, itself."""
    return object.__getattribute__(owner, "_root") if isinstance(owner, BoundNode) else owner


class BoundChoice(BoundNode):
    """A node of which the configuration has chosen one group; that one's members are its own."""

    @property
    def chosen(self) -> str:
        """Name of the group that was chosen."""
        return next(child_nodes(self._node_class())).key

    def __getattr__(self, name: str) -> Any:
        if self._has(name):
            return super().__getattr__(name)
        return getattr(super().__getattr__(self.chosen), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._has(name):
            super().__setattr__(name, value)
        else:
            setattr(super().__getattr__(self.chosen), name, value)

    def _has(self, name: str) -> bool:
        member = inspect.getattr_static(self._node_class(), name, None)
        return isinstance(member, Property | Node)


class BoundList(BoundNode):
    """A node with as many groups as were configured: a sequence of them, each also an attribute."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the groups, in their order."""
        return tuple(node.key for node in child_nodes(self._node_class()))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[BoundNode]:
        return (getattr(self, name) for name in self.names)

    def __getitem__(self, place: int | str) -> BoundNode:
        found: BoundNode = getattr(self, place if isinstance(place, str) else self.names[place])
        return found


def flat_configuration(
    schema: Schema,
    configuration: Mapping[str, Any],
    device: str,
    prefix: str = "",
    *,
    errors: list[BadInputError] | None = None,
) -> dict[str, Any]:
    """Return an initial configuration by dotted key, with every key checked.

    Args:
        errors: takes what would be raised, so that all of it can be reported.

    Raises:
        UnknownPropertyError: a key that the schema does not have; near matches are named.
        ReadOnlyError: a key that cannot be configured.
        BadConfigurationError: a key that is given twice, in a map and dotted.
    """
    flat: dict[str, Any] = {}
    for name, value in configuration.items():
        key = prefix + name
        try:
            info = schema.require_property(key, device)
            if info.node and isinstance(value, Mapping):
                below = flat_configuration(schema, value, device, f"{key}.", errors=errors)
            else:
                _require_configurable(info, device)
                below = {key: value}
            for twice in flat.keys() & below.keys():
                raise given_twice(f"{device}.{twice}", twice)
            flat |= below
        except BadInputError as error:
            if errors is None:
                raise
            errors.append(error)
    return flat


def given_twice(name: str, key: str) -> BadConfigurationError:
    """Return the error of a key for which there are two values."""
    return BadConfigurationError(
        f"'{name}' is configured twice",
        key=key,
        remedy="give it once, in a map or by its dotted key",
    )


def _require_configurable(info: PropertyInfo, device: str) -> None:
    if info.node or info.access_mode is AccessMode.READ_ONLY:
        raise ReadOnlyError(
            f"'{device}.{info.key}' cannot be configured",
            device=device,
            key=info.key,
            remedy="leave it out" if not info.node else "give a map of what is below it",
        )


def _missing(device: str, key: str) -> MissingValueError:
    return MissingValueError(
        f"'{device}.{key}' must be configured",
        device=device,
        key=key,
        remedy=f"give a value of '{key}' when it is instantiated",
    )


def _node_class(cls: type[Configurable], prefix: str) -> type[Configurable]:
    """Return the class of the node at a prefix; raises `AttributeError` if it was removed."""
    for key in prefix.split(".")[:-1]:
        nodes = (member for member in members_of(cls).values() if isinstance(member, Node))
        found = next((member for member in nodes if member.key == key), None)
        if found is None:
            raise AttributeError(f"node '{prefix[:-1]}' was removed")
        cls = found.node
    return cls


def is_below(key: str, roots: Collection[str]) -> bool:
    """Tell whether a key is one of `roots`, or below one of them."""
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def _schema_of(cls: type[Configurable]) -> Schema:
    properties: dict[str, PropertyInfo] = {}
    commands: dict[str, CommandInfo] = {}
    outputs: dict[str, OutputInfo] = {}
    for member in members_of(cls).values():
        if isinstance(member, Property):
            _add(cls, properties, member.info, member.place)
        elif isinstance(member, Node):
            _add_node(cls, member, properties, commands)
        elif isinstance(info := getattr(member, "__pykarabo_command__", None), CommandInfo):
            commands[info.name] = info
        elif isinstance(info := getattr(member, "__pykarabo_output__", None), OutputInfo):
            outputs[info.name] = info
    return Schema(
        cls.__name__,
        inspect.getdoc(cls) or "",
        MappingProxyType(properties),
        MappingProxyType(commands),
        MappingProxyType(outputs),
    )


def _initial(info: PropertyInfo) -> tuple[Any, Quality]:
    value = info.initial_value()
    return value, info.quality_of(value)


def _shared_initial_values(cls: type[Configurable]) -> Mapping[str, tuple[Any, Quality]]:
    """Return the initial values that cannot be changed in place; every object has the same."""
    known = cls.__dict__.get("__pykarabo_initial__")
    if known is None:
        initial = ((info.key, _initial(info)) for info in iterate_leaves(cls.schema()))
        known = {key: found for key, found in initial if isinstance(found[0], _IMMUTABLE)}
        cls.__pykarabo_initial__ = known
    return known


def _refuse_taken_names(cls: type) -> None:
    """Refuse a property that would hide a method of a base class."""
    for name, member in vars(cls).items():
        if not isinstance(member, Property | Node):
            continue
        for base in cls.__mro__[1:]:
            hidden = vars(base).get(name)
            if hidden is not None and not isinstance(hidden, Property | Node):
                raise BadConfigurationError(
                    f"property '{cls.__name__}.{name}' would hide '{base.__name__}.{name}'",
                    key=name,
                    remedy=f"name the attribute differently; key='{name}' keeps its outer name",
                )


def members_of(cls: type) -> Mapping[str, Any]:
    """Return the attributes of a class and its bases, base classes first, overrides in place."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        members.update(vars(base))
    return members


def _add(cls: type, properties: dict[str, PropertyInfo], info: PropertyInfo, place: str) -> None:
    if info.key in properties:
        raise BadConfigurationError(
            f"class '{cls.__name__}' has two properties with the key '{info.key}' ({place})",
            key=info.key,
            remedy="give one of them another key",
        )
    properties[info.key] = info


def _add_node(
    cls: type,
    node: Node,
    properties: dict[str, PropertyInfo],
    commands: dict[str, CommandInfo],
) -> None:
    below = node.node.schema()
    _add(cls, properties, node.info, node.place)
    for info in below.properties.values():
        _add(cls, properties, replace(info, key=f"{node.key}.{info.key}"), node.place)
    for command in below.commands.values():
        name = f"{node.key}.{command.name}"
        commands[name] = replace(command, name=name)


def iterate_leaves(schema: Schema) -> Iterator[PropertyInfo]:
    """Yield the properties of a schema that have values."""
    return (info for info in schema.properties.values() if not info.node)
