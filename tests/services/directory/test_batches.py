"""Many devices cost a server few messages to the directory."""

import asyncio
from collections import Counter
from typing import Any, Final

import pytest

from pykarabo.client import Client
from pykarabo.device import Device, DeviceSettings
from pykarabo.errors import UnknownClassError
from pykarabo.testing import run_facility

DEVICES: Final = 200
FEW: Final = 20


class Motor(Device):
    """Does nothing."""


def test_a_server_starts_many_devices_with_few_messages_and_keeps_each_ones_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: Counter[str] = Counter()
    ask_replica = Client.ask_replica

    async def counting(self: Client, endpoint: str, command: str, *args: Any, **more: Any) -> Any:
        asked[command] += 1
        return await ask_replica(self, endpoint, command, *args, **more)

    async def work() -> None:
        monkeypatch.setattr(Client, "ask_replica", counting)
        async with run_facility({"Motor": Motor}) as facility:
            asked.clear()
            good = [DeviceSettings(f"T/{index}", "Motor") for index in range(DEVICES)]
            await facility.server.start_devices([*good, DeviceSettings("T/BAD", "Nothing")])
            assert 0 < asked.total() < FEW, asked
            (problem,) = facility.server.problems.items()
            assert problem[0] == "T/BAD"
            assert isinstance(problem[1], UnknownClassError)
            records = await facility.client.topology("T/*")
            assert len(records) == DEVICES
            assert all(record.fence > 0 for record in records)
            await facility.server.instantiate("Motor", "T/BAD")

    asyncio.run(work())
