"""The command line: how long one command takes from a cold shell."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from scripts.benchmarks._processes import domain, interleaved
from scripts.benchmarks._profile import SHOWN
from scripts.benchmarks._report import Reach, Row

ROUNDS: Final = 7
_FIELDS: Final = 3
"""Own time, time with what it imports in turn, name."""
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
        row = Row(
            id="get",
            what="pykarabo get DEVICE.property, as a process",
            value=ours,
            unit="s",
            reference=f'python -c "{_IMPORTS}"',
            reference_value=theirs,
            reach=Reach(0.35),
        )
        return [row.explained(lambda: _imports("get", "BENCH/1.value"))]


def _imports(*arguments: str) -> list[str]:
    """Return what importing takes of a command, per package, and what an interpreter alone does."""
    command = [sys.executable, "-X", "importtime", "-m", "pykarabo", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    own_us: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == _FIELDS and fields[0].strip().isdigit():  # the first line is a heading
            own_us[fields[2].strip().partition(".")[0]] += int(fields[0])
    bare_ms = 1e3 * _wall_s(sys.executable, "-c", "")
    return [
        f"{bare_ms:4.0f} ms  an interpreter that does nothing",
        *(f"{us / 1e3:4.0f} ms  importing {name}" for name, us in own_us.most_common(SHOWN)),
    ]


def _wall_s(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin
