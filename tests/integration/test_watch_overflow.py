"""A watcher that does not read is told what it missed, and ends with the present values."""

import asyncio

from pykarabo.client import Change, Gap, Live
from pykarabo.client._watch import MAX_WAITING
from pykarabo.data import Int64
from pykarabo.device import Device
from pykarabo.testing import run_facility


class Fast(Device):
    """Changes."""

    number = Int64(read_only=True)


def test_unread_updates_become_a_counted_gap_and_the_present_values() -> None:
    total = MAX_WAITING + 5_000

    async def scenario() -> None:
        async with run_facility({"Fast": Fast}) as facility:
            device = await facility.server.instantiate("Fast", "FAST/1")
            assert isinstance(device, Fast)
            async with facility.client.watch("FAST/1.number") as updates:
                first = await anext(updates)
                assert isinstance(first, Live)
                for number in range(1, total + 1):
                    device.number = number
                    await asyncio.sleep(0)
                received = missed = 0
                last = 0
                async with asyncio.timeout(30):
                    while last < total:
                        update = await anext(updates)
                        if isinstance(update, Change):
                            received += 1
                        if isinstance(update, Gap):
                            assert update.missed is not None
                            missed += update.missed
                        if isinstance(update, Change | Live):
                            last = update.values["number"].value
                assert missed > 0
                assert received + missed == total

    asyncio.run(scenario())
