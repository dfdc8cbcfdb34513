"""A TCP proxy that treats connections badly, as networks do.

A server binds 127.0.0.1 and advertises 127.0.0.2; the proxy listens there on the same ports.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Final

SERVER_HOST: Final = "127.0.0.1"
PROXY_HOST: Final = "127.0.0.2"
_CHUNK: Final = 64 * 1024
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_START_S: Final = 10.0
_RECORDED: Final = 2**20
"""So much of a connection is kept."""


class Proxy:
    """Forwards TCP between 127.0.0.2 and 127.0.0.1; use it as a context manager.

    Args:
        ports: listened on and forwarded to.

    Attributes:
        resets: how many connections it has reset.
        flipped: how many bits it has flipped.
        repeated: how many pieces it has sent twice.
        forwarded: how many bytes it has forwarded.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        self._ports = list(ports)
        self._random = random.Random(1)
        self._pairs: set[_Pair] = set()
        self._resetting: asyncio.Task[None] | None = None
        self._open: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault proxy")
        self.resets = 0
        self.flipped = 0
        self.repeated = 0
        self._heard: list[tuple[int, bytearray]] = []
        self.forwarded = 0
        self._latency_s = 0.0
        self._flip_share = 0.0
        self._repeat_share = 0.0
        self._bytes_per_s = 0.0

    def __enter__(self) -> "Proxy":
        self._thread.start()
        assert self._ready.wait(_START_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    # -- faults ---------------------------------------------------------------------------------

    def delay(self, seconds: float) -> None:
        """Deliver everything this much later, in each direction."""
        self._latency_s = seconds

    def limit(self, bytes_per_s: float) -> None:
        """Forward no more than this per connection and direction; 0 ends it."""
        self._bytes_per_s = bytes_per_s

    def flip(self, share: float) -> None:
        """Flip one random bit in this share of the pieces forwarded; 0 ends it."""
        self._flip_share = share

    def repeat(self, share: float) -> None:
        """Send so many of all pieces twice."""
        self._repeat_share = share

    @property
    def tampered(self) -> int:
        """How many pieces were not forwarded as they were."""
        return self.flipped + self.repeated

    @property
    def recorded(self) -> list[tuple[int, bytes]]:
        """What was sent to which port on each connection so far."""
        return [(port, bytes(heard)) for port, heard in self._heard]

    def record(self, port: int) -> bytearray:
        """Begin to keep what is sent on a connection."""
        self._heard.append((port, bytearray()))
        return self._heard[-1][1]

    def reset(self) -> None:
        """Reset every connection now."""
        self._tell(self._reset)

    def reset_every(self, seconds: float) -> None:
        """Reset every connection again and again; 0 ends it."""
        self._tell(lambda: self._reset_every(seconds))

    def cut(self) -> None:
        """Swallow everything from now on, in both directions, without a word."""
        self._tell(self._open.clear)

    def heal(self) -> None:
        """Deliver what was swallowed, as TCP does, and go on."""
        self._tell(self._open.set)

    def _tell(self, action: Callable[[], object]) -> None:
        """Run an action in the proxy's thread and wait for it."""
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        assert done.wait(_START_S)

    # -- in the proxy's thread ------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        async with contextlib.AsyncExitStack() as stack:
            for port in self._ports:
                listener = socket.create_server((PROXY_HOST, port), reuse_port=False)
                stack.callback(listener.close)
                listener.setblocking(False)
                accepting = asyncio.create_task(self._accept(listener, port))
                stack.push_async_callback(_cancel, accepting)
            self._ready.set()
            await self._end.wait()
            if self._resetting is not None:
                await _cancel(self._resetting)
        for pair in list(self._pairs):
            await pair.close()

    async def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            near, _address = await self._loop.sock_accept(listener)
            far = socket.socket()
            far.setblocking(False)
            try:
                await self._loop.sock_connect(far, (SERVER_HOST, port))
            except OSError:
                _abort(near)
                far.close()
                continue
            pair = _Pair(self, near, far, self.record(port))
            self._pairs.add(pair)
            pair.start()

    def _reset(self) -> None:
        for pair in list(self._pairs):
            self.resets += 1
            pair.abort()

    def _reset_every(self, seconds: float) -> None:
        if self._resetting is not None:
            self._resetting.cancel()
        self._resetting = asyncio.create_task(self._keep_resetting(seconds)) if seconds else None

    async def _keep_resetting(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._reset()

    async def treat(self, piece: bytes) -> bytes:
        """Do to a piece of a stream what was asked for."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        if self._bytes_per_s:
            await asyncio.sleep(len(piece) / self._bytes_per_s)
        await self._open.wait()
        self.forwarded += len(piece)
        if self._flip_share and self._random.random() < self._flip_share:
            self.flipped += 1
            damaged = bytearray(piece)
            damaged[self._random.randrange(len(piece))] ^= 1 << self._random.randrange(8)
            return bytes(damaged)
        if self._repeat_share and self._random.random() < self._repeat_share:
            self.repeated += 1
            return piece + piece
        return piece

    def forget(self, pair: "_Pair") -> None:
        """A connection has ended."""
        self._pairs.discard(pair)


class _Pair:
    """One connection through the proxy."""

    def __init__(
        self, proxy: Proxy, near: socket.socket, far: socket.socket, heard: bytearray
    ) -> None:
        self._heard = heard
        self._proxy = proxy
        self._sockets = (near, far)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Forward in both directions."""
        for one in self._sockets:
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near, far = self._sockets
        self._tasks = [
            asyncio.create_task(self._forward(near, far, self._heard)),
            asyncio.create_task(self._forward(far, near, bytearray())),
        ]

    async def _forward(
        self, source: socket.socket, target: socket.socket, heard: bytearray
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(source, _CHUNK):
                heard += piece[: max(0, _RECORDED - len(heard))]
                await loop.sock_sendall(target, await self._proxy.treat(piece))
        self.abort()

    def abort(self) -> None:
        """Reset both ends."""
        self._proxy.forget(self)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for one in self._sockets:
            _abort(one)

    async def close(self) -> None:
        """End it and wait for its tasks."""
        self.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _abort(one: socket.socket) -> None:
    if one.fileno() >= 0:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        one.close()


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
