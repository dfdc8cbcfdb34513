"""What it costs to keep others out: the same read with and without it, by turns."""

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from pykarabo.client import BlockingClient
from scripts.benchmarks._processes import interleaved, median_us, peer
from scripts.benchmarks._report import Reach, Row

ROUNDS: Final = 9
WARM_UP: Final = 200
_DEVICE: Final = "BENCH/1"


def rows() -> list[Row]:
    """Measure reads with a doorkeeper, and commands and writes with an audit log, and without."""
    with _local_domain("guarded") as ours, _local_domain("open") as bare:
        guarded_us, open_us = interleaved(ROUNDS, [_reading(ours), _reading(bare)])
    with _local_domain("guarded") as ours, _local_domain("unseen") as bare:
        clients = (ours, bare)
        commands = interleaved(ROUNDS, [_commanding(client) for client in clients])
        writes = interleaved(ROUNDS, [_writing(client) for client in clients])
    return [
        Row(
            id="zap_local",
            what="blocking property read on a Unix socket whose users the kernel names, p50",
            value=guarded_us,
            unit="us",
            reference="the same where everybody may connect",
            reference_value=open_us,
            reach=Reach(1.1, ratio=True),
        ),
        _audited("audit_command", "blocking command on a Unix socket with an audit log", commands),
        _audited("audit_write", "blocking write on a Unix socket with an audit log", writes),
    ]


def _audited(name: str, what: str, values_us: list[float]) -> Row:
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
def _local_domain(door: str) -> Generator[BlockingClient, None, None]:
    """Run a domain on Unix sockets and yield a client of it."""
    os.environ.pop("PYKARABO_DIRECTORY", None)
    with tempfile.TemporaryDirectory(prefix="pk-") as runtime:
        os.environ |= {
            "XDG_RUNTIME_DIR": runtime, "XDG_DATA_HOME": runtime, "PYKARABO_DOMAIN": "bench"
        }  # fmt: skip
        with peer("local", door, f"Bench={_DEVICE}") as server:
            endpoint = server.hear()["rpc"]
            with BlockingClient(directory=endpoint) as client:
                yield client
