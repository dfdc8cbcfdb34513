"""What a role allows, in servers that grant different ones, and in devices that change."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from pykarabo.client import Client
from pykarabo.data import AccessLevel, Configurable, Float64, Int64, ListOfNodes, String
from pykarabo.device import Device, command
from pykarabo.errors import DeniedError, LockedError, ReadOnlyError, UnknownPropertyError
from pykarabo.testing import MemoryFacility, run_facility
from pykarabo.transport import Sender, acting_as
from pykarabo.wire import Granted, Hello


class _Axis(Configurable):
    limit = Float64(access_level=AccessLevel.EXPERT)
    speed = Float64()


class _Motor(Device):
    """A motor."""

    target = Float64()
    gain = Float64(access_level=AccessLevel.EXPERT)
    used = Int64(read_only=True)
    axes = ListOfNodes(_Axis)

    async def on_initialize(self) -> None:
        """Be ready to be written to."""
        self.writing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def on_set(self, values: Mapping[str, Any]) -> None:
        """Take as long as the test wants."""
        del values
        self.writing.set()
        await self.go_on.wait()

    @command(access_level=AccessLevel.EXPERT)
    async def calibrate(self) -> str:
        """Tell who has called."""
        self.used += 1
        return "" if self.caller is None else self.caller.role.name


class _Scan(Device):
    """A device that uses another one for whoever calls."""

    motor = String(init_only=True)

    @command(access_level=AccessLevel.USER)
    async def use(self) -> Any:
        """Run a command that the caller himself may not run."""
        return await (await self.connect(self.motor)).call("calibrate")


_CLASSES = {"Motor": _Motor, "Scan": _Scan}


def _as(facility: MemoryFacility, role: AccessLevel) -> Client:
    client = facility.new_client()
    client.role = role
    return client


def _by_user(hello: Hello, sender: Sender) -> Granted:
    assert sender == Sender()  # nobody vouches for anybody in memory
    if hello.user == "banned":
        raise DeniedError("you are banned", remedy="ask to be let in again")
    return Granted(AccessLevel.OPERATOR if hello.user == "op" else AccessLevel.ADMINISTRATOR)


@pytest.mark.parametrize("asked", AccessLevel)
def test_a_session_has_what_it_asks_for_and_has_a_right_to(asked: AccessLevel) -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES, rights=_by_user) as facility:
            client = _as(facility, asked)
            client.identity = client.identity._replace(user="op")
            async with client:
                assert await client.role_at() == min(asked, AccessLevel.OPERATOR)

    asyncio.run(scenario())


def test_who_is_refused_at_the_greeting_is_told_why() -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES, rights=_by_user) as facility:
            await facility.start("Motor", "M/1")
            client = _as(facility, AccessLevel.OBSERVER)
            client.identity = client.identity._replace(user="banned")
            async with client:
                with pytest.raises(DeniedError, match="you are banned"):
                    await client.role_at()

    asyncio.run(scenario())


def test_a_level_that_rises_while_a_write_waits_holds_for_it() -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES) as facility:
            motor: Any = await facility.start("Motor", "M/1")
            async with _as(facility, AccessLevel.OPERATOR) as client:
                await client.set("M/1", {"target": 1.0})
                motor.writing.clear()
                motor.go_on.clear()
                writing = asyncio.create_task(client.set("M/1", {"target": 2.0}))
                await motor.writing.wait()
                motor.update_attributes("target", access_level=AccessLevel.EXPERT)
                motor.go_on.set()
                with pytest.raises(DeniedError):
                    await writing
                assert motor.target == 1.0

    asyncio.run(scenario())


def test_what_there_is_not_and_what_is_read_only_is_no_matter_of_roles() -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES) as facility:
            await facility.start("Motor", "M/1")
            async with _as(facility, AccessLevel.OBSERVER) as client:
                with pytest.raises(UnknownPropertyError, match="'target'"):
                    await client.set("M/1", {"traget": 1.0})
                with pytest.raises(ReadOnlyError):
                    await client.set("M/1", {"used": 1})
                with pytest.raises(DeniedError):
                    await client.set("M/1", {"used": 1, "target": 1.0, "traget": 1.0})

    asyncio.run(scenario())


def test_the_role_is_judged_before_the_lock() -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES) as facility:
            await facility.start("Motor", "M/1")
            async with _as(facility, AccessLevel.EXPERT) as expert:
                expert.identity = expert.identity._replace(user="expert")
                await (await expert.device("M/1", follow=False)).call("lock")
                async with _as(facility, AccessLevel.OPERATOR) as client:
                    with pytest.raises(LockedError):
                        await client.set("M/1", {"target": 1.0})
                    with pytest.raises(DeniedError):
                        await client.set("M/1", {"gain": 1.0})

    asyncio.run(scenario())


def test_what_a_device_does_for_a_caller_it_does_with_its_own_role() -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES) as facility:
            await facility.start("Motor", "M/1")
            await facility.start("Scan", "S/1", {"motor": "M/1"})
            async with _as(facility, AccessLevel.USER) as client:
                proxy = await client.device("S/1", follow=False)
                assert await proxy.call("use") == "ADMINISTRATOR"
                motor = await client.device("M/1", follow=False)
                with pytest.raises(DeniedError):
                    await motor.call("calibrate")

    asyncio.run(scenario())


def test_a_caller_gets_no_role_by_claiming_to_be_a_device() -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES) as facility:
            motor: Any = await facility.start("Motor", "M/1")
            async with _as(facility, AccessLevel.USER) as client:
                proxy = await client.device("M/1", follow=False)
                with acting_as("M/1"), pytest.raises(DeniedError):
                    await proxy.call("calibrate")
                assert motor.used == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("configuration", "key"),
    [
        ({"gain": 1.0}, "gain"),
        ({"axes": {"x": {"limit": 1.0}}}, "axes.x.limit"),
        ({"axes": [{}, {"speed": 1.0, "limit": 1.0}]}, "axes.item1.limit"),
        ({"axes.y.limit": 1.0}, "axes.y.limit"),
    ],
)
def test_a_configuration_is_refused_to_whoever_could_not_write_it(
    configuration: dict[str, Any], key: str
) -> None:
    async def scenario() -> None:
        async with run_facility(_CLASSES) as facility:
            async with _as(facility, AccessLevel.OPERATOR) as client:
                server = await client.device("TEST/SERVER", follow=False)
                with pytest.raises(DeniedError) as caught:
                    await server.call("instantiate", "Motor", "M/1", configuration)
                assert (caught.value.device, caught.value.key) == ("M/1", key)
                assert not facility.server.hosts("M/1")
                await server.call("instantiate", "Motor", "M/1", {"axes": {"x": {}}})
            async with _as(facility, AccessLevel.EXPERT) as client:
                server = await client.device("TEST/SERVER", follow=False)
                await server.call("instantiate", "Motor", "M/2", configuration)

    asyncio.run(scenario())
