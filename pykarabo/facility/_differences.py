"""How what runs differs from what a facility file says."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pykarabo.data import AccessMode, class_property, filled_configuration, same

from ._checking import Checked, CheckedFacility, fitting, without_secrets
from ._file import FacilityServer, NamedConfiguration
from ._running import Running, RunningDevice, RunningServer
from ._steps import Change, Kind, Step

_ABSENT: Final = object()
_TARGET: Final = re.compile(r"[^:.]+")
_OPTIONS: Final = ("classes", "host", "advertise", "ports", "trusted_networks", "memory")


def option_changes(
    server: RunningServer, wanted: FacilityServer, source: str | None
) -> tuple[Change, ...]:
    found = [
        Change(name, getattr(server.options, name), getattr(wanted, name))
        for name in _OPTIONS
        if _option(name, server.options) != _option(name, wanted)
    ]
    if server.time_source != source:
        found.append(Change("time_source", server.time_source, source))
    return tuple(found)


def _option(name: str, server: FacilityServer) -> Any:
    value = getattr(server, name)
    if name == "ports":  # 0 lets the system choose, as no port does
        return {key: port for key, port in value.items() if port}
    return value


def differences(
    device: RunningDevice, checked: Checked, *, reset: bool
) -> tuple[tuple[Change, ...], dict[str, Any]]:
    """Return what a running device must change, and what it has that the file does not mention."""
    live = filled_configuration(checked.schema, device.configuration)
    wanted = filled_configuration(checked.schema, checked.values)
    changes: list[Change] = []
    unlisted: dict[str, Any] = {}
    for key in [*wanted, *(key for key in live if key not in wanted)]:
        info = class_property(checked.schema, key)
        old, new = live.get(key, _ABSENT), wanted.get(key, _ABSENT)
        if info is None or same(old, new):
            continue
        if _is_below(key, unlisted):  # a node that the file does not mention has other nodes
            unlisted |= {} if old is _ABSENT else {key: old}
            continue
        if key in wanted and key not in checked.values and old is not _ABSENT and not reset:
            unlisted[key] = old
            continue
        changes.append(
            Change(
                key,
                None if old is _ABSENT else old,
                None if new is _ABSENT else new,
                info.unit,
                info.secret,
            )
        )
    return tuple(changes), unlisted


def _is_below(key: str, nodes: Iterable[str]) -> bool:
    return any(key.startswith(f"{node}.") for node in nodes)


def why_init_only(checked: Checked, changes: Iterable[Change]) -> str:
    """Return which of the changes a running device cannot make."""
    keys = []
    for change in changes:
        info = class_property(checked.schema, change.key)
        if info is None or info.node or info.access_mode is AccessMode.INIT_ONLY:
            keys.append(change.key)
    return f"only a start can change {', '.join(keys)}" if keys else ""


def of_new(checked: Checked) -> tuple[Change, ...]:
    changes: list[Change] = []
    for key, value in checked.values.items():
        info = class_property(checked.schema, key)
        if info is not None:
            changes.append(Change(key, None, value, info.unit, info.secret))
    return tuple(changes)


def named_in(values: Mapping[str, Any]) -> list[str]:
    """Return what may be device ids in texts, such as ``DEVICE``, ``DEVICE:output`` and lists."""
    found: list[str] = []
    for value in values.values():
        items = value if isinstance(value, list | tuple) else [value]
        for item in items:
            match = _TARGET.match(item) if isinstance(item, str) else None
            if match is not None:
                found.append(match[0])
    return found


def configuration_steps(checked: CheckedFacility, running: Running, *, keep: bool) -> list[Step]:
    """Return what must be kept and deleted in the store.

    Nothing is deleted of a device of which the file names no configuration.
    """
    wanted = checked.facility.configurations
    if wanted is None:
        return []
    steps: list[Step] = []
    kept = running.configurations or {}
    for device_id, named in wanted.items():
        for name, item in named.items():
            found = checked.named[device_id][name]
            before = kept.get(device_id, {}).get(name)
            after = replace(item, values=found.values, class_id=found.schema.class_id)
            changes = _named_changes(before, after, found, device_id)
            if before is None or changes:
                steps.append(
                    Step(
                        Kind.SAVE,
                        device_id,
                        name=name,
                        class_id=after.class_id,
                        changes=changes,
                        named=after,
                        named_before=before,
                    )
                )
    if not keep:
        steps += (
            Step(Kind.DELETE, device_id, name=name, named_before=item, why="it is not in the file")
            for device_id, named in kept.items()
            if device_id in wanted
            for name, item in named.items()
            if name not in wanted[device_id]
        )
    return steps


def _named_changes(
    before: NamedConfiguration | None, after: NamedConfiguration, checked: Checked, device_id: str
) -> tuple[Change, ...]:
    """Return what changes of a configuration; what its class has lost since is no difference."""
    old = NamedConfiguration(class_id=after.class_id) if before is None else before
    if old.class_id in ("", after.class_id):
        found, _refused = fitting(checked.schema, old.values, device_id)
        values = without_secrets(checked.schema, found)
        old = replace(old, values=values, class_id=after.class_id)
    changes = [
        Change(name, getattr(old, name), getattr(after, name))
        for name in ("comment", "priority", "active")
        if getattr(old, name) != getattr(after, name)
    ]
    if old.class_id != after.class_id:
        changes.append(Change("class", old.class_id, after.class_id))
    keys = [*after.values, *(key for key in old.values if key not in after.values)]
    changes += (
        Change(key, old.values.get(key), after.values.get(key))
        for key in keys
        if not same(old.values.get(key, _ABSENT), after.values.get(key, _ABSENT))
    )
    return tuple(changes)
