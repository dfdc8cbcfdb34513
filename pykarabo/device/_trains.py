"""Train ids for the devices of a server, from the domain's train clock."""

from typing import Final

from pykarabo.client import Change, Client, Follower, Live, Update
from pykarabo.data import PropertyValue, TrainReference
from pykarabo.transport import Clock

from ._clock_watch import OffsetMeter

TRAIN_KEY: Final = "train_id"
PERIOD_KEY: Final = "period"


class TimeSource:
    """Follows a train clock and keeps the relation of time and train ids.

    Between ticks, and when ticks are missing, the train id is extrapolated from the latest tick. A
    clock that begins again at a lower id is followed. A tick without a train id, or before the
    period is known, says nothing.

    Args:
        device_id: the train clock; None means that there are no train ids.

    Attributes:
        reference: how train ids relate to time, None before the first tick.
        offset: how far this host's UTC is ahead of the train clock's.
    """

    def __init__(self, client: Client, device_id: str | None, clock: Clock) -> None:
        self.reference: TrainReference | None = None
        self.offset = OffsetMeter()
        self._clock = clock
        self._client = client
        self._device_id = device_id
        self._period_ns = 0
        self._follower: Follower | None = None

    def start(self) -> None:
        """Begin to follow the clock, whether it exists yet or not."""
        if self._device_id is not None:
            self._follower = self._client.follow(self._device_id, self._update)

    def close(self) -> None:
        """Stop following."""
        if self._follower is not None and self._device_id is not None:
            self._client.unfollow(self._device_id, self._update)
            self._follower = None

    def _update(self, update: Update) -> None:
        if not isinstance(update, Change | Live):
            return
        period = update.values.get(PERIOD_KEY)
        if period is not None:
            self._period_ns = round(float(period.value) * 1e9)
        tick = update.values.get(TRAIN_KEY)
        if tick is not None:
            self._tick(tick)
            if isinstance(update, Change):
                self.offset.take(tick.timestamp.to_ns(), self._clock.time_ns())

    def _tick(self, tick: PropertyValue) -> None:
        if self._period_ns > 0 and tick.value > 0:
            self.reference = TrainReference(
                int(tick.value), tick.timestamp.to_ns(), self._period_ns
            )
