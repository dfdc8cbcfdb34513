"""A client refuses by itself to follow more than its server would let it."""

import asyncio

import pytest

from pykarabo.client import Follower, Update, _subscriptions
from pykarabo.data import Float64
from pykarabo.device import Device
from pykarabo.testing import run_facility


class _Motor(Device):
    """A motor."""

    position = Float64()


def _ignore(_update: Update) -> None:
    pass


def test_one_device_too_many_waits_for_room_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_subscriptions, "MAX_FOLLOWED", 2)

    async def scenario() -> None:
        async with (
            run_facility({"Motor": _Motor}) as facility,
            facility.new_client() as client,
        ):
            followers: list[Follower] = []
            for number in range(3):
                await facility.start("Motor", f"M/{number}")
                followers.append(client.follow(f"M/{number}", _ignore))
            async with asyncio.timeout(10):
                while "follows 2 streams" not in followers[2].reason:
                    await asyncio.sleep(0.01)
                assert [follower.live for follower in followers] == [True, True, False]
                client.unfollow("M/0", _ignore)  # makes room
                while not followers[2].live:
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())
