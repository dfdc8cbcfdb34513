"""The hooks of a device: when they run, for how long, and what their failures lead to."""

import asyncio
import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import pytest

import pykarabo
from pykarabo.data import State
from pykarabo.device import Device, command
from pykarabo.errors import CancelledByCallerError, NotAnOptionError, RemoteError, StateForbidsError
from pykarabo.testing import run_device, run_facility

_LOGGER: Final = "pykarabo.device.RIG"


class _Rig(Device):
    """A rig."""

    initialize_timeout_s = 0.2
    stop_timeout_s = 0.2

    async def on_initialize(self) -> None:
        self.told: list[Any] = [self.is_initialized]

    async def on_start(self) -> None:
        self.told.append(self.is_initialized)

    async def on_cancelled(self, command: str) -> None:
        self.told.append(f"cancelled {command}")

    async def on_exception(self, what: str, error: Exception) -> None:
        self.told.append((what, type(error)))

    @command()
    async def wait(self) -> None:
        """Wait."""
        await asyncio.sleep(100)

    @command(job=True)
    async def wait_long(self) -> None:
        """Wait as a job."""
        await asyncio.sleep(100)

    @command()
    async def break_down(self) -> None:
        """Fail."""
        raise OSError("broken")

    @command()
    def break_down_in_thread(self) -> None:
        """Fail in a thread."""
        raise OSError("broken")

    @command()
    async def refuse(self) -> None:
        """Refuse."""
        raise StateForbidsError("not now")

    @command()
    async def fail_in_task(self) -> None:
        """Have a task fail."""

        async def work() -> None:
            raise OSError("broken")

        self.spawn(work(), name="work")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def _run(check: Callable[[_Rig], Any]) -> None:
    async def scenario() -> None:
        async with run_device(_Rig, "RIG/1") as rig:
            await _until(lambda: len(rig.told) == 2)
            await check(rig)

    asyncio.run(scenario())


def test_a_device_knows_whether_others_see_it() -> None:
    async def check(rig: _Rig) -> None:
        assert rig.told == [False, True]

    _run(check)


@pytest.mark.parametrize("name", ["break_down", "break_down_in_thread"])
def test_a_command_that_fails_is_told_to_the_device(name: str) -> None:
    async def check(rig: _Rig) -> None:
        proxy = await rig.client.device("RIG/1", follow=False)
        with pytest.raises(RemoteError, match="broken"):
            await proxy.call(name)
        assert rig.told[2:] == [(name, OSError)]

    _run(check)


def test_a_refusal_is_no_failure() -> None:
    async def check(rig: _Rig) -> None:
        proxy = await rig.client.device("RIG/1", follow=False)
        with pytest.raises(StateForbidsError):
            await proxy.refuse()
        assert rig.told[2:] == []

    _run(check)


def test_a_task_that_fails_is_told_too() -> None:
    async def check(rig: _Rig) -> None:
        proxy = await rig.client.device("RIG/1", follow=False)
        await proxy.fail_in_task()
        await _until(lambda: len(rig.told) == 3)
        assert rig.told[2][1] is OSError
        assert rig.state == State.ERROR
        assert "work failed: broken" in rig.status

    _run(check)


def test_a_cancelled_command_can_be_tidied_up_after() -> None:
    async def check(rig: _Rig) -> None:
        proxy = await rig.client.device("RIG/1", follow=False)
        call = asyncio.ensure_future(proxy.wait())
        await _until(lambda: len(rig.commands_at_work) == 1)
        call.cancel()
        await _until(lambda: rig.told[2:] == ["cancelled wait"])
        job = await proxy.wait_long()
        await _until(lambda: len(rig.commands_at_work) == 1)
        await job.cancel()
        await _until(lambda: rig.told[3:] == ["cancelled wait_long"])

    _run(check)


def test_commands_under_way_end_with_their_device() -> None:
    async def scenario() -> None:
        async with run_facility({"Rig": _Rig}) as facility:
            rig: Any = await facility.server.instantiate("Rig", "RIG/1")
            proxy = await facility.client.device("RIG/1", follow=False)
            call = asyncio.ensure_future(proxy.wait())
            await _until(lambda: len(rig.commands_at_work) == 1)
            await facility.server.shut_down("RIG/1")
            with pytest.raises(CancelledByCallerError):
                await call
            assert "cancelled wait" in rig.told

    asyncio.run(scenario())


def test_hooks_that_fail_themselves_hide_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class _Clumsy(_Rig):
        """Fails twice."""

        async def on_exception(self, what: str, error: Exception) -> None:
            raise ValueError("clumsy")

    async def scenario() -> None:
        async with run_device(_Clumsy, "RIG/1") as rig:
            proxy = await rig.client.device("RIG/1", follow=False)
            with pytest.raises(RemoteError, match="broken"):
                await proxy.break_down()

    asyncio.run(scenario())
    assert "clumsy" in caplog.text


def test_a_start_that_fails_later_puts_the_device_into_error() -> None:
    class _Broken(Device):
        """Cannot start."""

        async def on_start(self) -> None:
            raise OSError("no hardware")

    async def scenario() -> None:
        async with run_device(_Broken, "BROKEN/1") as device:
            await _until(lambda: device.state == State.ERROR)
            assert "on_start failed: no hardware" in device.status

    asyncio.run(scenario())


def test_a_start_that_takes_too_long_is_given_up() -> None:
    class _Slow(_Rig):
        """Is slow."""

        async def on_initialize(self) -> None:
            await asyncio.sleep(100)

    async def scenario() -> None:
        with pytest.raises(RemoteError, match=r"SLOW/1.*longer than 0\.2 s"):
            async with run_device(_Slow, "SLOW/1"):
                pass

    asyncio.run(scenario())


def test_a_stop_that_takes_too_long_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    class _Slow(_Rig):
        """Is slow."""

        async def on_stop(self) -> None:
            await asyncio.sleep(100)

    async def scenario() -> None:
        async with run_device(_Slow, "SLOW/1"):
            pass

    asyncio.run(scenario())
    assert "on_stop of 'SLOW/1' took too long" in caplog.text


def test_a_device_tells_what_it_was_installed_with() -> None:
    async def scenario() -> None:
        async with run_facility({"Rig": _Rig}) as facility:
            server = await facility.client.device("TEST/SERVER")
            assert server.class_version == f"pykarabo-{version('pykarabo')}"
            assert server.pykarabo_version == pykarabo.__version__

    asyncio.run(scenario())


def test_the_log_level_of_a_device_changes_while_it_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with run_facility({"Rig": _Rig}) as facility:
            rig = await facility.server.instantiate("Rig", "RIG/1")
            other = await facility.server.instantiate("Rig", "RIG/2", {"log_level": "ERROR"})
            proxy = await facility.client.device("RIG/1", follow=False)
            rig.log.info("one")
            await proxy.set(log_level="DEBUG")
            rig.log.debug("two")
            other.log.warning("three")
            await proxy.set(log_level="CRITICAL")
            rig.log.error("four")
            with pytest.raises(NotAnOptionError, match=r"RIG/1\.log_level"):
                await proxy.set(log_level="LOUD")
            assert rig.log_level == "CRITICAL"

    caplog.set_level(logging.WARNING)
    caplog.handler.setLevel(logging.NOTSET)
    asyncio.run(scenario())
    logged = [item.message for item in caplog.records if item.name.startswith(_LOGGER)]
    assert logged == ["two"]


def test_a_device_starts_with_the_level_of_its_server_and_can_go_back_to_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with run_device(_Rig, "RIG/9") as rig:
            proxy = await rig.client.device("RIG/9", follow=False)
            assert rig.log_level == "SERVER"
            rig.log.info("one")
            await proxy.set(log_level="ERROR")
            rig.log.info("two")
            await proxy.set(log_level="SERVER")
            rig.log.info("three")

    caplog.set_level(logging.INFO)
    asyncio.run(scenario())
    logged = [item.message for item in caplog.records if item.name.startswith(_LOGGER)]
    assert logged == ["one", "three"]
