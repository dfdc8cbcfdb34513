"""Declaring properties that hold many numbers or texts."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ._descriptors import Property
from ._types import ValueType


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


class VectorComplex64(Property[npt.NDArray[np.complex64]]):
    """A sequence of complex numbers of two 32-bit floats."""

    value_type = ValueType.VECTOR_COMPLEX64


class VectorComplex128(Property[npt.NDArray[np.complex128]]):
    """A sequence of complex numbers."""

    value_type = ValueType.VECTOR_COMPLEX128


class VectorString(Property[list[str]]):
    """A sequence of texts; a device can have 40 000 of them in a value, and 4 MiB in all."""

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
