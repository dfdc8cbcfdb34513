"""A write or command as the audit log tells it: what was asked, what changed, how it ended.

What is declared secret is not shown, nor what nobody has declared: a password may come under a
name that was mistyped.
"""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pykarabo.audit import SECRET, UNKNOWN, AuditWriter, Entry, entries, shorten, unknown, weight_of
from pykarabo.data import CommandInfo, ParameterInfo, PropertyInfo, Schema
from pykarabo.errors import (
    CancelledByCallerError,
    DeniedError,
    LockedError,
    NotExecutedError,
    PykaraboError,
)
from pykarabo.transport import Clock
from pykarabo.wire import Execute

if TYPE_CHECKING:
    from ._called import Called

_MOST_REFUSED: Final = 20
"""So many values of a write that was refused are shown; of one that was applied, all."""
_LONGEST: Final = 300
_HIDING: Final = (SECRET["~"], UNKNOWN)
_NO_SCHEMA: Final = Schema("")


class Target(NamedTuple):
    """What an attempt is about.

    Attributes:
        command: None for a write.
        given: the values of a write, or positional and named arguments.
        acting: the device on whose behalf it is asked.
    """

    device: str
    command: str | None
    given: Any
    acting: str | None


class Attempt(Entry):
    """A write or command that has reached this process.

    Args:
        writer: writes the log; None in a process without one.
        device: what it is about; None for one that is not here.
    """

    __slots__ = (
        "_asked", "_call_id", "_certain", "_changes", "_clock", "_error", "_given", "_identity",
        "_is_told", "_login", "_outcome", "_role", "_schema", "_started_ns", "_target", "_time_ns",
        "_took_ns", "_writer",
    )  # fmt: skip

    def __init__(
        self,
        writer: AuditWriter | None,
        clock: Clock,
        call: Execute,
        target: Target,
        device: "Called | None",
    ) -> None:
        super().__init__()
        self._writer = writer
        self._clock = clock
        self._identity = call.identity
        self._certain = call.certain
        self._role = call.role
        self._login = {"login": call.granted.login, "through": call.granted.through}
        self._call_id = call.call_id
        self._target = target
        self._given = target.given
        self._schema = _NO_SCHEMA if device is None else device.schema()
        self._time_ns = clock.time_ns()
        self._started_ns = clock.monotonic_ns()
        self._took_ns = 0
        self._changes: dict[str, list[Any]] | None = None
        self._error: PykaraboError | None = None
        self._outcome = ""
        self._asked: _Asked | None = None
        info = None if target.command is None else self._schema.commands.get(target.command)
        self._is_told = info is None or info.audited
        if target.command is not None and self._is_told:
            self._asked = _arguments(info, target.given, device)
            self._given = None
            self.weight = 1 + self._asked.weight
        if writer is not None and self._is_told:
            writer.put(self)

    def changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Tell what a write has changed: values before and after it, by property."""
        changes: dict[str, list[Any]] = {}
        for key, value in after.items():
            info = self._schema.properties.get(key)
            hidden = info is None or _is_secret(info)
            pair: list[Any] = [SECRET, SECRET] if hidden else [shorten(before[key]), shorten(value)]
            changes[key] = pair
            self.weight += weight_of(pair)
        self._changes = changes

    def ended(self, error: PykaraboError | None = None) -> None:
        """Tell how it ended; only the first time counts."""
        self._end(_outcome(error, applied=self._changes is not None), error)

    def repeated(self) -> None:
        """Tell that it was sent again, and gets the answer of the first time."""
        self._end("repeated", None)

    def _end(self, outcome: str, error: PykaraboError | None) -> None:
        is_denied = isinstance(error, DeniedError | LockedError)
        if self._outcome or not (self._is_told or is_denied):
            return
        self._outcome = outcome
        self._took_ns = self._clock.monotonic_ns() - self._started_ns
        self._error = error
        if self._asked is None:
            self._asked = self._shown(self._given)
            self.weight += self._asked.weight
        self._given = None  # it may be large
        if self._writer is not None:
            self._writer.end(self)
            if not self._is_told:
                self._writer.put(self)

    @property
    def refusal(self) -> Hashable | None:
        """Who was refused, and how."""
        if self._outcome != "refused" or self.begun is not None or self._error is None:
            return None
        return self._identity, self._error.code

    def _shown(self, given: Any) -> "_Asked":
        """Return what was asked; of a write that was applied nothing, for its changes tell it."""
        if self._target.command is not None:
            return _arguments(self._schema.commands.get(self._target.command), given, None)
        return _Asked() if self._changes is not None else _values(self._schema, given)

    def fields(self) -> dict[str, Any]:
        """Return what its line tells."""
        target, identity = self._target, self._identity
        told: dict[str, Any] = {
            "kind": "set" if target.command is None else "call",
            "t": self._time_ns,
            "device": _cut(target.device),
        }
        if target.command is not None:
            told["command"] = _cut(target.command)
        told |= {
            "user": identity.user, "certain": self._certain, "host": identity.host,
            "pid": identity.pid, "program": identity.program, "role": self._role.name.lower(),
        }  # fmt: skip
        told |= {name: text for name, text in self._login.items() if text}
        if target.acting is not None:
            told["for"] = target.acting
        given = self._given  # read before: it is given up when it is shown
        asked = self._asked or self._shown(given)
        if self._changes is not None:
            told["changes"] = self._changes
        else:
            told["asked" if target.command is None else "arguments"] = asked.shown
        told |= asked.more
        if self.is_over:
            told |= {"outcome": self._outcome, **self._ending(asked)}
        else:
            told["outcome"] = "begun"
        return told | {"call": self._call_id.hex()}

    def _ending(self, asked: "_Asked") -> dict[str, Any]:
        """Return how it ended; the words of an error may hold a value that is secret."""
        told: dict[str, Any] = {}
        if self._error is not None:
            told["error"] = self._error.code
            if not asked.hidden and not _hides(self._changes):
                told["reason"] = _cut(self._error.message)
        if self.begun is not None:
            told["begun"] = self.begun
        return told | {"ms": round(self._took_ns / 1e6, 1)}


class _Asked:
    """What was asked, as the log shows it.

    Attributes:
        hidden: whether there was something that nobody may see.
        more: how many values are not named, if any.
    """

    __slots__ = ("hidden", "more", "shown")

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self.hidden = False
        self.more: dict[str, int] = {}

    @property
    def weight(self) -> int:
        return weight_of(self.shown)

    def add(self, name: str, value: Any, info: PropertyInfo | ParameterInfo | None) -> None:
        if len(self.shown) >= _MOST_REFUSED:
            self.more["more"] = self.more.get("more", 0) + 1
            self.hidden = self.hidden or info is None or _is_secret(info)
        elif info is None:
            self.shown[_cut(name)] = unknown(value)
            self.hidden = True
        elif _is_secret(info):
            self.shown[name] = SECRET
            self.hidden = True
        else:
            self.shown[name] = shorten(value)


def _values(schema: Schema, values: Mapping[str, Any]) -> _Asked:
    asked = _Asked()
    for key, value in values.items():
        asked.add(key, value, schema.properties.get(key))
    return asked


def _arguments(
    info: CommandInfo | None, given: tuple[list[Any], Mapping[str, Any]], device: "Called | None"
) -> _Asked:
    """Return a command's arguments; what no parameter declares may be anything."""
    args, kwargs = given
    parameters = {} if info is None else {item.name: item for item in info.parameters}
    names = [*parameters, *(f"#{number}" for number in range(len(parameters), len(args)))]
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    asked = _Asked()
    if device is not None and info is not None:
        try:
            told = device.told_arguments(info.name, named)
            asked.hidden = told is not named and _hides(dict(told))
            named = dict(told)
        except Exception:
            device.log.exception("told_arguments failed: no arguments are shown")
            parameters = {}
    for name, value in named.items():
        asked.add(name, value, parameters.get(name))
    return asked


def _hides(value: Any) -> bool:
    """Tell whether something stands in the place of a secret somewhere in a value."""
    if isinstance(value, Mapping):
        known = entries(value)
        return dict(known).get("~") in _HIDING or any(_hides(item) for _key, item in known)
    return isinstance(value, list) and any(map(_hides, value))


def _is_secret(info: PropertyInfo | ParameterInfo) -> bool:
    if info.secret or isinstance(info, ParameterInfo):
        return info.secret
    return any(_is_secret(column) for column in info.rows)


def _outcome(error: PykaraboError | None, *, applied: bool) -> str:
    """Return how an attempt ended in a word."""
    if error is None:
        return "done"
    if isinstance(error, NotExecutedError) and not error.foreign and not applied:
        return "refused"
    return "cancelled" if isinstance(error, CancelledByCallerError) else "failed"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def told_configuration(schema: Schema | None, values: Any, above: str = "") -> Any:
    """Return a configuration as the audit log may show it."""
    if schema is None or not isinstance(values, Mapping):
        return unknown(values)
    shown: dict[str, Any] = {}
    for key, value in entries(values):
        info = schema.properties.get(f"{above}{key}")
        if info is None:
            shown[key] = unknown(value)
        elif _is_secret(info):
            shown[key] = SECRET
        elif info.node and isinstance(value, Mapping):
            shown[key] = told_configuration(schema, value, f"{above}{key}.")
        else:
            shown[key] = value
    return shown
