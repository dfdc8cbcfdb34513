"""How the named configurations of a facility file differ from those that the store keeps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from pykarabo.data import same

from ._checking import Checked, CheckedFacility, fitting, without_secrets
from ._file import NamedConfiguration
from ._running import STORE_CLASS, Running
from ._steps import Change, Kind, Plan, Step

_ABSENT: Final = object()
_LIVE: Final = "live"
_DATABASE: Final = "database"


def with_configurations_of(
    plan: Plan, checked: CheckedFacility, running: Running, *, keep: bool
) -> Plan:
    """Return a plan together with what must be done in the configuration store.

    A store that is started, or that gets another database, may have anything: then nothing of what
    it has is deleted.
    """
    wanted = checked.facility.configurations
    if wanted is None:
        return plan
    problems = list(plan.problems)
    store = _store_of(checked, running, keep=keep)
    if wanted and not store:
        problems.append(
            f"the file names configurations, and no device keeps them: add one device of class "
            f"{STORE_CLASS} to the file"
        )
    compared = (
        running.configurations is not None
        and store in (running.store, "")
        and not any(_changes_database(step, store) for step in plan.steps)
    )
    known = running if compared else replace(running, configurations=None)
    steps = configuration_steps(checked, known, keep=keep)
    for step in steps:
        if step.kind is Kind.SAVE:
            problems += checked.named[step.target][step.name].missing
            if step.name == _LIVE:
                problems.append(
                    f"no configuration of '{step.target}' can be kept as '{_LIVE}', which means "
                    "what the device has now: choose another name"
                )
    notes = list(plan.notes)
    if not compared and store:
        notes.append(
            f"what '{store}' keeps already is known when it has been started: nothing of it is "
            "deleted before it is planned again"
        )
    return replace(
        plan,
        steps=(*plan.steps, *steps),
        notes=tuple(notes),
        problems=tuple(problems),
        compared=compared,
    )


def _store_of(checked: CheckedFacility, running: Running, *, keep: bool) -> str:
    """Return the store that there will be; empty where there will be none."""
    for device_id, device in checked.devices.items():
        if device.schema.class_id == STORE_CLASS:
            return device_id
    return running.store or "" if keep else ""


def _changes_database(step: Step, store: str) -> bool:
    """Tell whether a step has the store use another database."""
    keys = [change.key for change in step.changes]
    return step.kind is Kind.START and step.target == store and _DATABASE in keys


def same_steps(left: Sequence[Step], right: Sequence[Step]) -> bool:
    """Tell whether the same is to be done in the store, which has the same."""
    return same([_told(step) for step in left], [_told(step) for step in right])


def _told(step: Step) -> list[Any]:
    before = step.named_before
    if before is None:
        return [str(step.kind), step.target, step.name]
    described = [before.comment, before.priority, before.active, before.class_id]
    return [str(step.kind), step.target, step.name, *described, dict(before.values)]


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
        marked = [name for name, item in kept.get(device_id, {}).items() if item.active]
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
                        marked_before=marked[0] if marked else "",
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
