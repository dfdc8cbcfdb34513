"""What a caller may ask: the bodies of CALL messages.

On the wire a request is the list ``[operation, *fields]`` in the order of the class below; the
JSON schemas in `pykarabo.schemas` are generated from these classes. All fields are sent: a server
that would overlook one that it does not know ("only if unchanged") must refuse the request.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from pykarabo.errors import MalformedMessageError

from ._checks import is_instance, is_map, is_names, is_number

MAX_ONCE_KEY: Final = 64
"""Characters of a key that makes a call run once; a UUID has 36."""
MAX_CALLER: Final = 128
"""Characters of a caller's name; a device id has no more."""


class Get(NamedTuple):
    """Read properties: `keys`, or every one (None). Answer: one row per property."""

    device: str
    keys: list[str] | None = None


class Set(NamedTuple):
    """Write properties, all or none. Answer: None.

    Attributes:
        once: a key of the caller's own; a server runs requests of one key once.
        expected: per property the number of the device's event up to which the caller knows it;
            nothing is written if one of them has changed since.
        caller: the device on whose behalf it is asked; None for the calling program itself.
    """

    device: str
    values: dict[str, Any]
    once: str | None = None
    expected: dict[str, int] | None = None
    caller: str | None = None


class Call(NamedTuple):
    """Run a command. Answer: its result. `once` and `caller` are those of `Set`."""

    device: str
    command: str
    args: list[Any] = []  # noqa: RUF012 - a default of the wire, never changed
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - a default of the wire, never changed
    once: str | None = None
    caller: str | None = None


class GetSchema(NamedTuple):
    """Describe the device. Answer: the schema as a map."""

    device: str


class ReadMany(NamedTuple):
    """Read properties of many devices of one server: ``[[device, [key, ...]], ...]``.

    Answer: per target ``[rows, None, event number]`` or ``[None, error, 0]``; one bad target
    spoils no other.
    """

    targets: list[list[Any]]


class SetMany(NamedTuple):
    """Write properties of many devices of one server: ``[[device, instance, values], ...]``.

    Each device takes all of its values or none. Answer: per target None or an error. `caller` is
    that of `Set`.
    """

    writes: list[list[Any]]
    caller: str | None = None


class Locate(NamedTuple):
    """Ask a server for its devices' instances. Answer: per name ``[instance, epoch]`` or None."""

    devices: list[str]


class Open(NamedTuple):
    """Ask for what subscribed streams show now: ``[[stream, instance], ...]``.

    Attributes:
        schemas: versions of schemas that the caller has; None if it wants none.

    Answer: ``[per target, {version: schema}]``. Per target it is
    ``[[sequence, instance, epoch, version, rows], None]``, or ``[None, error]``, or
    ``[None, None]`` where the answer would become too long: ask again for those.
    """

    streams: list[list[Any]]
    schemas: list[str] | None = None


class Replay(NamedTuple):
    """Ask for a stream's events from number `first` on.

    Answer: ``[events, more]`` with events ``[sequence, kind, frames]`` in order and whether there
    are more; None when the server has forgotten the first one.
    """

    stream: str
    first: int


Request: TypeAlias = Get | Set | Call | GetSchema | ReadMany | SetMany | Locate | Open | Replay

OPERATIONS: Final[Mapping[str, type[Request]]] = {
    "get": Get,
    "set": Set,
    "call": Call,
    "schema": GetSchema,
    "read_many": ReadMany,
    "set_many": SetMany,
    "locate": Locate,
    "open": Open,
    "replay": Replay,
}
READS: Final = (Get, GetSchema, ReadMany, Locate, Open, Replay)
"""Requests that change nothing: to send one again does no harm."""
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
    if not _are(fields, *_CHECKS[kind]):
        raise _malformed(f"the fields of operation {operation!r} have the wrong number or type")
    return kind(*fields)


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on both sides")


_Check: TypeAlias = Callable[[object], bool]


def _are(fields: list[Any], *checks: _Check) -> bool:
    if len(fields) != len(checks):
        return False
    for check, field in zip(checks, fields, strict=True):  # noqa: SIM110 - twice as fast
        if not check(field):
            return False
    return True


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _is_once(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ONCE_KEY


def _is_caller(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_CALLER


def _is_expected(value: object) -> bool:
    return is_map(value) and all(is_number(sequence) for sequence in value.values())


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _each(*checks: _Check) -> _Check:
    """Return a check for a list of lists with these fields."""
    return lambda value: (
        _is_list(value) and all(_is_list(item) and _are(item, *checks) for item in value)
    )


_CHECKS: Final[Mapping[type[Request], tuple[_Check, ...]]] = {
    Get: (_is_text, _or_none(is_names)),
    Set: (_is_text, is_map, _or_none(_is_once), _or_none(_is_expected), _or_none(_is_caller)),
    Call: (_is_text, _is_text, _is_list, is_map, _or_none(_is_once), _or_none(_is_caller)),
    GetSchema: (_is_text,),
    ReadMany: (_each(_is_text, _or_none(is_names)),),
    SetMany: (_each(_is_text, is_instance, is_map), _or_none(_is_caller)),
    Locate: (is_names,),
    Open: (_each(_is_text, is_instance), _or_none(is_names)),
    Replay: (_is_text, is_number),
}
