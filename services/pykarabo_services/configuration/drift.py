"""How the class of a device has changed since a configuration was kept, and what follows from it.

Nothing is dropped silently. What the class no longer takes is a conflict, which somebody must
decide; numbers in another unit are converted; and what was at a default then that is another one
now is given explicitly, so that the device has what it had.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pykarabo.client import quantity
from pykarabo.data import (
    AccessMode,
    PropertyInfo,
    Schema,
    ValueType,
    class_property,
    filled_configuration,
    has_changes,
    same,
)
from pykarabo.errors import BadInputError, NotAnOptionError, WrongTypeError, WrongUnitError

_ATTRIBUTES: Final = (
    "value_type", "unit", "access_mode", "access_level", "default", "minimum", "maximum",
    "minimum_exclusive", "maximum_exclusive", "min_size", "max_size", "options", "regex",
    "allowed_states", "dtype", "shape", "encoding", "required", "nullable", "secret",
    "node_kind",
)  # fmt: skip
"""Of a property: what decides which values it takes and who may write them."""
_ABSENT: Final = object()


class DriftKind(StrEnum):
    """What has happened to a property."""

    GONE = "gone"
    NEW = "new"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Drift:
    """How a property differs from what it was.

    Attributes:
        changes: what it was and is, by attribute.
        told: what becomes of the value that was kept, where something does.
        conflict: whether the value cannot be used any more.
    """

    key: str
    kind: DriftKind
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])
    told: str = ""
    conflict: bool = False

    def to_plain(self) -> dict[str, Any]:
        """Return it as a plain map."""
        changes = {name: [_plain(was), _plain(now)] for name, (was, now) in self.changes.items()}
        return {
            "key": self.key,
            "kind": str(self.kind),
            "changes": changes,
            "told": self.told,
            "conflict": self.conflict,
        }


@dataclass(frozen=True, slots=True)
class Fitted:
    """A kept configuration as a device of today's class can take it.

    Attributes:
        values: what it is to be started with, by dotted key.
        drifts: every property that is not what it was.
        left_out: what was left out because somebody wanted that.
    """

    values: dict[str, Any]
    drifts: tuple[Drift, ...]
    left_out: tuple[str, ...] = ()

    @property
    def conflicts(self) -> tuple[Drift, ...]:
        """What somebody must decide."""
        return tuple(drift for drift in self.drifts if drift.conflict)


def drifts_between(was: Schema, now: Schema) -> dict[str, Drift]:
    """Return by key which properties that can be configured are not what they were."""
    before, after = _configurable(was), _configurable(now)
    found: dict[str, Drift] = {}
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in after:
            found[key] = Drift(key, DriftKind.GONE)
        elif key not in before:
            found[key] = Drift(key, DriftKind.NEW)
        else:
            changes = _changes(before[key], after[key])
            if changes:
                found[key] = Drift(key, DriftKind.CHANGED, changes)
    return found


def _configurable(schema: Schema) -> dict[str, PropertyInfo]:
    return {
        key: info
        for key, info in schema.properties.items()
        if info.node_kind or (not info.node and info.access_mode is not AccessMode.READ_ONLY)
    }


def _changes(was: PropertyInfo, now: PropertyInfo) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (getattr(was, name), getattr(now, name)) for name in _ATTRIBUTES}
    found = {name: pair for name, pair in pairs.items() if not same(*pair)}
    before, after = _rows(was), _rows(now)
    for key in [*before, *(key for key in after if key not in before)]:
        if key in before and key in after:
            changes = _changes(before[key], after[key])
            found |= {f"{key}.{name}": pair for name, pair in changes.items()}
        else:
            found[key] = ("there", "gone") if key in before else ("not there", "new")
    return found


def _rows(info: PropertyInfo) -> dict[str, PropertyInfo]:
    """Return the columns of a table, or what each node of a list holds."""
    return {row.key: row for row in info.rows}


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)
    if hasattr(value, "name"):  # an access level
        return str(value.name).lower()
    return list(value) if isinstance(value, tuple) else value


def fit(
    was: Schema,
    values: Mapping[str, Any],
    now: Schema,
    *,
    without: Collection[str] = (),
    device: str = "",
) -> Fitted:
    """Return a kept configuration as today's class takes it.

    Args:
        was: the schema that the values were kept with.
        without: keys that somebody wants to be left out, although they are kept.
    """
    fitter = _Fitter(was, now, device)
    wanted = {key: value for key, value in values.items() if not _is_below(key, without)}
    for key, value in wanted.items():
        fitter.take(key, value)
    fitter.keep_defaults(wanted, without)
    fitter.refuse_missing(without)
    left_out = tuple(key for key in values if key not in wanted)
    return Fitted(fitter.values, tuple(fitter.drifts.values()), left_out)


def _is_below(key: str, roots: Collection[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)


class _Fitter:
    def __init__(self, was: Schema, now: Schema, device: str) -> None:
        self.values: dict[str, Any] = {}
        self.drifts = drifts_between(was, now)
        self._was = was
        self._now = now
        self._device = device

    def take(self, key: str, value: Any) -> None:
        """Take a value that was kept, or say why it cannot be used any more."""
        before, after = class_property(self._was, key), class_property(self._now, key)
        if after is None or (after.access_mode is AccessMode.READ_ONLY and not after.node):
            kind = DriftKind.GONE if after is None else DriftKind.CHANGED
            self._conflict(key, kind, "it was kept, and can no longer be configured")
            return
        if after.secret:
            self._conflict(key, DriftKind.CHANGED, "it was kept, and is secret today")
            return
        try:
            fitted = (
                _nodes(value, before, after)
                if after.node
                else self._converted(key, value, before, after)
            )
        except BadInputError as error:
            self._conflict(key, DriftKind.CHANGED, f"{error.message}: {error.remedy}")
            return
        if not same(fitted, value):
            self._tell(key, f"it is {fitted!r} {after.unit}".rstrip() + " instead")
        self.values[key] = fitted

    def _converted(
        self, key: str, value: Any, before: PropertyInfo | None, after: PropertyInfo
    ) -> Any:
        if before is not None:
            value = _with_units(key, value, before, after)
        return after.validate(value, device=self._device or None)

    def keep_defaults(self, kept: Mapping[str, Any], without: Collection[str]) -> None:
        """Give what was at a default that is another one today."""
        today = filled_configuration(self._now, kept)
        for key, value in filled_configuration(self._was, kept).items():
            before, after = class_property(self._was, key), class_property(self._now, key)
            if key in kept or key not in today or before is None or after is None:
                continue
            if before.node or before.secret or _is_below(key, without):
                continue
            self._keep_default(key, value, today[key], before, after)

    def _keep_default(
        self, key: str, value: Any, today: Any, before: PropertyInfo, after: PropertyInfo
    ) -> None:
        try:
            fitted = self._converted(key, value, before, after)
        except BadInputError:
            self._conflict(
                key, DriftKind.CHANGED, f"it was at its default {value!r}, which does not fit today"
            )
            return
        if not same(fitted, today):
            self.values[key] = fitted
            self._tell(key, f"it was at its default, and is given as {fitted!r}")

    def refuse_missing(self, without: Collection[str]) -> None:
        """Find what must be configured today and was not there then."""
        for key in self._now.required:
            info = class_property(self._was, key)
            chosen = key in filled_configuration(self._now, self.values)
            if chosen and info is None and key not in self.values and key not in without:
                self._conflict(key, DriftKind.NEW, "it must be configured today, and was not kept")

    def _tell(self, key: str, told: str) -> None:
        known = self.drifts.get(key) or Drift(key, DriftKind.CHANGED)
        self.drifts[key] = Drift(key, known.kind, known.changes, told)

    def _conflict(self, key: str, kind: DriftKind, told: str) -> None:
        known = self.drifts.get(key) or Drift(key, kind)
        self.drifts[key] = Drift(key, known.kind, known.changes, told, conflict=True)


def _nodes(value: Any, before: PropertyInfo | None, after: PropertyInfo) -> Any:
    """Return the nodes that were chosen or listed, if they still can be."""
    if before is not None and (before.node, before.node_kind) != (after.node, after.node_kind):
        raise WrongTypeError(
            f"'{after.key}' holds other nodes than it did",
            remedy="leave it out, and set it yourself",
        )
    gone = [name for name in value if after.options is not None and name not in after.options]
    if gone:
        raise NotAnOptionError(
            f"'{after.key}' cannot be {' and '.join(gone)}",
            remedy=f"choose one of {', '.join(after.options or ())}",
        )
    return value


def _with_units(key: str, value: Any, before: PropertyInfo, after: PropertyInfo) -> Any:
    """Return a value as a quantity if its unit is another one now; of a table, by column.

    Raises:
        WrongUnitError: it had no unit and has one now, or the other way round.
    """
    if before.value_type is ValueType.TABLE and after.value_type is ValueType.TABLE:
        return _columns_with_units(key, value, _rows(before), _rows(after))
    kind = after.value_type
    is_number = kind.element.is_number or kind is ValueType.ARRAY
    if value is None or before.unit == after.unit or not is_number:
        return value
    if not before.unit or not after.unit:
        raise WrongUnitError(
            f"'{key}' was kept in '{before.unit or 'no unit'}' and is now in "
            f"'{after.unit or 'no unit'}'",
            remedy="leave it out, and set it yourself",
        )
    return quantity(value, before.unit)


def _columns_with_units(
    key: str,
    columns: Mapping[str, Any],
    before: Mapping[str, PropertyInfo],
    after: Mapping[str, PropertyInfo],
) -> Mapping[str, Any]:
    changed = [
        name
        for name in columns
        if name in before and name in after and before[name].unit != after[name].unit
    ]
    given = {
        name: _with_units(f"{key}.{name}", columns[name], before[name], after[name])
        for name in changed
    }
    return {**columns, **given} if given else columns


@dataclass(frozen=True, slots=True)
class Difference:
    """A property in which two configurations differ; None where a side has none."""

    key: str
    left: Any
    right: Any
    left_unit: str = ""
    right_unit: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return it as a plain map."""
        return {name: getattr(self, name) for name in self.__slots__}


def differences(
    left: tuple[Schema, Mapping[str, Any]], right: tuple[Schema, Mapping[str, Any]]
) -> list[Difference]:
    """Return how two configurations differ, defaults included: each by its own class's schema."""
    ours, theirs = (filled_configuration(*side) for side in (left, right))
    found: list[Difference] = []
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        one, other = ours.get(key, _ABSENT), theirs.get(key, _ABSENT)
        infos = class_property(left[0], key), class_property(right[0], key)
        if any(info is not None and info.secret for info in infos):
            continue
        units = tuple("" if info is None else info.unit for info in infos)
        if _equal(key, one, other, *infos):
            continue
        found.append(
            Difference(
                key,
                None if one is _ABSENT else one,
                None if other is _ABSENT else other,
                *units,
            )
        )
    return found


def _equal(
    key: str, one: Any, other: Any, left: PropertyInfo | None, right: PropertyInfo | None
) -> bool:
    """Tell whether two values are the same, the second one in the units of the first."""
    if left is None or right is None or left.node or one is _ABSENT or other is _ABSENT:
        return bool(same(one, other))
    try:
        converted = _with_units(key, other, right, left)
        if converted is other:
            return bool(same(one, other))
        return not has_changes(left.validate(one), left.validate(converted))
    except BadInputError:  # no unit of the one can be had in the other
        return False
