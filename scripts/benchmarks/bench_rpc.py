"""Calls: what reading costs, against ZeroMQ alone with the same bytes, and against PyTango.

All servers are processes of their own; rounds alternate, so that a machine that grows slower
meanwhile slows all.
"""

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import uvloop
import zmq

from pykarabo.client import BlockingClient, Client
from pykarabo.data import PropertyValue, Timestamp, encode, to_row
from pykarabo.wire import HEADER_SIZE, Get, ReadMany, Request, request_body
from scripts.benchmarks._processes import (
    Peer,
    domain,
    free_port,
    interleaved,
    library,
    median_us,
    peer,
)
from scripts.benchmarks._report import Reach, Row

ROUNDS: Final = 7
CALLS: Final = 1_000
WARM_UP: Final = 200
WINDOW: Final = 90
PIPELINED: Final = 10_000
THREADS: Final = 10
MANY_DEVICES: Final = 50
MANY_KEYS: Final = [f"value{number}" for number in range(20)]
_DEVICE: Final = "BENCH/1"
_NO_TANGO: Final = "PyTango, which has no wheel for this Python"

Measure = Callable[[], float]


def rows() -> list[Row]:
    """Measure reads of one value and of many, one after the other and in flight."""
    wide = [f"Wide={name}" for name in _many()]
    with domain("serve", f"Bench={_DEVICE}", *wide) as server, ExitStack() as stack:
        tango = stack.enter_context(_tango())
        raw = stack.enter_context(_raw(Get(_DEVICE, ["value"]), [_row("value")]))
        many = [[[_row(key) for key in MANY_KEYS], None]] * MANY_DEVICES
        raw_many = stack.enter_context(_raw(ReadMany([[n, k] for n, k in _many().items()]), many))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        return [
            *_blocking(server, raw, tango),
            _asyncio(server, runner, raw),
            *_pipelined(server, runner, raw, tango),
            _read_many(server, runner, raw_many),
        ]


def _many() -> dict[str, list[str] | None]:
    return {f"BENCH/WIDE/{number}": MANY_KEYS for number in range(MANY_DEVICES)}


def _row(key: str) -> Any:
    return to_row(key, PropertyValue(1.5, Timestamp.from_ns(time.time_ns())))


class _Raw:
    """A bare DEALER that exchanges as many bytes as a request and its answer have."""

    def __init__(self, socket: "zmq.Socket[bytes]", request: bytes) -> None:
        self._socket = socket
        self._request = request

    def exchange(self) -> None:
        """Send one message and wait for one."""
        self._socket.send(self._request)
        self._socket.recv()

    def pipelined(self) -> float:
        """Keep a window of messages in flight; returns the answers per second."""
        begin = time.perf_counter()
        for _ in range(WINDOW):
            self._socket.send(self._request)
        for _ in range(PIPELINED - WINDOW):
            self._socket.recv()
            self._socket.send(self._request)
        for _ in range(WINDOW):
            self._socket.recv()
        return PIPELINED / (time.perf_counter() - begin)


@contextmanager
def _raw(request: Request, answer: object) -> Generator[_Raw, None, None]:
    sent = bytes(HEADER_SIZE + sum(map(len, encode(request_body(request)))))
    answered = HEADER_SIZE + sum(map(len, encode(answer)))
    context = zmq.Context[zmq.Socket[bytes]]()
    with peer("raw", answered) as router, context, context.socket(zmq.DEALER) as socket:
        socket.connect(router.hear()["rpc"])
        yield _Raw(socket, sent)


@contextmanager
def _tango() -> Generator[Callable[[], Any] | None, None, None]:
    """Yield what makes a proxy of a PyTango device; None where PyTango is not installed."""
    tango = library("tango")
    if tango is None:
        yield None
        return
    port = free_port()
    with peer("tango", port, 1, 1) as server:
        server.hear()
        yield lambda: tango.DeviceProxy(f"tango://127.0.0.1:{port}/bench/wide/0#dbase=no")


def _blocking(server: Peer, raw: _Raw, tango: Callable[[], Any] | None) -> list[Row]:
    with BlockingClient() as client:
        device = client.device(_DEVICE)
        calls: list[Callable[[], object]] = [lambda: device.value, raw.exchange]
        if tango is not None:
            proxy = tango()
            calls.append(lambda: proxy.read_attribute("value0"))
        for call in calls:
            for _ in range(WARM_UP):
                call()
        ours, bare, *theirs = interleaved(ROUNDS, [_measure(call) for call in calls])
        pairs = [
            Row(
                id="read_blocking",
                what="blocking property read over TCP, p50",
                value=ours,
                unit="us",
                reference="blocking pyzmq DEALER/ROUTER, same bytes",
                reference_value=bare,
                reach=Reach(1.8, ratio=True),
            ),
            Row(
                id="read_blocking_tango",
                what="blocking property read over TCP, p50",
                value=ours,
                unit="us",
                reference="PyTango read_attribute of one double" if theirs else _NO_TANGO,
                reference_value=theirs[0] if theirs else None,
                reach=Reach(0.5, ratio=True),
            ),
        ]
        bare_exchange = f"a bare pyzmq exchange alone takes {bare:.0f} us of {ours:.0f} us"

        def explain() -> list[str]:
            return [bare_exchange, *server.profiled(_measure(calls[0]))]

        return [row.explained(explain) for row in pairs]


def _measure(call: Callable[[], object]) -> Measure:
    return lambda: median_us(call)


def _asyncio(server: Peer, runner: asyncio.Runner, raw: _Raw) -> Row:
    async def median_of_client(client: Client) -> float:
        device = await client.device(_DEVICE, follow=False)
        times: list[int] = []
        for _ in range(CALLS):
            begin = time.perf_counter_ns()
            await device.read("value")
            times.append(time.perf_counter_ns() - begin)
        return statistics.median(times) / 1e3

    client = runner.run(_connected())
    measures: list[Measure] = [
        lambda: runner.run(median_of_client(client)),
        lambda: median_us(raw.exchange),
    ]
    ours, bare = interleaved(ROUNDS, measures)
    row = Row(
        id="read_asyncio",
        what="property read from asyncio over TCP, p50",
        value=ours,
        unit="us",
        reference="blocking pyzmq DEALER/ROUTER, same bytes",
        reference_value=bare,
        reach=Reach(3.0, ratio=True),
    ).explained(lambda: server.profiled(measures[0]))
    runner.run(client.aclose())
    return row


async def _connected() -> Client:
    return Client()


def _pipelined(
    server: Peer, runner: asyncio.Runner, raw: _Raw, tango: Callable[[], Any] | None
) -> Generator[Row, None, None]:
    async def per_second(client: Client) -> float:
        device = await client.device(_DEVICE, follow=False)

        async def reader() -> None:
            for _ in range(PIPELINED // WINDOW):
                await device.read("value")

        begin = time.perf_counter()
        await asyncio.gather(*(reader() for _ in range(WINDOW)))
        return PIPELINED // WINDOW * WINDOW / (time.perf_counter() - begin)

    client = runner.run(_connected())
    measures: list[Measure] = [lambda: runner.run(per_second(client)), raw.pipelined]
    if tango is not None:
        proxies = [tango() for _ in range(THREADS)]
        measures.append(lambda: _threads_per_second(proxies))
    ours, bare, *theirs = interleaved(ROUNDS, measures)
    what = f"reads from one asyncio client, {WINDOW} in flight"
    yield Row(
        id="read_pipelined",
        what=what,
        value=ours,
        unit="1/s",
        reference="pyzmq DEALER/ROUTER, same bytes and window",
        reference_value=bare,
        reach=Reach(0.25, ratio=True, least=True),
    ).explained(lambda: server.profiled(measures[0]))
    yield Row(
        id="read_pipelined_tango",
        what=what,
        value=ours,
        unit="1/s",
        reference=f"PyTango read_attribute from {THREADS} threads" if theirs else _NO_TANGO,
        reference_value=theirs[0] if theirs else None,
        reach=Reach(5.0, ratio=True, least=True),
    ).explained(lambda: server.profiled(measures[0]))
    runner.run(client.aclose())


def _threads_per_second(proxies: list[Any]) -> float:
    calls = CALLS // len(proxies)

    def read(proxy: Any) -> None:
        for _ in range(calls):
            proxy.read_attribute("value0")

    threads = [threading.Thread(target=read, args=(proxy,)) for proxy in proxies]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return calls * len(proxies) / (time.perf_counter() - begin)


def _read_many(server: Peer, runner: asyncio.Runner, raw: _Raw) -> Row:
    values = MANY_DEVICES * len(MANY_KEYS)
    wanted = _many()

    async def per_second(client: Client) -> float:
        found = await client.read_many(wanted)
        read = sum(len(answer) for answer in found.values() if isinstance(answer, dict))
        if read != values:
            raise RuntimeError(f"{read} of {values} values were read: {found}")
        begin = time.perf_counter()
        for _ in range(CALLS // MANY_DEVICES):
            await client.read_many(wanted)
        return values * (CALLS // MANY_DEVICES) / (time.perf_counter() - begin)

    client = runner.run(_connected())
    measures: list[Measure] = [
        lambda: runner.run(per_second(client)),
        lambda: values * 1e6 / median_us(raw.exchange),
    ]
    ours, bare = interleaved(ROUNDS, measures)
    row = Row(
        id="read_many",
        what=f"{values} values of {MANY_DEVICES} devices of a server in one call",
        value=ours,
        unit="values/s",
        reference="blocking pyzmq DEALER/ROUTER, same bytes",
        reference_value=bare,
        reach=Reach(300_000, least=True),
    ).explained(lambda: server.profiled(measures[0]))
    runner.run(client.aclose())
    return row
