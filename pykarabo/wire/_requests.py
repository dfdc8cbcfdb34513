"""What a caller may ask: the bodies of CALL messages.

On the wire a request is the list ``[operation, *fields]`` in the order of the class below; the
JSON schemas in `pykarabo.schemas` are generated from these classes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from pykarabo.errors import MalformedMessageError

from ._checks import is_instance, is_map, is_names, is_number


class Get(NamedTuple):
    """Read properties: `keys`, or every one (None). Answer: one row per property."""

    device: str
    keys: list[str] | None = None


class Set(NamedTuple):
    """Write properties, all or none. Answer: None."""

    device: str
    values: dict[str, Any]


class Call(NamedTuple):
    """Run a command. Answer: its result."""

    device: str
    command: str
    args: list[Any] = []  # noqa: RUF012 - a default of the wire, never changed
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - a default of the wire, never changed


class GetSchema(NamedTuple):
    """Describe the device. Answer: the schema as a map."""

    device: str


class ReadMany(NamedTuple):
    """Read properties of many devices of one server: ``[[device, [key, ...]], ...]``.

    Answer: per target ``[rows, None]`` or ``[None, error]``; one bad target spoils no other.
    """

    targets: list[list[Any]]


class Locate(NamedTuple):
    """Ask a server for its devices' instances. Answer: per name ``[instance, epoch]`` or None."""

    devices: list[str]


Request: TypeAlias = Get | Set | Call | GetSchema | ReadMany | Locate

OPERATIONS: Final[Mapping[str, type[Request]]] = {
    "get": Get,
    "set": Set,
    "call": Call,
    "schema": GetSchema,
    "read_many": ReadMany,
    "locate": Locate,
}
_NAMES: Final = {kind: name for name, kind in OPERATIONS.items()}


def request_body(request: Request) -> list[Any]:
    """Return the plain list that stands for `request` on the wire."""
    return [_NAMES[type(request)], *request]


def parse_request(body: object) -> Request:
    """Rebuild the request from a decoded body.

    Raises:
        MalformedMessageError: an unknown operation, or fields of the wrong number or type.
    """
    if not isinstance(body, list) or not body:
        raise _malformed("a call's body is no list")
    operation, *fields = body
    kind = OPERATIONS.get(operation) if isinstance(operation, str) else None
    if kind is None:
        raise _malformed(f"unknown operation {operation!r:.60}")
    if not _CHECKS[kind](fields):
        raise _malformed(f"the fields of operation {operation!r} have the wrong number or type")
    return kind(*fields)


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on the caller's side")


def _check_get(fields: list[Any]) -> bool:
    return (
        len(fields) == len(Get._fields)
        and isinstance(fields[0], str)
        and (fields[1] is None or is_names(fields[1]))
    )


def _check_set(fields: list[Any]) -> bool:
    return len(fields) == len(Set._fields) and isinstance(fields[0], str) and is_map(fields[1])


def _check_call(fields: list[Any]) -> bool:
    return (
        len(fields) == len(Call._fields)
        and is_names(fields[:2])
        and isinstance(fields[2], list)
        and is_map(fields[3])
    )


def _check_schema(fields: list[Any]) -> bool:
    return len(fields) == len(GetSchema._fields) and isinstance(fields[0], str)


def _check_read_many(fields: list[Any]) -> bool:
    return (
        len(fields) == len(ReadMany._fields)
        and isinstance(fields[0], list)
        and all(isinstance(target, list) and _check_get(target) for target in fields[0])
    )


def _check_locate(fields: list[Any]) -> bool:
    return len(fields) == len(Locate._fields) and is_names(fields[0])


_CHECKS: Final[Mapping[type[Request], Callable[[list[Any]], bool]]] = {
    Get: _check_get,
    Set: _check_set,
    Call: _check_call,
    GetSchema: _check_schema,
    ReadMany: _check_read_many,
    Locate: _check_locate,
}


class ClientIdentity(NamedTuple):
    """The body of HELLO: who connects, for the server's list of sessions and its log."""

    host: str
    pid: int
    user: str
    program: str


class Welcome(NamedTuple):
    """The body of WELCOME: who answers.

    `time_ns` is the server's UTC clock; `events` and `data` are its other endpoints, so that one
    address is enough to reach all of it.
    """

    server_id: str
    instance: bytes
    epoch: int
    time_ns: int
    version: str
    events: str
    data: str


def parse_identity(body: object) -> ClientIdentity:
    """Rebuild the identity from a HELLO's body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(ClientIdentity._fields):
        host, pid, user, program = body[: len(ClientIdentity._fields)]
        if is_number(pid) and is_names([host, user, program]):
            return ClientIdentity(host, pid, user, program)
    raise _malformed("a hello does not say who calls")


def parse_welcome(body: object) -> Welcome:
    """Rebuild the welcome from its body; raises `MalformedMessageError`."""
    if isinstance(body, list) and len(body) >= len(Welcome._fields):
        server_id, instance, epoch, time_ns, *texts = body[: len(Welcome._fields)]
        numbers = is_number(epoch) and is_number(time_ns)
        if is_names([server_id, *texts]) and is_instance(instance) and numbers:
            return Welcome(server_id, instance, epoch, time_ns, *texts)
    raise _malformed("a welcome does not say who answers")
