"""The values of the control sources, train by train: the last value stays valid until the next."""

from bisect import insort
from collections.abc import Mapping
from typing import NamedTuple

from pykarabo.data import PropertyValue, same
from pykarabo_services.kernel._sizes import size_of
from pykarabo_services.kernel.losses import LossCounter, LossReason


class _Change(NamedTuple):
    train_id: int
    arrival: int
    device_id: str
    key: str
    value: PropertyValue


class ControlValues:
    """Property values waiting for their train, and the values that are valid in the newest train.

    Snapshots are shared between trains as long as a device does not change: nobody may alter them.
    """

    __slots__ = ("_arrivals", "_current", "_losses", "_waiting", "nbytes")

    def __init__(self, losses: LossCounter) -> None:
        self._losses = losses
        self._current: dict[str, dict[str, PropertyValue]] = {}
        self._waiting: list[_Change] = []
        self._arrivals = 0
        self.nbytes = 0

    def put(
        self, device_id: str, key: str, value: PropertyValue, *, train_id: int, released: int
    ) -> None:
        """Take a value for the trains from `train_id` on; `released` is the last one given out."""
        current = self._current.get(device_id, {}).get(key)
        if current is not None and _is_repeated(current, value):
            return
        if train_id <= released:
            self._losses.add(device_id, LossReason.LATE, train_id=train_id, key=key)
            if current is not None and current.timestamp.train_id > train_id:
                return
        self._arrivals += 1
        insort(self._waiting, _Change(train_id, self._arrivals, device_id, key, value), key=_order)
        self.nbytes += size_of(value.value)

    def snapshot(self, train_id: int) -> dict[str, Mapping[str, PropertyValue]]:
        """Apply what is waiting for trains up to `train_id` and return every device's values."""
        fresh: set[str] = set()
        taken = 0
        for change in self._waiting:
            if change.train_id > train_id:
                break
            taken += 1
            self.nbytes -= size_of(change.value.value)
            self._apply(change, fresh)
        del self._waiting[:taken]
        return dict(self._current)

    def _apply(self, change: _Change, fresh: set[str]) -> None:
        values = self._current.get(change.device_id, {})
        if change.device_id not in fresh:
            values = dict(values)
            self._current[change.device_id] = values
            fresh.add(change.device_id)
        values[change.key] = change.value


def _order(change: _Change) -> tuple[int, int]:
    return change.train_id, change.arrival


def _is_repeated(current: PropertyValue, value: PropertyValue) -> bool:
    """Whether a value was sent twice, as the snapshot after a gap in the event stream does."""
    if current is value:
        return True
    stamp = value.timestamp
    return stamp.seconds > 0 and stamp == current.timestamp and same(current.value, value.value)
