"""What a property was and what it becomes, without a hole and without a double.

The changes are followed first. Their beginning has a number; the archive is asked until it has
everything up to that number, and what it has beyond is left out: those changes come live.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pykarabo.data import PropertyValue

from ._history import OPEN_END, HistoryPages, HistoryRequest, now_ns
from ._history_types import History, HistoryGap
from ._steps import acarry_out, carry_out

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._changes import AsyncChanges, Changes, OnGap
    from ._client import Client

BEHIND_S: Final = 10.0
"""An archive that is further behind is not waited for: what is missing is told as a gap."""
_LOOK_S: Final = 0.1


class _Join:
    """Where history and changes meet: a message of a life of the device."""

    def __init__(self, request: HistoryRequest, epoch: int, sequence: int) -> None:
        self._request = request
        self._meeting = (epoch, sequence)
        self._deadline = time.monotonic() + BEHIND_S

    def pages(self) -> HistoryPages:
        """Return what reads the history to its end, which by the device's clock may be to come."""
        request = replace(self._request, until=OPEN_END, operator="raw")
        return HistoryPages(request, now_ns(), [])

    def is_over(self, pages: HistoryPages) -> bool:
        """Tell whether the archive has all up to the meeting, or is too far behind."""
        return self._has_all(pages) or time.monotonic() > self._deadline

    def _has_all(self, pages: HistoryPages) -> bool:
        return pages.mark is not None and pages.mark >= self._meeting

    def cut(self, history: History, pages: HistoryPages) -> History:
        """Leave out what comes live; where the archive is behind, say so."""
        epoch, sequence = self._meeting
        epochs, numbers = history["epoch"], history["seq"]
        kept = (epochs < epoch) | ((epochs == epoch) & (numbers <= sequence))
        columns = {name: column[kept] for name, column in history.columns.items()}
        last_ns = int(columns["time_ns"][-1]) if kept.any() else history.start_ns
        end_ns = max(pages.now_ns, last_ns + 1)
        gaps = history.gaps
        if not self._has_all(pages):
            reason = "the archive has not got them yet"
            gaps = (*gaps, HistoryGap(last_ns, end_ns, "behind", None, reason))
        return replace(history, columns=columns, gaps=gaps, end_ns=end_ns)


class AsyncTail(AsyncIterator[PropertyValue]):
    """The history of a property and then its changes; for an ``async with``.

    Attributes:
        history: what it was, up to the moment from which on changes come one by one.
    """

    history: History

    def __init__(self, client: "Client", request: HistoryRequest, on_gap: "OnGap | None") -> None:
        self._client = client
        self._request = request
        self._on_gap = on_gap
        self._changes: AsyncChanges[PropertyValue] | None = None

    async def __aenter__(self) -> "AsyncTail":
        request = self._request
        proxy = await self._client.device(request.device_id, follow=False)
        changes = proxy.changes(request.key, on_gap=self._on_gap)
        await changes.start()
        self._changes = changes
        try:
            self.history = await self._up_to(changes)
        except BaseException:
            changes.close()
            raise
        return self

    async def _up_to(self, changes: "AsyncChanges[PropertyValue]") -> History:
        record = await self._client.resolve(self._request.device_id)
        join = _Join(self._request, record.epoch, changes.began_at)
        while True:
            pages = join.pages()
            history = await acarry_out(self._client, pages.whole())
            if join.is_over(pages):
                return join.cut(history, pages)
            await asyncio.sleep(_LOOK_S)

    async def __anext__(self) -> PropertyValue:
        if self._changes is None:
            raise StopAsyncIteration
        return await anext(self._changes)

    async def __aexit__(self, *_: object) -> None:
        if self._changes is not None:
            self._changes.close()
            self._changes = None


class Tail(Iterator[PropertyValue]):
    """The blocking twin of `AsyncTail`; for a ``with``."""

    history: History

    def __init__(
        self, client: "BlockingClient", request: HistoryRequest, on_gap: "OnGap | None"
    ) -> None:
        self._client = client
        self._request = request
        self._on_gap = on_gap
        self._changes: Changes[PropertyValue] | None = None

    def __enter__(self) -> "Tail":
        request = self._request
        changes = self._client.device(request.device_id).changes(request.key, on_gap=self._on_gap)
        changes.start()
        self._changes = changes
        try:
            self.history = self._up_to(changes)
        except BaseException:
            changes.close()
            raise
        return self

    def _up_to(self, changes: "Changes[PropertyValue]") -> History:
        record = self._client.resolve(self._request.device_id)
        join = _Join(self._request, record.epoch, changes.began_at)
        while True:
            pages = join.pages()
            history = carry_out(self._client, pages.whole())
            if join.is_over(pages):
                return join.cut(history, pages)
            time.sleep(_LOOK_S)

    def __next__(self) -> PropertyValue:
        if self._changes is None:
            raise StopIteration
        return next(self._changes)

    def get(self, *, timeout_s: float | None = None) -> PropertyValue:
        """Return the next change; see `Changes.get`."""
        if self._changes is None:
            raise StopIteration
        return self._changes.get(timeout_s=timeout_s)

    def __exit__(self, *_: object) -> None:
        if self._changes is not None:
            self._changes.close()
            self._changes = None
