"""Declaring properties: one descriptor class per type of value."""

import copy
import sys
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt

from pykarabo.errors import BadConfigurationError, BadInputError, did_you_mean

from ._alarms import limits_problem
from ._info import PropertyInfo
from ._state import State
from ._types import AccessLevel, AccessMode, ValueType

if TYPE_CHECKING:
    from ._configurable import BoundNode, Configurable

T = TypeVar("T")
_ARGUMENTS: Final = {"read_only": "access_mode", "init_only": "access_mode"}
"""What is kept under another name than it is given."""


class Property(Generic[T]):
    """A described, checked and time-stamped attribute of a `Configurable`.

    All arguments are keywords; see `PropertyInfo` for what is not told here.

    Args:
        key: the property's name on the wire, in the archive and in files, where it differs from
            the attribute's.
        read_only: it can only be set by the object itself.
        init_only: it can be set from outside only when the object is made.
        access_level: who may write it; default is operator, and observer for read-only ones.

    Raises:
        BadConfigurationError: the declaration contradicts itself; class and property are named.
    """

    value_type: ClassVar[ValueType] = ValueType.ANY

    def __init__(
        self,
        *,
        key: str = "",
        default: Any = None,
        read_only: bool = False,
        init_only: bool = False,
        description: str = "",
        label: str = "",
        unit: str = "",
        access_level: AccessLevel | None = None,
        minimum: float | None = None,
        maximum: float | None = None,
        minimum_exclusive: float | None = None,
        maximum_exclusive: float | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        options: Iterable[Any] | None = None,
        regex: str | None = None,
        allowed_states: Collection[State] | None = None,
        dtype: npt.DTypeLike | None = None,
        shape: Iterable[int | None] | None = None,
        tags: Iterable[str] = (),
        alias: str | None = None,
        required: bool = False,
        nullable: bool = False,
        warn_low: float | None = None,
        warn_high: float | None = None,
        alarm_low: float | None = None,
        alarm_high: float | None = None,
        hysteresis: float = 0.0,
        alarm_delay: float = 0.0,
        acknowledge: Iterable[str] = (),
        limit_info: Mapping[str, str] | None = None,
        rolling_window: int = 0,
        warn_variance_low: float | None = None,
        warn_variance_high: float | None = None,
        alarm_variance_low: float | None = None,
        alarm_variance_high: float | None = None,
        deadband: float = 0.0,
        relative_deadband: float = 0.0,
        archive: bool = True,
        archive_interval: float = 0.0,
        daq: bool = True,
        display_type: str = "",
    ) -> None:
        mode = AccessMode.RECONFIGURABLE
        if read_only:
            mode = AccessMode.READ_ONLY
        elif init_only:
            mode = AccessMode.INIT_ONLY
        self._place = _caller(sys._getframe(1))
        self.key = key
        self._arguments: dict[str, Any] = {
            "default": default,
            "description": description,
            "label": label,
            "unit": unit,
            "access_mode": mode,
            "access_level": access_level
            or (AccessLevel.OBSERVER if read_only else AccessLevel.OPERATOR),
            "minimum": minimum,
            "maximum": maximum,
            "minimum_exclusive": minimum_exclusive,
            "maximum_exclusive": maximum_exclusive,
            "min_size": min_size,
            "max_size": max_size,
            "options": None if options is None else tuple(_plain(item) for item in options),
            "regex": regex,
            "allowed_states": None if allowed_states is None else frozenset(allowed_states),
            "dtype": None if dtype is None else np.dtype(dtype).name,
            "shape": None if shape is None else tuple(shape),
            "tags": tuple(tags),
            "alias": alias,
            "warn_low": warn_low,
            "warn_high": warn_high,
            "alarm_low": alarm_low,
            "alarm_high": alarm_high,
            "required": required,
            "nullable": nullable,
            "hysteresis": hysteresis,
            "alarm_delay": alarm_delay,
            "acknowledge": tuple(acknowledge),
            "limit_info": MappingProxyType(dict(limit_info or {})),
            "rolling_window": rolling_window,
            "warn_variance_low": warn_variance_low,
            "warn_variance_high": warn_variance_high,
            "alarm_variance_low": alarm_variance_low,
            "alarm_variance_high": alarm_variance_high,
            "deadband": deadband,
            "relative_deadband": relative_deadband,
            "archive": archive,
            "archive_interval": archive_interval,
            "daq": daq,
            "display_type": display_type,
        }
        self.info = PropertyInfo(key, self.value_type)

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = self.key or name
        self.info = PropertyInfo(self.key, self.value_type, **self._arguments)
        self._check(owner)

    def with_attributes(self, attributes: Mapping[str, Any]) -> "Property[T]":
        """Return the same property with some other attributes, named as at its declaration.

        Raises:
            BadConfigurationError: there is no such attribute.
        """
        known = [*self._arguments, *_ARGUMENTS]
        for name in attributes:
            if name not in known:
                raise BadConfigurationError(
                    f"property '{self.key}' has no attribute '{name}' that can be changed",
                    key=self.key,
                    remedy=did_you_mean(name, known),
                )
        given: Property[T] = Property(**attributes)
        changed = copy.copy(self)
        changed._arguments = dict(self._arguments)
        for name in attributes:
            kept = _ARGUMENTS.get(name, name)
            changed._arguments[kept] = given._arguments[kept]
        return changed

    def _check(self, owner: type) -> None:
        """Refuse a declaration that contradicts itself."""
        info = self.info
        problem = limits_problem(info)
        if problem is not None:
            raise self._contradiction(owner, problem)
        for low, high in ((info.minimum, info.maximum), (info.min_size, info.max_size)):
            if low is not None and high is not None and low > high:
                raise self._contradiction(owner, f"has the limit {low} above {high}")
        if info.default is not None:
            try:
                info.validate(info.default, device=owner.__name__)
            except BadInputError as error:
                raise self._contradiction(
                    owner, f"has a default that it refuses: {error.message}"
                ) from None

    def _contradiction(self, owner: type, problem: str) -> BadConfigurationError:
        return BadConfigurationError(
            f"property '{owner.__name__}.{self.key}' {problem} ({self._place})",
            key=self.key,
            remedy="correct its declaration",
        )

    @overload
    def __get__(self, instance: None, owner: type) -> "Property[T]": ...

    @overload
    def __get__(self, instance: "Configurable", owner: type) -> T: ...

    def __get__(self, instance: "Configurable | None", owner: type) -> "Property[T] | T":
        if instance is None:
            return self
        return cast(T, instance._values[self.key].value)

    def __set__(self, instance: "Configurable", value: T | str) -> None:
        instance._assign(self.info, value)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _caller(frame: FrameType) -> str:
    """Name the place of a declaration: the first frame outside this module."""
    outer: FrameType | None = frame
    while outer is not None and outer.f_code.co_filename == __file__:
        outer = outer.f_back
    return "unknown" if outer is None else f"{outer.f_code.co_filename}:{outer.f_lineno}"


class Bool(Property[bool]):
    """True or false."""

    value_type = ValueType.BOOL


class Int8(Property[int]):
    """An integer of 8 bits."""

    value_type = ValueType.INT8


class Int16(Property[int]):
    """An integer of 16 bits."""

    value_type = ValueType.INT16


class Int32(Property[int]):
    """An integer of 32 bits."""

    value_type = ValueType.INT32


class Int64(Property[int]):
    """An integer of 64 bits."""

    value_type = ValueType.INT64


class UInt8(Property[int]):
    """An integer of 8 bits without sign."""

    value_type = ValueType.UINT8


class UInt16(Property[int]):
    """An integer of 16 bits without sign."""

    value_type = ValueType.UINT16


class UInt32(Property[int]):
    """An integer of 32 bits without sign."""

    value_type = ValueType.UINT32


class UInt64(Property[int]):
    """An integer of 64 bits without sign."""

    value_type = ValueType.UINT64


class Float32(Property[float]):
    """A number of 32 bits; values are rounded to its 7 digits."""

    value_type = ValueType.FLOAT32


class Float64(Property[float]):
    """A number of 64 bits."""

    value_type = ValueType.FLOAT64


class Complex64(Property[complex]):
    """A complex number of two 32-bit floats."""

    value_type = ValueType.COMPLEX64


class Complex128(Property[complex]):
    """A complex number of two 64-bit floats."""

    value_type = ValueType.COMPLEX128


class String(Property[str]):
    """Text."""

    value_type = ValueType.STRING


class Bytes(Property[bytes]):
    """Bytes."""

    value_type = ValueType.BYTES


class StateProperty(Property[State]):
    """The state of a device or of a part of it."""

    value_type = ValueType.STATE


class HashProperty(Property[dict[str, Any]]):
    """A map of values by name."""

    value_type = ValueType.HASH


class Choice(Property[Any]):
    """One of some options: texts, or numbers of one type.

    Args:
        options: the values allowed, or an `Enum` class whose values they are.
    """

    def __init__(self, options: Iterable[Any] | type[Enum], **arguments: Any) -> None:
        values = [_plain(item) for item in options]
        if not values or len({type(value) for value in values}) != 1:
            raise BadConfigurationError(
                f"a choice needs options of one type, not {values!r}",
                remedy="give texts, or integers, or floats",
            )
        kinds = {str: ValueType.STRING, int: ValueType.INT64, float: ValueType.FLOAT64}
        kind = kinds.get(type(values[0]))
        if kind is None:
            raise BadConfigurationError(
                f"a choice cannot be made of {type(values[0]).__name__}",
                remedy="give texts, or integers, or floats",
            )
        self.value_type = kind  # type: ignore[misc]  # of this choice, not of all
        super().__init__(options=values, **arguments)


class VectorBool(Property[npt.NDArray[np.bool_]]):
    """A sequence of bools."""

    value_type = ValueType.VECTOR_BOOL


class VectorInt8(Property[npt.NDArray[np.int8]]):
    """A sequence of 8-bit integers."""

    value_type = ValueType.VECTOR_INT8


class VectorInt16(Property[npt.NDArray[np.int16]]):
    """A sequence of 16-bit integers."""

    value_type = ValueType.VECTOR_INT16


class VectorInt32(Property[npt.NDArray[np.int32]]):
    """A sequence of 32-bit integers."""

    value_type = ValueType.VECTOR_INT32


class VectorInt64(Property[npt.NDArray[np.int64]]):
    """A sequence of 64-bit integers."""

    value_type = ValueType.VECTOR_INT64


class VectorUInt8(Property[npt.NDArray[np.uint8]]):
    """A sequence of 8-bit integers without sign."""

    value_type = ValueType.VECTOR_UINT8


class VectorUInt16(Property[npt.NDArray[np.uint16]]):
    """A sequence of 16-bit integers without sign."""

    value_type = ValueType.VECTOR_UINT16


class VectorUInt32(Property[npt.NDArray[np.uint32]]):
    """A sequence of 32-bit integers without sign."""

    value_type = ValueType.VECTOR_UINT32


class VectorUInt64(Property[npt.NDArray[np.uint64]]):
    """A sequence of 64-bit integers without sign."""

    value_type = ValueType.VECTOR_UINT64


class VectorFloat32(Property[npt.NDArray[np.float32]]):
    """A sequence of 32-bit numbers."""

    value_type = ValueType.VECTOR_FLOAT32


class VectorFloat64(Property[npt.NDArray[np.float64]]):
    """A sequence of 64-bit numbers."""

    value_type = ValueType.VECTOR_FLOAT64


class VectorComplex128(Property[npt.NDArray[np.complex128]]):
    """A sequence of complex numbers."""

    value_type = ValueType.VECTOR_COMPLEX128


class VectorString(Property[list[str]]):
    """A sequence of texts."""

    value_type = ValueType.VECTOR_STRING


class Array(Property[npt.NDArray[Any]]):
    """An array of numbers.

    Args:
        dtype: numpy type of the elements; None leaves it free.
        shape: sizes, None for one that is free; None leaves all free.
    """

    value_type = ValueType.ARRAY

    def __init__(
        self,
        dtype: npt.DTypeLike | None = None,
        shape: Iterable[int | None] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(dtype=dtype, shape=shape, **arguments)


class Node:
    """A group of properties and commands below a common name, described by a class.

    Args:
        node: the `Configurable` class that declares what the group holds.
        key: the group's name where it differs from the attribute's.
    """

    def __init__(
        self,
        node: "type[Configurable]",
        *,
        key: str = "",
        description: str = "",
        label: str = "",
    ) -> None:
        self.node = node
        self.key = key
        self._description = description
        self._label = label

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = self.key or name

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
            node=True,
        )

    @overload
    def __get__(self, instance: None, owner: type) -> "Node": ...

    @overload
    def __get__(self, instance: "Configurable", owner: type) -> "BoundNode": ...

    def __get__(self, instance: "Configurable | None", owner: type) -> "Node | BoundNode":
        if instance is None:
            return self
        from ._configurable import BoundNode

        return BoundNode(instance, self.node, f"{self.key}.")
