"""What it costs to keep others out: the same read with and without it, by turns."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from pykarabo.client import BlockingClient, Client
from pykarabo.transport import ZmqTransport
from scripts.benchmarks._processes import interleaved, median_us, peer
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
        return [_zap_local(), _curve(), _connect(), *_audited()]


def _zap_local() -> Row:
    with (
        _domain("local", "guarded") as guarded,
        _domain("local", "open") as bare,
        BlockingClient(directory=guarded) as ours,
        BlockingClient(directory=bare) as theirs,
    ):
        guarded_us, open_us = interleaved(ROUNDS, [_reading(ours), _reading(theirs)])
    return Row(
        id="zap_local",
        what="blocking property read on a Unix socket whose users the kernel names, p50",
        value=guarded_us,
        unit="us",
        reference="the same where everybody may connect",
        reference_value=open_us,
        reach=Reach(1.1, ratio=True),
    )


def _curve() -> Row:
    """Read over TCP, with and without encryption."""
    with (
        _domain("serve") as encrypted,
        _domain("plain") as bare,
        _speaking_plainly_to(bare),
        BlockingClient(directory=encrypted) as ours,
        BlockingClient(directory=bare) as theirs,
    ):
        curve_us, plain_us = interleaved(ROUNDS, [_reading(ours), _reading(theirs)])
    return Row(
        id="curve",
        what="blocking property read over TCP, encrypted, p50",
        value=curve_us,
        unit="us",
        reference="the same in plain text",
        reference_value=plain_us,
        reach=Reach(1.5, ratio=True),
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
        seconds = asyncio.run(_connected_s(endpoint))
    return Row(
        id="connect_1000",
        what=f"{CLIENTS} clients connect to one server over TCP at once, each reads a property",
        value=seconds,
        unit="s",
        reach=Reach(3.0),
    )


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


def _audited() -> list[Row]:
    """Run commands and write, with an audit log and without."""
    with (
        _domain("local", "guarded") as logged,
        _domain("local", "unseen") as bare,
        BlockingClient(directory=logged) as ours,
        BlockingClient(directory=bare) as theirs,
    ):
        clients = (ours, theirs)
        commands = interleaved(ROUNDS, [_commanding(client) for client in clients])
        writes = interleaved(ROUNDS, [_writing(client) for client in clients])
    return [
        _audited_row(
            "audit_command", "blocking command on a Unix socket with an audit log", commands
        ),
        _audited_row("audit_write", "blocking write on a Unix socket with an audit log", writes),
    ]


def _audited_row(name: str, what: str, values_us: list[float]) -> Row:
    return Row(
        id=name,
        what=f"{what}, p50",
        value=values_us[0],
        unit="us",
        reference="the same without one",
        reference_value=values_us[1],
        reach=Reach(1.15, ratio=True),
    )


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
def _domain(role: str, *options: str) -> Generator[str, None, None]:
    """Run a server of this role, and yield where it answers."""
    with tempfile.TemporaryDirectory(prefix="pk-") as runtime:
        os.environ["XDG_RUNTIME_DIR"] = runtime
        with peer(role, *options, f"Bench={_DEVICE}") as server:
            yield server.hear()["rpc"]
