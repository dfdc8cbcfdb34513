"""A device that has one property of every type, for tests of whatever carries values."""

from typing import Any

import numpy as np

from pykarabo.data import (
    Array,
    Bool,
    Bytes,
    Choice,
    Complex64,
    Complex128,
    Configurable,
    Float32,
    Float64,
    HashProperty,
    Int8,
    Int16,
    Int32,
    Int64,
    Node,
    State,
    String,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    VectorBool,
    VectorComplex128,
    VectorFloat32,
    VectorFloat64,
    VectorInt8,
    VectorInt16,
    VectorInt32,
    VectorInt64,
    VectorString,
    VectorUInt8,
    VectorUInt16,
    VectorUInt32,
    VectorUInt64,
)
from pykarabo.device import Device, command


class _Inner(Configurable):
    """Properties below a node."""

    number = Float64(unit="mm", default=0.5)
    text = String(default="inside")


class EveryType(Device):
    """Holds one property of every type; all can be written."""

    bool_value = Bool()
    int8_value = Int8()
    int16_value = Int16()
    int32_value = Int32()
    int64_value = Int64()
    uint8_value = UInt8()
    uint16_value = UInt16()
    uint32_value = UInt32()
    uint64_value = UInt64()
    float32_value = Float32()
    float64_value = Float64(unit="mm")
    complex64_value = Complex64()
    complex128_value = Complex128()
    string_value = String()
    bytes_value = Bytes()
    choice_value = Choice(["low", "high"])
    vector_bool = VectorBool()
    vector_int8 = VectorInt8()
    vector_int16 = VectorInt16()
    vector_int32 = VectorInt32()
    vector_int64 = VectorInt64()
    vector_uint8 = VectorUInt8()
    vector_uint16 = VectorUInt16()
    vector_uint32 = VectorUInt32()
    vector_uint64 = VectorUInt64()
    vector_float32 = VectorFloat32()
    vector_float64 = VectorFloat64()
    vector_complex128 = VectorComplex128()
    vector_string = VectorString()
    array_value = Array(dtype="float64", shape=(None, None), default=np.zeros((0, 0)))
    any_array = Array()
    hash_value = HashProperty()
    inner = Node(_Inner)

    async def on_start(self) -> None:
        """Be ready."""
        self.state = State.ON

    @command(idempotent=True)
    async def echo(self, value: Any) -> Any:
        """Return what was given."""
        return value
