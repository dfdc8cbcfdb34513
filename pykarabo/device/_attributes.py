"""Attributes that one device is given from outside: at its start, or while it runs.

What it is given goes before what its class declares and what the device itself changes of the same
attribute, and it stays when the device injects properties. Only properties that the class declares
can be given any: what a device injects is its own matter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pykarabo.client import DIRECTORY_ID
from pykarabo.data import (
    Configurable,
    PropertyInfo,
    attribute_changes,
    checked_attributes,
    class_property,
    contradiction,
    declared_class,
    iterate_leaves,
    raise_all,
    same,
    with_all_attributes,
)
from pykarabo.errors import (
    BadConfigurationError,
    BadInputError,
    ChangedMeanwhileError,
    UnknownDeviceError,
)

from ._admission import caller_of

if TYPE_CHECKING:
    from ._hosting import Hosted
    from ._server import Server
    from ._server_device import DeviceServer

GIVEN: Final = "given_attributes"
"""The property that shows them."""
Given: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Attributes by dotted key of the property and by name."""


def accepted(cls: type[Configurable], attributes: Mapping[str, Any], device_id: str) -> Given:
    """Return attributes that an object of a class is given, as they are kept.

    They must fit what the class declares, because a device that is started anew has that, and what
    the object has changed itself, too.

    Raises:
        BadInputError: there are no such properties or attributes, they contradict each other, the
            class or the object, or are too much for a property; several errors come as one that
            lists them.
    """
    if not attributes:
        return {}
    errors: list[BadInputError] = []
    found = checked_attributes(_declared(cls), attributes, device_id, errors=errors)
    if not errors:
        errors += _contradicting_itself(cls, found, device_id)
    raise_all(errors, device_id)
    shown = cls.schema().properties[GIVEN]
    shown.check_size(shown.validate(found, device=device_id), device=device_id)
    return found


def _declared(cls: type[Configurable]) -> Mapping[str, PropertyInfo]:
    """Return the properties of an object as its class declares them, without injected ones."""
    schema = declared_class(cls).schema()
    found: dict[str, PropertyInfo] = {}
    for info in iterate_leaves(cls.schema()):
        described = class_property(schema, info.key)
        if described is not None and not described.node:
            found[info.key] = replace(described, key=info.key)
    return found


def _contradicting_itself(
    cls: type[Configurable], given: Given, device_id: str
) -> Iterator[BadConfigurationError]:
    """Yield how attributes that fit a class contradict what an object of it has changed."""
    properties = cls.schema().properties
    for key, item in given.items():
        problem = contradiction(properties[key], item)
        if problem is not None:
            yield BadConfigurationError(
                f"'{device_id}.{key}' {problem}: the device itself has changed what its class "
                "declares",
                device=device_id,
                key=key,
                remedy="give what it has changed as well, so that both fit the class",
            )


def with_given(cls: type[Configurable], given: Given, device_id: str) -> type[Configurable]:
    """Return a class of an object with the attributes that it was given.

    Those of properties that there are not now wait until they come back.

    Raises:
        BadConfigurationError: they contradict what the device itself has changed.
    """
    properties = cls.schema().properties
    here = {key: item for key, item in given.items() if key in properties}
    for key, item in here.items():
        problem = contradiction(properties[key], item)
        if problem is not None:
            told = ", ".join(f"{name}={value!r}" for name, value in item.items())
            raise BadConfigurationError(
                f"'{key}' {problem}; '{device_id}' was given {told}",
                device=device_id,
                key=key,
                remedy="give it others with the command 'set_attributes' of its server",
            )
    return with_all_attributes(cls, here)


def set_attributes(
    own: "DeviceServer",
    server: "Server",
    device_id: str,
    attributes: Mapping[str, Any],
    expected: Mapping[str, Any] | None,
) -> Given:
    """Give a device of a server attributes in place of those that it had; returns these.

    Raises:
        NotExecutedError: it cannot have them, or not now; nothing was changed.
    """
    apart = server.apart.get(device_id)
    if apart is not None:  # its lock and its log are to see who calls, not this server
        raise UnknownDeviceError(
            f"device '{device_id}' has a process of its own, whose server gives it attributes",
            device=device_id,
            remedy=f"call 'set_attributes' of '{apart['server_id']}', as its property 'server_id' "
            "says",
        )
    hosted = server.hosted(device_id)
    hosted.require_ours()
    if device_id in (server.server_id, DIRECTORY_ID):
        raise BadConfigurationError(
            f"'{device_id}' cannot be given attributes: a server's own are those of its class, "
            "which no facility file could keep",
            device=device_id,
            remedy="give them to the server's devices",
        )
    device, caller = hosted.device, caller_of(own)
    device.lock_state.require(caller)
    before: Given = device.given_attributes
    if expected is not None and not same(dict(before), dict(expected)):
        raise ChangedMeanwhileError(
            f"the attributes of '{device_id}' have changed meanwhile: it was given {dict(before)}",
            device=device_id,
            remedy="look at its property 'given_attributes', and try again",
        )
    device.give_attributes(attributes)
    device.note_caller("set_attributes", caller.name)
    return before


def told_change(hosted: "Hosted", arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of `set_attributes` as the audit log shows them.

    That is each attribute with what it was and what it will be.
    """
    device, attributes = hosted.device, arguments.get("attributes")
    infos = _declared(device.bare_class)
    errors: list[BadInputError] = []
    if not isinstance(attributes, Mapping):
        return arguments
    after = checked_attributes(infos, attributes, device.context.device_id, errors=errors)
    if errors:
        return arguments
    shown: dict[str, dict[str, Any]] = {}
    for change in attribute_changes(infos, device.given_attributes, after):
        shown.setdefault(change.key, {})[change.name] = [change.old, change.new]
    return {"device_id": device.context.device_id, "attributes": shown}
