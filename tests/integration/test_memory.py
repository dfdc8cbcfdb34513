"""Memorised set-points through the death of real processes."""

import signal
from typing import Any

from pykarabo.client import BlockingClient


def test_an_answered_write_outlives_a_kill(processes: Any) -> None:
    processes.start("S/1", directory=True)
    for number in range(3):
        server = processes.start("S/2", "COUNT/1")
        with BlockingClient() as client:
            counter = client.device("COUNT/1")
            known = counter.get("set_point")["set_point"]
            assert known == (1.0 if number == 0 else 10.0 * number + 4)
            for step in range(5):
                counter.set(set_point=10.0 * (number + 1) + step)
        processes.end(server, signal.SIGKILL)
