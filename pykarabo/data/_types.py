"""The kinds of value, and what is true of each."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, Final

from ._numpy import np

VECTOR: Final = "vector_"
_BITS: Final = (8, 16, 32, 64)


class ValueType(StrEnum):
    """The type of a property's value, or of a command's parameter or result."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"
    STRING = "string"
    BYTES = "bytes"
    VECTOR_BOOL = "vector_bool"
    VECTOR_INT8 = "vector_int8"
    VECTOR_INT16 = "vector_int16"
    VECTOR_INT32 = "vector_int32"
    VECTOR_INT64 = "vector_int64"
    VECTOR_UINT8 = "vector_uint8"
    VECTOR_UINT16 = "vector_uint16"
    VECTOR_UINT32 = "vector_uint32"
    VECTOR_UINT64 = "vector_uint64"
    VECTOR_FLOAT32 = "vector_float32"
    VECTOR_FLOAT64 = "vector_float64"
    VECTOR_COMPLEX64 = "vector_complex64"
    VECTOR_COMPLEX128 = "vector_complex128"
    VECTOR_STRING = "vector_string"
    ARRAY = "array"
    IMAGE = "image"
    TABLE = "table"
    DATETIME = "datetime"
    STATE = "state"
    HASH = "hash"
    ANY = "any"
    NONE = "none"

    @property
    def is_vector(self) -> bool:
        """Whether it is a one-dimensional sequence of some scalar type."""
        return self.value.startswith(VECTOR)

    @property
    def element(self) -> "ValueType":
        """The scalar type of a vector; a scalar's own."""
        return ValueType(self.value.removeprefix(VECTOR))

    @property
    def dtype(self) -> "np.dtype[Any] | None":
        """The numpy type of a number or of a vector's elements, None for anything else."""
        element = self.element
        return np.dtype(element.value) if element in NUMERIC else None

    @property
    def is_integer(self) -> bool:
        """Whether it is a scalar integer."""
        return self in INTEGER_LIMITS

    @property
    def is_number(self) -> bool:
        """Whether it is a scalar integer, float or complex number."""
        return self in NUMERIC and self is not ValueType.BOOL


INTEGER_LIMITS: Final[Mapping[ValueType, tuple[int, int]]] = {
    **{ValueType(f"int{bits}"): (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in _BITS},
    **{ValueType(f"uint{bits}"): (0, 2**bits - 1) for bits in _BITS},
}
FLOATS: Final = frozenset({ValueType.FLOAT32, ValueType.FLOAT64})
COMPLEXES: Final = frozenset({ValueType.COMPLEX64, ValueType.COMPLEX128})
NUMERIC: Final = frozenset({ValueType.BOOL, *INTEGER_LIMITS, *FLOATS, *COMPLEXES})
"""What numpy has a type for."""


class Quality(StrEnum):
    """How far a value may be trusted."""

    VALID = "valid"
    INVALID = "invalid"
    WARN = "warn"
    ALARM = "alarm"
    CHANGING = "changing"


class AccessMode(StrEnum):
    """When a property can be written from outside."""

    INIT_ONLY = "init_only"
    READ_ONLY = "read_only"
    RECONFIGURABLE = "reconfigurable"


class AccessLevel(IntEnum):
    """Who may do something; each level may do all that the lower ones may."""

    OBSERVER = 0
    USER = 1
    OPERATOR = 2
    EXPERT = 3
    ADMINISTRATOR = 4


def is_text(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: surrogates of their own cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
