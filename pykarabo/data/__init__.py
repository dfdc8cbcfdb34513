"""Values and their descriptions: what devices hold and what travels. No network, no clock."""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._codec import decode, encode
from ._compare import has_changes, same
from ._hash import Hash
from ._info import CommandInfo, OutputInfo, ParameterInfo, PropertyInfo
from ._limits import Limits
from ._registry import register_value
from ._schema import Schema
from ._state import State, most_significant
from ._timestamp import Timestamp, TrainReference
from ._types import AccessLevel, AccessMode, Quality, ValueType
from ._units import is_quantity, registry
from ._value import PropertyValue, Row, from_row, to_row

if TYPE_CHECKING:
    from ._configurable import BoundNode, Configurable, flat_configuration, iterate_leaves
    from ._container import from_binary, read_binary, to_binary, write_binary
    from ._descriptors import (
        Array,
        Bool,
        Bytes,
        Choice,
        Complex64,
        Complex128,
        Float32,
        Float64,
        HashProperty,
        Int8,
        Int16,
        Int32,
        Int64,
        Node,
        Property,
        StateProperty,
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
    from ._files import load, save
    from ._filter import filter_by_tags
    from ._forms import FILE_LIMITS
    from ._hdf5 import read_hdf5, write_hdf5
    from ._injection import declared_class, with_attributes, with_members, without_member
    from ._json import from_json, read_json, to_json, write_json
    from ._xml import from_xml, read_xml, to_xml, write_xml

__all__ = [
    "FILE_LIMITS",
    "AccessLevel",
    "AccessMode",
    "Array",
    "Bool",
    "BoundNode",
    "Bytes",
    "Choice",
    "CommandInfo",
    "Complex64",
    "Complex128",
    "Configurable",
    "Float32",
    "Float64",
    "Hash",
    "HashProperty",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Limits",
    "Node",
    "OutputInfo",
    "ParameterInfo",
    "Property",
    "PropertyInfo",
    "PropertyValue",
    "Quality",
    "Row",
    "Schema",
    "State",
    "StateProperty",
    "String",
    "Timestamp",
    "TrainReference",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "ValueType",
    "VectorBool",
    "VectorComplex128",
    "VectorFloat32",
    "VectorFloat64",
    "VectorInt8",
    "VectorInt16",
    "VectorInt32",
    "VectorInt64",
    "VectorString",
    "VectorUInt8",
    "VectorUInt16",
    "VectorUInt32",
    "VectorUInt64",
    "declared_class",
    "decode",
    "encode",
    "filter_by_tags",
    "flat_configuration",
    "from_binary",
    "from_json",
    "from_row",
    "from_xml",
    "has_changes",
    "is_quantity",
    "iterate_leaves",
    "load",
    "most_significant",
    "read_binary",
    "read_hdf5",
    "read_json",
    "read_xml",
    "register_value",
    "registry",
    "same",
    "save",
    "to_binary",
    "to_json",
    "to_row",
    "to_xml",
    "with_attributes",
    "with_members",
    "without_member",
    "write_binary",
    "write_hdf5",
    "write_json",
    "write_xml",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            **dict.fromkeys(
                ("BoundNode", "Configurable", "flat_configuration", "iterate_leaves"),
                "_configurable",
            ),
            **dict.fromkeys(
                (
                    "Array",
                    "Bool",
                    "Bytes",
                    "Choice",
                    "Complex64",
                    "Complex128",
                    "Float32",
                    "Float64",
                    "HashProperty",
                    "Int8",
                    "Int16",
                    "Int32",
                    "Int64",
                    "Node",
                    "Property",
                    "StateProperty",
                    "String",
                    "UInt8",
                    "UInt16",
                    "UInt32",
                    "UInt64",
                    "VectorBool",
                    "VectorComplex128",
                    "VectorFloat32",
                    "VectorFloat64",
                    "VectorInt8",
                    "VectorInt16",
                    "VectorInt32",
                    "VectorInt64",
                    "VectorString",
                    "VectorUInt8",
                    "VectorUInt16",
                    "VectorUInt32",
                    "VectorUInt64",
                ),
                "_descriptors",
            ),
            **dict.fromkeys(
                ("from_binary", "read_binary", "to_binary", "write_binary"), "_container"
            ),
            **dict.fromkeys(("load", "save"), "_files"),
            **dict.fromkeys(("from_json", "read_json", "to_json", "write_json"), "_json"),
            **dict.fromkeys(("from_xml", "read_xml", "to_xml", "write_xml"), "_xml"),
            **dict.fromkeys(("read_hdf5", "write_hdf5"), "_hdf5"),
            "filter_by_tags": "_filter",
            "FILE_LIMITS": "_forms",
            **dict.fromkeys(
                ("declared_class", "with_attributes", "with_members", "without_member"),
                "_injection",
            ),
        },
    )
