"""The sending side of a stream with a choice: one for all subscribers that chose the same."""

from collections.abc import Container, Iterable

from pykarabo.data import Row

from ._choice import Choice
from ._publisher import EventSource


class ChosenStream:
    """Keeps the latest value of each chosen property until the next message is due.

    A subscriber that wants ten messages a second costs the device ten, however often its
    properties change.
    """

    __slots__ = ("_latest", "_period_ns", "_sent_ns", "_wanted", "choice", "source")

    def __init__(self, source: EventSource, choice: Choice) -> None:
        self.source = source
        self.choice = choice
        rate = choice.max_rate_hz
        self._period_ns = 0 if rate is None else round(1e9 / rate)
        self._sent_ns: int | None = None
        self._latest: dict[str, Row] = {}
        self._wanted: dict[str, bool] = {}

    def offer(self, rows: Iterable[Row]) -> None:
        """Take changes of the device."""
        wanted = self._wanted
        for row in rows:
            key = row[0]
            if key not in wanted:
                wanted[key] = self.choice.wants(key)
            if wanted[key]:
                self._latest[key] = row

    def keep(self, keys: Container[str]) -> None:
        """Forget what waits of other properties than these: the device has them no more."""
        self._latest = {key: row for key, row in self._latest.items() if key in keys}
        self._wanted.clear()

    def due_ns(self, now_ns: int) -> int | None:
        """Return when the next message may be sent; None when there is nothing to send."""
        if not self._latest:
            return None
        return now_ns if self._sent_ns is None else max(now_ns, self._sent_ns + self._period_ns)

    def take(self, now_ns: int) -> list[Row]:
        """Return what the message that is sent now shows."""
        rows = self.choice.reduce(self._latest.values())
        self._latest.clear()
        self._sent_ns = now_ns
        return rows
