"""State machines of devices: what they allow, in which order they act, and what they refuse."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pykarabo.data import Float64, State
from pykarabo.device import Device, StateMachine, Transition, command
from pykarabo.errors import (
    BadConfigurationError,
    OutOfRangeError,
    RemoteError,
    StateForbidsError,
    WrongUnitError,
)
from pykarabo.testing import run_device, run_facility

_HERE = r"test_machine\.py:\d+"


def _note(word: str) -> Callable[[Any], None]:
    def note(device: Any) -> None:
        device.notes.append(word)

    return note


def _homed(device: "_Motor") -> bool:
    """The axis is homed."""
    return device.homed


async def _power_off(device: "_Motor") -> None:
    await asyncio.sleep(0)
    device.notes.append("power off")


class _Motor(Device):
    """A motor."""

    machine = StateMachine(
        [
            Transition(State.OFF, "switch_on", State.STOPPED),
            Transition(State.STOPPED, "move", State.MOVING, guard=_homed, action=_note("unlock")),
            Transition(State.STOPPED, "home", State.HOMING, then=State.STOPPED),
            Transition({State.MOVING, State.HOMING}, "stop", State.STOPPED),
            Transition(State.MOVING, "arrived", State.STOPPED, internal=True),
            Transition(State.ERROR, "reset", State.STOPPED),
            Transition({State.STOPPED, State.ERROR}, "look"),
        ],
        initial=State.OFF,
        entry={State.MOVING: _note("entry"), State.ERROR: _power_off},
        exit={State.STOPPED: _note("exit"), State.MOVING: _note("leave")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.notes: list[str] = []
        self.homed = True
        self.go = asyncio.Event()
        self.began = asyncio.Event()
        super().__init__(*args, **kwargs)

    @command()
    async def switch_on(self) -> None:
        """Switch on."""

    @command(units={"position": "mm"})
    async def move(self, position: float = 0.0) -> float:
        """Begin to move."""
        self.notes.append(f"move in {self.state}")
        if position > 10:
            raise OutOfRangeError("too far", remedy="stay")
        if position < 0:
            raise RuntimeError("the axis is stuck")
        return position

    @command()
    async def home(self) -> None:
        """Find the origin."""
        self.began.set()
        await self.go.wait()

    @command()
    async def stop(self) -> None:
        """Stop."""

    @command()
    def reset(self) -> str:
        """Leave the error; runs in a thread."""
        return str(self.state)

    @command(job=True)
    async def look(self) -> str:
        """Look around."""
        return "all well"


def _state(device: Device) -> State:
    return device.state


def _with(check: Callable[[_Motor, Any], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with run_device(_Motor, "M/1") as motor:
            proxy = await motor.client.device("M/1")
            await check(motor, proxy)

    asyncio.run(scenario())


# -- what is allowed ----------------------------------------------------------------------------


def test_allowed_states_follow_from_the_table() -> None:
    commands = _Motor.schema().commands
    assert commands["stop"].allowed_states == frozenset({State.MOVING, State.HOMING})
    assert commands["look"].allowed_states == frozenset({State.STOPPED, State.ERROR})
    assert commands["move"].parameters[0].unit == "mm"
    assert "arrived" not in commands
    assert commands["job_result"].allowed_states is None


def test_a_device_begins_in_the_initial_state_and_goes_where_the_table_says() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        assert _state(motor) is State.OFF
        await proxy.switch_on()
        assert _state(motor) is State.STOPPED
        assert await proxy.move(3.0) == 3.0
        assert _state(motor) is State.MOVING
        await proxy.stop()
        assert _state(motor) is State.STOPPED

    _with(check)


def test_a_command_is_refused_where_the_table_does_not_allow_it() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        with pytest.raises(StateForbidsError, match=r"state OFF - bring .* to HOMING or MOVING"):
            await proxy.stop()
        with pytest.raises(StateForbidsError, match=r"state OFF - bring .* to HOMING or MOVING"):
            await motor.stop()
        assert motor.notes == []
        assert _state(motor) is State.OFF

    _with(check)


def test_the_order_of_the_steps() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        await proxy.move()
        await motor.machine.fire("arrived")
        assert motor.notes == ["exit", "unlock", "entry", "move in MOVING", "leave"]

    _with(check)


def test_a_guard_refuses_and_says_why() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        motor.homed = False
        with pytest.raises(StateForbidsError, match="'The axis is homed' is not so"):
            await proxy.move()
        assert motor.notes == []
        assert _state(motor) is State.STOPPED
        motor.homed = True
        await proxy.move()

    _with(check)


def test_a_bad_argument_is_refused_before_anything_happens() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        with pytest.raises(WrongUnitError):
            await proxy.move("far")
        assert motor.notes == []

    _with(check)


def test_of_two_calls_at_once_one_is_refused() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        outcomes = await asyncio.gather(*(proxy.move() for _ in range(5)), return_exceptions=True)
        assert sorted(type(item).__name__ for item in outcomes) == [
            *["StateForbidsError"] * 4,
            "float",
        ]
        assert motor.notes.count("move in MOVING") == 1

    _with(check)


# -- what follows -------------------------------------------------------------------------------


def test_then_follows_when_the_method_has_ended() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        homing = asyncio.ensure_future(proxy.home())
        await motor.began.wait()
        assert _state(motor) is State.HOMING
        assert motor.machine.allowed_commands() == ["stop"]
        motor.go.set()
        await homing
        assert _state(motor) is State.STOPPED

    _with(check)


def test_what_another_command_has_ended_changes_the_state_no_more() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        homing = asyncio.ensure_future(proxy.home())
        await motor.began.wait()
        await proxy.stop()
        await proxy.move(5.0)
        motor.go.set()
        await homing
        assert _state(motor) is State.MOVING

    _with(check)


def test_an_old_call_does_not_end_a_new_one_of_the_same_command() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        first = asyncio.ensure_future(motor.home())
        await motor.began.wait()
        await proxy.stop()
        old, motor.go = motor.go, asyncio.Event()
        motor.began.clear()
        second = asyncio.ensure_future(motor.home())
        await motor.began.wait()
        old.set()
        await first
        assert _state(motor) is State.HOMING
        motor.go.set()
        await second
        assert _state(motor) is State.STOPPED

    _with(check)


def test_a_failing_task_runs_the_entry_action_of_the_error_state() -> None:
    async def fail() -> None:
        raise OSError("no field bus")

    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        motor.spawn(fail(), name="poll")
        async with asyncio.timeout(10):
            while "power off" not in motor.notes:
                await asyncio.sleep(0.005)
        assert _state(motor) is State.ERROR
        assert "no field bus" in motor.status

    _with(check)


def test_a_task_that_fails_while_the_device_stops_begins_nothing() -> None:
    async def fail_late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("no field bus") from None

    async def scenario() -> None:
        async with run_device(_Motor, "M/4") as motor:
            motor.spawn(fail_late(), name="poll")
            await asyncio.sleep(0)
        assert _state(motor) is State.ERROR
        assert motor.notes == []

    asyncio.run(scenario())


def test_a_method_that_refuses_leads_back() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        with pytest.raises(OutOfRangeError):
            await proxy.move(99.0)
        assert _state(motor) is State.STOPPED
        assert motor.notes[-1] == "leave"

    _with(check)


def test_a_method_that_fails_leads_to_the_error_state() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        with pytest.raises(RemoteError, match="stuck"):
            await proxy.move(-1.0)
        assert _state(motor) is State.ERROR
        assert motor.status == "'move' failed: the axis is stuck"
        assert motor.notes[-1] == "power off"
        assert await proxy.reset() == "STOPPED"
        assert _state(motor) is State.STOPPED

    _with(check)


def test_a_call_that_is_cancelled_leads_to_the_error_state() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        homing = asyncio.ensure_future(motor.home())
        await motor.began.wait()
        homing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await homing
        assert _state(motor) is State.ERROR
        assert motor.notes[-1] == "power off"
        assert "cancelled" in motor.status

    _with(check)


def test_a_job_that_stays_in_its_state() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        job = await proxy.look()
        result = await motor.job_result(job["job"] if isinstance(job, dict) else job.job_id, 5.0)
        assert result["result"] == "all well"
        assert _state(motor) is State.STOPPED

    _with(check)


@pytest.mark.parametrize("step", ["exit", "action", "entry", "guard"])
def test_a_failing_step(step: str) -> None:
    def fail(_device: Any) -> bool:
        raise ValueError("burnt")

    hooks: dict[str, Any] = {"guard": fail} if step == "guard" else {}
    if step == "action":
        hooks["action"] = fail

    class Valve(Device):
        machine = StateMachine(
            [Transition(State.CLOSED, "open", State.OPENED, **hooks)],
            initial=State.CLOSED,
            entry={State.OPENED: fail} if step == "entry" else {},
            exit={State.CLOSED: fail} if step == "exit" else {},
        )
        opened = False

        @command()
        async def open(self) -> None:
            """Open."""
            self.opened = True

    async def scenario() -> None:
        async with run_device(Valve) as valve:
            with pytest.raises(ValueError, match="burnt"):
                await valve.open()
            assert not valve.opened
            assert _state(valve) is (State.CLOSED if step == "guard" else State.ERROR)
            assert step == "guard" or "burnt" in valve.status

    asyncio.run(scenario())


def test_guards_are_asked_in_their_order_and_may_wait() -> None:
    async def small(device: Any) -> bool:
        await asyncio.sleep(0)
        return bool(device.size < 3)

    class Sorter(Device):
        machine = StateMachine(
            [
                Transition(State.ON, "sort", State.MOVING_LEFT, guard=small),
                Transition(State.ON, "sort", State.MOVING_RIGHT),
                Transition([State.MOVING_LEFT, State.MOVING_RIGHT], "done", State.ON),
            ],
            initial=State.ON,
        )
        size = 1

        @command()
        async def sort(self) -> None:
            """Sort."""

        @command()
        async def done(self) -> None:
            """End."""

    async def scenario() -> None:
        async with run_device(Sorter) as sorter:
            seen: list[State] = []
            for size in (1, 5):
                sorter.size = size
                await sorter.sort()
                seen.append(sorter.state)
                await sorter.done()
            assert seen == [State.MOVING_LEFT, State.MOVING_RIGHT]

    asyncio.run(scenario())


# -- derived classes and the device's own steps -------------------------------------------------


class _Faster(_Motor):
    """A motor whose move is another one."""

    @command()
    async def move(self, position: float = 0.0) -> float:
        """Begin to move faster."""
        self.notes.append("faster")
        return await super().move(position)


def test_an_override_obeys_the_table_and_can_call_what_it_overrides() -> None:
    async def scenario() -> None:
        async with run_device(_Faster, "M/2") as motor:
            proxy = await motor.client.device("M/2")
            with pytest.raises(StateForbidsError):
                await proxy.move()
            await proxy.switch_on()
            assert await proxy.move(1.0) == 1.0
            assert motor.notes == ["exit", "unlock", "entry", "faster", "move in MOVING"]
            with pytest.raises(StateForbidsError):
                await motor.move()

    asyncio.run(scenario())


def test_a_task_that_a_method_spawns_has_no_free_way() -> None:
    async def check(motor: _Motor, proxy: Any) -> None:
        await proxy.switch_on()
        tasks: list[asyncio.Task[Any]] = []

        class _Spawning:
            async def work(self) -> None:
                tasks.append(asyncio.ensure_future(motor.move()))

        await motor.machine.run("move", _Spawning().work)
        with pytest.raises(StateForbidsError):
            await tasks[0]

    _with(check)


def test_an_action_that_makes_a_transition_itself_is_told_so() -> None:
    async def again(device: Any) -> None:
        await device.machine.fire("tick")

    class Clock(Device):
        machine = StateMachine(
            [Transition(State.ON, "tick", State.OFF, action=again, internal=True)],
            initial=State.ON,
        )

    async def scenario() -> None:
        async with run_device(Clock) as clock:
            with pytest.raises(BadConfigurationError, match="makes the transition 'tick' itself"):
                await clock.machine.fire("tick")
            assert _state(clock) is State.ERROR

    asyncio.run(scenario())


def test_an_event_that_the_table_does_not_have() -> None:
    async def check(motor: _Motor, _proxy: Any) -> None:
        with pytest.raises(BadConfigurationError, match="'arived' - did you mean 'arrived'"):
            await motor.machine.fire("arived")
        with pytest.raises(StateForbidsError, match=r"arrived' is not allowed in state OFF"):
            await motor.machine.fire("arrived")

    _with(check)


def test_injection_keeps_the_machine() -> None:
    async def scenario() -> None:
        async with run_facility({"Motor": _Motor}) as facility:
            motor: Any = await facility.server.instantiate("Motor", "M/3")
            proxy = await facility.client.device("M/3")
            motor.inject(speed=Float64())
            await proxy.switch_on()
            await proxy.move()
            assert _state(motor) is State.MOVING

    asyncio.run(scenario())


def test_a_device_without_a_machine_says_so() -> None:
    class Plain(Device):
        """Nothing."""

    async def scenario() -> None:
        async with run_device(Plain) as plain:
            with pytest.raises(BadConfigurationError, match="no state machine"):
                _ = plain.running_machine

    asyncio.run(scenario())


# -- contradictions -----------------------------------------------------------------------------


def _declare(*transitions: Transition, **more: Any) -> type[Device]:
    class Broken(Device):
        machine = StateMachine(transitions, initial=State.ON, **more)

        @command()
        async def go(self) -> None:
            """Go."""

        @command(allowed_states={State.ON})
        async def own(self) -> None:
            """Say itself where it is allowed."""

    return Broken


@pytest.mark.parametrize(
    ("transitions", "problem"),
    [
        ([Transition(State.ON, "gone", State.OFF)], "names the command 'gone'.*did you mean 'go'"),
        ([Transition(State.ON, "own", State.OFF)], "and so does its declaration"),
        ([Transition(State.ON, "go", State.OFF, internal=True)], "calls its command 'go' internal"),
        ([Transition([], "go", State.OFF)], "from no state"),
        ([Transition(State.OFF, "go", State.ON)], "never comes to OFF, where 'go' begins"),
        (
            [Transition(State.ON, "go", State.OFF), Transition(State.ON, "go", State.MOVING)],
            rf"two ways from ON by 'go', and the first, at .*{_HERE}, has no guard",
        ),
        ([Transition(State.ON, "go", then=State.OFF)], "nothing that takes time"),
        (
            [Transition(State.ON, "x", State.OFF, then=State.ON, internal=True)],
            "nothing that takes time",
        ),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    transitions: list[Transition], problem: str
) -> None:
    with pytest.raises(BadConfigurationError, match=problem) as caught:
        _declare(*transitions)
    assert __file__ in str(caught.value)


@pytest.mark.parametrize("when", ["entry", "exit"])
def test_an_action_of_a_state_that_never_is_is_refused(when: str) -> None:
    with pytest.raises(BadConfigurationError, match=rf"never comes to OFF.*{when}.*{_HERE}"):
        _declare(Transition(State.ON, "go", State.MOVING), **{when: {State.OFF: _note("x")}})


def test_two_guarded_ways_and_one_without_are_no_contradiction() -> None:
    cls = _declare(
        Transition(State.ON, "go", State.OFF, guard=_homed),
        Transition(State.ON, "go", State.MOVING, guard=_homed),
        Transition(State.ON, "go"),
    )
    assert cls.schema().commands["go"].allowed_states == frozenset({State.ON})


def test_two_machines_are_refused() -> None:
    other = StateMachine([Transition(State.ON, "stop")], initial=State.ON)
    with pytest.raises(BadConfigurationError, match="has 2 state machines"):
        type("Double", (_Motor,), {"other": other})


def test_a_derived_class_can_have_another_table() -> None:
    class Simple(_Motor):
        machine = StateMachine([Transition(State.ON, "stop", State.OFF)], initial=State.ON)

    assert Simple.schema().commands["stop"].allowed_states == frozenset({State.ON})
    assert _Motor.schema().commands["stop"].allowed_states == frozenset(
        {State.MOVING, State.HOMING}
    )

    async def scenario() -> None:
        async with run_device(Simple) as device:
            await device.stop()
            assert _state(device) is State.OFF

    asyncio.run(scenario())


# -- diagrams -----------------------------------------------------------------------------------


def test_diagram_in_mermaid() -> None:
    assert _Motor.machine.diagram().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> OFF",
        "    OFF --> STOPPED: switch_on",
        "    STOPPED --> MOVING: move [The axis is homed] / note",
        "    STOPPED --> HOMING: home",
        "    HOMING --> STOPPED: home ends",
        "    HOMING --> STOPPED: stop",
        "    MOVING --> STOPPED: stop",
        "    MOVING --> STOPPED: arrived",
        "    ERROR --> STOPPED: reset",
        "    ERROR --> ERROR: look",
        "    STOPPED --> STOPPED: look",
    ]


def test_diagram_for_graphviz() -> None:
    lines = _Motor.machine.diagram("dot").splitlines()
    assert lines[0] == 'digraph "_Motor" {'
    assert '    STOPPED -> MOVING [label="move [The axis is homed] / note"];' in lines
    assert '    MOVING -> STOPPED [label="arrived", style=dashed];' in lines
    assert lines[-1] == "}"


def test_another_language_is_refused() -> None:
    with pytest.raises(ValueError, match="'mermaid' or 'dot'"):
        _Motor.machine.diagram("uml")
