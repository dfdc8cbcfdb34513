"""Roles: what whoever calls has a right to, and what is needed for what he asks.

Everything that changes something asks here before it does anything else: `permit_command` and
`permit_write` are called where a command is run and a write is applied, whoever asks and however.
Reading needs no role: what is hidden from somebody on a screen is not protected from him.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeAlias

from pykarabo.client import DomainMode
from pykarabo.data import (
    AccessLevel,
    CommandInfo,
    Configurable,
    Schema,
    configured_properties,
)
from pykarabo.errors import DeniedError, ReadOnlyDomainError
from pykarabo.transport import Caller, Sender
from pykarabo.wire import Granted, Hello

Rights: TypeAlias = Callable[[Hello, Sender], Granted]
"""Tells what whoever greets has a right to: takes the greeting, and what the kernel or his key
tells of him. It may refuse him, as with a `DeniedError`; one that fails lets nobody in."""

Readers: TypeAlias = Callable[[Sender, str], None]
"""Refuses who may not read a pipeline output, ``DEVICE:output``; raises `DeniedError`."""

_NOTHING: Final = {"": AccessLevel.OPERATOR}
_SHOWN: Final = 5
"""So many properties of a write are named."""


def all_rights(_hello: Hello, _sender: Sender) -> Granted:
    """Grant every role to everybody who can connect.

    A domain belongs to one user: on Unix sockets nobody else can connect, and over TCP nobody who
    does not have his key.
    """
    return Granted(AccessLevel.ADMINISTRATOR)


def all_readers(_sender: Sender, _output: str) -> None:
    """Let everybody who can connect read every output."""


def permit_command(caller: Caller, info: CommandInfo, device_id: str) -> None:
    """Refuse a command that the caller's role does not allow; raises `DeniedError`."""
    if caller.role < info.access_level:
        what = f"to run '{device_id}.{info.name}'"
        raise _denied(caller, info.access_level, what, device_id, info.name)


def permit_write(caller: Caller, schema: Schema, keys: Collection[str], device_id: str) -> None:
    """Refuse a write of which the caller's role does not allow all; raises `DeniedError`.

    Keys that there are not are left to whoever knows near matches. A write of nothing needs what
    writing needs by default, because it runs the device's code all the same.
    """
    known = (info for key in keys if (info := schema.properties.get(key)) is not None)
    levels = {info.key: info.write_level for info in known}
    _permit_levels(caller, levels if keys else _NOTHING, device_id)


def permit_in_mode(caller: Caller, mode: DomainMode, device_id: str, key: str | None) -> None:
    """Refuse to change anything while only administrators may; raises `ReadOnlyDomainError`."""
    if mode.read_only and caller.role < AccessLevel.ADMINISTRATOR:
        raise ReadOnlyDomainError(
            f"the domain {mode}; '{caller.name}' is connected as {caller.role.name.lower()}; "
            "nothing was done",
            device=device_id,
            key=key,
            remedy="ask an administrator; 'pykarabo status' shows when it is over",
            details={"by": mode.by, "reason": mode.reason, "since_ns": mode.changed_ns},
        )


def permit_configuration(
    caller: Caller, cls: type[Configurable], configuration: Mapping[str, Any], device_id: str
) -> None:
    """Refuse to start a device with values that the caller could not write.

    Raises:
        DeniedError: his role does not allow one of them.
        BadInputError: the configuration chooses nodes that cannot be.
    """
    given = configured_properties(cls, configuration, device_id)
    _permit_levels(caller, {info.key: info.write_level for info in given}, device_id)


def _permit_levels(caller: Caller, levels: Mapping[str, AccessLevel], device_id: str) -> None:
    denied = {key: level for key, level in levels.items() if level > caller.role}
    if not denied:
        return
    names = [f"'{device_id}.{key}'" if key else f"'{device_id}'" for key in denied]
    what = f"to set {', '.join(names[:_SHOWN])}"
    if len(names) > _SHOWN:
        what += f" and {len(names) - _SHOWN} more"
    first = next(iter(denied)) or None
    raise _denied(caller, max(denied.values()), what, device_id, first)


def _denied(
    caller: Caller, required: AccessLevel, what: str, device_id: str, key: str | None
) -> DeniedError:
    needed, have = required.name.lower(), caller.role.name.lower()
    why = f" ({caller.granted.note})" if caller.granted.note else ""
    return DeniedError(
        f"{what} needs the role {needed}, and '{caller.name}' is connected as {have}{why}; "
        "nothing was done",
        device=device_id,
        key=key,
        remedy=f"ask somebody with the role {needed}, or connect with it if you may: "
        f"PYKARABO_ROLE={needed}; 'pykarabo whoami' shows your role",
        details={"required": required.name, "have": caller.role.name},
    )
