"""What of a kept configuration is written to a device that runs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pykarabo.data import (
    AccessMode,
    Schema,
    class_property,
    encode,
    filled_configuration,
    same,
)
from pykarabo.errors import BadConfigurationError, UnknownPropertyError, did_you_mean
from pykarabo_services.configuration.drift import Drift, Fitted
from pykarabo_services.configuration.model import Stored

_TOLD_BYTES: Final = 4 * 2**20
"""Half of what a message may have."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What a running device is to be told, and what it cannot be told.

    Attributes:
        values: what is written, by key.
        before: what the device has there.
        at_start: keys of properties that are others, and that only a start can change.
    """

    values: Mapping[str, Any]
    before: Mapping[str, Any]
    at_start: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        """Return it as an answer can hold it; ``untold`` names what is too large for that."""
        untold = too_large({key: (value, self.before[key]) for key, value in self.values.items()})
        return {
            "values": {key: self.values[key] for key in self.values if key not in untold},
            "before": {key: self.before[key] for key in self.values if key not in untold},
            "untold": untold,
        }


def is_below(key: str, roots: Collection[str]) -> bool:
    """Tell whether a key is one of `roots`, or below one of them."""
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def writing_of(
    device_id: str,
    fitted: Fitted,
    schema: Schema,
    live: Mapping[str, Any],
    keys: Collection[str] | None,
) -> Writing:
    """Return what is to be written so that a device has what was kept.

    Args:
        fitted: the configuration as the device's class takes it today.
        live: what the device is configured with now.
        keys: only these and what is below them; None for all.

    Raises:
        UnknownPropertyError: one of `keys` is none of the configuration's.
    """
    wanted = filled_configuration(schema, fitted.values)
    require_known(device_id, keys or (), wanted)
    excluded = {drift.key for drift in fitted.conflicts} | set(fitted.left_out)
    values: dict[str, Any] = {}
    at_start: list[str] = []
    for key, value in wanted.items():
        info = class_property(schema, key)
        if info is None or info.secret or is_below(key, excluded):
            continue
        if (keys is not None and not is_below(key, keys)) or same(live.get(key), value):
            continue
        if info.node or info.access_mode is AccessMode.INIT_ONLY or key not in live:
            at_start.append(key)
        else:
            values[key] = value
    return Writing(values, {key: live[key] for key in values}, tuple(at_start))


def require_known(device_id: str, keys: Collection[str], known: Collection[str]) -> None:
    """Refuse a key that is none of those that are known, nor above one; `UnknownPropertyError`."""
    for key in keys:
        if not any(is_below(name, [key]) for name in known):
            raise UnknownPropertyError(
                f"'{device_id}' has no property '{key}' that can be configured",
                device=device_id,
                key=key,
                remedy=did_you_mean(key, known) or f"see 'pykarabo show {device_id}'",
            )


def refuse_other_class(stored: Stored, schema: Schema) -> None:
    """Refuse to write all of a configuration to a device that has got another class."""
    version = stored.version
    if version.class_id != schema.class_id:
        raise BadConfigurationError(
            f"'{version.title}' of '{version.device_id}' is of class '{version.class_id}', and the "
            f"device has class '{schema.class_id}' now",
            device=version.device_id,
            remedy="name the properties that are to be written, or save it anew",
        )


def too_large(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return the keys of values that have no room in one answer beside those before them."""
    nbytes = 0
    found: list[str] = []
    for key, pair in pairs.items():
        size = sum(map(len, encode(list(pair))))
        if nbytes + size > _TOLD_BYTES:
            found.append(key)
        else:
            nbytes += size
    return found


def refuse_conflicts(stored: Stored, fitted: Fitted, keys: Collection[str] | None = None) -> None:
    """Refuse a configuration that the class no longer takes as it was kept.

    Raises:
        BadConfigurationError: every property is named, and what is to be done.
    """
    found: list[Drift] = [
        drift for drift in fitted.conflicts if keys is None or is_below(drift.key, keys)
    ]
    if not found:
        return
    version = stored.version
    reasons = "; ".join(f"'{drift.key}': {drift.told}" for drift in found)
    names = ", ".join(drift.key for drift in found)
    raise BadConfigurationError(
        f"class '{version.class_id}' no longer takes '{version.title}' of '{version.device_id}': "
        f"{reasons}",
        device=version.device_id,
        key=found[0].key,
        remedy=f"save it anew from a device that is right, or leave out what is named: {names}",
        details={"drift": [drift.to_plain() for drift in found]},
    )
