"""Locks between real processes: the owner's death frees the device."""

import signal
import subprocess
import sys
import time
from typing import Any, Final

import pytest

from pykarabo.client import connect
from pykarabo.errors import LockedError

_HOLDER: Final = """
import sys, time
from pykarabo.client import connect
connect("COUNT/1").call("lock")
print("locked", flush=True)
sys.stdin.read()
"""
_FREED_S: Final = 15.0


def test_the_lock_of_a_killed_program_ends(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(LockedError, match=f"/{holder.pid}/-c") as caught:
            counter.count()
        assert caught.value.details["owner"] == counter.get("locked_by")["locked_by"]
        holder.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + _FREED_S
    while counter.get("locked_by")["locked_by"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert counter.count() == 1


def test_a_device_in_another_process_is_an_owner_by_its_name(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    processes.start("S/2", "COUNT/2", "COUNT/3")
    assert connect("COUNT/2").forward("COUNT/1") == 1
    assert connect("COUNT/1").get("last_command") == {"last_command": "execute <- COUNT/2"}
