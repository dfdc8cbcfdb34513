"""What it costs to keep others out: the same read with and without it, by turns."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from pykarabo.client import BlockingClient, Client
from pykarabo.transport import ZmqTransport
from scripts.benchmarks._processes import interleaved, median_us, peer
from scripts.benchmarks._profile import profiled
from scripts.benchmarks._report import Reach, Row

ROUNDS: Final = 9
WARM_UP: Final = 200
CLIENTS: Final = 1_000
_DEVICE: Final = "BENCH/1"


def rows() -> list[Row]:
    """Measure reads, commands and writes with and without what protects them."""
    with tempfile.TemporaryDirectory(prefix="pk-") as folder:
        os.environ |= {f"XDG_{kind}_HOME": folder for kind in ("CONFIG", "DATA")}
        os.environ["PYKARABO_DOMAIN"] = "bench"
        os.environ.pop("PYKARABO_DIRECTORY", None)
        return [*_kept_out(), *_encrypted(), _connect(), *_audited()]


def _kept_out() -> Iterator[Row]:
    """Read on Unix sockets with a doorkeeper, and with the door open."""
    with _two_domains(("local", "guarded"), ("local", "open")) as clients:
        what = "blocking property read on a Unix socket whose users the kernel names"
        reference = "the same where everybody may connect"
        yield _compared("zap_local", what, clients, _reading, reference=reference, most=1.1)


def _encrypted() -> Iterator[Row]:
    """Read over TCP, with and without encryption."""
    with (
        _two_domains(("serve",), ("plain",)) as clients,
        _speaking_plainly_to(clients[1].access.endpoints[0]),
    ):
        what = "blocking property read over TCP, encrypted"
        reference = "the same in plain text"
        yield _compared("curve", what, clients, _reading, reference=reference, most=1.5)


def _audited() -> Iterator[Row]:
    """Run commands and write, with an audit log and without."""
    with _two_domains(("local", "guarded"), ("local", "unseen")) as clients:
        for name, measured in (("command", _commanding), ("write", _writing)):
            what = f"blocking {name} on a Unix socket with an audit log"
            reference = "the same without one"
            row = f"audit_{name}"
            yield _compared(row, what, clients, measured, reference=reference, most=1.15)


def _compared(
    name: str,
    what: str,
    clients: tuple[BlockingClient, BlockingClient],
    measured: Callable[[BlockingClient], Callable[[], float]],
    *,
    reference: str,
    most: float,
) -> Row:
    value_us, reference_us = interleaved(ROUNDS, [measured(client) for client in clients])
    return Row(
        id=name,
        what=f"{what}, p50",
        value=value_us,
        unit="us",
        reference=reference,
        reference_value=reference_us,
        reach=Reach(most, ratio=True),
    )


@contextmanager
def _speaking_plainly_to(endpoint: str) -> Generator[None, None, None]:
    """Have this program not encrypt what it says to one server."""
    transport: Any = import_module("pykarabo.transport._blocking")
    before = transport.is_encrypted
    transport.is_encrypted = lambda other: other != endpoint and before(other)
    try:
        yield
    finally:
        transport.is_encrypted = before


def _connect() -> Row:
    """Have many clients connect at once, each with keys of its own making for the connection."""
    with _domain("serve") as endpoint:
        row = Row(
            id="connect_1000",
            what=f"{CLIENTS} clients connect to one server over TCP at once, each reads a property",
            value=asyncio.run(_connected_s(endpoint)),
            unit="s",
            reach=Reach(3.0),
        )
        return row.explained(lambda: profiled(lambda: asyncio.run(_connected_s(endpoint))))


async def _connected_s(endpoint: str) -> float:
    transport = ZmqTransport()
    clients = [Client(transport=transport, directory=endpoint) for _ in range(CLIENTS)]
    try:
        begin = time.perf_counter()
        await asyncio.gather(*map(_read, clients))
        return time.perf_counter() - begin
    finally:
        for client in clients:
            await client.aclose()
        transport.close()


async def _read(client: Client) -> None:
    proxy = await client.device(_DEVICE, follow=False)
    await proxy.get("value")


def _commanding(client: BlockingClient) -> Callable[[], float]:
    device = client.device(_DEVICE)
    for _ in range(WARM_UP):
        device.grant(0)
    return lambda: median_us(lambda: device.grant(0))


def _writing(client: BlockingClient) -> Callable[[], float]:
    device = client.device(_DEVICE)
    for _ in range(WARM_UP):
        device.set(value=1.5)
    return lambda: median_us(lambda: device.set(value=2.5))


def _reading(client: BlockingClient) -> Callable[[], float]:
    device = client.device(_DEVICE)
    for _ in range(WARM_UP):
        device.value  # noqa: B018 - reads it
    return lambda: median_us(lambda: device.value)


@contextmanager
def _two_domains(
    ours: tuple[str, ...], theirs: tuple[str, ...]
) -> Generator[tuple[BlockingClient, BlockingClient], None, None]:
    """Run a server of each of two roles, and yield a client of each."""
    with (
        _domain(*ours) as one,
        _domain(*theirs) as other,
        BlockingClient(directory=one) as client,
        BlockingClient(directory=other) as reference,
    ):
        yield client, reference


@contextmanager
def _domain(role: str, *options: str) -> Generator[str, None, None]:
    """Run a server of this role, and yield where it answers."""
    with tempfile.TemporaryDirectory(prefix="pk-") as runtime:
        os.environ["XDG_RUNTIME_DIR"] = runtime
        with peer(role, *options, f"Bench={_DEVICE}") as server:
            yield server.hear()["rpc"]
