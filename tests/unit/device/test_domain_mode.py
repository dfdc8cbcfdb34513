"""A domain that only administrators may change: what is kept back, and what goes on."""

import asyncio
from collections.abc import Collection
from typing import Any, ClassVar

import pytest

from pykarabo.client import SET_MODE_COMMAND, Client, DomainMode
from pykarabo.data import AccessLevel, Float64, Int64, String
from pykarabo.device import Device, command
from pykarabo.errors import DeniedError, LockedError, PykaraboError, ReadOnlyDomainError
from pykarabo.testing import MemoryFacility, run_facility


class _Motor(Device):
    """A motor that anybody may stop."""

    allowed_when_locked: ClassVar[Collection[str]] = ("stop",)
    target = Float64()
    moves = Int64(read_only=True)
    driven_by = String(init_only=True)

    @command()
    async def move(self) -> None:
        """Move."""
        self.moves += 1

    @command()
    async def stop(self) -> str:
        """Stop."""
        return "stopped"

    @command(access_level=AccessLevel.OBSERVER)
    async def where(self) -> float:
        """Tell."""
        return float(self.target)

    async def drive(self, other: str) -> None:
        """Move another one, by itself."""
        await (await self.connect(other)).call("move")


def _as(facility: MemoryFacility, role: AccessLevel) -> Client:
    client = facility.new_client()
    client.role = role
    return client


async def _is_refused(client: Client) -> bool:
    try:
        await client.set("M/1", {"target": 1.0})
    except ReadOnlyDomainError:
        return True
    return False


async def _change(facility: MemoryFacility, *, read_only: bool) -> None:
    """Change the mode and wait until the server knows it."""
    async with _as(facility, AccessLevel.ADMINISTRATOR) as client:
        await client.directory(SET_MODE_COMMAND, read_only, "the reason")
    async with _as(facility, AccessLevel.OPERATOR) as client, asyncio.timeout(10):
        while await _is_refused(client) is not read_only:
            await asyncio.sleep(0.01)


async def _call(client: Client, name: str, *args: object) -> Any:
    return await (await client.device("M/1", follow=False)).call(name, *args)


def test_what_changes_something_is_kept_back_below_an_administrator() -> None:
    async def scenario() -> None:
        async with run_facility({"Motor": _Motor}) as facility:
            motor: Any = await facility.start("Motor", "M/1")
            await _change(facility, read_only=True)
            async with _as(facility, AccessLevel.EXPERT) as expert:
                for name in ("move", "lock"):
                    with pytest.raises(ReadOnlyDomainError, match="the reason") as caught:
                        await _call(expert, name)
                    assert caught.value.device == "M/1"
                assert await _call(expert, "where") == 0.0
            async with _as(facility, AccessLevel.OBSERVER) as observer:
                with pytest.raises(DeniedError) as denied:  # his role is judged first
                    await _call(observer, "move")
                assert type(denied.value) is DeniedError
            async with _as(facility, AccessLevel.ADMINISTRATOR) as administrator:
                await _call(administrator, "move")
            await _change(facility, read_only=False)
            async with _as(facility, AccessLevel.OPERATOR) as operator:
                await _call(operator, "move")
            assert motor.moves == 2

    asyncio.run(scenario())


def test_what_ends_something_is_not_kept_back() -> None:
    async def scenario() -> None:
        async with run_facility({"Motor": _Motor}) as facility:
            await facility.start("Motor", "M/1")
            async with _as(facility, AccessLevel.OPERATOR) as operator:
                await _call(operator, "lock")
                await _change_by_administrator(facility)
                assert await _call(operator, "stop") == "stopped"
                for name, args in (("cancel_job", ["j"]), ("acknowledge_alarm", ["a"])):
                    with pytest.raises(PykaraboError) as caught:
                        await _call(operator, name, *args)
                    assert not isinstance(caught.value, DeniedError)
                await _call(operator, "unlock")
                with pytest.raises(ReadOnlyDomainError):
                    await _call(operator, "lock")

    async def _change_by_administrator(facility: MemoryFacility) -> None:
        async with _as(facility, AccessLevel.ADMINISTRATOR) as client:
            await client.directory(SET_MODE_COMMAND, True, "")
            async with _as(facility, AccessLevel.OPERATOR) as other, asyncio.timeout(10):
                while not await _is_kept_back(other):
                    await asyncio.sleep(0.01)

    async def _is_kept_back(client: Client) -> bool:
        try:
            await _call(client, "move")
        except (ReadOnlyDomainError, LockedError) as error:
            return isinstance(error, ReadOnlyDomainError)
        return False

    asyncio.run(scenario())


def test_what_devices_do_by_themselves_goes_on() -> None:
    async def scenario() -> None:
        async with run_facility({"Motor": _Motor}) as facility:
            motor: Any = await facility.start("Motor", "M/1")
            other: Any = await facility.start("Motor", "M/2")
            await _change(facility, read_only=True)
            await other.drive("M/1")
            assert motor.moves == 1

    asyncio.run(scenario())


def test_a_mode_is_understood_or_is_the_first_one() -> None:
    mode = DomainMode(True, "me", "a reason", 1_700_000_000 * 10**9)
    assert DomainMode.from_wire(mode.to_wire()) == mode
    assert str(mode) == "is read-only since 2023-11-14 22:13:20 UTC by me: a reason"
    broken: list[Any] = [None, [], {}, {"read_only": 1}, {**mode.to_wire(), "changed_ns": "x"}]
    for strange in broken:
        assert DomainMode.from_wire(strange) == DomainMode()
    assert str(DomainMode()) == "may be changed"
