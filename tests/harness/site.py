"""A directory of several replicas, with relays in front of them that act as a network would."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import pytest

_PROGRAM: Final = Path(__file__).parents[1] / "integration/device_process.py"
_END_S: Final = 10.0


class Relays:
    """Forwards TCP connections; each relay can be closed and opened as a network is."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays")
        self._open: dict[int, asyncio.Event] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread.start()

    def add(self, target: int) -> int:
        """Return a new port behind which another port is."""
        return asyncio.run_coroutine_threadsafe(self._add(target), self._loop).result(_END_S)

    async def _add(self, target: int) -> int:
        passing = asyncio.Event()
        passing.set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            # A cancelled handler must end as if nothing was, or asyncio reports it as an error.
            ended = contextlib.suppress(OSError, asyncio.CancelledError)
            with ended, contextlib.closing(writer):
                await passing.wait()
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
                with contextlib.closing(far_writer):
                    await _first_of(
                        _pass_on(reader, far_writer, passing), _pass_on(far_reader, writer, passing)
                    )
            self._tasks.discard(task)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        self._open[port] = passing
        return port

    def cut(self, ports: Iterable[int]) -> None:
        """Let nothing through any more; nobody is told."""
        self._each(ports, asyncio.Event.clear)

    def heal(self, ports: Iterable[int]) -> None:
        """Let everything through again, what was held back included."""
        self._each(ports, asyncio.Event.set)

    def _each(self, ports: Iterable[int], change: Callable[[asyncio.Event], None]) -> None:
        for port in ports:
            self._loop.call_soon_threadsafe(change, self._open[port])

    def close(self) -> None:
        """End every connection."""
        asyncio.run_coroutine_threadsafe(self._aclose(), self._loop).result(_END_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _aclose(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            await passing.wait()
            writer.write(data)
            await writer.drain()


async def _first_of(*works: Any) -> None:
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Site:
    """Three replicas of a directory, device servers, and relays between them."""

    monkeypatch: pytest.MonkeyPatch
    ports: list[int]
    relays: Relays
    replicas: dict[int, "subprocess.Popen[str]"] = field(default_factory=dict)
    running: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def endpoints(self) -> list[str]:
        return [f"tcp://127.0.0.1:{port}" for port in self.ports]

    def use(self, ports: Iterable[int]) -> None:
        """Let what is started from now on reach the replicas at these ports."""
        names = ",".join(f"tcp://127.0.0.1:{port}" for port in ports)
        self.monkeypatch.setenv("PYKARABO_DIRECTORY", names)

    def start_replica(self, index: int) -> "subprocess.Popen[str]":
        self.use(self.ports)
        options = ["--directory", "--host", "127.0.0.1", "--port", str(self.ports[index])]
        process = self.start(f"DIRECTORY/{index}", *options)
        self.replicas[index] = process
        return process

    def kill_replica(self, index: int) -> None:
        self.end(self.replicas.pop(index), signal.SIGKILL)

    def start(self, server_id: str, *arguments: str) -> "subprocess.Popen[str]":
        process = self.spawn(server_id, *arguments)
        lines = self.output(process)
        assert "started" in lines, (process.wait(_END_S), lines)
        return process

    def spawn(self, server_id: str, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), server_id, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def output(self, process: "subprocess.Popen[str]") -> list[str]:
        """Return what a server prints until it has started, or has ended."""
        stream: IO[str] | None = process.stdout
        assert stream is not None
        lines: list[str] = []
        for line in stream:
            lines.append(line.rstrip())
            if lines[-1] == "started":
                break
        return lines

    def end(self, process: "subprocess.Popen[str]", how: int = signal.SIGTERM) -> None:
        process.send_signal(how)
        self._reap(process)

    def _reap(self, process: "subprocess.Popen[str]") -> None:
        process.wait(_END_S)
        if process.stdout is not None:
            process.stdout.close()
        self.running.remove(process)

    def close(self) -> None:
        for process in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            self._reap(process)
        self.relays.close()
