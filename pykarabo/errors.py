"""The error tree of pykarabo; each class travels under a stable code.

The question that a control system must answer after every failed call is whether it was executed.
The tree's first level answers it::

    PykaraboError
    ├── NotExecutedError           certainly not: it is safe to try again
    │   ├── BadInputError          what was asked is wrong: change it first
    │   │   ├── UnknownDeviceError, UnknownPropertyError, UnknownCommandError, UnknownClassError,
    │   │   │   UnknownJobError, UnknownAlarmError, UnknownItemError
    │   │   ├── WrongTypeError, WrongUnitError, WrongShapeError
    │   │   ├── OutOfRangeError, NotAnOptionError, ReadOnlyError
    │   │   ├── MissingValueError, InvalidValuesError
    │   │   └── InvalidNameError, BadConfigurationError
    │   ├── DeniedError
    │   │   ├── ExpiredCredentialError, ClockError, WrongSignerError, DamagedCredentialError
    │   │   └── TooManyAttemptsError, ReadOnlyDomainError
    │   ├── StateForbidsError, LockedError, DuplicateDeviceError, ChangedMeanwhileError
    │   └── NotConnectedError, WrongInstanceError, HelloRequiredError, BusyError, ExpiredError,
    │       VersionMismatchError, WrongThreadError, ProviderUnavailableError
    ├── OutcomeUnknownError        nobody knows: look at the device first
    │   └── ConnectionLostError, CallTimeoutError
    ├── RemoteError, CancelledByCallerError        it ran, and failed or was stopped
    ├── MalformedMessageError, LimitExceededError  somebody sends what is no message of ours
    ├── StaleValueError            a value may be out of date
    ├── ChangesLostError           a reader of every change has missed some
    ├── LockLostError              a lock ended before the work under it: others may have come in
    ├── FrameFileError, DiskFullError, RunStateError    services
    └── DatabaseError              a store cannot do its work
        └── DatabaseUnavailableError, DatabaseReadOnlyError, DatabaseUnansweredError,
            DatabaseInUseError, DatabaseRevisionError, DatabaseDamagedError
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

_CLASSES: Final[dict[str, type["PykaraboError"]]] = {}
_WORD: Final = re.compile(r"(?<!^)(?=[A-Z])")
_MAX_MATCHES: Final = 3


class PykaraboError(Exception):
    """An error that names its object and what to do about it.

    Args:
        message: what is wrong, in one line.
        device: id of the device concerned.
        key: the property or command concerned.
        remedy: what to do next.
        details: more, as data that can travel.

    Attributes:
        foreign: whether another process raised it and it was rebuilt here.
    """

    code: ClassVar[str] = "pykarabo"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        device: str | None = None,
        key: str | None = None,
        remedy: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.device = device
        self.key = key
        self.remedy = remedy
        self.details: dict[str, Any] = dict(details or {})
        self.foreign = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            cls.code = _WORD.sub("_", cls.__name__.removesuffix("Error")).lower()
            _CLASSES[cls.code] = cls

    def __str__(self) -> str:
        return f"{self.message} - {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return PykaraboError.from_wire, (self.to_wire(),)

    def to_wire(self) -> dict[str, Any]:
        """Return the error as a plain map."""
        wire: dict[str, Any] = {"code": self.code, "message": self.message}
        for name in ("device", "key", "remedy"):
            value = getattr(self, name)
            if value is not None:
                wire[name] = value
        if self.details:
            wire["details"] = self.details
        return wire

    @staticmethod
    def from_wire(wire: Mapping[str, Any]) -> "PykaraboError":
        """Rebuild an error as its own class; a code of a later version becomes `RemoteError`."""
        code = wire.get("code")
        details = wire.get("details")
        more = dict(details) if isinstance(details, Mapping) else {}
        cls = _CLASSES.get(code) if isinstance(code, str) else None
        if cls is None:
            cls, more = RemoteError, more | {"code": str(code)}
        error = cls(
            str(wire.get("message") or "an error without a message"),
            device=_text(wire.get("device")),
            key=_text(wire.get("key")),
            remedy=_text(wire.get("remedy")),
            details=more,
        )
        error.foreign = True
        return error


_CLASSES[PykaraboError.code] = PykaraboError


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class NotExecutedError(PykaraboError):
    """The call certainly did not run; it is safe to try again."""


class BadInputError(NotExecutedError):
    """What was asked is wrong; nothing was done."""

    exit_code = 3


class UnknownDeviceError(BadInputError):
    """There is no such device."""


class UnknownPropertyError(BadInputError):
    """The device has no such property."""


class UnknownCommandError(BadInputError):
    """The device has no such command."""


class UnknownClassError(BadInputError):
    """There is no such device class."""


class UnknownJobError(BadInputError):
    """The device has no such job (any more)."""


class UnknownAlarmError(BadInputError):
    """The device has no such alarm (any more)."""


class UnknownItemError(BadInputError):
    """A service keeps nothing of this name."""


class WrongTypeError(BadInputError):
    """A value of another type is wanted."""


class WrongUnitError(BadInputError):
    """A value in another dimension is wanted."""


class WrongShapeError(BadInputError):
    """A value of another shape or length is wanted."""


class OutOfRangeError(BadInputError):
    """The value is beyond a limit."""


class NotAnOptionError(BadInputError):
    """The value is not among the options."""


class ReadOnlyError(BadInputError):
    """The property cannot be written."""


class MissingValueError(BadInputError):
    """A value that must be given was not."""


class InvalidValuesError(BadInputError):
    """Several values are refused; ``details["errors"]`` lists the error of each as a map."""


class InvalidNameError(BadInputError):
    """A name has characters or a length that it cannot have."""


class BadConfigurationError(BadInputError):
    """A configuration or a class contradicts itself."""


class StateForbidsError(NotExecutedError):
    """The device's state does not allow it."""

    exit_code = 3


class DeniedError(NotExecutedError):
    """The caller has no right to it."""

    exit_code = 3


class ReadOnlyDomainError(DeniedError):
    """An administrator lets nobody else change anything at present."""


class ExpiredCredentialError(DeniedError):
    """The time of a grant or a token is over."""


class ClockError(DeniedError):
    """Two clocks differ so much that nothing can be said of what is valid now."""


class WrongSignerError(DeniedError):
    """Who has signed a grant or a token is not trusted here."""


class DamagedCredentialError(DeniedError):
    """What was shown is no grant or token of ours."""


class TooManyAttemptsError(DeniedError):
    """Somebody has tried too often; this time nobody has even looked."""


class LockedError(NotExecutedError):
    """Somebody else has locked the device; `details` has the ``owner``."""

    exit_code = 3


class DuplicateDeviceError(NotExecutedError):
    """The device id is taken."""

    exit_code = 3


class ChangedMeanwhileError(NotExecutedError):
    """What the caller has read is no longer so."""

    exit_code = 3


class NotConnectedError(NotExecutedError):
    """The other side cannot be reached."""

    exit_code = 4


class WrongInstanceError(NotExecutedError):
    """The device was restarted or moved meanwhile."""

    exit_code = 4


class HelloRequiredError(NotExecutedError):
    """The session is not known (any more)."""

    exit_code = 4


class BusyError(NotExecutedError):
    """The server has too much to do already."""

    exit_code = 4


class ExpiredError(NotExecutedError):
    """The call came too late for its caller."""

    exit_code = 4


class VersionMismatchError(NotExecutedError):
    """The other side speaks another protocol."""

    exit_code = 4


class ProviderUnavailableError(NotExecutedError):
    """Who knows the users of a facility does not answer."""

    exit_code = 4


class WrongThreadError(NotExecutedError):
    """An asynchronous client was used outside its own event loop."""


class OutcomeUnknownError(PykaraboError):
    """Nobody knows whether the call ran."""

    exit_code = 5


class ConnectionLostError(OutcomeUnknownError):
    """The connection ended during the call."""


class CallTimeoutError(OutcomeUnknownError):
    """No answer came in time."""


class RemoteError(PykaraboError):
    """It ran and failed; `details` may hold ``type`` and ``traceback``."""

    exit_code = 6


class CancelledByCallerError(PykaraboError):
    """It ran and was stopped at its caller's wish."""

    exit_code = 6


class MalformedMessageError(PykaraboError):
    """A message is none of ours."""


class LimitExceededError(PykaraboError):
    """A message is larger or deeper than any of ours."""


class StaleValueError(PykaraboError):
    """A value may be out of date."""

    exit_code = 4


class ChangesLostError(PykaraboError):
    """Changes were lost before a reader took them; `details` tells how many: ``missed``, or None.

    What is read after it begins with the present values.
    """

    exit_code = 4


class LockLostError(PykaraboError):
    """A device was locked, and the lock ended before it was given back."""

    exit_code = 4


class FrameFileError(PykaraboError):
    """A file holds no image that could be played."""

    exit_code = 7


class DiskFullError(PykaraboError):
    """There is not enough space to write."""

    exit_code = 7


class RunStateError(PykaraboError):
    """A run cannot be started or stopped now."""

    exit_code = 7


class DatabaseError(PykaraboError):
    """A store cannot do its work; nothing was written, unless the class says otherwise."""

    exit_code = 7


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached, or does not answer; nothing was written."""


class DatabaseReadOnlyError(DatabaseError):
    """The database cannot be written to."""


class DatabaseUnansweredError(DatabaseError):
    """Nobody knows whether something was written: the database did not say in time."""


class DatabaseInUseError(DatabaseError):
    """Another process writes to the same file; `details` has its ``pid``."""


class DatabaseRevisionError(DatabaseError):
    """The tables are of another version of pykarabo, or none of ours."""


class DatabaseDamagedError(DatabaseError):
    """The file is damaged, or no database."""


def near_matches(name: str, candidates: Iterable[str]) -> list[str]:
    """Return up to three candidates that `name` may have been meant to be, the nearest first."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.casefold(), folded, n=_MAX_MATCHES)
    return [folded[match] for match in found]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return "did you mean 'a' or 'b'?", or an empty string when nothing is near."""
    matches = near_matches(name, candidates)
    return f"did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
