"""schemas/ is what the code generates, and real messages are what schemas/ describes."""

import importlib.util
import json
import struct
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import jsonschema
import pytest

from pykarabo.data import PropertyValue, Quality, Schema, Timestamp, decode, to_row
from pykarabo.errors import MalformedMessageError, StateForbidsError
from pykarabo.wire import (
    AT_ONCE,
    HEADER_SIZE,
    TELL_BYTES,
    Answer,
    Attach,
    Call,
    ClientIdentity,
    ClientSession,
    EventSource,
    Execute,
    Frame,
    Get,
    GetSchema,
    Header,
    Kind,
    Locate,
    Open,
    PipelineInput,
    PipelineOutput,
    Publisher,
    ReadMany,
    Replay,
    Request,
    ServerSessions,
    Set,
    SetMany,
    Target,
    Welcome,
    bundled,
    pack,
    parse_attach,
    parse_changes,
    parse_request,
    parse_rows,
    unpack,
)

_ROOT: Final = Path(__file__).resolve().parents[2]
_FOLDER: Final = _ROOT / "schemas"
_INSTANCE: Final = bytes(range(16))
_REQUESTS: Final[list[Request]] = [
    Get("A/1"),
    Get("A/1", ["state"]),
    Set("A/1", {"speed": 1.5}),
    Call("A/1", "move", [1], {"speed": None}),
    GetSchema("A/1"),
    ReadMany([["A/1", ["state"]], ["B/1", None]]),
    Locate(["A/1"]),
    Set("A/1", {"speed": 1.5}, "key", {"speed": 3}, "B/1"),
    Call("A/1", "move", [], {}, "key", "B/1"),
    SetMany([["A/1", _INSTANCE, {"speed": 1.5}]]),
    Open([["A/1", _INSTANCE]], ["0123"]),
    Replay("A/1", 5),
]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_schemas", _ROOT / "scripts" / "generate_schemas.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _schema(kind: Kind) -> dict[str, Any]:
    text = (_FOLDER / f"wire_{kind.name.lower()}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


def _fits(kind: Kind, body: object) -> bool:
    validator = jsonschema.Draft202012Validator(_schema(kind))
    return bool(validator.is_valid(_as_json(body)))


def _kind_and_body(frames: Sequence[Frame]) -> tuple[Kind, Any]:
    return Kind(unpack(frames).kind), decode(frames[1:]) if len(frames) > 1 else None


def _session_messages() -> list[list[Frame]]:
    """Return one real message of each kind between a client and a server."""
    server = ServerSessions(Welcome("S/1", _INSTANCE, 1, 0, "1.0", "ipc://e", "ipc://d"))
    client = ClientSession(b"token!!!", ClientIdentity("host", 42, "user", "program"))
    messages = [client.connected(0)]
    welcome = server.receive(b"a", messages[0], now_ns=0, utc_ns=7)
    assert isinstance(welcome, Answer)
    client.receive(welcome.frames, 0)
    messages.append(welcome.frames)
    calls: list[Execute] = []
    for request in _REQUESTS:
        _call_id, frames = client.call(request, Target(), timeout_s=5, now_ns=0)
        call = server.receive(b"a", frames, now_ns=0, utc_ns=0)
        assert isinstance(call, Execute)
        calls.append(call)
        messages.append(frames)
    error = StateForbidsError("no", device="A/1", key="move", remedy="stop", details={"n": 1})
    messages += [server.fail(calls[0], error), server.reply(calls[1], [1])]
    client.receive(server.reply(calls[2], "x" * TELL_BYTES), 0)
    taken = client.taken()
    assert taken is not None
    return [*messages, taken, client.goodbye(0), pack(Header(Kind.CANCEL), [])]


def _published_messages() -> list[list[Frame]]:
    publisher = Publisher(_INSTANCE, 1)
    source = EventSource("A/1", _INSTANCE, 1)
    rows = [
        to_row("a", PropertyValue(1.5, Timestamp(1, 2, 3), Quality.ALARM)),
        to_row("b.c", PropertyValue("x", Timestamp(-1, 0))),
    ]
    messages: list[list[Frame]] = []
    for _ in range(AT_ONCE + 2):  # the last two wait for each other
        messages += publisher.event(source, rows, 0)
    messages += publisher.schema(source, Schema("Motor").to_wire(), 0)
    messages += publisher.heartbeat(0, lag_s=0.1)
    messages += [*publisher.ended(source, 0), *publisher.heartbeat(0, lag_s=0.0)]
    return [frames[1:] for frames in messages[AT_ONCE - 1 :]]


def _pipeline_messages() -> list[list[Frame]]:
    attach = Attach("A/1", "output", "wait", 3)
    pipe = PipelineInput(attach, _INSTANCE)
    output = PipelineOutput("A/1", "output", instance=_INSTANCE, epoch=1, description={"a": 1})
    messages = [pipe.hello(), output.attach(b"a", attach, 0)]
    messages.append(output.item({"n": 1}, Timestamp(1, 2, 3), "A/1:output")[1])
    messages += [output.end_of_stream()[1], output.probe(), pipe.grant(1), pipe.goodbye()]
    return messages


_MESSAGES: Final = [
    *_session_messages(),
    *_published_messages(),
    *_pipeline_messages(),
    *bundled([pack(Header(Kind.CANCEL), [])] * 2),
]


def test_files_are_what_the_code_generates() -> None:
    generator = _generator()
    generated = {name: generator.to_text(file) for name, file in generator.generate().items()}
    written = {path.stem: path.read_text(encoding="utf-8") for path in _FOLDER.glob("*.json")}
    assert written == generated, "run scripts/generate_schemas.py"


def test_files_are_shipped_with_the_package() -> None:
    shipped = {path.name for path in resources.files("pykarabo.schemas").iterdir()}
    assert {path.name for path in _FOLDER.glob("*.json")} <= shipped


@pytest.mark.parametrize("path", sorted(_FOLDER.glob("wire_*.json")), ids=lambda path: path.stem)
def test_file_is_a_valid_schema(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "frames", _MESSAGES, ids=[Kind(unpack(frames).kind).name.lower() for frames in _MESSAGES]
)
def test_real_message_is_as_described(frames: list[Frame]) -> None:
    kind, body = _kind_and_body(frames)
    described = json.loads((_FOLDER / "wire_header.json").read_text(encoding="utf-8"))
    named = described["kinds"][kind.name.lower()]
    assert named["number"] == kind.value
    if named["body"] is None:
        assert body is None
    else:
        assert named["body"] == f"wire_{kind.name.lower()}.json"
        assert _fits(kind, body)


def test_every_kind_was_tried_above() -> None:
    assert {Kind(unpack(frames).kind) for frames in _MESSAGES} | {Kind.ECHO} == set(Kind)


def test_header_is_laid_out_as_described() -> None:
    described = json.loads((_FOLDER / "wire_header.json").read_text(encoding="utf-8"))
    header = Header(Kind.CALL, _INSTANCE, 11, 12, _INSTANCE[::-1], 13, 14)
    packed = bytes(pack(header, [])[0])
    assert described["size"] == len(packed) == HEADER_SIZE
    found: dict[str, Any] = {}
    for field in described["fields"]:
        part = packed[field["offset"] : field["offset"] + field["size"]]
        found[field["name"]] = part if field["type"] == "bytes" else int.from_bytes(part)
    assert found["magic"].decode() == described["magic"]
    assert (found["major"], found["minor"]) == tuple(described["version"].values())
    assert Header(**{name: found[name] for name in Header._fields}) == header
    assert struct.unpack(">I", packed[-4:]) == (found["crc"],)


_TAKES: Final[dict[Kind, Callable[[Any], object]]] = {
    Kind.CALL: parse_request,
    Kind.ATTACH: parse_attach,
    Kind.EVENT: parse_rows,
    Kind.EVENTS: parse_changes,
}


def _is_taken(kind: Kind, body: object) -> bool:
    try:
        _TAKES[kind](body)
    except MalformedMessageError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.CALL, []),
        (Kind.CALL, ["fly", "A/1"]),
        (Kind.CALL, ["get", "A/1"]),
        (Kind.CALL, ["get", "A/1", None]),
        (Kind.CALL, ["get", "A/1", [1]]),
        (Kind.CALL, ["get", "A/1", None, None]),
        (Kind.CALL, ["set", "A/1", []]),
        (Kind.CALL, ["call", "A/1", "move", {}, {}]),
        (Kind.CALL, ["read_many", [["A/1"]]]),
        (Kind.CALL, ["read_many", [["A/1", None, 1]]]),
        (Kind.CALL, ["read_many", [["A/1", ["x"]]]]),
        (Kind.CALL, ["locate", "A/1"]),
        (Kind.ATTACH, ["A/1", "output", "drop", 0]),
        (Kind.ATTACH, ["A/1", "output", "drop", True]),
        (Kind.ATTACH, ["A/1", "output", "drop"]),
        (Kind.ATTACH, ["A/1", "output", "drop", 1, "more"]),
        (Kind.EVENT, {}),
        (Kind.EVENT, []),
        (Kind.EVENT, [["a", 1, 2, 3, 4]]),
        (Kind.EVENT, [["a", 1, 2, 3, 4, "valid"]]),
        (Kind.EVENT, [["a", 1, 2, 3, 4, "valid", "more"]]),
        (Kind.EVENT, [["a", 1, 2, 3, "4", "valid"]]),
        (Kind.EVENT, [["a", 1, 2, 3, 4, "splendid"]]),
        (Kind.EVENT, [[1, 1, 2, 3, 4, "valid"]]),
        (Kind.EVENTS, {}),
        (Kind.EVENTS, []),
        (Kind.EVENTS, [[]]),
        (Kind.EVENTS, [["a", 1, 2, 3, 4, "valid"]]),
        (Kind.EVENTS, [[["a", 1, 2, 3, 4, "valid"]], [["b", 1, 2, 3, 4, "valid"]]]),
    ],
    ids=repr,
)
def test_schema_and_parser_take_and_refuse_the_same(kind: Kind, body: object) -> None:
    assert _fits(kind, body) is _is_taken(kind, body)
