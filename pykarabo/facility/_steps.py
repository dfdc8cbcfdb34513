"""The steps of a plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pykarabo.data import PropertyValue

from ._file import FacilityServer, NamedConfiguration


class Kind(StrEnum):
    """What a step does."""

    STOP = "stop"
    STOP_SERVER = "stop server"
    START_SERVER = "start server"
    START = "start"
    SET = "set"
    GIVE = "set attributes"
    SAVE = "save configuration"
    DELETE = "delete configuration"


@dataclass(frozen=True, slots=True)
class Change:
    """A property or option that will be another one; `old` is None for what was not there.

    Of an attribute that a device is not given, it is `AS_DECLARED`.
    """

    key: str
    old: Any
    new: Any
    unit: str = ""
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        target: the device or server.
        why: for people; empty where it goes without saying.
        values: what a device is started with, or what is written to it or kept.
        before: what a device that is stopped was configured with, or what was kept before.
        attributes: what a device is given, all of it; `attributes_before` is what it had.
        expected: the properties to be written, as they were read.
        options: of a server that is started or stopped.
        name: of a configuration.
        marked_before: the configuration that was the active one of the device; empty for none.
    """

    kind: Kind
    target: str
    server: str = ""
    class_id: str = ""
    own_process: bool = False
    why: str = ""
    changes: tuple[Change, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    before: Mapping[str, Any] = field(default_factory=dict[str, Any])
    expected: Mapping[str, PropertyValue] = field(default_factory=dict[str, PropertyValue])
    attributes: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict[str, Mapping[str, Any]]
    )
    attributes_before: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict[str, Mapping[str, Any]]
    )
    options: FacilityServer | None = None
    time_source: str | None = None
    name: str = ""
    named: NamedConfiguration | None = None
    named_before: NamedConfiguration | None = None
    marked_before: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, what one should know, and why it cannot be carried out.

    Attributes:
        compared: whether it is known what the configuration store keeps.
    """

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    compared: bool = True
