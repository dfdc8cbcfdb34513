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
    """Measure reads on Unix sockets with a doorkeeper, and with the door open."""
    with _local_domain("guarded") as ours, _local_domain("open") as bare:
        guarded_us, open_us = interleaved(ROUNDS, [_reading(ours), _reading(bare)])
    return [
        Row(
            id="zap_local",
            what="blocking property read on a Unix socket whose users the kernel names, p50",
            value=guarded_us,
            unit="us",
            reference="the same where everybody may connect",
            reference_value=open_us,
            reach=Reach(1.1, ratio=True),
        )
    ]


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
        os.environ |= {"XDG_RUNTIME_DIR": runtime, "PYKARABO_DOMAIN": "bench"}
        with peer("local", door, f"Bench={_DEVICE}") as server:
            endpoint = server.hear()["rpc"]
            with BlockingClient(directory=endpoint) as client:
                yield client
