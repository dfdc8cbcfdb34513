"""What a call has changed leaves before its answer does, also in a flood of events."""

import asyncio

from pykarabo.data import Int64
from pykarabo.device import Device, command
from pykarabo.testing import FakeClock, run_facility


class _Flooding(Device):
    """Changes more often than events leave one by one."""

    count = Int64(read_only=True)
    target = Int64()

    @command()
    async def flood(self) -> None:
        """Change 20 times, each in a message of its own."""
        for _ in range(20):
            self.count += 1
            self.flush()


def test_a_proxy_shows_what_a_call_has_changed_although_no_time_passes() -> None:
    async def scenario() -> None:
        clock = FakeClock()
        async with run_facility({"Flooding": _Flooding}, clock=clock) as facility:
            await facility.server.instantiate("Flooding", "A/1")
            proxy = await facility.client.device("A/1")
            for number in range(1, 4):
                before_ns = clock.monotonic_ns()
                await proxy.call("flood")
                await proxy.set(target=number)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert (proxy.count, proxy.target) == (20 * number, number)
                assert clock.monotonic_ns() == before_ns

    asyncio.run(scenario())
