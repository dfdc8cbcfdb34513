"""What the configuration store keeps, and the storage that it needs.

A configuration of a device has a name, and each time that it is saved, described anew, deleted or
brought back it gets one more version. Versions are never changed nor removed: the latest one says
how the configuration is now, and whether it is there at all. Values are what differs from the
defaults of the device's class; the class's schema of that moment is kept with them, because
without it nobody knows later what was at its default, nor in which unit a number was.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from pykarabo.data import AccessMode, Schema, Timestamp, moment_ns
from pykarabo.errors import InvalidNameError, WrongTypeError
from pykarabo.facility import check_configuration_name

LIVE: Final = "live"
"""Stands for what the device has now, where a configuration is named."""
MAX_CONTENT_BYTES: Final = 4 * 2**20
"""A table of ten thousand rows; a device that is configured with more keeps a file."""
REPLY_BYTES: Final = 512 * 2**10
"""Configurations in one answer, unless one alone has more: a message may have 8 MiB, and 100,000
values, each of which takes eight characters of text at least."""
MAX_USER: Final = 128
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_SECOND: Final = re.compile(r"[Tt ]\d\d:?\d\d:?\d\d(?:[.,](\d+))?", re.ASCII)
"""Of a moment that is written to the second: its fraction."""
_NS_DIGITS: Final = 9
_LAST_NS: Final = 2**63 - 1
"""In April 2262; a database keeps no later moment."""
_SHOWN: Final = 60


class Action(StrEnum):
    """How a version came about."""

    SAVED = "saved"
    DESCRIBED = "described"
    DELETED = "deleted"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a configuration, without its values.

    Attributes:
        time_ns: UTC, ns since 1970.
        user: who did it.
        server_id: where the device ran; empty where nobody knew.
        active: the one that the device is started with when no other is named.
    """

    device_id: str
    name: str
    number: int
    action: Action
    time_ns: int
    user: str
    class_id: str
    server_id: str = ""
    own_process: bool = False
    comment: str = ""
    priority: int = 0
    active: bool = False

    @property
    def is_there(self) -> bool:
        """Whether the configuration is there after this."""
        return self.action is not Action.DELETED

    @property
    def title(self) -> str:
        """The version as one names it."""
        return f"{self.name}@{self.number}"

    def to_plain(self) -> dict[str, Any]:
        """Return it as a plain map."""
        return {name: getattr(self, name) for name in self.__slots__} | {"action": str(self.action)}


@dataclass(frozen=True, slots=True)
class Content:
    """What a device was configured with: what differs from the defaults of its class then."""

    schema: Schema
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Stored(NamedTuple):
    """A version and its content."""

    version: Version
    content: Content


@dataclass(frozen=True, slots=True)
class Saving:
    """What is to be kept; None leaves comment, priority and mark as they were."""

    device_id: str
    name: str
    user: str
    content: Content
    server_id: str = ""
    own_process: bool = False
    comment: str | None = None
    priority: int | None = None
    active: bool | None = None


class Which(NamedTuple):
    """Which version of a configuration is meant: the latest, a number, or that of a moment."""

    name: str
    number: int | None = None
    time_ns: int | None = None

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.name}@{self.number}"
        if self.time_ns is None:
            return self.name
        return f"{self.name}@{Timestamp.from_ns(self.time_ns).iso(_NS_DIGITS)}"


def which(text: str) -> Which:
    """Return what ``NAME``, ``NAME@3`` or ``NAME@2026-11-28T12:00:00Z`` means.

    A moment must have its zone: that of this process says nothing of who asks. One that is written
    to the second, or to a fraction of it, covers all that it leaves open, so that the time of a
    version as it is shown names that version.

    Raises:
        InvalidNameError: it is none of these.
    """
    name, at, rest = text.partition("@")
    check_name(name)
    if not at:
        return Which(name)
    if _NUMBER.fullmatch(rest):
        return Which(name, number=int(rest))
    if not _has_zone(rest):
        raise InvalidNameError(
            f"{text[:_SHOWN]!r} names no version",
            remedy="write NAME, NAME@NUMBER, or NAME@TIME with its zone: 2026-11-28T12:00:00Z",
        )
    moment = _moment_ns(text, rest, 0)
    written = _SECOND.search(rest)
    open_ns = 0 if written is None else 10 ** (_NS_DIGITS - _digits(written)) - 1
    return Which(name, time_ns=min(moment + open_ns, _LAST_NS))


def in_utc(text: str, now_ns: int) -> str:
    """Return what somebody calls a version as the store takes it: with its moment in UTC.

    ``NAME@-2h``, ``NAME@yesterday``, and local times without a zone are those of this process.

    Raises:
        InvalidNameError: there is no such moment.
    """
    name, at, rest = text.partition("@")
    if not at or _NUMBER.fullmatch(rest):
        return text
    moment = Timestamp.from_ns(_moment_ns(text, rest, now_ns))
    written = _SECOND.search(rest)
    return f"{name}@{moment.iso(_NS_DIGITS if written is None else _digits(written))}"


def _has_zone(moment: str) -> bool:
    try:
        return datetime.fromisoformat(moment.strip()).utcoffset() is not None
    except ValueError:
        return False


def _digits(written: re.Match[str]) -> int:
    return min(len(written[1] or ""), _NS_DIGITS)


def _moment_ns(text: str, moment: str, now_ns: int) -> int:
    try:
        found = moment_ns(moment, now_ns)
    except WrongTypeError as error:
        raise InvalidNameError(
            f"{text[:_SHOWN]!r} names no version",
            remedy=f"write NAME, NAME@NUMBER or NAME@TIME; for the time {error.remedy}",
        ) from None
    if abs(found) > _LAST_NS:
        raise InvalidNameError(
            f"{text[:_SHOWN]!r} names no version",
            remedy="give a time between the years 1678 and 2262",
        )
    return found


def check_name(name: str) -> str:
    """Return `name` if a configuration can have it; raises `InvalidNameError`."""
    if len(name) > _SHOWN or not name.isprintable():
        raise InvalidNameError(
            f"{name[:_SHOWN]!r} is no name for a configuration",
            remedy="use up to 30 letters, digits, '_' and '-'",
        )
    return check_configuration_name(name)


def check_new_name(name: str) -> str:
    """Return `name` if a configuration can be saved under it; raises `InvalidNameError`."""
    if name == LIVE:
        raise InvalidNameError(
            f"a configuration cannot be called '{LIVE}': it stands for what a device has now",
            remedy="choose another name",
        )
    return check_name(name)


def kept_schema(schema: Schema) -> Schema:
    """Return what of a class's schema configurations are about."""
    return Schema(
        schema.class_id,
        "",
        {
            key: info
            for key, info in schema.properties.items()
            if info.node or info.access_mode is not AccessMode.READ_ONLY
        },
    )


class ConfigurationStorage(Protocol):
    """Where versions are kept."""

    async def open(self) -> None:
        """Connect; a database that cannot be reached now is tried again."""
        ...

    async def aclose(self) -> None:
        """End the connections."""
        ...

    async def devices(self) -> list[str]:
        """Return the devices that have configurations, sorted."""
        ...

    async def current(self, device_id: str, *, deleted: bool = False) -> list[Version]:
        """Return a device's configurations as they are now: by priority, then by name.

        Args:
            deleted: those that were deleted, instead of those that are there.
        """
        ...

    async def history(
        self, device_id: str, name: str, *, before: int = 0, limit: int = 0
    ) -> list[Version]:
        """Return every version of a configuration, the latest first; none where there is none.

        Args:
            before: only those with a lower number; 0 for all.
            limit: not more than so many; 0 for all.
        """
        ...

    async def find(self, device_id: str, wanted: Which) -> Stored | None:
        """Return a version, if there was one."""
        ...

    async def latest(
        self, device_id: str, names: Sequence[str], *, max_bytes: int
    ) -> dict[str, Stored | None]:
        """Return the latest versions of the first of `names`: as many as fit, at least one.

        None stands for one that there never was.
        """
        ...

    async def save(self, saving: Saving, time_ns: int) -> Version:
        """Keep a new version."""
        ...

    async def describe(
        self,
        device_id: str,
        name: str,
        user: str,
        time_ns: int,
        *,
        action: Action,
        comment: str | None = None,
        priority: int | None = None,
        active: bool | None = None,
    ) -> Version | None:
        """Keep a new version with the content of the latest; None where there is no such.

        What is brought back has the mark that it had, unless another one has it now.
        """
        ...
