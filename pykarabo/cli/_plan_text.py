"""A plan and what became of it, for people and for programs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import click

from pykarabo.data import AS_DECLARED
from pykarabo.facility import Change, Kind, Outcome, Plan, Result, Step

from ._text import to_json, to_text

_LONGEST: Final = 200
_HIDDEN: Final = "(secret)"
_WORDS: Final = {
    Kind.STOP: "stop",
    Kind.STOP_SERVER: "stop",
    Kind.START_SERVER: "start",
    Kind.START: "start",
    Kind.SET: "change",
    Kind.GIVE: "change",
    Kind.SAVE: "keep",
    Kind.DELETE: "delete",
}


def print_plan(plan: Plan, file: Path) -> None:
    """Write a plan: one line per step, and below it what changes."""
    for step in plan.steps:
        click.echo(f"{_WORDS[step.kind]:<7} {_what(step)}")
        for change in step.changes:
            click.echo(f"            {_changed(change, step)}")
    for note in plan.notes:
        click.echo(f"note: {note}")
    for problem in plan.problems:
        click.echo(f"problem: {problem}", err=True)
    if plan.steps:
        counts = Counter(_WORDS[step.kind] for step in plan.steps)
        click.echo(", ".join(f"{count} to {word}" for word, count in counts.items()))
    elif not plan.problems:
        click.echo(f"no changes: the domain runs as {file} says")


def _what(step: Step) -> str:
    why = f" ({step.why})" if step.why else ""
    if step.kind in (Kind.STOP_SERVER, Kind.START_SERVER):
        return f"server {step.target}{why}"
    if step.name:
        return f"configuration '{step.name}' of {step.target}{why}"
    where = f" on {step.server}" if step.server else ""
    apart = ", in a process of its own" if step.own_process else ""
    named = f" {step.class_id}" if step.kind is Kind.START else ""
    return f"{step.target}{named}{where}{apart}{why}"


def _changed(change: Change, step: Step) -> str:
    if change.secret:
        return f"{change.key}: {_HIDDEN}"
    has_unit = change.new is not None and change.new is not AS_DECLARED
    new = _text(change.new, change.unit if has_unit else "")
    if change.old is None and step.kind not in (Kind.SET, Kind.GIVE):
        return f"{change.key}: {new}"
    return f"{change.key}: {_text(change.old, '')} -> {new}"


def _text(value: Any, unit: str) -> str:
    if value is AS_DECLARED:  # no text that a property holds
        return AS_DECLARED
    text = json.dumps(value) if isinstance(value, str) else to_text(value, unit, whole=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON can hold it."""
    return {
        "steps": [step_json(step) for step in plan.steps],
        "notes": list(plan.notes),
        "problems": list(plan.problems),
    }


def step_json(step: Step) -> dict[str, Any]:
    """Return a step as JSON can hold it."""
    told: dict[str, Any] = {"kind": str(step.kind), "target": step.target}
    for name in ("server", "class_id", "name", "why"):
        if getattr(step, name):
            told[name] = getattr(step, name)
    told["changes"] = [
        {
            "key": change.key,
            "old": _HIDDEN if change.secret else to_json(change.old),
            "new": _HIDDEN if change.secret else to_json(change.new),
            "unit": change.unit,
        }
        for change in step.changes
    ]
    return told


def result_json(result: Result) -> dict[str, Any]:
    """Return what became of a step as JSON can hold it."""
    return {
        "kind": str(result.step.kind),
        "target": result.step.target,
        "outcome": str(result.outcome),
        "error": None if result.error is None else result.error.to_wire(),
        "told": result.told,
    }


def result_line(result: Result) -> str:
    """Return what became of a step in a line."""
    words = f"{_WORDS[result.step.kind]} {_what(result.step)}"
    if result.outcome is Outcome.DONE:
        return f"done: {words}"
    if result.outcome in (Outcome.UNDONE, Outcome.NOT_UNDONE):
        more = f": {result.told}" if result.told else ""
        return f"{result.outcome}: {words}{more}"
    more = f"; {result.told}" if result.told else ""
    return f"{result.outcome}: {words}: {result.error}{more}"
