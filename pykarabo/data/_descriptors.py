"""Declaring properties: one descriptor class per type of value."""

import copy
import sys
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt

from pykarabo.errors import BadConfigurationError, did_you_mean

from ._declaration import normalised, problem_of
from ._info import PropertyInfo
from ._state import State
from ._types import AccessLevel, AccessMode, ValueType

if TYPE_CHECKING:
    from ._configurable import Configurable

T = TypeVar("T")
_NOT_GIVEN: Final[Any] = object()
_ARGUMENTS: Final = {"read_only": "access_mode", "init_only": "access_mode"}
"""What is kept under another name than it is given."""
_FIXED: Final = frozenset({"rows", "encoding", "option_names"})
"""What belongs to the type of a property and stays as it was declared."""


class Property(Generic[T]):
    """A described, checked and time-stamped attribute of a `Configurable`.

    All arguments are keywords; see `PropertyInfo` for what is not told here. Whether they fit the
    type and each other is checked when the class is made.

    Args:
        key: the property's name on the wire, in the archive and in files, where it differs from
            the attribute's.
        default: its initial value; without one it is None where that is allowed, else the type's
            zero.
        read_only: it can only be set by the object itself.
        init_only: it can be set from outside only when the object is made.
        access_level: who may write it; default is operator, and observer for read-only ones.

    """

    value_type: ClassVar[ValueType] = ValueType.ANY

    def __init__(
        self,
        *,
        key: str = "",
        default: Any = _NOT_GIVEN,
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
        secret: bool = False,
    ) -> None:
        mode = AccessMode.RECONFIGURABLE
        if read_only:
            mode = AccessMode.READ_ONLY
        elif init_only:
            mode = AccessMode.INIT_ONLY
        self.place = declared_at()
        self.key = key
        self._none_given = default is None
        usual = AccessLevel.OBSERVER if read_only else AccessLevel.OPERATOR
        self._arguments: dict[str, Any] = {
            "default": None if default is _NOT_GIVEN else default,
            "description": description,
            "label": label,
            "unit": unit,
            "access_mode": mode,
            "access_level": access_level if access_level is not None else usual,
            "minimum": minimum,
            "maximum": maximum,
            "minimum_exclusive": minimum_exclusive,
            "maximum_exclusive": maximum_exclusive,
            "min_size": min_size,
            "max_size": max_size,
            "options": None if options is None else tuple(map(plain_option, options)),
            "regex": regex,
            "allowed_states": None if allowed_states is None else frozenset(allowed_states),
            "dtype": dtype,
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
            "secret": secret,
        }
        self.info = PropertyInfo(key, self.value_type)
        self._owner: type | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = self.key or name
        self._owner = None

    def with_attributes(self, attributes: Mapping[str, Any]) -> "Property[T]":
        """Return the same property with some other attributes, named as at its declaration.

        Raises:
            BadConfigurationError: there is no such attribute.
        """
        known = [*(self._arguments.keys() - _FIXED), *_ARGUMENTS]
        for name in attributes:
            if name not in known:
                raise BadConfigurationError(
                    f"property '{self.key}' has no attribute '{name}' that can be changed",
                    key=self.key,
                    remedy=did_you_mean(name, known),
                )
        given: Property[T] = Property(**attributes)
        changed = copy.copy(self)
        changed._owner = None
        changed._none_given = self._none_given and "default" not in attributes
        changed._arguments = dict(self._arguments)
        for name in attributes:
            kept = _ARGUMENTS.get(name, name)
            changed._arguments[kept] = given._arguments[kept]
        return changed

    def describe(self, owner: type) -> None:
        """Make `info`, the description, for the first class that has the property.

        Raises:
            BadConfigurationError: the declaration contradicts itself; class, property, file and
                line are named.
        """
        if self._owner is not None:
            return
        info = self._described(owner)
        problem = problem_of(info)
        if self._none_given and not info.nullable:
            problem = "has the default None and is not nullable"
        if problem is not None:
            raise self._contradiction(owner, problem)
        self.info = normalised(info)
        self._owner = owner

    def _described(self, owner: type) -> PropertyInfo:
        """Return the description that the arguments make, not checked."""
        more: dict[str, Any] = {}
        if self._arguments["dtype"] is not None:
            more["dtype"] = self._dtype(owner).name
        states = self._arguments["allowed_states"]
        if states is not None and states <= set(State):
            more["allowed_states"] = frozenset(map(State, states))
        return PropertyInfo(self.key, self.value_type, **{**self._arguments, **more})

    def _dtype(self, owner: type) -> "np.dtype[Any]":
        try:
            dtype: np.dtype[Any] = np.dtype(self._arguments["dtype"])
        except TypeError as error:
            raise self._contradiction(owner, f"has an unknown dtype: {error}") from None
        if dtype.kind not in "biufc":
            raise self._contradiction(owner, f"has the dtype {dtype}, which is no number or bool")
        return dtype

    def _contradiction(self, owner: type, problem: str) -> BadConfigurationError:
        return BadConfigurationError(
            f"property '{owner.__name__}.{self.key}' {problem} ({self.place})",
            key=self.key,
            remedy="correct its declaration",
        )

    def read(self, instance: "Configurable", key: str) -> T:
        """Return the present value as the attribute holds it; `key` is dotted below a node."""
        return cast(T, instance._values[key].value)

    @overload
    def __get__(self, instance: None, owner: type) -> "Property[T]": ...

    @overload
    def __get__(self, instance: "Configurable", owner: type) -> T: ...

    def __get__(self, instance: "Configurable | None", owner: type) -> "Property[T] | T":
        if instance is None:
            return self
        return self.read(instance, self.key)

    def __set__(self, instance: "Configurable", value: T | str) -> None:
        instance._assign(self.info, value)


def plain_option(value: Any) -> Any:
    """Return an option as it travels."""
    return value.value if isinstance(value, Enum) else value


def declared_at() -> str:
    """Return file and line of the declaration that is being made, outside this package."""
    outer: FrameType | None = sys._getframe(1)
    while outer is not None and outer.f_globals.get("__package__") == __package__:
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
    """Text of up to 4 MiB in UTF-8."""

    value_type = ValueType.STRING


class Bytes(Property[bytes]):
    """Bytes."""

    value_type = ValueType.BYTES


class StateProperty(Property[State]):
    """The state of a device or of a part of it."""

    value_type = ValueType.STATE


class HashProperty(Property[dict[str, Any]]):
    """A map of values by name; a device can have some 10 000 of them in it."""

    value_type = ValueType.HASH
