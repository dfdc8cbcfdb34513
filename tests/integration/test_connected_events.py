"""Events between real processes: every one runs its command once, through the death of a server."""

import signal
import time
from collections.abc import Callable
from typing import Any, Final

from pykarabo.client import BlockingClient, connect

_CONNECTION: Final = "COUNT/2.rang -> execute"
_PATIENCE_S: Final = 30.0


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_events_run_commands_of_another_process_through_a_restart(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    bells = processes.start("S/2", "COUNT/2")
    counter = connect("COUNT/1")
    counter.connect_event("COUNT/2", "rang", "execute")

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = counter.get("connections")["connections"][_CONNECTION]
        return found

    _until(lambda: _CONNECTION in counter.get("connections")["connections"])
    _until(lambda: shown()["live"])
    connect("COUNT/2").ring(300)
    _until(lambda: shown()["delivered"] == 300)
    assert counter.get("executed") == {"executed": 300}
    processes.end(bells, signal.SIGKILL)
    _until(lambda: not shown()["live"])
    processes.start("S/2", "COUNT/2")
    _until(lambda: shown()["live"])
    with BlockingClient() as client:
        client.device("COUNT/2").ring(7)
    _until(lambda: shown()["delivered"] == 307)
    assert counter.get("executed") == {"executed": 307}
    assert shown()["failed"] == shown()["missed"] == 0
    assert "restarted" in shown()["error"]
