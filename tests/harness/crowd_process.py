"""A crowd of clients in one process: `python crowd_process.py ENDPOINT COUNT`.

Each does at the wire what a client does when it has lost its server: it connects with keys, greets,
and takes the topology of the directory; it waits a growing, scattered time before it tries again.
They are sessions and not whole clients, so that a host with two cores can hold thousands.

It prints ``there`` when all have the topology, and for each line that it reads, when all have it
from another life of the directory than before, the times in seconds as JSON.
"""

import asyncio
import contextlib
import json
import resource
import secrets
import sys
import time
from typing import Final

from pykarabo.client import DIRECTORY_ID, own_identity
from pykarabo.client._backoff import Backoff
from pykarabo.errors import PykaraboError
from pykarabo.transport import DealerPort, ZmqTransport
from pykarabo.wire import (
    Answered,
    Call,
    ClientSession,
    Frame,
    LinkState,
    Locate,
    Rejected,
    Target,
    Welcomed,
    is_bundle,
    unbundled,
)

_TIMEOUT_S: Final = 30.0
_AGAIN_S: Final = 0.3
_FILES: Final = 60_000


class Member:
    """One client of the crowd.

    Attributes:
        life: instance of the directory from which it has the topology.
        at: when it came.
        attempts: how often it has connected.
    """

    def __init__(self, crowd: "Crowd") -> None:
        self.life = b""
        self.at = 0.0
        self.attempts = 0
        self._crowd = crowd
        self._backoff = Backoff()
        self._line = secrets.token_bytes(8)
        self._session: ClientSession
        self._port: DealerPort | None = None
        self._located = b""
        self._directory = Target(b"", 0)

    async def connect(self) -> None:
        """Try once; `disconnected` tries again."""
        self.attempts += 1
        self._session = ClientSession(secrets.token_bytes(8), self._crowd.identity, line=self._line)
        try:
            self._port = await self._crowd.transport.connect_dealer(self._crowd.endpoint, self)
        except PykaraboError as error:
            self.disconnected(str(error))

    def connected(self) -> None:
        """Greet."""
        assert self._port is not None
        self._port.send(self._session.connected(time.monotonic_ns()))

    def received(self, frames: list[Frame]) -> None:
        """Locate the directory, ask it for the topology, note that it came."""
        for message in unbundled(frames) if is_bundle(frames) else [frames]:
            event = self._session.receive(message, time.monotonic_ns())
            assert not isinstance(event, Rejected), event
            if isinstance(event, Welcomed):
                self._located = event.welcome.instance
                self._ask(Locate([DIRECTORY_ID]), Target(event.welcome.instance, 0))
            elif isinstance(event, Answered) and isinstance(event.result, list):
                ((instance, epoch),) = event.result
                self._directory = Target(instance, epoch)
                self._take_topology()
            elif isinstance(event, Answered) and not event.result["devices"]:
                # The servers have not told the directory yet what there is.
                asyncio.get_running_loop().call_later(_AGAIN_S, self._take_topology)
            elif isinstance(event, Answered):
                self.life, self.at = self._located, time.monotonic()
                self._backoff.reset()
                self._crowd.news.set()

    def _take_topology(self) -> None:
        if self._session.state is LinkState.READY:
            self._ask(Call(DIRECTORY_ID, "topology", ["*"]), self._directory)

    def _ask(self, request: Call | Locate, target: Target) -> None:
        assert self._port is not None
        _id, frames = self._session.call(
            request, target, timeout_s=_TIMEOUT_S, now_ns=time.monotonic_ns()
        )
        self._port.send(frames)

    def disconnected(self, reason: str) -> None:
        """Try again after a while."""
        self._session.disconnected(reason)
        loop = asyncio.get_running_loop()
        loop.call_later(self._backoff.next_s(), lambda: self._crowd.spawn(self))


class Crowd:
    """All of them.

    Attributes:
        news: set when one has the topology.
    """

    def __init__(self, endpoint: str, count: int) -> None:
        self.endpoint = endpoint
        self.identity = own_identity()
        self.transport = ZmqTransport()
        self.news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._members = [Member(self) for _ in range(count)]

    def spawn(self, member: Member) -> None:
        """Have one connect."""
        task = asyncio.get_running_loop().create_task(member.connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def begin(self) -> None:
        """Have all connect."""
        for member in self._members:
            self.spawn(member)

    async def all_have_it(self, *, other_than: bytes) -> bytes:
        """Wait until all have the topology from one life of the directory, and return it."""
        while True:
            lives = {member.life for member in self._members}
            if len(lives) == 1 and not lives & {b"", other_than}:
                return lives.pop()
            self.news.clear()
            await self.news.wait()

    def times(self) -> dict[str, float]:
        """Return when the last one had it, and how often all have connected."""
        return {
            "last": max(member.at for member in self._members),
            "first": min(member.at for member in self._members),
            "attempts": sum(member.attempts for member in self._members),
        }


async def _run(endpoint: str, count: int) -> None:
    crowd = Crowd(endpoint, count)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd.begin()
    life = await crowd.all_have_it(other_than=b"")
    print("there", flush=True)
    while await reader.readline():
        life = await crowd.all_have_it(other_than=life)
        print(json.dumps(crowd.times()), flush=True)


def main() -> None:
    """Do what the command line says."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
