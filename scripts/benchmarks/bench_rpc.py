"""Calls: what reading a property costs, against ZeroMQ alone with the same bytes.

Both servers are processes of their own; rounds of both alternate, so that a machine that grows
slower meanwhile slows both.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import zmq

from scripts.benchmarks._report import Row

ROUNDS: Final = 9
CALLS: Final = 1_000
WARM_UP: Final = 200
_SERVER: Final = """
from pykarabo.data import Float64
from pykarabo.device import Device, DeviceSettings, ServerSettings, run_server

class Bench(Device):
    '''Something to read.'''
    value = Float64(default=1.5)

run_server(
    ServerSettings(
        "BENCH/SERVER", directory=True, host="127.0.0.1", classes=("Directory",),
        more_classes={"Bench": Bench}, devices=(DeviceSettings("BENCH/1", "Bench"),),
    ),
    lambda server: print(server.record().rpc, flush=True),
)
"""
_RAW: Final = """
import zmq
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind("tcp://127.0.0.1:*")
print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
reply = bytes({reply})
while True:
    peer, request = socket.recv_multipart()
    socket.send_multipart([peer, reply])
"""


@contextmanager
def _process(code: str) -> Generator[str, None, None]:
    """Run code as a process; yields the line that it prints first."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None  # noqa: S101 - asked for above
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


def _median_us(call: Callable[[], object]) -> float:
    """Return the median time of one call in µs."""
    times: list[int] = []
    for _ in range(CALLS):
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1e3


def rows() -> list[Row]:
    """Measure a blocking property read."""
    with tempfile.TemporaryDirectory(prefix="pk-") as runtime:
        os.environ |= {"XDG_RUNTIME_DIR": runtime, "PYKARABO_DOMAIN": "bench"}
        with _process(_SERVER) as endpoint:
            os.environ["PYKARABO_DIRECTORY"] = endpoint
            return [_read_blocking()]


def _read_blocking() -> Row:
    from pykarabo.client import BlockingClient
    from pykarabo.data import PropertyValue, Timestamp, encode, to_row
    from pykarabo.wire import HEADER_SIZE, Get, request_body

    row = to_row("value", PropertyValue(1.5, Timestamp.from_ns(time.time_ns())))
    request = bytes(HEADER_SIZE + len(encode(request_body(Get("BENCH/1", ["value"])))[0]))
    reply = HEADER_SIZE + len(encode([row])[0])
    with BlockingClient() as client, _process(_RAW.format(reply=reply)) as raw_endpoint:
        device = client.device("BENCH/1")
        context = zmq.Context[zmq.Socket[bytes]]()
        with context, context.socket(zmq.DEALER) as socket:
            socket.connect(raw_endpoint)

            def raw() -> None:
                socket.send(request)
                socket.recv()

            def read() -> object:
                return device.value

            for call in (raw, read):
                for _ in range(WARM_UP):
                    call()
            pairs = [(_median_us(read), _median_us(raw)) for _ in range(ROUNDS)]
    return Row(
        id="read_blocking",
        what="blocking property read over TCP, p50",
        value=statistics.median(ours for ours, _theirs in pairs),
        unit="us",
        reference="blocking pyzmq DEALER/ROUTER, same bytes",
        reference_value=statistics.median(theirs for _ours, theirs in pairs),
    )
