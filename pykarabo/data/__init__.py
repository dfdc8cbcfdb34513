"""Values and their descriptions: what devices hold and what travels. No I/O, no clock."""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._codec import decode, encode
from ._hash import Hash, same
from ._image import Encoding, ImageData
from ._info import CommandInfo, OutputInfo, ParameterInfo, PropertyInfo
from ._limits import Limits
from ._refusal import raise_all
from ._schema import Schema
from ._state import State, most_significant
from ._table import TableValue
from ._timestamp import Timestamp, TrainReference
from ._types import AccessLevel, AccessMode, Quality, ValueType
from ._units import is_quantity, is_unit, registry
from ._validate import arrays_in
from ._value import PropertyValue, Row, from_row, to_row

if TYPE_CHECKING:
    from ._choices import Choice, RegexString, VectorRegexString
    from ._configurable import (
        BoundChoice,
        BoundList,
        BoundNode,
        Configurable,
        flat_configuration,
        iterate_leaves,
    )
    from ._descriptors import (
        Bool,
        Bytes,
        Complex64,
        Complex128,
        Float32,
        Float64,
        HashProperty,
        Int8,
        Int16,
        Int32,
        Int64,
        Property,
        StateProperty,
        String,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
    )
    from ._injection import declared_class, with_attributes, with_members, without_member
    from ._nodes import ChoiceOfNodes, ListOfNodes, Node
    from ._structures import DateTime, Image, Table
    from ._vectors import (
        Array,
        VectorBool,
        VectorComplex64,
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

__all__ = [
    "AccessLevel",
    "AccessMode",
    "Array",
    "Bool",
    "BoundChoice",
    "BoundList",
    "BoundNode",
    "Bytes",
    "Choice",
    "ChoiceOfNodes",
    "CommandInfo",
    "Complex64",
    "Complex128",
    "Configurable",
    "DateTime",
    "Encoding",
    "Float32",
    "Float64",
    "Hash",
    "HashProperty",
    "Image",
    "ImageData",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Limits",
    "ListOfNodes",
    "Node",
    "OutputInfo",
    "ParameterInfo",
    "Property",
    "PropertyInfo",
    "PropertyValue",
    "Quality",
    "RegexString",
    "Row",
    "Schema",
    "State",
    "StateProperty",
    "String",
    "Table",
    "TableValue",
    "Timestamp",
    "TrainReference",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "ValueType",
    "VectorBool",
    "VectorComplex64",
    "VectorComplex128",
    "VectorFloat32",
    "VectorFloat64",
    "VectorInt8",
    "VectorInt16",
    "VectorInt32",
    "VectorInt64",
    "VectorRegexString",
    "VectorString",
    "VectorUInt8",
    "VectorUInt16",
    "VectorUInt32",
    "VectorUInt64",
    "arrays_in",
    "declared_class",
    "decode",
    "encode",
    "flat_configuration",
    "from_row",
    "is_quantity",
    "is_unit",
    "iterate_leaves",
    "most_significant",
    "raise_all",
    "registry",
    "same",
    "to_row",
    "with_attributes",
    "with_members",
    "without_member",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            **dict.fromkeys(("Choice", "RegexString", "VectorRegexString"), "_choices"),
            **dict.fromkeys(
                (
                    "BoundChoice",
                    "BoundList",
                    "BoundNode",
                    "Configurable",
                    "flat_configuration",
                    "iterate_leaves",
                ),
                "_configurable",
            ),
            **dict.fromkeys(
                (
                    "Bool",
                    "Bytes",
                    "Complex128",
                    "Complex64",
                    "Float32",
                    "Float64",
                    "HashProperty",
                    "Int16",
                    "Int32",
                    "Int64",
                    "Int8",
                    "Property",
                    "StateProperty",
                    "String",
                    "UInt16",
                    "UInt32",
                    "UInt64",
                    "UInt8",
                ),
                "_descriptors",
            ),
            **dict.fromkeys(
                ("declared_class", "with_attributes", "with_members", "without_member"),
                "_injection",
            ),
            **dict.fromkeys(("ChoiceOfNodes", "ListOfNodes", "Node"), "_nodes"),
            **dict.fromkeys(("DateTime", "Image", "Table"), "_structures"),
            **dict.fromkeys(
                (
                    "Array",
                    "VectorBool",
                    "VectorComplex128",
                    "VectorComplex64",
                    "VectorFloat32",
                    "VectorFloat64",
                    "VectorInt16",
                    "VectorInt32",
                    "VectorInt64",
                    "VectorInt8",
                    "VectorString",
                    "VectorUInt16",
                    "VectorUInt32",
                    "VectorUInt64",
                    "VectorUInt8",
                ),
                "_vectors",
            ),
        },
    )
