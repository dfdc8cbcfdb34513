"""The data model: codecs, devices and properties without a network, and starting Python."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from typing import Any, Final

import msgpack
import uvloop

from pykarabo.data import Float64, Hash, decode, encode
from pykarabo.device import Device
from pykarabo.testing import run_facility
from scripts.benchmarks._devices import OWN_PROPERTIES, wide_class
from scripts.benchmarks._processes import interleaved
from scripts.benchmarks._report import Reach, Row

ROUNDS: Final = 7
PROPERTIES: Final = 1_000
REPEATS: Final = 50
DEVICE_PROPERTIES: Final = 100
DEVICES: Final = 20
SETS: Final = 2_000
IMPORT_ROUNDS: Final = 5
_BARE_IMPORT: Final = "import zmq, msgpack, numpy, asyncio"
_DEVICE_IMPORT: Final = "import pykarabo.device"
_IMPORTS: Final = ("import", "import_client", "import_device")
_NS_PER_US: Final = 1e3

Measure = Callable[[], float]


def rows() -> list[Row]:
    """Measure what happens inside one process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as servers run
        devices = runner.run(_devices())
    return [*_codec(), *devices, *_imports()]


def _per_call_us(call: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return (time.perf_counter_ns() - begin) / repeats / _NS_PER_US


def _configuration() -> dict[str, Any]:
    """Return numbers and texts of 1 000 properties by dotted key."""
    values: tuple[Any, ...] = (1.5, 7, "moving", True)
    return {f"motor{n // 10}.value{n % 10}": values[n % 4] for n in range(PROPERTIES)}


def _codec() -> Generator[Row, None, None]:
    plain = _configuration()
    tree = Hash(plain)
    packed, frames, tree_frames = msgpack.packb(plain), encode(plain), encode(tree)
    pairs: list[tuple[str, str, Callable[[], object], Callable[[], object]]] = [
        ("encode", "a plain map", lambda: encode(plain), lambda: msgpack.packb(plain)),
        ("decode", "a plain map", lambda: decode(frames), lambda: msgpack.unpackb(packed)),
        ("encode_hash", "a Hash of 100 nodes", lambda: encode(tree), lambda: msgpack.packb(plain)),
        (
            "decode_hash",
            "a Hash of 100 nodes",
            lambda: decode(tree_frames),
            lambda: msgpack.unpackb(packed),
        ),
    ]
    for name, what, ours, bare in pairs:
        value, reference = interleaved(ROUNDS, [_repeated(ours), _repeated(bare)])
        yield Row(
            id=name,
            what=f"{name.partition('_')[0]} {PROPERTIES} properties as {what}",
            value=value,
            unit="us",
            reference=f"msgpack {'pack' if name.startswith('encode') else 'unpack'}b, plain map",
            reference_value=reference,
        )


def _repeated(call: Callable[[], object]) -> Measure:
    return lambda: _per_call_us(call, REPEATS)


class _Set(Device):
    """A property with all that makes setting one slow."""

    value = Float64(
        unit="mm", minimum=-1e9, maximum=1e9, warn_low=-1e6, warn_high=1e6, alarm_high=1e8
    )


class _Plain:
    """An object that a value is simply assigned to."""

    value = 0.0


async def _devices() -> list[Row]:
    wide = wide_class(DEVICE_PROPERTIES - OWN_PROPERTIES)
    async with run_facility({"Wide": wide, "Set": _Set}) as facility:
        times: list[float] = []
        for number in range(DEVICES):
            begin = time.perf_counter_ns()
            await facility.server.instantiate("Wide", f"BENCH/WIDE/{number}")
            times.append((time.perf_counter_ns() - begin) / _NS_PER_US)
        device = await facility.server.instantiate("Set", "BENCH/SET")
        plain = _Plain()
        ours, bare = [], []
        for _ in range(ROUNDS):
            ours.append(await _set_us(device))
            bare.append(await _set_us(plain))
    return [
        Row(
            id="instantiate",
            what=f"instantiate a device with {DEVICE_PROPERTIES} properties, until it is started",
            value=statistics.median(times),
            unit="us",
        ),
        Row(
            id="set",
            what="set a property in the device: checked, judged, published; a turn of the loop",
            value=statistics.median(ours),
            unit="us",
            reference="assignment to a plain attribute; a turn of the loop",
            reference_value=statistics.median(bare),
            reach=Reach(25.0),
        ),
    ]


async def _set_us(target: Any) -> float:
    """Return the time of one assignment in µs, what the loop does of it afterwards included."""
    begin = time.perf_counter_ns()
    for number in range(SETS):
        target.value = float(number)
        await asyncio.sleep(0)
    return (time.perf_counter_ns() - begin) / SETS / _NS_PER_US


def _imports() -> list[Row]:
    codes = ["import pykarabo", "from pykarabo import aconnect, connect", _DEVICE_IMPORT]
    *ours, bare = interleaved(IMPORT_ROUNDS, [_started(code) for code in (*codes, _BARE_IMPORT)])
    return [
        Row(
            id=name,
            what=f"a fresh interpreter that ends after: {code}",
            value=value,
            unit="ms",
            reference=f"the same after: {_BARE_IMPORT}",
            reference_value=bare,
            reach=Reach(1.3, ratio=True) if name == "import" else None,
        )
        for name, code, value in zip(_IMPORTS, codes, ours, strict=True)
    ]


def _started(code: str) -> Measure:
    return lambda: _start_ms(code)


def _start_ms(code: str) -> float:
    begin = time.perf_counter_ns()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter_ns() - begin) / 1e6
