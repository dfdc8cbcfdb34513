"""The binary file: the frames of the wire's codec behind a head, and a checksum.

All numbers are big-endian without sign:

=======================  ========================================================
bytes                    content
=======================  ========================================================
8                        ``MAGIC``
4                        version
4                        number n of frames
8 n                      their lengths
each frame               zeros up to a multiple of 8, then the frame
4                        CRC-32 of everything before
=======================  ========================================================
"""

import io
import struct
import zlib
from dataclasses import replace
from typing import Any, BinaryIO, Final

from pykarabo.errors import LimitExceededError, MalformedMessageError, WrongTypeError

from ._codec import Frame, decode, encode
from ._forms import (
    FILE_LIMITS,
    FORM_VERSION,
    REMEDY,
    check_storable,
    check_version,
    too_large,
)
from ._limits import Limits

MAGIC: Final = b"\x89PKV\r\n\x1a\n"
"""Begins with a byte that is no text and has the line ends that a transfer as text would change."""
HEAD_FIELDS: Final = (("magic", "8s"), ("version", "I"), ("frames", "I"))
"""The head: name and type of each field, as `struct` names them."""
HEAD: Final = struct.Struct(">" + "".join(code for _name, code in HEAD_FIELDS))
_CRC: Final = struct.Struct(">I")
ALIGNMENT: Final = 8
_WORDINESS: Final = 8
"""What the wire's codec counts for one value of ours: rows, fields and maps of attributes too."""


class _Sums:
    """Writes to a file and keeps the checksum of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.crc = 0
        self.length = 0

    def write(self, content: Frame) -> None:
        self._file.write(content)
        self.crc = zlib.crc32(content, self.crc)
        self.length += len(content)

    def align(self) -> None:
        self.write(bytes(-self.length % ALIGNMENT))


def write_binary(value: Any, file: BinaryIO, limits: Limits = FILE_LIMITS) -> None:
    """Write a value in the binary form; large arrays are not copied.

    Raises:
        WrongTypeError: it holds something that cannot be stored; nothing was written.
        LimitExceededError: it is larger or deeper than `limits` allow; nothing was written.
    """
    check_storable(value, limits)
    frames = encode(value, max_frames=limits.max_frames - 1, exact=True)
    if len(frames[0]) > limits.max_body:
        raise too_large(limits)
    sums = _Sums(file)
    sums.write(HEAD.pack(MAGIC, FORM_VERSION, len(frames)))
    sums.write(struct.pack(f">{len(frames)}Q", *map(len, frames)))
    for frame in frames:
        sums.align()
        sums.write(frame)
    file.write(_CRC.pack(sums.crc))


def to_binary(value: Any) -> bytes:
    """Return a value in the binary form; raises as `write_binary` does."""
    file = io.BytesIO()
    write_binary(value, file)
    return file.getvalue()


def read_binary(file: BinaryIO, limits: Limits = FILE_LIMITS) -> Any:
    """Return the value of a binary file; arrays are read-only views of what was read.

    Raises:
        MalformedMessageError: not what `write_binary` writes, or damaged.
        LimitExceededError: larger or deeper than `limits` allow.
        VersionMismatchError: a later version wrote it.
    """
    return from_binary(file.read(), limits)


def from_binary(content: bytes, limits: Limits = FILE_LIMITS) -> Any:
    """Return the value that is in the binary form; raises as `read_binary` does."""
    if not content.startswith(MAGIC) or len(content) < HEAD.size + _CRC.size:
        raise _malformed("this is no binary file of pykarabo, or its begin is damaged")
    _magic, version, count = HEAD.unpack_from(content)
    check_version(version, "the file")
    end = len(content) - _CRC.size
    if _CRC.unpack_from(content, end) != (zlib.crc32(memoryview(content)[:end]),):
        raise _malformed("the file is damaged: its checksum is another one")
    return _decoded(_frames(content, count, end), limits)


def _decoded(frames: list[Frame], limits: Limits) -> Any:
    wider = replace(limits, max_nodes=limits.max_nodes * _WORDINESS)
    try:
        value = decode(frames, wider)
        check_storable(value, limits)
    except (MalformedMessageError, WrongTypeError) as error:
        raise _malformed(f"the file cannot be decoded: {error.message}") from None
    except LimitExceededError as error:
        raise LimitExceededError(error.message, remedy=REMEDY) from None
    return value


def _frames(content: bytes, count: int, end: int) -> list[Frame]:
    place = HEAD.size + 8 * count
    if count < 1 or place > end:
        raise _malformed(f"the file cannot hold {count} frames")
    view = memoryview(content)
    frames: list[Frame] = []
    for length in struct.unpack_from(f">{count}Q", content, HEAD.size):
        place += -place % ALIGNMENT
        if length > end - place:
            raise _malformed("a frame of the file ends behind the file")
        frames.append(view[place : place + length])
        place += length
    if place != end:
        raise _malformed("the file holds more than its frames")
    return frames


def _malformed(problem: str) -> MalformedMessageError:
    return MalformedMessageError(problem, remedy=REMEDY)
