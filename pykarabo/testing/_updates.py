"""Collecting what a device publishes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from pykarabo.client import AsyncDeviceProxy, Change, Gap, Live, Update


class Updates(list[Update]):
    """The updates of one device, in their order; the first is a `Live` with the values then."""

    @property
    def changes(self) -> list[Change]:
        """The changes alone."""
        return [update for update in self if isinstance(update, Change)]

    @property
    def gaps(self) -> list[Gap]:
        """What was lost."""
        return [update for update in self if isinstance(update, Gap)]

    def values(self, key: str) -> list[Any]:
        """Return every value that a property was seen to have, the first one included."""
        return [
            update.values[key].value
            for update in self
            if isinstance(update, Change | Live) and key in update.values
        ]


@contextlib.asynccontextmanager
async def collected(proxy: AsyncDeviceProxy, *keys: str) -> AsyncGenerator[Updates, None]:
    """Collect every update of some properties of a device, or of all, within the block.

    Messages take their time: wait with `until` for the last one that the test looks at.
    """
    client = proxy._client  # noqa: SLF001 - collects through the connection that the test uses
    targets = [f"{proxy.device_id}.{key}" for key in keys] or [proxy.device_id]
    updates = Updates()
    begun = asyncio.Event()

    async def collect() -> None:
        async for update in watch:
            updates.append(update)
            begun.set()

    async with client.watch(*targets) as watch:
        task = asyncio.create_task(collect())
        try:
            await begun.wait()
            yield updates
        finally:
            watch.close()
            await task
