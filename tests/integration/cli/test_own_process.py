"""Devices in processes of their own, started by their server."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from pykarabo.client import BlockingClient, DeviceRecord, connect
from pykarabo.errors import DuplicateDeviceError, OutOfRangeError, PykaraboError

from .test_processes import _run

_FACILITY: Final = """
servers:
  T/MOTORS:
    classes: [SimulatedMotor]
    own_process: [T/MOTOR/1]
    devices:
      T/MOTOR/1: {class: SimulatedMotor, velocity: 25.0}
      T/MOTOR/2: {class: SimulatedMotor}
"""


@pytest.fixture
def facility(short_runtime: Path, tmp_path: Path) -> Iterator[Path]:
    """Start the facility and return its file."""
    del short_runtime
    file = tmp_path / "facility.yaml"
    file.write_text(_FACILITY)
    try:
        done = _run("up", "--config", file, "--data", tmp_path / "data")
        assert done.code == 0, done.err
        yield file
    finally:
        _run("down")


def _record(device_id: str) -> DeviceRecord:
    with BlockingClient() as client:
        return client.resolve(device_id)


def _until(condition: Callable[[], Any], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except PykaraboError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_device_runs_apart_and_its_death_is_told_and_harms_nobody(facility: Path) -> None:
    own, other = _record("T/MOTOR/1"), _record("T/MOTOR/2")
    assert (own.server_id, other.server_id) == ("T/MOTORS/T/MOTOR/1", "T/MOTORS")
    assert own.pid != other.pid
    assert connect("T/MOTOR/1").velocity == 25.0
    server = connect("T/MOTORS")
    assert server.read("processes")["processes"].value == {
        "T/MOTOR/1": {"pid": own.pid, "server_id": "T/MOTORS/T/MOTOR/1"}
    }
    assert _run("up", "--config", facility).code == 0  # all is as the file says

    os.kill(own.pid, signal.SIGKILL)
    _until(lambda: server.read("problems")["problems"].value)
    (problem,) = server.read("problems")["problems"].value
    assert f"the process of 'T/MOTOR/1' ({own.pid}) has ended: SIGKILL" in problem
    (alarm,) = server.read("alarms")["alarms"].value.values()
    assert (alarm["condition"], alarm["present"]) == ("alarm", True)
    assert connect("T/MOTOR/2").read("state")["state"].value == "ON"
    assert _run("up", "--config", facility).code == 1

    again = _run(
        "instantiate", "SimulatedMotor", "T/MOTOR/1", "velocity=7", "--server", "T/MOTORS",
        "--own-process",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert again.out.startswith("T/MOTOR/1 (SimulatedMotor) is running in process ")
    assert connect("T/MOTOR/1").velocity == 7.0
    _until(lambda: not len(server.read("problems")["problems"].value))

    anew = _record("T/MOTOR/1").pid
    assert _run("shutdown", "T/MOTOR/1").code == 0
    _until(lambda: not psutil.pid_exists(anew))
    _until(lambda: server.read("processes")["processes"].value == {})
    assert not len(server.read("problems")["problems"].value)


@pytest.mark.usefixtures("facility")
def test_the_process_of_a_device_ends_with_its_server() -> None:
    own, server = _record("T/MOTOR/1"), _record("T/MOTORS")
    os.kill(server.pid, signal.SIGKILL)
    _until(lambda: not psutil.pid_exists(own.pid))


@pytest.mark.usefixtures("facility")
def test_what_keeps_a_device_from_starting_apart_is_told_as_it_is() -> None:
    server = connect("T/MOTORS")

    def start(device_id: str, configuration: dict[str, Any]) -> None:
        server.call(
            "instantiate", "SimulatedMotor", device_id, configuration, own_process=True,
            timeout_s=30.0,
        )  # fmt: skip

    with pytest.raises(OutOfRangeError, match=r"T/MOTOR/3\.velocity"):
        start("T/MOTOR/3", {"velocity": -1.0})
    with pytest.raises(DuplicateDeviceError, match=r"T/MOTOR/1.*process of its own already"):
        start("T/MOTOR/1", {})
    with pytest.raises(DuplicateDeviceError, match="T/MOTOR/2"):
        start("T/MOTOR/2", {})
    assert list(server.read("processes")["processes"].value) == ["T/MOTOR/1"]
