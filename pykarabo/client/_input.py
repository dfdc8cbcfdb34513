"""Reading a pipeline output: items one by one, with credits, through restarts."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import (
    LimitExceededError,
    MalformedMessageError,
    PykaraboError,
    VersionMismatchError,
)
from pykarabo.transport import DealerPort, TaskOwner, is_plain
from pykarabo.wire import (
    KEEPALIVE_S,
    Attach,
    Closed,
    Ended,
    Frame,
    Item,
    Opened,
    PipelineInput,
    Refused,
)

from ._backoff import Backoff

if TYPE_CHECKING:
    from ._client import Client

ATTACH_TIMEOUT_S: Final = 3.0
_BAD_MESSAGE: Final = (MalformedMessageError, LimitExceededError, VersionMismatchError)


class _Connection:
    """One life of the connection to an output."""

    def __init__(self, pipe: PipelineInput, deliver: Callable[[Item | Ended], None]) -> None:
        self.pipe = pipe
        self.port: DealerPort | None = None
        self.opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.malformed = 0
        self._deliver = deliver

    def connected(self) -> None:
        """The transport is connected: attach."""
        self.send(self.pipe.hello())

    def send(self, frames: list[Frame]) -> None:
        """Send without waiting; a connection that cannot is over."""
        if self.port is not None and not self.port.send(frames):
            self.disconnected("its queue is full or the connection is gone")

    def received(self, frames: list[Frame]) -> None:
        """Take a message of the output."""
        try:
            event = self.pipe.receive(frames)
        except _BAD_MESSAGE:
            self.malformed += 1
            return
        if isinstance(event, Item | Ended):
            self._deliver(event)
        elif isinstance(event, Opened) and not self.opened.done():
            self.opened.set_result(event)
        elif isinstance(event, Refused):
            self.disconnected(str(event.error))
        elif isinstance(event, Closed):
            self.disconnected("the device was stopped")

    def disconnected(self, reason: str) -> None:
        """The connection is over."""
        if not self.over.done():
            self.over.set_result(reason)

    def close(self) -> None:
        """Say goodbye and close."""
        if self.port is not None:
            self.port.send(self.pipe.goodbye())
            self.port.close()
            self.port = None


class PipelineReader(AsyncIterator[Item]):
    """The items of one output, in order.

    Iterating ends with the stream (`Ended` is not handed out; see `ended`). A credit is given
    back when the next item is asked for, so at most `credit` items are under way or waiting.

    Attributes:
        received: items handed out.
        missed: items of the output that were dropped for this reader; what was lost while not
            connected is unknown and counted in `interruptions`.
        interruptions: how often the connection was lost.
        ended: whether the output has said that no more items come.
    """

    def __init__(
        self,
        client: "Client",
        device_id: str,
        output: str,
        *,
        policy: str,
        credit: int,
        on_missed: Callable[[int], None] | None,
    ) -> None:
        self.device_id = device_id
        self.output = output
        self.received = 0
        self.missed = 0
        self.interruptions = 0
        self.ended = False
        self.connected = asyncio.Event()
        self._client = client
        self._attach = Attach(device_id, output, policy, credit)
        self._on_missed = on_missed
        self._items: deque[Item] = deque()
        self._news = asyncio.Event()
        self._connection: _Connection | None = None
        self._task: asyncio.Task[Any] | None = None
        self._owed = 0
        self._open = True

    @property
    def source(self) -> str:
        """The name of the data's source: ``DEVICE:output``."""
        return f"{self.device_id}:{self.output}"

    def start(self, tasks: TaskOwner) -> None:
        """Begin to connect; the connection is kept up until `aclose`."""
        self._task = tasks.spawn(self._run(), name=f"input {self.source}")

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._connect_once(backoff)
            except PykaraboError:
                self._client.forget_record(self.device_id)
            await asyncio.sleep(backoff.next_s())

    async def _connect_once(self, backoff: Backoff) -> None:
        _link, target = await self._client.reach(self.device_id)
        record = await self._client.resolve(self.device_id)
        pipe = PipelineInput(self._attach, target.instance, checksum=is_plain(record.data))
        connection = _Connection(pipe, self._deliver)
        try:
            connection.port = await self._client.transport.connect_dealer(
                record.data, connection, bulk=True
            )
            await self._keep(connection, backoff)
        finally:
            self._connection = None
            self.connected.clear()
            connection.close()
            self._client.forget_record(self.device_id)

    async def _keep(self, connection: _Connection, backoff: Backoff) -> None:
        try:
            async with asyncio.timeout(ATTACH_TIMEOUT_S):
                await asyncio.wait(
                    (connection.opened, connection.over), return_when=asyncio.FIRST_COMPLETED
                )
        except TimeoutError:
            return
        if connection.over.done():
            return
        backoff.reset()
        self._owed = 0
        self._connection = connection
        self.connected.set()
        while not connection.over.done():
            await asyncio.wait((connection.over,), timeout=KEEPALIVE_S)
            connection.send(connection.pipe.grant(0))
        self.interruptions += 1

    def _deliver(self, event: Item | Ended) -> None:
        if event.missed:
            self.missed += event.missed
            if self._on_missed is not None:
                self._on_missed(event.missed)
        if isinstance(event, Ended):
            self.ended = True
        else:
            self.ended = False
            self._items.append(event)
        self._news.set()

    def __aiter__(self) -> "PipelineReader":
        return self

    async def __anext__(self) -> Item:
        self._give_back()
        while not self._items:
            if self.ended or not self._open:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self.received += 1
        self._owed = 1
        return self._items.popleft()

    def _give_back(self) -> None:
        owed, self._owed = self._owed, 0
        if owed and self._connection is not None:
            self._connection.send(self._connection.pipe.grant(owed))

    async def aclose(self) -> None:
        """Detach from the output."""
        self._open = False
        self._news.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
