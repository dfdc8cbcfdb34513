"""A connection that ends at the very moment at which it was made."""

import asyncio

import pytest

from pykarabo.client import Client, Live
from pykarabo.client._link import ServerLink
from pykarabo.data import Int32
from pykarabo.device import Device
from pykarabo.testing import run_facility
from pykarabo.wire import Target


class _Motor(Device):
    count = Int32(default=3)


def test_a_watcher_whose_connection_ends_before_it_follows_makes_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached = Client.reach
    ended: list[ServerLink] = []

    async def ends_at_first(self: Client, device_id: str) -> tuple[ServerLink, Target]:
        link, target = await reached(self, device_id)
        if not ended:
            ended.append(link)
            link.disconnected("reset by peer")
        return link, target

    async def scenario() -> None:
        async with run_facility({"Motor": _Motor}) as facility:
            await facility.server.instantiate("Motor", "MOTOR/1")
            monkeypatch.setattr(Client, "reach", ends_at_first)
            async with asyncio.timeout(10), facility.client.watch("MOTOR/1") as updates:
                update = await anext(updates)
                assert isinstance(update, Live)
                assert update.values["count"].value == 3
        assert len(ended) == 1

    asyncio.run(scenario())
