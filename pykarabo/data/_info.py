"""Descriptions of properties, commands and outputs: frozen data that travels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from pykarabo.errors import BadInputError, MalformedMessageError, WrongTypeError, did_you_mean

from ._alarms import quality_of
from ._extent import check_value_size
from ._image import ImageData
from ._state import State
from ._table import TableValue
from ._types import AccessLevel, AccessMode, Quality, ValueType
from ._validate import initial_value, validate

_USUAL: Final = AccessLevel.OPERATOR
_T = TypeVar("_T", bound="PropertyInfo | ParameterInfo | CommandInfo")


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PropertyInfo:
    """A property.

    Attributes:
        key: dotted path below the device.
        value_type: what kind of value it holds.
        description: what it is, for people.
        label: a short title; the key where it is empty.
        unit: pint name of the unit of the numbers.
        access_mode: when it can be written from outside.
        access_level: who may write it; by default an operator, an observer where it is read-only.
        default: initial value; None means the type's zero, or None where that is allowed.
        minimum, maximum: smallest and largest value allowed.
        minimum_exclusive, maximum_exclusive: limits that are not allowed themselves.
        min_size, max_size: number of elements of a vector, of rows of a table, or of nodes of a
            list.
        options: the only values allowed; of a vector, of its elements.
        option_names: names of the options, which are accepted in their place.
        regex: what a text must match wholly; of a vector, each of its elements.
        allowed_states: states in which it can be written from outside; None means any.
        dtype, shape: of an array or an image; None in `shape` leaves that dimension free, and a
            shape of None leaves all free.
        encoding: of an image; empty leaves it free.
        rows: the columns of a table; of a list of nodes, what each of its nodes holds.
        tags: free words to select by.
        alias: another name, such as a hardware address.
        required: whether a configuration must give it.
        nullable: whether it can be None, which it is without a default.
        warn_low, warn_high, alarm_low, alarm_high: beyond these the value's quality is warn or
            alarm.
        hysteresis: how far inside a limit the value must be before the warning or alarm ends.
        alarm_delay: for how many seconds it must be beyond a limit before it is a warning or alarm.
        acknowledge: names of the limits, such as ``alarm_high``, whose warning or alarm stays
            until somebody has acknowledged it.
        limit_info: by name of the limit, what to do when it is passed.
        rolling_window: number of the latest values that variance limits judge; 0 for none.
        warn_variance_low, warn_variance_high, alarm_variance_low, alarm_variance_high: limits of
            the variance of the latest values, in squared units.
        deadband, relative_deadband: changes that are not larger, in units or as a share of the
            value published last, are not published; who reads the property has the true value.
        archive, daq: whether it is stored by the archive and by the data acquisition.
        archive_interval: the archive stores one value in so many seconds; 0 stores all.
        daq_data_type: of a node: ``train`` or ``pulse``, whatever its values belong to.
        display_type: a hint for user interfaces.
        secret: its values are shown neither by the audit log nor in errors.
        node: True for the entry of a node that only groups others.
        node_kind: of a node: ``choice`` or ``list`` where a configuration says what is below it.
    """

    key: str
    value_type: ValueType
    description: str = ""
    label: str = ""
    unit: str = ""
    access_mode: AccessMode = AccessMode.RECONFIGURABLE
    access_level: AccessLevel = AccessLevel.OPERATOR
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    minimum_exclusive: float | None = None
    maximum_exclusive: float | None = None
    min_size: int | None = None
    max_size: int | None = None
    options: tuple[Any, ...] | None = None
    option_names: tuple[str, ...] = ()
    regex: str | None = None
    allowed_states: frozenset[State] | None = None
    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None
    encoding: str = ""
    rows: "tuple[PropertyInfo, ...]" = ()
    tags: tuple[str, ...] = ()
    alias: str | None = None
    required: bool = False
    nullable: bool = False
    warn_low: float | None = None
    warn_high: float | None = None
    alarm_low: float | None = None
    alarm_high: float | None = None
    hysteresis: float = 0.0
    alarm_delay: float = 0.0
    acknowledge: tuple[str, ...] = ()
    limit_info: Mapping[str, str] = field(default_factory=_nothing)
    rolling_window: int = 0
    warn_variance_low: float | None = None
    warn_variance_high: float | None = None
    alarm_variance_low: float | None = None
    alarm_variance_high: float | None = None
    deadband: float = 0.0
    relative_deadband: float = 0.0
    archive: bool = True
    archive_interval: float = 0.0
    daq: bool = True
    daq_data_type: str = ""
    display_type: str = ""
    secret: bool = False
    node: bool = False
    node_kind: str = ""

    def validate(self, value: Any, *, device: str | None = None) -> Any:
        """Return `value` as a plain value of this property's type.

        Quantities are converted to `unit`, and so is text such as ``"3 mm"``; numpy scalars
        become Python's, sequences become arrays of the declared type.

        Raises:
            WrongTypeError, WrongUnitError, WrongShapeError, OutOfRangeError, NotAnOptionError:
                it does not fit; the error names device, property and what would, but not a value
                that is secret.
        """
        try:
            return validate(self, value, device)
        except BadInputError as error:
            if not self.secret:
                raise
            name = self.key if device is None else f"{device}.{self.key}"
            raise type(error)(
                f"the value for '{name}' does not fit, and is secret",
                device=device,
                key=self.key,
                remedy=f"see what is declared of it: {self.description or self.value_type}",
            ) from None

    @property
    def write_level(self) -> AccessLevel:
        """The role that is needed to write it.

        A table is written as a whole: a column that needs a higher role than usual protects all
        of it. Columns of the usual one, which is the default, leave it to the table.
        """
        if self.value_type is not ValueType.TABLE:
            return self.access_level
        above = (info.access_level for info in self.rows if info.access_level > _USUAL)
        return max((self.access_level, *above))

    def initial_value(self) -> Any:
        """Return the default; without one None if that is allowed, else the type's zero."""
        return initial_value(self)

    def present(self, value: Any) -> Any:
        """Return a plain value as one works with it: a `datetime`, `ImageData`, `TableValue`."""
        presenter = _PRESENTERS.get(self.value_type)
        return value if presenter is None or value is None else presenter(self, value)

    def check_size(self, value: Any, *, device: str | None = None) -> None:
        """Refuse what is too large for a property; raises `WrongShapeError`."""
        check_value_size(self, value, device)

    def quality_of(self, value: Any) -> Quality:
        """Judge a value by itself; NaN is invalid where there are warn or alarm limits."""
        return quality_of(self, value)

    def to_wire(self) -> dict[str, Any]:
        """Return the description as a plain map, without what is at its default."""
        return _to_wire(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "PropertyInfo":
        """Rebuild a description; raises `MalformedMessageError`."""
        return _from_wire(cls, wire)


_PRESENTERS: Final[Mapping[ValueType, Callable[[PropertyInfo, Any], Any]]] = {
    ValueType.DATETIME: lambda _info, value: datetime.fromisoformat(value),
    ValueType.IMAGE: lambda _info, value: ImageData.from_plain(value),
    ValueType.TABLE: TableValue.from_plain,
}


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """A parameter of a command.

    Attributes:
        secret: its values are shown neither by the audit log nor in errors.
    """

    name: str
    value_type: ValueType
    required: bool = True
    default: Any = None
    unit: str = ""
    description: str = ""
    nullable: bool = False
    secret: bool = False

    def validate(self, value: Any, *, device: str, command: str) -> Any:
        """Return `value` as a plain value of the parameter's type; raises `BadInputError`."""
        if self.value_type in (ValueType.ANY, ValueType.NONE) or (
            value is None and (self.nullable or not self.required)
        ):
            return value
        key = f"{command}({self.name})"
        info = PropertyInfo(key, self.value_type, unit=self.unit, secret=self.secret)
        return info.validate(value, device=device)

    def to_wire(self) -> dict[str, Any]:
        """Return the description as a plain map, without what is at its default."""
        return _to_wire(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "ParameterInfo":
        """Rebuild a description; raises `MalformedMessageError`."""
        return _from_wire(cls, wire)


_TEXTS: Final[Mapping[ValueType, type]] = {ValueType.STRING: str, ValueType.BYTES: bytes}


@dataclass(frozen=True, slots=True)
class CommandInfo:
    """A command.

    Attributes:
        name: dotted for a command of a node.
        returns: the type of its result.
        nullable_result: whether the result may be None instead.
        audited: whether the audit log tells of it when nobody was denied it.
    """

    name: str
    label: str = ""
    description: str = ""
    parameters: tuple[ParameterInfo, ...] = ()
    returns: ValueType = ValueType.NONE
    nullable_result: bool = False
    allowed_states: frozenset[State] | None = None
    access_level: AccessLevel = AccessLevel.OPERATOR
    idempotent: bool = False
    job: bool = False
    audited: bool = True

    @property
    def signature(self) -> str:
        """The command as one would write it: ``move(position: float64 [mm]) -> none``."""
        shown = ", ".join(
            f"{item.name}: {item.value_type}"
            + (f" [{item.unit}]" if item.unit else "")
            + ("" if item.required else f" = {item.default!r}")
            for item in self.parameters
        )
        return f"{self.name}({shown}) -> {self.returns}"

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], device: str) -> dict[str, Any]:
        """Return the arguments by parameter name, checked and converted.

        Raises:
            WrongTypeError: too many, too few or unknown arguments, or one of a wrong type.
            BadInputError: a value that does not fit.
        """
        by_name = {item.name: item for item in self.parameters}
        if len(args) > len(self.parameters):
            raise self._wrong(device, f"takes {len(self.parameters)} arguments, not {len(args)}")
        given = dict(zip(by_name, args, strict=False))
        for name, value in kwargs.items():
            if name not in by_name:
                raise self._wrong(device, f"has no parameter '{name}'", did_you_mean(name, by_name))
            if name in given:
                raise self._wrong(device, f"got its parameter '{name}' twice")
            given[name] = value
        missing = [
            item.name for item in self.parameters if item.required and item.name not in given
        ]
        if missing:
            raise self._wrong(device, f"lacks its argument '{missing[0]}'")
        return {
            name: by_name[name].validate(value, device=device, command=self.name)
            for name, value in given.items()
        }

    def validate_result(self, value: Any, device: str) -> Any:
        """Return a result as a plain value of its type; raises `BadInputError`.

        How large it may be is not for its type to say, but for the message that it travels in.
        """
        if type(value) is _TEXTS.get(self.returns):
            return value
        info = ParameterInfo("result", self.returns, nullable=self.nullable_result)
        if self.returns is ValueType.NONE and value is not None:
            raise self._wrong(device, f"returns nothing, but gave a {type(value).__name__}")
        return info.validate(value, device=device, command=self.name)

    def _wrong(self, device: str, problem: str, remedy: str = "") -> WrongTypeError:
        return WrongTypeError(
            f"command '{device}.{self.name}' {problem}",
            device=device,
            key=self.name,
            remedy=remedy or f"call it as {self.signature}",
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the description as a plain map, without what is at its default."""
        return _to_wire(self) | {"parameters": [item.to_wire() for item in self.parameters]}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "CommandInfo":
        """Rebuild a description; raises `MalformedMessageError`."""
        parameters = tuple(ParameterInfo.from_wire(item) for item in wire.get("parameters", ()))
        return _from_wire(cls, {**wire, "parameters": parameters})


@dataclass(frozen=True, slots=True)
class OutputInfo:
    """A pipeline output and what its items hold."""

    name: str
    description: str = ""
    properties: tuple[PropertyInfo, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the description as a plain map."""
        return {
            "name": self.name,
            "description": self.description,
            "properties": [item.to_wire() for item in self.properties],
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "OutputInfo":
        """Rebuild a description; raises `MalformedMessageError`."""
        properties = tuple(PropertyInfo.from_wire(item) for item in wire.get("properties", ()))
        return cls(str(wire.get("name", "")), str(wire.get("description", "")), properties)


def _to_wire(info: "PropertyInfo | ParameterInfo | CommandInfo") -> dict[str, Any]:
    wire: dict[str, Any] = {}
    for item in fields(info):
        value = getattr(info, item.name)
        default = item.default if item.default_factory is MISSING else item.default_factory()
        # Arrays cannot be compared like this, but no default here is one.
        if type(value) is not type(default) or value != default:
            wire[item.name] = _plain(value)
    return wire


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PropertyInfo):
        return value.to_wire()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    return value


_DECODERS: dict[str, Any] = {
    "value_type": ValueType,
    "returns": ValueType,
    "access_mode": AccessMode,
    "access_level": AccessLevel,
    "options": tuple,
    "option_names": tuple,
    "rows": lambda rows: tuple(map(PropertyInfo.from_wire, rows)),
    "shape": tuple,
    "tags": tuple,
    "acknowledge": tuple,
    "limit_info": lambda texts: MappingProxyType(dict(texts)),
    "allowed_states": lambda names: frozenset(State(name) for name in names),
}


def _from_wire(cls: type[_T], wire: Mapping[str, Any]) -> _T:
    known = {item.name for item in fields(cls)}
    try:
        arguments: dict[str, Any] = {
            name: _DECODERS[name](value) if name in _DECODERS else value
            for name, value in wire.items()
            if name in known and not (value is None and name in _DECODERS)
        }
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise MalformedMessageError(
            f"a {cls.__name__} cannot be understood: {error}",
            remedy="update pykarabo on this side",
        ) from None
