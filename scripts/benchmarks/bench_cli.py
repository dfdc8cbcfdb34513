"""The command line: how long one command takes from a cold shell."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from scripts.benchmarks._processes import domain, interleaved
from scripts.benchmarks._report import Reach, Row

ROUNDS: Final = 7
_IMPORTS: Final = "import zmq, msgpack, numpy, asyncio, click"


def rows() -> list[Row]:
    """Measure `pykarabo get` of one property."""
    command = str(Path(sys.executable).with_name("pykarabo"))
    with domain("serve", "Bench=BENCH/1"):
        ours, theirs = interleaved(
            ROUNDS,
            [
                lambda: _wall_s(command, "get", "BENCH/1.value"),
                lambda: _wall_s(sys.executable, "-c", _IMPORTS),
            ],
        )
    return [
        Row(
            id="get",
            what="pykarabo get DEVICE.property, as a process",
            value=ours,
            unit="s",
            reference=f'python -c "{_IMPORTS}"',
            reference_value=theirs,
            reach=Reach(0.35),
        )
    ]


def _wall_s(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin
