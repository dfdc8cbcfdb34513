"""A device drives hardware or its simulation, as its configuration says."""

import asyncio
from typing import Any

import pytest

from pykarabo.data import Bool, Int64
from pykarabo.device import Backend, Device
from pykarabo.errors import BadConfigurationError
from pykarabo.testing import run_device


class _Real:
    def __init__(self, channel: int) -> None:
        self.channel = channel


class _Simulated(_Real):
    """Looks like the real one."""


class _Supply(Device):
    """A supply."""

    simulated = Bool(init_only=True)
    channel = Int64(init_only=True)
    hardware = Backend[_Real](
        real=lambda device: _Real(device.channel),
        simulated=lambda device: _Simulated(device.channel),
    )


class _Silent(Device):
    """Does not say whether it is simulated."""

    hardware = Backend[_Real](real=lambda _device: _Real(1), simulated=lambda _device: _Real(2))


@pytest.mark.parametrize(("simulated", "kind"), [(False, _Real), (True, _Simulated)])
def test_the_configuration_chooses(simulated: bool, kind: type[_Real]) -> None:
    async def scenario() -> None:
        configuration: dict[str, Any] = {"simulated": simulated, "channel": 3}
        async with run_device(_Supply, configuration=configuration) as supply:
            assert type(supply.hardware) is kind
            assert supply.hardware.channel == 3
            assert supply.hardware is supply.hardware
            supply.inject(more=Int64())
            assert type(supply.hardware) is kind

    asyncio.run(scenario())


def test_a_class_must_say_what_it_drives() -> None:
    async def scenario() -> None:
        async with run_device(_Silent) as silent:
            _ = silent.hardware

    with pytest.raises(BadConfigurationError, match="'_Silent' does not say"):
        asyncio.run(scenario())
