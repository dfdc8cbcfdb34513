"""Calls that wait until their caller has taken what it was answered before.

ZeroMQ keeps in our memory what a client does not read. A client that is frozen, or asks for more
than its network carries, is therefore answered only some megabytes ahead of what it has taken.
"""

import asyncio

from pykarabo.errors import ExpiredError
from pykarabo.transport import Clock
from pykarabo.wire import Execute, ServerSessions


class AnswerRoom:
    """Knows which calls wait for room among the answers of their callers."""

    def __init__(self, sessions: ServerSessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._waiting: dict[bytes, set[asyncio.Future[None]]] = {}

    async def wait(self, call: Execute) -> None:
        """Wait for room for another answer.

        Raises:
            ExpiredError: there is none in the time of the call.
        """
        if self._sessions.has_room(call.peer):
            return
        try:
            async with asyncio.timeout((call.deadline_ns - self._clock.monotonic_ns()) / 1e9):
                while not self._sessions.has_room(call.peer):
                    await self._news(call.peer)
        except TimeoutError:
            raise ExpiredError(
                "the answers of earlier calls were not taken in time",
                remedy="nothing was executed: take what was answered before calling again",
            ) from None

    async def _news(self, peer: bytes) -> None:
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(peer, set())
        waiting.add(news)
        try:
            await news
        finally:
            waiting.discard(news)
            if not waiting and self._waiting.get(peer) is waiting:
                del self._waiting[peer]

    def took(self, peer: bytes) -> None:
        """A peer has taken answers: its calls look again."""
        for news in tuple(self._waiting.get(peer, ())):
            if not news.done():
                news.set_result(None)
