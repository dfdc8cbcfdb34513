"""How what runs differs from what a facility file says."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pykarabo.data import AccessMode, class_property, filled_configuration, same

from ._checking import Checked
from ._file import FacilityServer
from ._running import RunningDevice, RunningServer
from ._steps import Change

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
    """Return what may be device ids: ``DEVICE``, ``DEVICE:output``, also in lists and tables."""
    found = (_TARGET.match(text) for value in values.values() for text in _texts(value))
    return [match[0] for match in found if match is not None]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):  # a table, by column, or a hash
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
