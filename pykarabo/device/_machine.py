"""Finite state machines: which commands a device obeys in which state, declared as a table."""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, overload

from pykarabo.data import CommandInfo, State, members_of
from pykarabo.errors import (
    BadConfigurationError,
    NotExecutedError,
    StateForbidsError,
    did_you_mean,
)

from ._transitions import (
    Hook,
    Transition,
    dot,
    hook_name,
    mermaid,
    place_of,
    refuse_contradictions,
)

if TYPE_CHECKING:
    from ._device import Device

_COMMAND: Final = "__pykarabo_command__"
_TABLE: Final = "state_machine"
"""The attribute of a device class that holds its table, under whatever name it was declared."""
_BOUND: Final = "__pykarabo_transition__"
"""Marks a method that asks the machine before it runs."""
_running: Final[ContextVar[object]] = ContextVar("running", default=None)
"""Machine, command and task of the method that runs: an override may call the one it replaces."""


class StateMachine:
    """The states of a device and the commands that lead from one to the other.

    Declare it as an attribute of the class. The commands it names are allowed where the table
    says, and nowhere else. A call takes these steps, of which no two of one device overlap, except
    that the method (6) runs beside whatever else is asked for:

    1. the state is looked up in the table, and the guards are asked in their order;
    2. the exit action of the old state runs;
    3. the transition's action runs;
    4. the new state begins;
    5. its entry action runs;
    6. the command's method runs;
    7. with `then`, the next state begins.

    What fails in step 2 to 7 leads to the state `error`, with the reason as status; so does a call
    that is cancelled. A method that refuses its call with a `NotExecutedError`, such as
    `OutOfRangeError`, leads back to the old state. A method during which another command has
    changed the state changes it no more, whatever it ends with.

    Guards and actions cannot call commands of the table. Assigning to `state` goes around the
    table, and no action runs; do it only to tell what the hardware says.

    Args:
        transitions: the table; the first one wins whose guard agrees.
        initial: the state when the device is made; its entry action does not run.
        error: the state when something has failed.
        entry, exit: by state, what runs when it begins and ends; each takes the device.
    """

    def __init__(
        self,
        transitions: Sequence[Transition],
        *,
        initial: State,
        error: State = State.ERROR,
        entry: Mapping[State, Hook] | None = None,
        exit: Mapping[State, Hook] | None = None,  # noqa: A002 - the field's word
    ) -> None:
        self.transitions = tuple(transitions)
        self.initial = initial
        self.error = error
        self.entry = dict(entry or {})
        self.exit = dict(exit or {})
        self.place = place_of(inspect.currentframe())
        self._name = "machine"

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = owner.__name__

    @overload
    def __get__(self, instance: None, owner: type) -> "StateMachine": ...

    @overload
    def __get__(self, instance: "Device", owner: type) -> "RunningMachine": ...

    def __get__(self, instance: "Device | None", owner: type) -> "StateMachine | RunningMachine":
        if instance is None:
            return self
        return instance.running_machine

    def commands(self) -> dict[str, frozenset[State]]:
        """Return the commands of the table, and the states in which each is allowed."""
        allowed: dict[str, frozenset[State]] = {}
        for item in self.transitions:
            if not item.internal:
                before = allowed.get(item.command, frozenset())
                allowed[item.command] = before | set(item.sources)
        return allowed

    def diagram(self, language: str = "mermaid") -> str:
        """Return the table as a diagram, in ``"mermaid"`` or ``"dot"`` (Graphviz).

        Raises:
            ValueError: another language.
        """
        if language == "mermaid":
            return mermaid(self.initial, self.transitions)
        if language == "dot":
            return dot(self._name, self.initial, self.transitions)
        raise ValueError(f"no diagrams in '{language}': use 'mermaid' or 'dot'")


class RunningMachine:
    """The state machine of one device."""

    def __init__(self, table: StateMachine, device: "Device") -> None:
        self._table = table
        self._device = device
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[Any] | None = None
        self._begun = 0
        self._closed = False

    def allowed_commands(self) -> list[str]:
        """Return the commands of the table that the present state allows."""
        state = self._device.state
        return [name for name, states in self._table.commands().items() if state in states]

    async def fire(self, event: str) -> None:
        """Make an internal transition.

        Raises:
            StateForbidsError: there is none from this state, or no guard agrees.
            BadConfigurationError: the table has no such event.
        """
        known = {item.command for item in self._table.transitions if item.internal}
        if event not in known:
            raise BadConfigurationError(
                f"the state machine of '{self._device_id}' has no event '{event}'",
                device=self._device_id,
                key=event,
                remedy=did_you_mean(event, known) or f"declared at {self._table.place}",
            )
        async with self._turn(event):
            await self._begin(event)

    async def run(self, command: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Make the transition of a command around its method's work.

        Raises:
            StateForbidsError: the state or the guards do not allow it; nothing was done.
        """
        running = (self, command, asyncio.current_task())
        if _running.get() == running:
            return await work()
        async with self._turn(command):
            before = self._device.state
            transition = await self._begin(command)
            begun = self._begun
        token = _running.set(running)
        try:
            result = await work()
        except (Exception, asyncio.CancelledError) as error:
            refused = isinstance(error, NotExecutedError) and not error.foreign
            await self._follow(command, begun, before, None if refused else error)
            raise
        finally:
            _running.reset(token)
        await self._follow(command, begun, transition.then, None)
        return result

    async def _follow(
        self, command: str, begun: int, then: State | None, error: BaseException | None
    ) -> None:
        """Go on to another state unless another command has begun one meanwhile."""
        async with self._turn(command):
            if self._begun != begun:
                return
            if error is not None:
                await self._fail(f"'{command}'", error)
            elif then is not None and then != self._device.state:
                await self._change(then, None)

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncGenerator[None, None]:
        """Wait until no other transition is being made."""
        task = asyncio.current_task()
        if self._holder is task:
            raise BadConfigurationError(
                f"a guard or an action of '{self._device_id}' makes the transition '{name}' itself",
                device=self._device_id,
                key=name,
                remedy="make it from the command's method, or from a task that you spawn",
            )
        async with self._lock:
            self._holder = task
            try:
                yield
            finally:
                self._holder = None

    async def _begin(self, name: str) -> Transition:
        state = self._device.state
        open_ways = [
            item
            for item in self._table.transitions
            if item.command == name and state in item.sources
        ]
        for transition in open_ways:
            if transition.guard is None or await _ask(transition.guard, self._device):
                if transition.target is not None or transition.action is not None:
                    await self._change(transition.target, transition.action)
                return transition
        raise self._refusal(name, [item.guard for item in open_ways if item.guard is not None])

    async def _change(self, target: State | None, action: Hook | None) -> None:
        """Leave the present state and begin another; what fails leads to the error state."""
        device, table = self._device, self._table
        try:
            if target is not None:
                await _act(table.exit.get(device.state), device)
            await _act(action, device)
            if target is not None:
                device.state = target
                self._begun += 1
                await _act(table.entry.get(target), device)
        except (Exception, asyncio.CancelledError) as error:
            await self._fail(f"the change to {target or device.state}", error)
            raise

    async def _fail(self, what: str, error: BaseException) -> None:
        device, state = self._device, self._table.error
        reason = str(error) or type(error).__name__
        if isinstance(error, asyncio.CancelledError):
            reason = "it was cancelled"
        device.set_values({"state": state, "status": f"{what} failed: {reason}"})
        await self._enter_error()

    async def _enter_error(self) -> None:
        self._begun += 1
        try:
            await _act(self._table.entry.get(self._table.error), self._device)
        except Exception:  # the first error is the one that the caller must see
            self._device.log.exception("the entry action of %s failed", self._table.error)

    def task_failed(self, name: str, error: BaseException) -> None:
        """Begin the error state because a task in the background has failed."""
        status = f"{name} failed: {error}"
        self._device.set_values({"state": self._table.error, "status": status})
        if not self._closed:
            self._device.spawn(self._make_safe(), name="entry action")

    async def _make_safe(self) -> None:
        async with self._turn("entry action"):
            await self._enter_error()

    def close(self) -> None:
        """Begin nothing any more: the device stops."""
        self._closed = True

    def _refusal(self, name: str, guards: Sequence[Hook]) -> StateForbidsError:
        state, device_id = self._device.state, self._device_id
        if guards:
            reasons = " and ".join(f"'{hook_name(guard)}'" for guard in guards)
            return StateForbidsError(
                f"'{device_id}.{name}' is not allowed now, in state {state}: {reasons} is not so",
                device=device_id,
                key=name,
                remedy=f"see to it that {reasons}, then try again",
            )
        sources = {
            source
            for item in self._table.transitions
            if item.command == name
            for source in item.sources
        }
        return StateForbidsError(
            f"'{device_id}.{name}' is not allowed in state {state}",
            device=device_id,
            key=name,
            remedy=f"bring the device to {' or '.join(sorted(sources))} first",
        )

    @property
    def _device_id(self) -> str:
        return self._device.context.device_id


async def _ask(guard: Hook, device: "Device") -> bool:
    answer = guard(device)
    return bool(await answer if inspect.isawaitable(answer) else answer)


async def _act(action: Hook | None, device: "Device") -> None:
    if action is not None:
        done = action(device)
        if inspect.isawaitable(done):
            await done


# -- binding ------------------------------------------------------------------------------------


def _machine_of(cls: type) -> StateMachine | None:
    """Return the state machine that a class declares or inherits; two are refused."""
    declared = (item for name, item in members_of(cls).items() if name != _TABLE)
    found = [item for item in declared if isinstance(item, StateMachine)]
    if len(found) > 1:
        places = " and ".join(item.place for item in found)
        raise BadConfigurationError(
            f"class '{cls.__name__}' has {len(found)} state machines, at {places}",
            remedy="a device has one state: declare one machine",
        )
    return found[0] if found else None


def bind_machine(cls: "type[Device]") -> None:
    """Let the commands of a class ask its state machine before they run.

    Raises:
        BadConfigurationError: the table contradicts itself or the class; file and line are named.
    """
    machine = _machine_of(cls)
    setattr(cls, _TABLE, machine)
    if machine is None:
        return
    commands = {
        member.__pykarabo_command__.name: (attribute, member)
        for attribute, member in members_of(cls).items()
        if isinstance(getattr(member, _COMMAND, None), CommandInfo)
    }
    refuse_contradictions(
        cls.__name__,
        machine.transitions,
        initial=machine.initial,
        error=machine.error,
        actions={
            state: (what, machine.place) for what, states in _actions(machine) for state in states
        },
        commands={
            name: _declares_states(member) for name, (_attribute, member) in commands.items()
        },
    )
    for name, states in machine.commands().items():
        attribute, method = commands[name]
        if getattr(method, _BOUND, None) is not machine:
            bound = _bound(name, states, method)
            setattr(bound, _BOUND, machine)
            setattr(cls, attribute, bound)


def _actions(machine: StateMachine) -> list[tuple[str, list[State]]]:
    return [("entry", list(machine.entry)), ("exit", list(machine.exit))]


def _declares_states(method: Any) -> bool:
    """Tell whether a command says itself in which states it is allowed."""
    return not hasattr(method, _BOUND) and getattr(method, _COMMAND).allowed_states is not None


def _bound(name: str, states: frozenset[State], method: Callable[..., Any]) -> Callable[..., Any]:
    original = getattr(method, "__wrapped__", method) if hasattr(method, _BOUND) else method

    @functools.wraps(original)
    async def ask_and_run(self: "Device", *args: Any, **kwargs: Any) -> Any:
        async def work() -> Any:
            if inspect.iscoroutinefunction(original):
                return await original(self, *args, **kwargs)
            return await asyncio.to_thread(original, self, *args, **kwargs)

        return await self.running_machine.run(name, work)

    info: CommandInfo = getattr(original, _COMMAND)
    setattr(ask_and_run, _COMMAND, replace(info, allowed_states=states))
    return ask_and_run
