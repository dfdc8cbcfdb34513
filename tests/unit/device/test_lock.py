"""A locked device obeys its owner alone, until the lock is given back, runs out or is cleared."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.client import AsyncDeviceProxy, Client
from pykarabo.data import AccessLevel, Float64, String
from pykarabo.device import Device, command
from pykarabo.device._called import NOTE_S
from pykarabo.device._lock import GRACE_S, DeviceLock
from pykarabo.errors import LockedError, OutOfRangeError
from pykarabo.testing import FakeClock, MemoryFacility, run_facility
from pykarabo.transport import Caller
from pykarabo.wire import ClientIdentity


class _Motor(Device):
    """A motor."""

    target = Float64(unit="mm")
    allowed_when_locked = ("stop",)

    @command()
    async def move(self, pause: float = 0.0) -> str:
        """Move."""
        await asyncio.sleep(pause)
        return "" if self.caller is None else self.caller.name

    @command(job=True)
    async def scan(self, pause: float) -> None:
        """Move for long."""
        await asyncio.sleep(pause)

    @command()
    async def stop(self) -> None:
        """Stop."""

    @command(access_level=AccessLevel.OBSERVER)
    async def describe(self) -> str:
        """Tell what it is."""
        return "a motor"


class _Stage(Device):
    """A device that uses another one."""

    motor = String(init_only=True)

    @command()
    async def use(self, name: str) -> Any:
        """Run a command of the motor."""
        proxy = await self.connect(self.motor)
        return await proxy.call(name)

    @command()
    def use_in_thread(self, name: str) -> Any:
        """Run a command of the motor from a worker thread."""
        return asyncio.run_coroutine_threadsafe(self._call(name), self._loop).result()

    async def _call(self, name: str) -> Any:
        proxy = await self.connect(self.motor)
        return await proxy.call(name)

    @command()
    async def use_from_task(self, name: str) -> Any:
        """Run a command of the motor from a task."""
        return await self.spawn(self._call(name), name="use")


def _identity(user: str) -> ClientIdentity:
    return ClientIdentity("host", 1, user, "program")


class _Lab:
    """A motor and two programs that want it."""

    def __init__(self, facility: MemoryFacility, clock: FakeClock) -> None:
        self.facility = facility
        self.clock = clock
        self.clients: list[Client] = []
        self.motor: _Motor

    async def program(self, user: str) -> AsyncDeviceProxy:
        client = self.facility.new_client()
        client.identity, client.clock = _identity(user), self.clock
        self.clients.append(client)
        return await client.device("MOTOR/1", follow=False)


def _with(check: Callable[[_Lab], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        clock = FakeClock(drives_loop=False)
        async with run_facility({"Motor": _Motor, "Stage": _Stage}, clock=clock) as facility:
            lab = _Lab(facility, clock)
            lab.motor = await facility.server.instantiate("Motor", "MOTOR/1")  # type: ignore[assignment]
            try:
                await check(lab)
            finally:
                for client in lab.clients:
                    await client.aclose()

    asyncio.run(scenario())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_others_are_refused_with_the_owners_name_and_nothing_is_done() -> None:
    async def check(lab: _Lab) -> None:
        ann, bob = await lab.program("ann"), await lab.program("bob")
        assert await ann.call("lock") == "host/ann/1/program"
        assert lab.motor.locked_by == "host/ann/1/program"
        refused = "MOTOR/1.*locked by 'host/ann/1/program'"
        for attempt in (
            bob.move(),
            bob.set(target=3.0),
            bob.call("lock"),
            bob.unlock(),
            bob.scan(0.0),
        ):
            with pytest.raises(LockedError, match=refused) as got:
                await attempt
            assert got.value.details["owner"] == "host/ann/1/program"
            assert "clear_lock" in str(got.value)
        assert lab.motor.target == 0.0
        assert not lab.motor.jobs
        await ann.set(target=2.0)
        await ann.move()
        assert lab.motor.target == 2.0

    _with(check)


def test_writes_of_many_devices_are_refused_too() -> None:
    async def check(lab: _Lab) -> None:
        ann = await lab.program("ann")
        await lab.program("bob")
        await ann.call("lock")
        answers = await lab.clients[1].set_many({"MOTOR/1": {"target": 4.0}})
        assert isinstance(answers["MOTOR/1"], LockedError)
        assert lab.motor.target == 0.0

    _with(check)


def test_reading_and_what_the_author_allows_stay_open() -> None:
    async def check(lab: _Lab) -> None:
        ann, bob = await lab.program("ann"), await lab.program("bob")
        await ann.call("lock")
        assert (await bob.get("target"))["target"] == 0.0
        assert await bob.describe() == "a motor"
        await bob.stop()

    _with(check)


def test_unlocked_and_cleared_devices_are_everybodys() -> None:
    async def check(lab: _Lab) -> None:
        ann, bob = await lab.program("ann"), await lab.program("bob")
        await ann.call("lock")
        await ann.unlock()
        assert lab.motor.locked_by == ""
        await bob.call("lock")
        await ann.clear_lock()
        await ann.call("lock")
        assert lab.motor.locked_by == "host/ann/1/program"

    _with(check)


def test_a_lease_ends_when_the_device_is_not_used() -> None:
    async def check(lab: _Lab) -> None:
        ann, bob = await lab.program("ann"), await lab.program("bob")
        await ann.call("lock", 10.0)
        lab.clock.advance(9)
        await ann.set(target=1.0)
        lab.clock.advance(9)
        with pytest.raises(LockedError):
            await bob.move()
        lab.clock.advance(1)
        await bob.move()
        assert lab.motor.locked_by == ""

    _with(check)


@pytest.mark.parametrize("name", ["move", "scan"])
def test_a_lease_does_not_run_out_while_its_owner_works(name: str) -> None:
    async def check(lab: _Lab) -> None:
        ann, bob = await lab.program("ann"), await lab.program("bob")
        await ann.call("lock", 10.0)
        work = asyncio.ensure_future(ann.call(name, 0.3))
        await _until(lambda: lab.motor.lock_state._held is not None and _uses(lab) == 1)
        lab.clock.advance(100)
        with pytest.raises(LockedError):
            await bob.move()
        await work
        await _until(lambda: _uses(lab) == 0)
        lab.clock.advance(10)
        await bob.move()

    _with(check)


def _uses(lab: _Lab) -> int:
    held = lab.motor.lock_state._held
    return 0 if held is None else held.uses


def test_the_display_shows_the_end_of_a_lease_without_anybody_asking() -> None:
    async def check(lab: _Lab) -> None:
        ann = await lab.program("ann")
        await ann.call("lock", 10.0)
        lab.clock.advance(11)
        await _until(lambda: lab.motor.values()["locked_by"].value == "")

    _with(check)


def test_a_lock_ends_some_time_after_its_owner_has_gone() -> None:
    async def check(lab: _Lab) -> None:
        ann, bob = await lab.program("ann"), await lab.program("bob")
        await ann.call("lock")
        await lab.clients[0].aclose()
        await _until(lambda: _missing(lab))
        with pytest.raises(LockedError):
            await bob.move()
        lab.clock.advance(GRACE_S)
        await _until(lambda: lab.motor.locked_by == "")

    _with(check)


def test_an_owner_who_comes_back_in_time_keeps_the_lock() -> None:
    async def check(lab: _Lab) -> None:
        ann = await lab.program("ann")
        await ann.call("lock")
        await lab.clients[0].aclose()
        await _until(lambda: _missing(lab))
        again = await lab.program("ann")
        await _until(lambda: not _missing(lab))
        lab.clock.advance(2 * GRACE_S)
        await asyncio.sleep(0)
        await again.move()
        assert lab.motor.locked_by == "host/ann/1/program"

    _with(check)


def _missing(lab: _Lab) -> bool:
    held = lab.motor.lock_state._held
    return held is not None and held.missing_ns is not None


@pytest.mark.parametrize("how", ["use", "use_in_thread", "use_from_task"])
def test_devices_of_one_process_are_callers_of_their_own(how: str) -> None:
    async def check(lab: _Lab) -> None:
        stages = [f"STAGE/{number}" for number in (1, 2)]
        for stage in stages:
            await lab.facility.server.instantiate("Stage", stage, {"motor": "MOTOR/1"})
        first, second = [await lab.facility.client.device(name) for name in stages]
        assert await first.call(how, "move") == "STAGE/1"
        assert await first.call(how, "lock") == "STAGE/1"
        await first.call(how, "move")
        with pytest.raises(Exception, match="locked by 'STAGE/1'") as caught:
            await second.call(how, "move")
        assert not isinstance(caught.value, LockedError)  # the command of the second stage ran
        await first.call(how, "unlock")
        await second.call(how, "move")

    _with(check)


def test_servers_and_directory_refuse_to_be_locked() -> None:
    async def check(lab: _Lab) -> None:
        for name in ("TEST/SERVER", "DIRECTORY"):
            proxy = await lab.facility.client.device(name, follow=False)
            with pytest.raises(LockedError, match=f"'{name}' cannot be locked"):
                await proxy.call("lock")

    _with(check)


def test_a_write_that_waited_is_refused_if_the_device_was_locked_meanwhile() -> None:
    async def check(lab: _Lab) -> None:
        ann, bob = await lab.program("ann"), await lab.program("bob")
        async with lab.motor._setting:
            write = asyncio.ensure_future(bob.set(target=5.0))
            await _until(lambda: len(lab.motor._setting._waiters or ()) == 1)
            await ann.call("lock")
        with pytest.raises(LockedError):
            await write
        assert lab.motor.target == 0.0

    _with(check)


def test_who_did_what_last_is_told() -> None:
    async def check(lab: _Lab) -> None:
        ann = await lab.program("ann")
        await ann.move()
        assert (await ann.get("last_command")) == {"last_command": "move <- host/ann/1/program"}
        await ann.set(target=1.0, log_level="ERROR")
        told = (await ann.get("last_command"))["last_command"]
        assert told == "set target, log_level <- host/ann/1/program"
        await ann.describe()
        assert (await ann.get("last_command"))["last_command"] == told
        follower = await lab.facility.client.device("MOTOR/1")
        await ann.stop()
        await _until(lambda: follower.last_command == "stop <- host/ann/1/program")

    _with(check)


def test_many_commands_cost_few_events() -> None:
    async def check(lab: _Lab) -> None:
        ann = await lab.program("ann")
        events = 0
        publish = lab.motor.context.publish

        def count(device: Device, changes: list[Any]) -> None:
            nonlocal events
            events += 1
            publish(device, changes)

        lab.motor._context = replace(lab.motor.context, publish=count)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(200):
            await ann.stop()
        assert 0 < events + 1 <= (loop.time() - begun) / NOTE_S + 2

    _with(check)


def test_a_lease_that_cannot_be_is_refused() -> None:
    async def check(lab: _Lab) -> None:
        ann = await lab.program("ann")
        for lease in (-1.0, float("nan"), 1e9):
            with pytest.raises(OutOfRangeError, match="MOTOR/1"):
                await ann.call("lock", lease)
        assert lab.motor.locked_by == ""

    _with(check)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "release", "use", "clear", "wait"]),
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 8),
    ),
    max_size=30,
)


def _refused_by(owner: str | None) -> Any:
    return pytest.raises(LockedError, match=f"locked by 'host/{owner}/1/program'")


def _do(lock: DeviceLock, clock: FakeClock, step: str, caller: Caller, number: int) -> None:
    if step == "take":
        lock.take(caller, number)
    elif step == "release":
        lock.release(caller)
    elif step == "clear":
        lock.clear()
    elif step == "wait":
        clock.advance(number)
    else:
        with lock.used_by(caller):
            pass


@given(_STEPS)
def test_never_two_owners_and_what_is_shown_is_true(steps: list[tuple[str, str, int]]) -> None:
    clock = FakeClock(drives_loop=False)
    shown = [""]
    lock = DeviceLock("MOTOR/1", clock, shown.append)
    callers = {name: Caller.of(_identity(name)) for name in ("ann", "bob")}
    owner: str | None = None
    until = 0.0
    lease = 0
    now = 0.0
    for step, name, number in steps:
        if owner is not None and lease and now >= until:
            owner = None
        refused = owner not in (None, name) and step in ("take", "release", "use")
        with _refused_by(owner) if refused else nullcontext():
            _do(lock, clock, step, callers[name], number)
        if refused:
            continue
        if step == "take":
            owner, lease, until = name, number, now + number
        elif step == "use":
            until = now + lease
        elif step == "wait":
            now += number
        else:
            owner = None
    expired = owner is not None and lease and now >= until
    expected = None if owner is None or expired else callers[owner]
    assert lock.owner == expected
    assert shown[-1] == ("" if expected is None else expected.name)


def test_whoever_calls_himself_like_the_owner_is_not_the_owner() -> None:
    changes: list[str] = []
    lock = DeviceLock("M/1", FakeClock(), changes.append)
    owner = Caller("LAB/SCAN/1", ClientIdentity("host", 1, "user", "program"))
    lock.take(owner, 0.0)
    lock.require(owner)
    with pytest.raises(LockedError, match="locked by 'LAB/SCAN/1'"):
        lock.require(replace(owner, identity=ClientIdentity("host", 2, "user", "other")))
    assert changes == ["LAB/SCAN/1"]
