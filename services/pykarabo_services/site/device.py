"""The service of a site as a device: whoever looks sees whether it is well."""

import asyncio
from typing import Final

from pykarabo.data import State, UInt32, UInt64
from pykarabo.device import Device

from .service import SiteService
from .store import SiteStore

LOOK_S: Final = 1.0


class SiteAuthority(Device):
    """Takes new members into the site of the domain, and tells all of them who is one."""

    can_be_locked = False

    list_number = UInt64(read_only=True, description="Number of the latest list of grants.")
    member_count = UInt32(read_only=True, description="Members whose grants hold now.")
    refused_count = UInt64(read_only=True, description="Questions that were answered with no.")

    async def on_initialize(self) -> None:
        """Begin to answer."""
        store = SiteStore(self.client.domain)
        self._service = await asyncio.to_thread(SiteService, store)
        self.state = State.ON

    async def on_start(self) -> None:
        """Show how it goes, and raise an alarm when nobody answers any more."""
        while True:
            counts = self._service.counts(self.clock.time_ns() / 1e9)
            self.set_values(
                {
                    "list_number": counts.number,
                    "member_count": counts.members,
                    "refused_count": counts.refused,
                }
            )
            if not self._service.alive:
                self.state = State.ERROR
                self.raise_alarm("alarm", "nobody answers who wants to join", source="service")
                return
            await asyncio.sleep(LOOK_S)

    async def on_stop(self) -> None:
        """Answer no more."""
        await asyncio.to_thread(self._service.close)
