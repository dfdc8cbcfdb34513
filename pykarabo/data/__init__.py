"""Values and their descriptions: what devices hold and what travels. No network, no clock."""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._alarms import (
    Alarm,
    AlarmCondition,
    AlarmMachine,
    has_limits,
    most_significant_alarm,
)
from ._codec import decode, encode, encoded_list
from ._columns import joined_columns
from ._compare import has_changes, same
from ._deadband import DeadBand, has_deadband
from ._extent import arrays_in, extent
from ._hash import Hash
from ._image import Encoding, ImageData
from ._info import CommandInfo, OutputInfo, ParameterInfo, PropertyInfo
from ._limits import Limits
from ._refusal import raise_all
from ._registry import register_value
from ._schema import Schema
from ._state import State, StateSignifier, most_significant
from ._table import TableValue
from ._timestamp import Timestamp, TrainReference
from ._types import AccessLevel, AccessMode, Quality, ValueType
from ._units import is_quantity, is_unit, registry
from ._value import PropertyValue, Row, from_rows, to_row

if TYPE_CHECKING:
    from ._attributes import (
        ATTRIBUTES,
        TEXT_ATTRIBUTES,
        AttributeChange,
        attribute_changes,
        checked_attributes,
        contradiction,
        other_attributes,
    )
    from ._choices import Choice, RegexString, VectorRegexString
    from ._configurable import (
        BoundChoice,
        BoundList,
        BoundNode,
        Configurable,
        flat_configuration,
        iterate_leaves,
        members_of,
        root_of,
    )
    from ._container import from_binary, read_binary, to_binary, write_binary
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
    from ._files import load, save
    from ._filter import filter_by_tags
    from ._forms import FILE_LIMITS
    from ._hdf5 import read_hdf5, write_hdf5
    from ._injection import (
        configured_properties,
        declared_class,
        with_all_attributes,
        with_attributes,
        with_members,
        without_member,
    )
    from ._json import from_json, read_json, to_json, write_json
    from ._kept import (
        Kept,
        checked_configuration,
        class_property,
        filled_configuration,
        is_default,
        kept_configuration,
        live_configuration,
        properties_with,
        without_defaults,
    )
    from ._moments import moment_ns, span_ns
    from ._nodes import ChoiceOfNodes, ListOfNodes, Node
    from ._structures import DateTime, Image, Table
    from ._sync import sync_path
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
    from ._xml import from_xml, read_xml, to_xml, write_xml

__all__ = [
    "ATTRIBUTES",
    "FILE_LIMITS",
    "TEXT_ATTRIBUTES",
    "AccessLevel",
    "AccessMode",
    "Alarm",
    "AlarmCondition",
    "AlarmMachine",
    "Array",
    "AttributeChange",
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
    "DeadBand",
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
    "Kept",
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
    "StateSignifier",
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
    "attribute_changes",
    "checked_attributes",
    "checked_configuration",
    "class_property",
    "configured_properties",
    "contradiction",
    "declared_class",
    "decode",
    "encode",
    "encoded_list",
    "extent",
    "filled_configuration",
    "filter_by_tags",
    "flat_configuration",
    "from_binary",
    "from_json",
    "from_rows",
    "from_xml",
    "has_changes",
    "has_deadband",
    "has_limits",
    "is_default",
    "is_quantity",
    "is_unit",
    "iterate_leaves",
    "joined_columns",
    "kept_configuration",
    "live_configuration",
    "load",
    "members_of",
    "moment_ns",
    "most_significant",
    "most_significant_alarm",
    "other_attributes",
    "properties_with",
    "raise_all",
    "read_binary",
    "read_hdf5",
    "read_json",
    "read_xml",
    "register_value",
    "registry",
    "root_of",
    "same",
    "save",
    "span_ns",
    "sync_path",
    "to_binary",
    "to_json",
    "to_row",
    "to_xml",
    "with_all_attributes",
    "with_attributes",
    "with_members",
    "without_defaults",
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
                (
                    "ATTRIBUTES",
                    "TEXT_ATTRIBUTES",
                    "AttributeChange",
                    "attribute_changes",
                    "checked_attributes",
                    "contradiction",
                    "other_attributes",
                ),
                "_attributes",
            ),
            **dict.fromkeys(("Choice", "RegexString", "VectorRegexString"), "_choices"),
            **dict.fromkeys(
                (
                    "BoundChoice",
                    "BoundList",
                    "BoundNode",
                    "Configurable",
                    "flat_configuration",
                    "iterate_leaves",
                    "members_of",
                    "root_of",
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
                ("from_binary", "read_binary", "to_binary", "write_binary"), "_container"
            ),
            **dict.fromkeys(("load", "save"), "_files"),
            "sync_path": "_sync",
            **dict.fromkeys(("from_json", "read_json", "to_json", "write_json"), "_json"),
            **dict.fromkeys(
                (
                    "Kept",
                    "checked_configuration",
                    "class_property",
                    "filled_configuration",
                    "is_default",
                    "kept_configuration",
                    "live_configuration",
                    "properties_with",
                    "without_defaults",
                ),
                "_kept",
            ),
            **dict.fromkeys(("from_xml", "read_xml", "to_xml", "write_xml"), "_xml"),
            **dict.fromkeys(("read_hdf5", "write_hdf5"), "_hdf5"),
            "filter_by_tags": "_filter",
            "FILE_LIMITS": "_forms",
            **dict.fromkeys(
                (
                    "configured_properties",
                    "declared_class",
                    "with_all_attributes",
                    "with_attributes",
                    "with_members",
                    "without_member",
                ),
                "_injection",
            ),
            **dict.fromkeys(("moment_ns", "span_ns"), "_moments"),
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
