"""Values as frames: msgpack, with arrays beside it that are never copied.

The first frame is a msgpack document. An array above `INLINE_LIMIT` bytes travels as a frame of
its own and the document says which, with dtype and shape; a smaller one travels inside, because
a frame costs more than a kilobyte's copy. Decoded arrays are read-only views of the frames.

========  ==========================================================
ext code  content (msgpack inside)
========  ==========================================================
1         array in a frame: [frame, dtype, shape]
2         array inside: [dtype, shape, bytes]
3         complex number: [real, imaginary]
4         Hash: [[key, value, attributes], ...]
5         Timestamp: [seconds, fraction, train id]
6         numpy scalar: [dtype, bytes]
7         value of a registered class: [tag, map]
========  ==========================================================

Outside a Hash a numpy scalar travels as the plain number that it is; a Hash keeps its type.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias, cast

import msgpack

from pykarabo.errors import LimitExceededError, MalformedMessageError, WrongTypeError

from ._hash import Hash
from ._limits import Limits
from ._numpy import np
from ._registry import rebuilt, register_value, value_class
from ._timestamp import Timestamp

Frame: TypeAlias = bytes | memoryview

INLINE_LIMIT: Final = 1_024
MAX_ARRAY_FRAMES: Final = 14
"""Further arrays of a message travel inside, so that a message stays within its frame limit."""
_FRAME, _INLINE, _COMPLEX, _HASH, _TIMESTAMP, _SCALAR, _VALUE = range(1, 8)
EXTENSIONS: Final[Mapping[int, tuple[str, tuple[str, ...]]]] = {
    _FRAME: ("array in a frame of its own", ("frame", "dtype", "shape")),
    _INLINE: ("array inside", ("dtype", "shape", "bytes")),
    _COMPLEX: ("complex number", ("real", "imaginary")),
    _HASH: ("Hash: a list of rows", ("key", "value", "attributes")),
    _TIMESTAMP: ("time stamp", ("seconds", "fraction", "train id")),
    _SCALAR: ("numpy scalar", ("dtype", "bytes")),
    _VALUE: ("value of a registered class", ("tag", "map")),
}
"""By ext code, what it is and the fields of the msgpack list inside."""
_HASH_ROW: Final = 3
_PAIR: Final = 2
_BASES: Final[tuple[Any, ...]] = (bool, int, float, str, bytes, dict, list)
_KINDS: Final = frozenset("biufc")
_CONTAINERS: Final = frozenset({list, dict, Hash})
_DTYPE: Final = re.compile(r"[<>|=]?[biufc]\d{1,2}")
"""numpy understands a whole language here, which takes seconds to read a long text of."""
_MAX_FIELD: Final = 64
"""Fields of an extended value; no array has more dimensions."""
_REMEDY: Final = "update pykarabo on the sender's side"
DEFAULT_LIMITS: Final = Limits()


class _Encoder:
    def __init__(self, inline_limit: int, max_frames: int, *, exact: bool) -> None:
        self.frames: list[Frame] = [b""]
        self._exact = exact
        self._inline_limit = inline_limit
        self._max_frames = max_frames

    def pack(self, value: Any) -> bytes:
        try:
            packed = msgpack.packb(
                value, default=self.default, use_bin_type=True, strict_types=True
            )
        except (OverflowError, ValueError, TypeError, UnicodeEncodeError) as error:
            raise WrongTypeError(
                f"a value cannot travel: {error}", remedy="send plain values and arrays"
            ) from None
        return cast(bytes, packed)

    def default(self, value: Any) -> Any:
        if type(value) is tuple:  # the rows of every reply and event
            return list(value)
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, np.generic):
            return self._scalar(value)
        if isinstance(value, Timestamp):
            return msgpack.ExtType(_TIMESTAMP, msgpack.packb(list(value)))
        return self._composed(value)

    def _composed(self, value: Any) -> Any:
        if isinstance(value, Hash):
            rows = [[key, item, dict(attributes)] for key, item, attributes in value.elements()]
            return msgpack.ExtType(_HASH, self._pack_exactly(rows))
        known = value_class(type(value))
        if known is not None:
            content = [known.tag, dict(known.to_plain(value))]
            return msgpack.ExtType(_VALUE, self._pack_exactly(content))
        return _plain(value)

    def _pack_exactly(self, content: Any) -> bytes:
        """Pack the content of a value that keeps the types of numpy's scalars."""
        before, self._exact = self._exact, True
        packed = self.pack(content)
        self._exact = before
        return packed

    def _scalar(self, value: Any) -> Any:
        if not self._exact:
            return value.item()
        if value.dtype.kind not in _KINDS:
            raise WrongTypeError(
                f"a numpy {value.dtype} cannot travel", remedy="send a plain value instead"
            )
        content = [value.dtype.str, value.tobytes()]
        return msgpack.ExtType(_SCALAR, msgpack.packb(content))

    def _array(self, array: "np.ndarray[Any, Any]") -> Any:
        if array.dtype.kind not in _KINDS:
            raise WrongTypeError(
                f"an array of {array.dtype} cannot travel",
                remedy="send numbers or bools; text as a list",
            )
        if isinstance(array, np.ma.MaskedArray):
            raise WrongTypeError(
                "a masked array cannot travel", remedy="send its data and its mask as two arrays"
            )
        shape = list(array.shape)
        contiguous = np.ascontiguousarray(array)
        if array.nbytes > self._inline_limit and len(self.frames) <= self._max_frames:
            self.frames.append(contiguous.reshape(-1).view(np.uint8).data)
            place = [len(self.frames) - 1, array.dtype.str, shape]
            return msgpack.ExtType(_FRAME, msgpack.packb(place))
        content = [array.dtype.str, shape, contiguous.tobytes()]
        return msgpack.ExtType(_INLINE, msgpack.packb(content))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, complex):
        return msgpack.ExtType(_COMPLEX, msgpack.packb([value.real, value.imag]))
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    for base in _BASES:
        if isinstance(value, base):
            return base(value)
    raise WrongTypeError(
        f"a value of type {type(value).__name__} cannot travel",
        remedy="send plain values and arrays",
    )


def encode(
    value: Any,
    *,
    inline_limit: int = INLINE_LIMIT,
    max_frames: int = MAX_ARRAY_FRAMES,
    exact: bool = False,
) -> list[Frame]:
    """Return `value` as frames.

    Args:
        inline_limit: arrays of more bytes become frames of their own, without a copy where they
            are C-contiguous; they must not change until the frames are sent.
        max_frames: arrays that may do so.
        exact: keep the types of numpy's scalars also outside a Hash.

    Raises:
        WrongTypeError: it holds something that cannot travel.
    """
    packed = _pack_plain(value)
    if packed is not None:
        return [packed]
    encoder = _Encoder(inline_limit, max_frames, exact=exact)
    encoder.frames[0] = encoder.pack(value)
    return encoder.frames


_FEW: Final = 16
_MANY: Final = 0x10000


def encoded_list(bodies: Sequence[Frame]) -> bytes:
    """Return the list of values that are encoded already, one body each: without arrays beside it.

    At most 65 535 of them.
    """
    count = len(bodies)
    if count >= _MANY:
        raise LimitExceededError(f"a list of {count} bodies", remedy=_REMEDY)
    head = bytes([0x90 | count]) if count < _FEW else b"\xdc" + count.to_bytes(2, "big")
    return b"".join([head, *bodies])


_packers: Final[list[msgpack.Packer]] = []
"""Packers that are not in use: making one costs five times as much as packing a row."""
_LARGE: Final = 2**20
"""A packer keeps the memory of the largest message that it has made."""


def _pack_plain(value: Any) -> bytes | None:
    """Return a value that holds nothing but plain values as bytes; None for any other."""
    try:
        packer = _packers.pop()
    except IndexError:
        packer = msgpack.Packer(use_bin_type=True, strict_types=True)
    try:
        packed = cast(bytes, packer.pack(value))
    except (TypeError, ValueError, OverflowError):
        return None
    if len(packed) < _LARGE:
        _packers.append(packer)
    return packed


class _Decoder:
    def __init__(self, frames: Sequence[Frame], limits: Limits) -> None:
        self._frames = frames
        self._limits = limits
        self._nodes = 0
        self._hashes = 0
        # Every value has a byte at least, so a shorter body cannot hold too many of them.
        self._count = self._counted if len(frames[0]) > limits.max_nodes else None

    def unpack(self, packed: Frame) -> Any:
        limits = self._limits
        longest = min(limits.max_nodes, len(packed))
        try:
            return msgpack.unpackb(
                packed,
                raw=False,
                strict_map_key=True,
                object_pairs_hook=self._pairs,
                list_hook=self._count,
                ext_hook=self._ext,
                max_str_len=limits.max_body,
                max_bin_len=limits.max_body,
                max_array_len=longest,
                max_map_len=longest,
                max_ext_len=limits.max_body,
            )
        except (MalformedMessageError, LimitExceededError):
            raise
        except (
            ValueError,
            TypeError,
            RecursionError,
            OverflowError,
            msgpack.UnpackException,
        ) as error:
            raise MalformedMessageError(
                f"a message cannot be decoded: {error or type(error).__name__}", remedy=_REMEDY
            ) from None

    def _counted(self, values: list[Any]) -> list[Any]:
        """Count while decoding: values that are too many must not all be made first."""
        self._nodes += len(values)
        if self._nodes > self._limits.max_nodes:
            raise _too_many(self._limits)
        return values

    def _pairs(self, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        if self._count is not None:
            self._count(pairs)
        decoded: dict[Any, Any] = dict(pairs)
        if len(decoded) != len(pairs):
            raise MalformedMessageError("a map has a key twice", remedy=_REMEDY)
        for key in decoded:
            if not isinstance(key, str):
                raise MalformedMessageError("a map's key is no text", remedy=_REMEDY)
            if len(key) > self._limits.max_key:
                raise LimitExceededError("a map's key is too long", remedy=_REMEDY)
        return decoded

    def _ext(self, code: int, data: bytes) -> Any:
        if code == _FRAME:
            place, dtype, shape = self._fields(data, 3)
            if not isinstance(place, int) or not 0 < place < len(self._frames):
                raise MalformedMessageError("an array's frame is missing", remedy=_REMEDY)
            return _to_array(self._frames[place], dtype, shape)
        if code == _INLINE:
            dtype, shape, content = self._fields(data, 3)
            return _to_array(content, dtype, shape)
        if code == _COMPLEX:
            return complex(*self._fields(data, 2))
        if code == _TIMESTAMP:
            return _to_timestamp(self._fields(data, 3))
        if code == _SCALAR:
            dtype, content = self._fields(data, _PAIR)
            return _to_array(content, dtype, [])[()]
        if code in (_HASH, _VALUE):
            return self._nested(code, data)
        raise MalformedMessageError(f"unknown kind of value {code}", remedy=_REMEDY)

    def _nested(self, code: int, data: bytes) -> Any:
        """Decode a Hash and the like; each level takes much of the C stack, so it is counted."""
        self._hashes += 1
        if self._hashes > self._limits.max_depth:
            raise _too_deep(self._limits)
        content = self.unpack(data)
        decoded = _to_hash(content) if code == _HASH else self._value(content)
        self._hashes -= 1
        return decoded

    def _value(self, content: Any) -> Any:
        if not isinstance(content, list) or len(content) != _PAIR:
            raise MalformedMessageError("a value of a class has a wrong form", remedy=_REMEDY)
        _check_depth(content, self._limits)
        return rebuilt(*content)

    def _fields(self, data: bytes, count: int) -> list[Any]:
        longest = min(_MAX_FIELD, len(data))
        fields = msgpack.unpackb(data, raw=False, max_array_len=longest, max_map_len=0)
        if not isinstance(fields, list) or len(fields) != count:
            raise MalformedMessageError("an extended value has a wrong form", remedy=_REMEDY)
        return fields


def _to_timestamp(fields: list[Any]) -> Timestamp:
    if not all(type(field) is int for field in fields):
        raise MalformedMessageError("a time stamp has a wrong form", remedy=_REMEDY)
    return Timestamp(*fields)


def _to_array(content: Any, dtype: Any, shape: Any) -> "np.ndarray[Any, Any]":
    kind = np.dtype(dtype) if isinstance(dtype, str) and _DTYPE.fullmatch(dtype) else None
    sizes_good = isinstance(shape, list) and all(
        isinstance(size, int) and size >= 0 for size in shape
    )
    if kind is None or not sizes_good:
        raise MalformedMessageError("an array is of a kind that is none of ours", remedy=_REMEDY)
    if math.prod(shape) * kind.itemsize != len(content):
        raise MalformedMessageError("an array's bytes do not fit its shape", remedy=_REMEDY)
    array = np.frombuffer(content, kind).reshape(shape)
    array.flags.writeable = False
    return array


def _to_hash(rows: Any) -> Hash:
    decoded = Hash()
    if not isinstance(rows, list):
        raise MalformedMessageError("a Hash has a wrong form", remedy=_REMEDY)
    for row in rows:
        if not isinstance(row, list) or len(row) != _HASH_ROW or not isinstance(row[0], str):
            raise MalformedMessageError("a Hash has a wrong form", remedy=_REMEDY)
        key, value, attributes = row
        if not isinstance(attributes, dict):
            raise MalformedMessageError("a Hash has a wrong form", remedy=_REMEDY)
        decoded.set_element(key, value, attributes)
    return decoded


def _check_depth(value: Any, limits: Limits) -> None:
    """Count nodes and levels; only for messages large enough to exceed a limit."""
    level: list[Any] = [value] if type(value) in _CONTAINERS else []
    nodes = depth = 0
    while level:
        depth += 1
        nodes += sum(map(len, level))
        if depth > limits.max_depth:
            raise _too_deep(limits)
        if nodes > limits.max_nodes:
            raise _too_many(limits)
        level = [
            child
            for children in map(_children, level)
            if not _CONTAINERS.isdisjoint(map(type, children))  # most rows hold plain values only
            for child in children
            if type(child) in _CONTAINERS
        ]


def _too_deep(limits: Limits) -> LimitExceededError:
    return LimitExceededError(f"a message is nested deeper than {limits.max_depth}", remedy=_REMEDY)


def _too_many(limits: Limits) -> LimitExceededError:
    return LimitExceededError(
        f"a message holds more than {limits.max_nodes} values", remedy=_REMEDY
    )


def _children(item: Any) -> Collection[Any]:
    if type(item) is list:
        return item
    if type(item) is dict:
        return item.values()
    return [
        child
        for _key, value, attributes in item.elements()
        for child in (value, *attributes.values())
    ]


def decode(frames: Sequence[Frame], limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return the value of some frames; arrays are read-only views of them.

    Raises:
        MalformedMessageError: not what `encode` makes.
        LimitExceededError: larger or deeper than `limits` allow.
    """
    if not frames:
        raise MalformedMessageError("a message has no body", remedy=_REMEDY)
    body = frames[0]
    if len(frames) > limits.max_frames or len(body) > limits.max_body:
        raise LimitExceededError(
            f"a message has {len(frames)} frames and a body of {len(body)} bytes", remedy=_REMEDY
        )
    if len(frames) == 1 and len(body) < limits.max_nodes and limits is DEFAULT_LIMITS:
        try:
            value = _unpack_plain(body)
        except Exception:  # noqa: BLE001 - the long way knows what is wrong, if anything is
            value = _Decoder(frames, limits).unpack(body)
    else:
        value = _Decoder(frames, limits).unpack(body)
    if len(body) > limits.max_depth and _may_be_deep(body, limits):
        _check_depth(value, limits)
    return value


def _unpack_plain(body: Frame) -> Any:
    """Return the value of a small body without arrays and the like; raises for any other."""
    return msgpack.unpackb(
        body, raw=False, strict_map_key=True, object_pairs_hook=_plain_map, ext_hook=_no_extension
    )


def _plain_map(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    decoded: dict[Any, Any] = dict(pairs)
    if len(decoded) != len(pairs) or not all(_is_key(key) for key in decoded):
        raise ValueError("not a plain map")
    return decoded


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and len(key) <= DEFAULT_LIMITS.max_key


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError("not a plain value")


_OPENERS: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0), *range(0xC7, 0xCA)])
"""Bytes with which a map, a list or an extension may begin."""
_NO_OPENERS: Final = bytes(set(range(256)) - set(_OPENERS))


def _may_be_deep(body: Frame, limits: Limits) -> bool:
    """Tell cheaply whether a body has enough bytes that could begin a level."""
    return not isinstance(body, bytes) or len(body.translate(None, _NO_OPENERS)) > limits.max_depth


def _timestamp_of(plain: Mapping[str, Any]) -> Timestamp:
    return _to_timestamp([plain["seconds"], plain["fraction"], plain["train_id"]])


register_value(Timestamp, "timestamp", Timestamp._asdict, _timestamp_of)
