"""A subscription is in effect when its echo comes; one that does not come is asked for again."""

import asyncio
from typing import Any

from pykarabo.client._subscriptions import ECHO_S, Followed, Subscriptions
from pykarabo.data import Schema
from pykarabo.errors import PykaraboError
from pykarabo.testing import FakeClock
from pykarabo.transport import Connection, MemoryTransport, TaskOwner
from pykarabo.wire import (
    DeviceStream,
    Open,
    Publisher,
    Request,
    StreamOutput,
    StreamState,
    Synchronised,
    Target,
)

_LIFE = b"A" * 16


class _Sink:
    schema: Schema | None = None

    def __init__(self) -> None:
        self.outputs: list[StreamOutput] = []

    def stream(self, outputs: list[StreamOutput]) -> None:
        self.outputs += outputs

    def stream_failed(self, error: PykaraboError) -> None:
        raise error


class _Calls:
    async def call(self, request: Request, target: Target, *, timeout_s: float) -> tuple[Any, int]:
        del target, timeout_s
        assert isinstance(request, Open)
        return [[[[0, _LIFE, 1, "", []], None]], {"": Schema("Motor").to_wire()}], 0


def test_lost_echo_is_asked_for_again() -> None:
    async def scenario() -> None:
        transport, clock, tasks, publisher = (
            MemoryTransport(),
            FakeClock(),
            TaskOwner("test"),
            Publisher(_LIFE, 1),
        )
        asked: list[bytes] = []

        def subscribed(frame: Any, _connection: Connection) -> None:
            echo = publisher.subscribed(frame)
            if echo is not None:
                (message,) = echo
                asked.append(bytes(message[0]))
                if len(asked) > 1:
                    port.publish(message)

        port = transport.bind_publisher("events", subscribed)
        sink = _Sink()
        subscriptions = Subscriptions(transport, clock, _Calls(), tasks)
        stream = DeviceStream()
        entry = Followed("D/1", "D/1", Target(_LIFE, 1), stream, sink, latest=False)
        await subscriptions.follow(port.endpoint, entry)
        async with asyncio.timeout(5):
            while not asked:
                await asyncio.sleep(0)
            assert stream.state is StreamState.UNSYNCED
            clock.advance(ECHO_S + 0.1)
            while not any(isinstance(output, Synchronised) for output in sink.outputs):
                await asyncio.sleep(0.01)
        assert len(asked) == 2
        assert len(set(asked)) == 2
        subscriptions.unfollow(entry)
        await tasks.aclose()
        port.close()

    asyncio.run(scenario())
