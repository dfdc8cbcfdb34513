"""Python types of devices, made from their schemas: one class per kind of device and flavour."""

import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pykarabo.data import AccessMode, CommandInfo, ParameterInfo, PropertyInfo, Schema, ValueType

_COMMON: Final = ("device_id", "schema", "refresh", "get", "read", "set", "call")
_TAKEN: Final[Mapping[bool, frozenset[str]]] = {
    False: frozenset({*_COMMON, "domain"}),
    True: frozenset(
        {*_COMMON, "is_live", "disconnect", "live_value", "last_known", "start_following"}
    ),
}
"""What a proxy has itself, by flavour (asynchronous or not): properties of the name are hidden."""
_PLAIN: Final[Mapping[ValueType, str]] = {
    ValueType.BOOL: "bool",
    ValueType.STRING: "str",
    ValueType.BYTES: "bytes",
    ValueType.VECTOR_STRING: "list[str]",
    ValueType.STATE: "State",
    ValueType.HASH: "dict[str, Any]",
    ValueType.NONE: "None",
    ValueType.DATETIME: "datetime",
    ValueType.IMAGE: "ImageData",
    ValueType.TABLE: "TableValue",
}
_ACCEPTED: Final[Mapping[str, str]] = {
    "int": "int | str | Quantity[Any]",
    "float": "float | str | Quantity[Any]",
    "complex": "complex | str | Quantity[Any]",
    "State": "State | str",
    "list[str]": "Sequence[str]",
    "dict[str, Any]": "Mapping[str, Any]",
    "datetime": "datetime | str",
    "ImageData": "ImageData | npt.ArrayLike",
    "TableValue": "TableValue | Sequence[Mapping[str, Any]] | npt.ArrayLike",
}
"""By type of a value what is accepted for it, where that is more."""
_USED: Final = frozenset(
    {"Any", "Literal", "Mapping", "Quantity", "Sequence", "State", "bool", "bytes", "complex"}
    | {"ImageData", "TableValue", "datetime", "dict", "float", "int", "list", "np", "npt"}
    | {"property", "str"}
)
"""A member of such a name would hide what the others are declared with."""
_DTYPE: Final = re.compile(r"[a-z]+\d*")
_INDENT: Final = "    "

HEAD: Final = '''\
# mypy: disable-error-code="overload-overlap, explicit-any"
"""{title}

For type checkers and editors; made by `pykarabo stubs`, which makes it anew.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
from pint import Quantity

from pykarabo import State
from pykarabo.client import AsyncDeviceProxy, AsyncJob, DeviceProxy, Job
from pykarabo.data import ImageData, PropertyValue, Schema, TableValue

class _Blocking:
    """What every proxy of blocking code has."""

    @property
    def device_id(self) -> str: ...
    @property
    def domain(self) -> str: ...
    @property
    def schema(self) -> Schema: ...
    def refresh(self) -> None: ...
    def get(self, *keys: str) -> dict[str, Any]: ...
    def read(self, *keys: str) -> dict[str, PropertyValue]: ...
    def call(
        self,
        command: str,
        /,
        *args: Any,
        timeout_s: float = ...,
        once_key: str | None = ...,
        **kwargs: Any,
    ) -> Any: ...

class _Asynchronous:
    """What every proxy of asyncio code has."""

    @property
    def device_id(self) -> str: ...
    @property
    def schema(self) -> Schema: ...
    @property
    def is_live(self) -> bool: ...
    async def refresh(self) -> None: ...
    def disconnect(self) -> None: ...
    async def get(self, *keys: str) -> dict[str, Any]: ...
    async def read(self, *keys: str) -> dict[str, PropertyValue]: ...
    def live_value(self, key: str) -> PropertyValue: ...
    def last_known(self, key: str) -> PropertyValue: ...
    async def call(
        self,
        command: str,
        /,
        *args: Any,
        timeout_s: float = ...,
        once_key: str | None = ...,
        **kwargs: Any,
    ) -> Any: ...
'''
_CONNECT: Final = """\
@overload
{prefix}def {name}(
    device_id: {device}, *, domain: str | None = ...{more}
) -> {result}: ...
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """Devices with the same schema.

    Attributes:
        name: of the class for blocking code; that for asyncio has ``Async`` before it.
    """

    name: str
    schema: Schema
    device_ids: tuple[str, ...]


def kinds_of(schemas: Mapping[str, Schema]) -> list[Kind]:
    """Return the kinds of devices (schema by device id), in the order of their names.

    Devices of one class with several schemas, by injection or of several versions, get one kind
    for each schema; the names of all but the first are numbered.
    """
    by_version: dict[tuple[str, str], list[str]] = {}
    for device_id in sorted(schemas):
        schema = schemas[device_id]
        by_version.setdefault((_class_name(schema.class_id), schema.version), []).append(device_id)
    counts: dict[str, int] = {}
    kinds: list[Kind] = []
    for (name, _version), device_ids in sorted(by_version.items(), key=lambda item: item[1][0]):
        counts[name] = counts.get(name, 0) + 1
        numbered = name if counts[name] == 1 else f"{name}_{counts[name]}"
        kinds.append(Kind(numbered, schemas[device_ids[0]], tuple(device_ids)))
    return sorted(kinds, key=lambda kind: kind.name)


def stub_of(title: str, kinds: list[Kind]) -> str:
    """Return the text of a stub file for devices of these kinds."""
    parts = [HEAD.format(title=_doc(title))]
    for kind in kinds:
        parts += _classes(kind, asynchronous=False)
        parts += _classes(kind, asynchronous=True)
    parts.append("\n".join(_connecting(kinds, asynchronous=False)))
    parts.append("\n".join(_connecting(kinds, asynchronous=True)))
    return "\n".join(parts)


def _connecting(kinds: list[Kind], *, asynchronous: bool) -> Iterator[str]:
    name, prefix, more = ("aconnect", "async ", ", timeout_s: float = ...") if asynchronous else (
        "connect", "", ""
    )  # fmt: skip
    for kind in kinds:
        ids = ", ".join(map(repr, kind.device_ids))
        result = f"Async{kind.name}" if asynchronous else kind.name
        yield _CONNECT.format(
            prefix=prefix, name=name, device=f"Literal[{ids}]", more=more, result=result
        ).rstrip("\n")
    fallback = "AsyncDeviceProxy" if asynchronous else "DeviceProxy"
    yield _CONNECT.format(prefix=prefix, name=name, device="str", more=more, result=fallback)


# -- classes --------------------------------------------------------------------------------------


def _classes(kind: Kind, *, asynchronous: bool) -> list[str]:
    """Return the class of a kind of device, after those of its nodes."""
    name = f"Async{kind.name}" if asynchronous else kind.name
    nodes = [key for key, info in kind.schema.properties.items() if info.node]
    found = [
        "\n".join(_class(kind.schema, node, name, asynchronous=asynchronous))
        for node in sorted(nodes, key=lambda key: -key.count("."))
    ]
    return [*found, "\n".join(_class(kind.schema, "", name, asynchronous=asynchronous))]


def _class(schema: Schema, node: str, name: str, *, asynchronous: bool) -> Iterator[str]:
    """Yield the lines of the class of a device, or of one of its nodes."""
    if node:
        doc = schema.properties[node].description
        yield f"class {_node_class(name, node)}:"
    else:
        doc = schema.description
        yield f"class {name}({'_Asynchronous' if asynchronous else '_Blocking'}):"
    yield f'{_INDENT}"""{_doc(doc)}"""\n'
    prefix = f"{node}." if node else ""
    taken = frozenset[str]() if node else _TAKEN[asynchronous]
    for key, info in schema.properties.items():
        if _below(key, prefix, taken):
            yield from _property(info, key.removeprefix(prefix), name, asynchronous=asynchronous)
    for key, command in schema.commands.items():
        if _below(key, prefix, taken):
            yield from _command(command, key.removeprefix(prefix), asynchronous=asynchronous)
    if not node:
        yield from _set(schema, asynchronous=asynchronous)


def _below(key: str, prefix: str, taken: frozenset[str]) -> bool:
    """Tell whether a key is a name directly below a prefix that Python can write."""
    name = key.removeprefix(prefix)
    return key.startswith(prefix) and "." not in name and _is_name(name) and name not in taken


def _property(info: PropertyInfo, name: str, owner: str, *, asynchronous: bool) -> Iterator[str]:
    kind = _node_class(owner, info.key) if info.node else _type_of(info)
    yield f"{_INDENT}@property"
    yield f"{_INDENT}def {name}(self) -> {kind}:"
    yield f'{_INDENT * 2}"""{_doc(_described(info))}"""'
    if not info.node and not asynchronous and info.access_mode is AccessMode.RECONFIGURABLE:
        yield f"{_INDENT}@{name}.setter"
        yield f"{_INDENT}def {name}(self, value: {_accepted(kind)}) -> None: ..."


def _command(info: CommandInfo, name: str, *, asynchronous: bool) -> Iterator[str]:
    parameters = [item for item in info.parameters if _is_name(item.name)]
    shown = ["self", *(_parameter(item) for item in parameters), "*"]
    given = {item.name for item in parameters}
    for option in ("timeout_s: float = ...", "once_key: str | None = ..."):
        if option.partition(":")[0] not in given:
            shown.append(option)
    result = _plain(info.returns)
    if info.nullable_result and result not in ("Any", "None"):
        result = f"{result} | None"
    if info.job:
        result = "AsyncJob" if asynchronous else "Job"
    prefix = "async " if asynchronous else ""
    yield f"{_INDENT}{prefix}def {name}({', '.join(shown)}) -> {result}:"
    yield f'{_INDENT * 2}"""{_doc(info.description)}"""'


def _parameter(info: ParameterInfo) -> str:
    kind = _accepted(_plain(info.value_type))
    if info.required:
        return f"{info.name}: {kind}"
    return f"{info.name}: {kind}{' | None' if info.default is None else ''} = ..."


def _set(schema: Schema, *, asynchronous: bool) -> Iterator[str]:
    """Yield the method that writes several properties at once, by keyword or by dotted key."""
    yield f"{_INDENT}{'async ' if asynchronous else ''}def set("
    yield f"{_INDENT * 2}self,"
    yield f"{_INDENT * 2}values: Mapping[str, Any] | None = ...,"
    yield f"{_INDENT * 2}/,"
    yield f"{_INDENT * 2}*,"
    yield f"{_INDENT * 2}expected: Mapping[str, PropertyValue] | None = ...,"
    for key, info in schema.properties.items():
        writable = not info.node and info.access_mode is AccessMode.RECONFIGURABLE
        if writable and _is_name(key) and key != "expected":
            yield f"{_INDENT * 2}{key}: {_accepted(_type_of(info))} = ...,"
    yield f"{_INDENT}) -> None: ...\n"


# -- types ----------------------------------------------------------------------------------------


def _type_of(info: PropertyInfo) -> str:
    kind = _plain(info.value_type, info.dtype)
    if info.options and all(type(option) in (str, int) for option in info.options):
        kind = f"Literal[{', '.join(map(repr, info.options))}]"
    return f"{kind} | None" if info.nullable and kind != "Any" else kind


def _plain(value_type: ValueType, dtype: str | None = None) -> str:
    """Return the Python type of a value."""
    if value_type in _PLAIN:
        return _PLAIN[value_type]
    if value_type is ValueType.ARRAY:
        return f"npt.NDArray[{_numpy(dtype)}]"
    if value_type.is_vector:
        return f"npt.NDArray[{_numpy(value_type.element.value)}]"
    for python in ("int", "float", "complex"):
        if value_type.is_number and value_type.value.removeprefix("u").startswith(python):
            return python
    return "Any"


def _numpy(dtype: str | None) -> str:
    if dtype is None or not _DTYPE.fullmatch(dtype):
        return "Any"
    return "np.bool_" if dtype == "bool" else f"np.{dtype}"


def _accepted(kind: str) -> str:
    base, null, _rest = kind.partition(" | None")
    if base.startswith("npt."):
        return f"npt.ArrayLike{null}"
    return f"{_ACCEPTED.get(base, base)}{null}"


# -- text -----------------------------------------------------------------------------------------


def _described(info: PropertyInfo) -> str:
    notes = [f"[{info.unit}]"] if info.unit else []
    for sign, limit in ((">=", info.minimum), ("<=", info.maximum)):
        if limit is not None:
            notes.append(f"{sign} {limit:g}")
    text = " ".join([info.description, ", ".join(notes)]).strip()
    return text or info.label


def _doc(text: str) -> str:
    """Return text as it stands in a docstring of one line."""
    line = text.partition("\n")[0].strip().replace("\\", "\\\\").replace('"', '\\"')
    return line or "Not described."


def _node_class(owner: str, key: str) -> str:
    return f"_{owner}_{re.sub(r'[^A-Za-z0-9_]', '_', key)}"


def _class_name(class_id: str) -> str:
    name = re.sub(r"\W", "_", class_id, flags=re.ASCII)
    return name if _is_name(name) else f"Device_{name}"


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name not in _USED
