"""Receiving a device's stream through restarts and lost connections."""

import asyncio
from typing import TYPE_CHECKING

from pykarabo.data import Schema
from pykarabo.errors import PykaraboError
from pykarabo.wire import DeviceStream, StreamOutput, Target

from ._backoff import Backoff
from ._subscriptions import ENDED, Followed

if TYPE_CHECKING:
    from ._client import Client


class StreamFollower:
    """Receives one stream of a device as long as `run` runs.

    What comes goes to `stream`, in order: a class of its own says what becomes of it.

    Args:
        name: the stream's name.
        stream: tells what is missing, and may go on where an earlier process has stopped.
        latest: only present values matter; when this program is too slow, old ones are skipped.

    Attributes:
        schema: the device's schema as far as it was told; who sets it is told of changes only.
        target: the life of the device that is followed now, or was last.
        reason: why nothing comes.
    """

    def __init__(
        self, client: "Client", device_id: str, name: str, stream: DeviceStream, *, latest: bool
    ) -> None:
        self.device_id = device_id
        self.schema: Schema | None = None
        self.target = Target()
        self.reason = "not connected yet"
        self._client = client
        self._name = name
        self._stream = stream
        self._latest = latest
        self._synchronised = False
        self._down: asyncio.Future[PykaraboError] | None = None
        self._wake = asyncio.Event()

    @property
    def missed(self) -> int:
        """How many events of known number were lost so far."""
        return self._stream.missed_total

    @property
    def recovered(self) -> int:
        """How many events were lost and came late."""
        return self._stream.recovered_total

    @property
    def sequence(self) -> int:
        """The number of the device's latest event that was received."""
        return self._stream.sequence

    def wake(self) -> None:
        """Try again now: the directory has news of the device."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the device until cancelled."""
        backoff = Backoff()
        while True:
            try:
                error = await self._follow_once(backoff)
            except PykaraboError as caught:
                error = caught
            self.failed(error)
            self._client.forget_record(self.device_id)
            await self._pause(backoff.next_s())

    async def _pause(self, wait_s: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _follow_once(self, backoff: Backoff) -> PykaraboError:
        link, target = await self._client.reach(self.device_id)
        self.target = target
        await self.prepare()
        self._down = asyncio.get_running_loop().create_future()
        entry = Followed(self._name, self.device_id, target, self._stream, self, self._latest)
        try:
            await link.follow(entry)
            error = await self._down
        finally:
            self._down = None
            link.unfollow(entry)
        if self._synchronised:
            self._synchronised = False
            backoff.reset()
        return error

    async def prepare(self) -> None:
        """Get ready, each time before the stream is received."""

    def stream_failed(self, error: PykaraboError) -> None:
        """The device cannot be followed on this link any more."""
        if self._down is not None and not self._down.done():
            self._down.set_result(error)

    def stream(self, outputs: list[StreamOutput]) -> None:
        """Take what the stream hands on."""
        raise NotImplementedError

    def failed(self, error: PykaraboError) -> None:
        """Nothing comes, until the device is found again."""
        raise NotImplementedError


def has_ended(error: PykaraboError) -> bool:
    """Tell whether a device cannot be followed because it has ended in order."""
    return ENDED in error.details
