"""A clock that takes an event loop with it: everything happens at its moment, in no time."""

import asyncio
import time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.data import Float64, Int64, State
from pykarabo.device import Device, command
from pykarabo.testing import FakeClock, async_test, device, run_device, until

_LONG_S: Final = 600.0


class _Poller(Device):
    """Counts the seconds."""

    interval = Float64(unit="s", default=1.0)
    looks = Int64(read_only=True)
    settled = Int64(read_only=True)

    async def on_initialize(self) -> None:
        await asyncio.sleep(5.0)
        self.settled = 1

    async def on_start(self) -> None:
        while True:
            await asyncio.sleep(self.interval)
            self.looks += 1

    async def on_stop(self) -> None:
        await asyncio.sleep(0.01)

    @command()
    async def expose(self, duration: float) -> float:
        """Take so long."""
        begun_ns = self.clock.monotonic_ns()
        await asyncio.sleep(duration)
        return (self.clock.monotonic_ns() - begun_ns) / 1e9

    @command()
    def work(self) -> str:
        """Block a worker thread for a moment."""
        time.sleep(0.02)
        return "done"

    @command()
    async def arm(self) -> None:
        """Be on in a minute."""

        async def later() -> None:
            await asyncio.sleep(60.0)
            self.state = State.ON

        self.spawn(later(), name="arming")


@async_test
async def test_ten_minutes_of_polls_take_no_ten_minutes_and_each_comes_at_its_moment() -> None:
    clock = FakeClock()
    begun_s = time.monotonic()
    async with run_device(_Poller, clock=clock) as poller:
        at = poller.values()["looks"].timestamp.to_ns()
        await clock.run_for(_LONG_S)
        assert poller.looks == 600
        assert poller.values()["looks"].timestamp.to_ns() == at + 600_000_000_000 + 5_000_000_000
    assert time.monotonic() - begun_s < 60.0


@async_test
async def test_time_passes_while_a_device_initializes() -> None:
    clock = FakeClock()
    async with device(_Poller, clock=clock) as poller:
        assert poller.settled == 1
        assert clock.monotonic_ns() >= 5_000_000_000


@async_test
async def test_time_stands_still_while_nobody_lets_it_pass() -> None:
    async with device(_Poller, clock=FakeClock()) as poller:
        await asyncio.to_thread(time.sleep, 0.05)
        assert (await poller.get("looks"))["looks"] == 0


@async_test
async def test_call_that_takes_long_is_run_through() -> None:
    clock = FakeClock()
    async with device(_Poller, clock=clock) as poller:
        took_s = await clock.run_through(poller.call("expose", _LONG_S, timeout_s=2 * _LONG_S))
        assert took_s == pytest.approx(_LONG_S)


@async_test
async def test_worker_threads_are_waited_for_before_time_goes_on() -> None:
    clock = FakeClock()
    async with device(_Poller, clock=clock) as poller:
        before_ns = clock.monotonic_ns()
        assert await clock.run_through(poller.work()) == "done"
        assert clock.monotonic_ns() == before_ns


@async_test
async def test_waiting_lets_time_pass_and_counts_its_seconds() -> None:
    clock = FakeClock()
    async with device(_Poller, clock=clock) as poller:
        await poller.arm()
        with pytest.raises(AssertionError, match="within 30 s"):
            await until(lambda: poller.state == State.ON, timeout_s=30.0)
        await until(lambda: poller.state == State.ON, timeout_s=31.0)


@async_test
async def test_work_that_waits_for_no_time_is_told_instead_of_hanging() -> None:
    clock = FakeClock()
    with clock.driving(), pytest.raises(RuntimeError, match="what no passing of time can bring"):
        await clock.run_through(_for_ever())


async def _for_ever() -> None:
    await asyncio.Event().wait()


@async_test
async def test_loop_goes_by_the_host_again_afterwards() -> None:
    clock = FakeClock()
    loop = asyncio.get_running_loop()
    with clock.driving():
        standing_s = loop.time()
        clock.advance(5.0)
        assert loop.time() == pytest.approx(standing_s + 5.0)
        with pytest.raises(RuntimeError, match="another FakeClock"), FakeClock().driving():
            pass
    assert loop.time() < standing_s + 5.0
    await asyncio.sleep(0.001)


class _Foreign:
    """Says it is the running loop."""


def test_foreign_loop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", _Foreign)
    with pytest.raises(RuntimeError, match="cannot drive"), FakeClock().driving():
        pass


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20))
def test_timers_fire_in_order_each_at_its_own_moment(delays: list[float]) -> None:
    clock = FakeClock()
    fired: list[tuple[float, float]] = []

    async def wait(delay: float) -> None:
        await asyncio.sleep(delay)
        fired.append((delay, clock.monotonic_ns() / 1e9))

    async def scenario() -> None:
        with clock.driving():
            async with asyncio.TaskGroup() as group:
                for delay in delays:
                    group.create_task(wait(delay))
                await clock.run_for(1e6 + 1)

    asyncio.run(scenario())
    assert sorted(delay for delay, _at in fired) == sorted(delays)
    assert [at for _delay, at in fired] == sorted(at for _delay, at in fired)
    assert all(at == pytest.approx(delay, abs=1e-6) for delay, at in fired)


def test_clock_jumps_and_is_set_without_a_loop() -> None:
    clock = FakeClock(1_000)
    clock.advance(1.5)
    assert (clock.time_ns(), clock.monotonic_ns()) == (1_500_001_000, 1_500_000_000)
    clock.set_utc(7)
    assert (clock.time_ns(), clock.monotonic_ns()) == (7, 1_500_000_000)


def test_fixture_gives_a_clock(fake_clock: Any) -> None:
    assert fake_clock.monotonic_ns() == 0
