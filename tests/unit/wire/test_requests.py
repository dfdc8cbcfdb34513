"""Requests and greetings: what is built is parsed again, and nothing else."""

from typing import Any

import pytest

from pykarabo.data import decode, encode
from pykarabo.errors import MalformedMessageError
from pykarabo.wire import (
    OPERATIONS,
    Call,
    Get,
    GetSchema,
    Hello,
    Locate,
    Open,
    ReadMany,
    Replay,
    Request,
    Set,
    SetMany,
    Welcome,
    parse_hello,
    parse_request,
    parse_welcome,
    request_body,
)

_REQUESTS = [
    Get("A/1"),
    Get("A/1", []),
    Get("A/1", ["state", "node.value"]),
    Set("A/1", {"speed": 1.5, "name": "x"}),
    Call("A/1", "move"),
    Call("A/1", "move", [3.0], {"speed": 1}),
    GetSchema("A/1"),
    ReadMany([["A/1", ["state"]], ["B/1", None]]),
    ReadMany([]),
    Locate(["A/1", "B/1"]),
    Set("A/1", {"speed": 1.5}, "key", {"speed": 7}),
    Call("A/1", "move", [3.0], {}, "key"),
    SetMany([["A/1", bytes(16), {"speed": 1.5}]]),
    Set("A/1", {"speed": 1.5}, None, None, "B/1"),
    Call("A/1", "move", [3.0], {}, None, "B/1"),
    SetMany([["A/1", bytes(16), {"speed": 1.5}]], "B/1"),
    Open([["A/1", bytes(16)]]),
    Open([], ["1234"]),
    Replay("A/1", 3),
]
_WELCOME = Welcome("S/1", bytes(range(16)), 1, 2, "1.0", "ipc://e", "ipc://d")
_HELLO = Hello("host", 42, "user", "program", b"line")


@pytest.mark.parametrize("request_", _REQUESTS, ids=repr)
def test_request_comes_out_as_it_went_in(request_: Request) -> None:
    parsed = parse_request(decode(encode(request_body(request_))))
    assert parsed == request_
    assert type(parsed) is type(request_)


def test_every_operation_is_tried_above() -> None:
    assert {type(request) for request in _REQUESTS} == set(OPERATIONS.values())


@pytest.mark.parametrize(
    "body",
    [
        None,
        5,
        "get",
        {},
        [],
        [None],
        [["get"]],
        ["unknown", "A/1"],
        ["get"],
        ["get", "A/1"],
        ["get", 1, None],
        ["get", "A/1", "state"],
        ["get", "A/1", ["state", 1]],
        ["get", "A/1", None, None],
        ["set", "A/1", {}],
        ["set", "A/1", {}, None, None],
        ["set", "A/1", [], None, None, None],
        ["set", "A/1", None, None, None, None],
        ["set", None, {}, None, None, None],
        ["set", "A/1", {}, "", None, None],
        ["set", "A/1", {}, "k" * 65, None, None],
        ["set", "A/1", {}, 5, None, None],
        ["set", "A/1", {}, None, ["speed"], None],
        ["set", "A/1", {}, None, {"speed": -1}, None],
        ["set", "A/1", {}, None, {"speed": True}, None],
        ["set", "A/1", {}, None, None, ""],
        ["set", "A/1", {}, None, None, "d" * 129],
        ["set", "A/1", {}, None, None, 5],
        ["call", "A/1", "move", [], {}],
        ["call", "A/1", "move", [], {}, None],
        ["call", "A/1", "move", [], [], None, None],
        ["call", "A/1", "move", {}, {}, None, None],
        ["call", "A/1", b"move", [], {}, None, None],
        ["call", "A/1", "move", [], {}, 1, None],
        ["call", "A/1", "move", [], {}, None, b"B/1"],
        ["set_many", [["A/1", {}]], None],
        ["set_many", [["A/1", bytes(16), {}]], 5],
        ["set_many", [["A/1", b"short", {}]], None],
        ["set_many", [["A/1", bytes(16), []]], None],
        ["open", [["A/1", bytes(16)]]],
        ["open", [["A/1"]], None],
        ["open", [["A/1", "sixteen letters."]], None],
        ["open", [["A/1", bytes(16)]], [1]],
        ["replay", "A/1"],
        ["replay", "A/1", -1],
        ["replay", "A/1", None],
        ["schema"],
        ["schema", ["A/1"]],
        ["read_many", "A/1"],
        ["read_many", [["A/1"]]],
        ["read_many", [["A/1", [None]]]],
        ["read_many", ["A"]],
        ["locate", "A/1"],
        ["locate", [1]],
    ],
    ids=repr,
)
def test_request_of_another_form_is_malformed(body: object) -> None:
    with pytest.raises(MalformedMessageError):
        parse_request(body)


def test_unknown_operation_is_not_repeated_at_full_length() -> None:
    with pytest.raises(MalformedMessageError) as caught:
        parse_request(["x" * 10_000])
    assert len(str(caught.value)) < 200


def test_default_fields_are_not_shared_between_calls() -> None:
    body = decode(encode(request_body(Call("A/1", "move"))))
    first = parse_request(body)
    assert isinstance(first, Call)
    first.kwargs["speed"] = 1
    assert Call("A/1", "move").kwargs == {}


def test_greetings_come_out_as_they_went_in() -> None:
    assert parse_hello(decode(encode(list(_HELLO)))) == _HELLO
    assert parse_welcome(decode(encode(list(_WELCOME)))) == _WELCOME


def test_greetings_of_a_later_version_may_have_more_fields() -> None:
    assert parse_hello([*_HELLO, "more"]) == _HELLO
    assert parse_welcome([*_WELCOME, {"more": 1}]) == _WELCOME


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", 1),
        ("pid", "1"),
        ("pid", True),
        ("pid", -1),
        ("user", None),
        ("program", b""),
        ("line", "text"),
        ("line", bytes(17)),
        ("token", "text"),
        ("token", bytes(4_097)),
    ],
)
def test_hello_with_a_wrong_field_is_malformed(field: str, value: Any) -> None:
    with pytest.raises(MalformedMessageError):
        parse_hello(list(_HELLO._replace(**{field: value})))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("server_id", None),
        ("instance", b"short"),
        ("instance", "sixteen letters."),
        ("epoch", -1),
        ("epoch", 2**64),
        ("epoch", 1.0),
        ("time_ns", False),
        ("version", 1),
        ("data", None),
        ("user", None),
        ("until_ns", -1),
        ("note", b""),
    ],
)
def test_welcome_with_a_wrong_field_is_malformed(field: str, value: Any) -> None:
    with pytest.raises(MalformedMessageError):
        parse_welcome(list(_WELCOME._replace(**{field: value})))


@pytest.mark.parametrize("body", [None, [], {}, "S/1", ["S/1"]], ids=repr)
def test_greeting_that_says_too_little_is_malformed(body: object) -> None:
    with pytest.raises(MalformedMessageError):
        parse_hello(body)
    with pytest.raises(MalformedMessageError):
        parse_welcome(body)
