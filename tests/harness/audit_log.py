"""What the audit logs of the test's domain say."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pykarabo.audit import DIRECTORY, files_of
from pykarabo.transport import data_directory

WITHIN_S = 2.0
"""Every attempt must be in the log so soon."""
_LOOK_S = 0.01


def folder() -> Path:
    """Return where the logs are."""
    return data_directory() / DIRECTORY


def lines(server_id: str) -> list[dict[str, Any]]:
    """Return all whole lines of a server."""
    found: list[dict[str, Any]] = []
    for path in files_of(folder(), server_id):
        raws = path.read_bytes().splitlines(keepends=True)
        found += [json.loads(raw) for raw in raws if raw.endswith(b"}\n")]
    return found


def attempts(server_id: str, **wanted: object) -> list[dict[str, Any]]:
    """Return the writes and commands in a server's log of which these fields are so."""
    return [
        line
        for line in lines(server_id)
        if line["kind"] in ("set", "call")
        and all(line.get(name) == value for name, value in wanted.items())
    ]


def wait_for(server_id: str, *, timeout_s: float = WITHIN_S, **wanted: object) -> dict[str, Any]:
    """Return the latest attempt of which these fields are so, as soon as there is one."""
    wait_until(lambda: attempts(server_id, **wanted), f"{wanted} in {server_id}", timeout_s)
    return attempts(server_id, **wanted)[-1]


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WITHIN_S) -> None:
    """Wait for a condition; fails when it does not come."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {timeout_s} s"
        time.sleep(_LOOK_S)
