"""What the configuration store keeps, and the storage that it needs.

A configuration of a device has a name, and each time that it is saved, described anew, deleted or
brought back it gets one more version. Versions are never changed nor removed: the latest one says
how the configuration is now, and whether it is there at all. Values are what differs from the
defaults of the device's class; the class's schema of that moment is kept with them, because
without it nobody knows later what was at its default, nor in which unit a number was.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from pykarabo.data import AccessMode, Schema
from pykarabo.errors import InvalidNameError, OutOfRangeError
from pykarabo.facility import check_configuration_name

LIVE: Final = "live"
"""Stands for what the device has now, where a configuration is named."""
MAX_COMMENT: Final = 4_000
MAX_CONTENT_BYTES: Final = 4 * 2**20
"""A table of ten thousand rows; a device that is configured with more keeps a file."""
_NUMBER: Final = re.compile(r"[1-9]\d{0,8}")


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
        return f"{self.name}@{datetime.fromtimestamp(self.time_ns / 1e9).astimezone().isoformat()}"


def which(text: str) -> Which:
    """Return what ``NAME``, ``NAME@3`` or ``NAME@2026-11-28T12:00`` means.

    A time without a zone is local time.

    Raises:
        InvalidNameError: it is none of these.
    """
    name, at, rest = text.partition("@")
    check_configuration_name(name)
    if not at:
        return Which(name)
    if _NUMBER.fullmatch(rest):
        return Which(name, number=int(rest))
    try:
        moment = datetime.fromisoformat(rest).astimezone()
    except (ValueError, OverflowError, OSError):
        raise InvalidNameError(
            f"'{text}' names no version",
            remedy="write NAME, NAME@NUMBER or NAME@TIME such as 2026-11-28T12:00",
        ) from None
    return Which(name, time_ns=int(moment.timestamp() * 1e9))


def check_comment(comment: str) -> str:
    """Return `comment` if it can be kept; raises `OutOfRangeError`."""
    if len(comment) > MAX_COMMENT or "\0" in comment:
        raise OutOfRangeError(
            f"a comment of {len(comment)} characters cannot be kept",
            remedy=f"give {MAX_COMMENT} at most, without NUL",
        )
    return comment


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

    async def current(self, device_id: str) -> list[Version]:
        """Return a device's configurations as they are now: by priority, then by name."""
        ...

    async def history(self, device_id: str, name: str) -> list[Version]:
        """Return every version of a configuration, the latest first; none where there is none."""
        ...

    async def find(self, device_id: str, wanted: Which) -> Stored | None:
        """Return a version, if there was one."""
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
        """Keep a new version with the content of the latest; None where there is no such."""
        ...
