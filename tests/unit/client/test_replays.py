"""How lost events are asked for, and what follows an answer that cannot be read."""

import asyncio
from typing import Any

from pykarabo.client._subscriptions import MAX_REPLAYS, Followed, Subscriptions
from pykarabo.data import Schema
from pykarabo.transport import MemoryTransport, SystemClock, TaskOwner
from pykarabo.wire import (
    DeviceStream,
    Header,
    Kind,
    NeedReplay,
    Open,
    Request,
    StreamOutput,
    Target,
)

_LIFE = b"A" * 16


class _Sink:
    schema: Schema | None = None

    def stream(self, outputs: list[StreamOutput]) -> None:
        pass

    def stream_failed(self, error: Exception) -> None:
        pass


class _Calls:
    def __init__(self, answer: Any) -> None:
        self.under_way = self.most = 0
        self.asked: list[Request] = []
        self._answer = answer

    async def call(self, request: Request, target: Target, *, timeout_s: float) -> tuple[Any, int]:
        del target, timeout_s
        self.asked.append(request)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        return self._answer, 0


def _replaying(name: str) -> tuple[Followed, NeedReplay]:
    """Return a subscriber whose stream has lost something."""
    stream = DeviceStream(replays=True)
    stream.echo()
    stream.snapshot(Header(Kind.REPLY, _LIFE, 1, 5), [], 1)
    (wanted,) = stream.doubt()
    assert isinstance(wanted, NeedReplay)
    return Followed(name, name, Target(_LIFE, 1), stream, _Sink(), latest=False), wanted


async def _replay(calls: _Calls, count: int) -> list[Followed]:
    tasks = TaskOwner("test")
    subscriptions = Subscriptions(MemoryTransport(), SystemClock(), calls, tasks)
    entries = [_replaying(f"D/{number}") for number in range(count)]
    for entry, _wanted in entries:
        subscriptions._followed[entry.name] = [entry]
    await asyncio.gather(*(subscriptions._replay(*item) for item in entries))
    await asyncio.sleep(0.01)
    await tasks.aclose()
    return [entry for entry, _wanted in entries]


def test_only_some_replays_are_asked_for_at_once() -> None:
    calls = _Calls([[], False])
    entries = asyncio.run(_replay(calls, 5 * MAX_REPLAYS))
    assert len(calls.asked) == 5 * MAX_REPLAYS
    assert calls.most == MAX_REPLAYS
    assert all(entry.stream.is_live for entry in entries)


def test_present_values_follow_an_answer_that_cannot_be_read() -> None:
    calls = _Calls("nonsense")
    asyncio.run(_replay(calls, 1))
    assert any(isinstance(request, Open) for request in calls.asked)
