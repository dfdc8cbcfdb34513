"""A client that is behind skips what waits, and does not fall further behind by looking for it."""

import asyncio
from typing import Any, Final

from pykarabo.client._subscriptions import SKIP_NS, SLOW_S, Followed, Subscriptions
from pykarabo.data import Schema
from pykarabo.testing import FakeClock
from pykarabo.transport import Connection, MemoryTransport, TaskOwner
from pykarabo.wire import (
    DeviceStream,
    EventSource,
    Frame,
    Open,
    Publisher,
    Request,
    StreamState,
    Target,
)

from .test_echoes import _LIFE, _Sink

_CLOSE_S: Final = 1e-3


class _Calls:
    """Answers what the stream shows: nothing, up to its latest event."""

    def __init__(self, source: EventSource) -> None:
        self._source = source

    async def call(self, request: Request, target: Target, *, timeout_s: float) -> tuple[Any, int]:
        del target, timeout_s
        assert isinstance(request, Open)
        shown = [self._source.sequence, _LIFE, 1, "", []]
        return [[[shown, None]], {"": Schema("Motor").to_wire()}], 0


async def _until_live(stream: DeviceStream) -> None:
    async with asyncio.timeout(5):
        while stream.state is not StreamState.LIVE:
            await asyncio.sleep(0)


async def _arrived(subscriptions: Subscriptions, lag_s: float) -> None:
    async with asyncio.timeout(5):
        while abs(subscriptions.event_lag_s - lag_s) > _CLOSE_S:
            await asyncio.sleep(0)


def test_who_is_behind_looks_through_all_of_its_streams_only_now_and_then() -> None:
    async def scenario() -> None:
        transport, clock, tasks = MemoryTransport(), FakeClock(), TaskOwner("test")
        publisher = Publisher(_LIFE, 1)
        source = EventSource("D/1", _LIFE, 1, journaled=False)

        def subscribed(frame: Frame, _connection: Connection) -> None:
            for message in publisher.subscribed(frame) or ():
                port.publish(message)

        port = transport.bind_publisher("events", subscribed)
        subscriptions = Subscriptions(transport, clock, _Calls(source), tasks)
        stream = DeviceStream()
        entry = Followed("D/1", "D/1", Target(_LIFE, 1), stream, _Sink(), latest=True)
        await subscriptions.follow(port.endpoint, entry)
        await _until_live(stream)

        async def hear(lag_s: float) -> None:
            sent_ns = clock.monotonic_ns() - round(lag_s * 1e9)
            (message,) = publisher.event(source, [], sent_ns)
            port.publish(message)
            await _arrived(subscriptions, lag_s)

        clock.advance(10.0)
        await hear(0.0)
        await hear(2 * SLOW_S)
        assert subscriptions.slow_count == 1
        await _until_live(stream)
        await hear(3 * SLOW_S)
        assert subscriptions.slow_count == 1
        assert stream.state is StreamState.LIVE
        clock.advance(SKIP_NS / 1e9)
        await hear(4 * SLOW_S)
        assert subscriptions.slow_count == 2
        subscriptions.unfollow(entry)
        await tasks.aclose()
        port.close()

    asyncio.run(scenario())
