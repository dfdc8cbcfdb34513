"""The table of a finite state machine: what it says, and whether it contradicts itself."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, TypeAlias

from pykarabo.data import State
from pykarabo.errors import BadConfigurationError, did_you_mean

Hook: TypeAlias = Callable[[Any], Any]
"""Takes the device; may be a coroutine function. A guard returns whether the way is open."""
_GENERATED: Final = "<string>"
"""The file of code that `dataclass` has written."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of a state machine's table.

    Args:
        source: the state, or states, in which it can begin.
        command: name of the command that makes it; with `internal`, of an event that the device
            itself fires.
        target: the state that begins with it, before the command's method runs; None stays.
        then: the state that follows when the command's method has ended, if it still is in
            `target` then.
        guard: asked before; if it returns False, the next transition of the same name is tried.
        action: runs after the old state's exit action and before the new state begins.
        internal: no client can make it.
    """

    source: State | Collection[State]
    command: str
    target: State | None = None
    then: State | None = None
    guard: Hook | None = None
    action: Hook | None = None
    internal: bool = False
    place: str = field(init=False, default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", place_of(inspect.currentframe()))

    @property
    def sources(self) -> tuple[State, ...]:
        """The states in which it can begin, in the order of the hierarchy."""
        given = [self.source] if isinstance(self.source, State) else list(self.source)
        return tuple(state for state in State if state in given)

    def reaches(self, source: State) -> tuple[State, ...]:
        """Return the states in which it leaves the device, one after the other."""
        return tuple(state for state in (self.target or source, self.then) if state is not None)


def place_of(frame: FrameType | None) -> str:
    """Name the file and line of a declaration: the first frame outside `frame`'s module."""
    own = (_GENERATED, "" if frame is None else frame.f_code.co_filename)
    while frame is not None and frame.f_code.co_filename in own:
        frame = frame.f_back
    return "unknown" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def hook_name(hook: Hook) -> str:
    """Name a guard or an action for people: the first line of its docstring, or its name."""
    words = (getattr(hook, "__doc__", None) or "").strip().partition("\n")[0].rstrip(".")
    return words or getattr(hook, "__name__", repr(hook))


# -- contradictions -----------------------------------------------------------------------------


def refuse_contradictions(
    owner: str,
    transitions: Sequence[Transition],
    *,
    initial: State,
    error: State,
    actions: Mapping[State, tuple[str, str]],
    commands: Mapping[str, bool],
) -> None:
    """Raise `BadConfigurationError` where a table contradicts itself or its class.

    Args:
        owner: name of the device class.
        actions: the states that have entry or exit actions: what and where it is declared.
        commands: the class's commands, and whether they declare allowed states themselves.
    """

    def refuse(problem: str, place: str, remedy: str) -> None:
        raise BadConfigurationError(
            f"the state machine of '{owner}' {problem} ({place})", remedy=remedy
        )

    for transition in transitions:
        _check_line(transition, commands, refuse)
    _check_choices(transitions, refuse)
    reachable = _reachable(transitions, initial, error)
    for transition in transitions:
        unreached = [state for state in transition.sources if state not in reachable]
        if unreached:
            refuse(
                f"never comes to {unreached[0]}, where '{transition.command}' begins",
                transition.place,
                f"add a transition to {unreached[0]}, or remove this one",
            )
    for state, (what, place) in actions.items():
        if state not in reachable:
            refuse(f"never comes to {state}, which has an {what} action", place, "remove it")


_Refuse: TypeAlias = Callable[[str, str, str], None]


def _check_line(transition: Transition, commands: Mapping[str, bool], refuse: _Refuse) -> None:
    name, place = transition.command, transition.place
    if not transition.sources:
        refuse(f"has a transition '{name}' from no state", place, "name its source")
    if transition.internal:
        if name in commands:
            refuse(f"calls its command '{name}' internal", place, "give the event another name")
    elif name not in commands:
        remedy = did_you_mean(name, commands) or "declare it, or make the transition internal"
        refuse(f"names the command '{name}', which the class does not have", place, remedy)
    elif commands[name]:
        refuse(
            f"says where '{name}' is allowed, and so does its declaration",
            place,
            "leave allowed_states out: they follow from the table",
        )
    if transition.then is not None and (transition.target is None or transition.internal):
        refuse(
            f"has a transition '{name}' with 'then', but nothing that takes time before it",
            place,
            "give it a target, or leave 'then' out",
        )


def _check_choices(transitions: Sequence[Transition], refuse: _Refuse) -> None:
    """Refuse a transition behind one without a guard: it could never be made."""
    closed: dict[tuple[State, str], Transition] = {}
    for transition in transitions:
        for state in transition.sources:
            first = closed.get((state, transition.command))
            if first is not None:
                refuse(
                    f"has two ways from {state} by '{transition.command}', and the first, at "
                    f"{first.place}, has no guard",
                    transition.place,
                    "give the first one a guard, or remove one",
                )
            if transition.guard is None:
                closed[state, transition.command] = transition


def _reachable(transitions: Sequence[Transition], initial: State, error: State) -> set[State]:
    found: set[State] = set()
    waiting = [initial, error]
    while waiting:
        state = waiting.pop()
        if state not in found:
            found.add(state)
            for transition in transitions:
                if state in transition.sources:
                    waiting.extend(transition.reaches(state))
    return found


# -- diagrams -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Arrow:
    source: str
    target: str
    label: str
    dashed: bool = False


def arrows(transitions: Iterable[Transition]) -> list[_Arrow]:
    """Return the arrows of a table's diagram."""
    found: list[_Arrow] = []
    for transition in transitions:
        guard = "" if transition.guard is None else f" [{hook_name(transition.guard)}]"
        action = "" if transition.action is None else f" / {hook_name(transition.action)}"
        for source in transition.sources:
            target = transition.target or source
            label = f"{transition.command}{guard}{action}"
            found.append(_Arrow(source, target, label, dashed=transition.internal))
            if transition.then is not None:
                found.append(_Arrow(target, transition.then, f"{transition.command} ends", True))
    return list(dict.fromkeys(found))


def mermaid(initial: State, transitions: Sequence[Transition]) -> str:
    """Return the diagram as Mermaid text."""
    lines = [
        f"    {item.source} --> {item.target}: {item.label.replace(':', ' -')}"
        for item in arrows(transitions)
    ]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {initial}", *lines])


def dot(name: str, initial: State, transitions: Sequence[Transition]) -> str:
    """Return the diagram in the language of Graphviz."""
    lines = [
        f'    {item.source} -> {item.target} [label="{_escaped(item.label)}"'
        + (", style=dashed];" if item.dashed else "];")
        for item in arrows(transitions)
    ]
    head = [
        f'digraph "{_escaped(name)}" {{',
        "    node [shape=box, style=rounded];",
        "    begin [shape=point];",
        f"    begin -> {initial};",
    ]
    return "\n".join([*head, *lines, "}"])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
