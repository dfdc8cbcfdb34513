"""What is fuzzed: functions that take any bytes, and may raise only what pykarabo promises.

The bytes become a message: a header's kind and numbers, then frames. A target that raises anything
but a typed rejection has found a defect.
"""

import io
import os
import tempfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pykarabo.data import (
    Hash,
    decode,
    encode,
    from_binary,
    from_json,
    from_xml,
    read_hdf5,
    to_binary,
    to_json,
    to_xml,
    write_hdf5,
)
from pykarabo.errors import (
    BadConfigurationError,
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
    VersionMismatchError,
)
from pykarabo.facility import read_facility
from pykarabo.wire import (
    Answer,
    Attach,
    ClientIdentity,
    ClientSession,
    DeviceStream,
    Event,
    Events,
    Execute,
    Frame,
    Get,
    Header,
    Hello,
    Kind,
    PipelineInput,
    PipelineOutput,
    ServerSessions,
    Target,
    Welcome,
    pack,
    parse_attach,
    parse_published,
    parse_rows,
    unpack,
)

_REJECTIONS: Final = (MalformedMessageError, LimitExceededError, VersionMismatchError)
_INSTANCE: Final = b"D" * 16
_TOKEN: Final = b"token!!!"
_CALL_ID: Final = _TOKEN + (1).to_bytes(8, "big")
_WELCOME: Final = Welcome("S/1", _INSTANCE, 1, 2, "1.0", "ipc://e", "ipc://d")
_IDENTITY: Final = ClientIdentity("host", 42, "user", "program")
_KINDS: Final = tuple(Kind)
_LONGEST_FRAME: Final = 255
_HEADER_BYTES: Final = 4


def _frames(data: bytes) -> list[Frame]:
    """Cut bytes into frames: each begins with its length."""
    frames: list[Frame] = []
    while data:
        length = data[0]
        if length == _LONGEST_FRAME:
            return [*frames, data[1:]]
        frames.append(data[1 : 1 + length])
        data = data[1 + length :]
    return frames


def _message(data: bytes) -> list[Frame]:
    """Return a message with a good header, except that sometimes it is none at all."""
    if len(data) < _HEADER_BYTES or data[0] == _LONGEST_FRAME:
        return _frames(data[1:])
    header = Header(
        _KINDS[data[0] % len(_KINDS)],
        _INSTANCE if data[1] & 1 else bytes(16),
        1,
        data[2],
        _CALL_ID if data[1] & 2 else bytes(16),
        data[3] * 100,
        0 if data[1] & 4 else 2**63,
    )
    return pack(header, _frames(data[_HEADER_BYTES:]), checksum=bool(data[1] & 8))


def fuzz_decode(data: bytes) -> None:
    """The codec; what it makes can be encoded again."""
    with suppress(*_REJECTIONS):
        value = decode(_frames(data))
        decode(encode(value))


def fuzz_unpack(data: bytes) -> None:
    """The header."""
    with suppress(*_REJECTIONS):
        unpack([data[:80], data[80:]])


def fuzz_server(data: bytes) -> None:
    """A server that was greeted and gets two messages."""
    server = ServerSessions(_WELCOME)
    hello = pack(Header(Kind.HELLO), encode(list(Hello(*_IDENTITY, line=b"line"))))
    greeted = server.receive(b"a", hello, now_ns=0, utc_ns=0)
    if not isinstance(greeted, Answer) or not greeted.greeted:
        raise AssertionError("the greeting was refused: nothing behind it is fuzzed")
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        action = server.receive(b"a", _message(part), now_ns=10**9, utc_ns=0)
        if isinstance(action, Execute):
            unpack(server.reply(action, None))
    if server.in_flight:
        raise AssertionError("a call that was answered still counts")


def fuzz_client(data: bytes) -> None:
    """A client with a call under way; the call ends once."""
    client = ClientSession(_TOKEN, _IDENTITY)
    client.connected(0)
    greeting = data[:1] == b"g"
    if not greeting:
        client.receive(pack(Header(Kind.WELCOME), encode(list(_WELCOME))), 0)
        if client.welcome is None:
            raise AssertionError("the welcome was refused: nothing behind it is fuzzed")
        client.call(Get("A/1"), Target(), timeout_s=5, now_ns=0)
    with suppress(*_REJECTIONS):
        client.receive(_message(data[1:]), 0)
    ended = client.disconnected("gone")
    if len(ended) > 1:
        raise AssertionError("a call ended twice")


def fuzz_stream(data: bytes) -> None:
    """A subscriber that gets three messages and a snapshot between them."""
    stream = DeviceStream()
    stream.echo()
    third = len(data) // 3
    for number in range(3):
        with suppress(*_REJECTIONS):
            part = data[number * third : (number + 1) * third]
            message = parse_published([b"A/1\0", *_message(part)])
            if isinstance(message, Event):
                stream.event(message)
            elif isinstance(message, Events):
                stream.events(message)
            rows = parse_rows(decode(_frames(part)))
            stream.snapshot(Header(Kind.REPLY, _INSTANCE, 1, number), rows, 1)


def fuzz_pipeline(data: bytes) -> None:
    """Both ends of a pipeline."""
    reader = PipelineInput(Attach("A/1", "output", "drop", 2), _INSTANCE)
    output = PipelineOutput("A/1", "output", instance=_INSTANCE, epoch=1, description={})
    frames = _message(data)
    with suppress(*_REJECTIONS):
        reader.receive(frames)
    with suppress(*_REJECTIONS, BadConfigurationError):
        output.attach(b"peer", parse_attach(decode(frames[1:])), 0)


def fuzz_error(data: bytes) -> None:
    """An error that another process describes."""
    with suppress(*_REJECTIONS):
        body = decode([data])
        if isinstance(body, dict):
            str(PykaraboError.from_wire(body))


def fuzz_facility(data: bytes) -> None:
    """The facility file."""
    handle, name = tempfile.mkstemp(suffix=".yaml")
    path = Path(name)
    try:
        os.write(handle, data)
        with suppress(BadConfigurationError):
            read_facility(path, {"HOST": "h"}, data=Path("/d"))
    finally:
        os.close(handle)
        path.unlink()


def fuzz_json(data: bytes) -> None:
    """Values as JSON; what is understood can be written again."""
    with suppress(*_REJECTIONS):
        to_json(from_json(data))


def fuzz_xml(data: bytes) -> None:
    """Values as XML; what is understood can be written again."""
    with suppress(*_REJECTIONS):
        to_xml(from_xml(data))


def fuzz_binary(data: bytes) -> None:
    """Binary files, also with the right checksum, which is hard to guess."""
    checksum = zlib.crc32(data).to_bytes(4, "big")
    for content in (data, data + checksum):
        with suppress(*_REJECTIONS):
            to_binary(from_binary(content))


def fuzz_hdf5(data: bytes) -> None:
    """Values in HDF5 files."""
    with suppress(*_REJECTIONS):
        read_hdf5(io.BytesIO(data))


def _hdf5(value: object) -> bytes:
    file = io.BytesIO()
    write_hdf5(value, file)
    return file.getvalue()


_VALUE: Final = Hash({"a": {"b": 1.5}, "c": [None, "text", b"bytes"], "d": 1j})
_ROW: Final = ["value", 1.5, 1, 2, 3, "valid"]
_GOOD_HEADER: Final = b"\x0f\x01\x32\xff"  # what `_message` makes a header of, without the kind


def _of_kind(kind: Kind, body: object) -> bytes:
    return bytes([_KINDS.index(kind)]) + _GOOD_HEADER + bytes(encode(body)[0])


SEEDS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "binary": (to_binary(_VALUE), to_binary(_VALUE)[:-4]),
    "client": tuple(
        b"c" + _of_kind(kind, body)
        for kind, body in (
            (Kind.REPLY, [[_ROW], "x"]),
            (Kind.ERROR, {"code": "busy", "message": ""}),
        )
    ),
    "decode": (b"\xff" + bytes(encode(_VALUE)[0]),),
    "error": (bytes(encode({"code": "denied", "message": "no", "details": {}})[0]),),
    "facility": (b"servers:\n  A/1:\n    devices:\n      B/1: {class: Motor, path: '${DATA}'}\n",),
    "hdf5": (_hdf5(_VALUE),),
    "json": (to_json(_VALUE).encode(),),
    "pipeline": (_of_kind(Kind.ITEM, [{"n": 1}, 1, 2, 3, "A/1:output"]),),
    "server": tuple(
        _of_kind(Kind.CALL, body) * 2  # the target takes two messages
        for body in (["get", "A/1", None], ["set", "A/1", {"value": 1}], ["call", "A/1", "go", []])
    ),
    "stream": (
        _of_kind(Kind.EVENT, [_ROW]) * 3,  # this one three
        _of_kind(Kind.EVENTS, [[_ROW], [_ROW]]) * 3,
    ),
    "unpack": (b"".join(bytes(frame) for frame in pack(Header(Kind.CALL), [b"body"])),),
    "xml": (to_xml(_VALUE).encode(),),
}
"""Good input to begin with: no search finds a whole HDF5 file or the right greeting by itself."""


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "binary": fuzz_binary,
    "client": fuzz_client,
    "decode": fuzz_decode,
    "error": fuzz_error,
    "facility": fuzz_facility,
    "hdf5": fuzz_hdf5,
    "json": fuzz_json,
    "pipeline": fuzz_pipeline,
    "server": fuzz_server,
    "stream": fuzz_stream,
    "unpack": fuzz_unpack,
    "xml": fuzz_xml,
}
