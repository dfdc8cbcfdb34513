"""`export` with real processes: nothing that there is is missing without a word."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pykarabo.client import BlockingClient
from pykarabo.facility import NamedConfiguration, read_facility
from pykarabo.testing import until_blocking
from pykarabo.transport import run_directory

from .conftest import Run, start, text

_FACILITY: Final = """
time_source: T/CLOCK/1
servers:
  T/TIMING:
    devices:
      T/CLOCK/1: {class: TrainClock}
      T/STORE/1: {class: ConfigurationStore}
  T/MOTORS:
    devices:
      T/MOTOR/1: {class: SimulatedMotor, velocity: 2.5}
      T/MOTOR/2: {class: SimulatedMotor}
"""


@pytest.fixture
def running(pykarabo: Run, tmp_path: Path) -> Iterator[Path]:
    """Return a facility file that was applied."""
    path = tmp_path / "facility.yaml"
    path.write_text(_FACILITY)
    text(start("apply", str(path), "--yes"))
    yield path
    if run_directory().exists():
        pykarabo("down")


def _exported(pykarabo: Run, path: Path, *, code: int = 0) -> str:
    done = pykarabo("export")
    assert done.code == code, done.out + done.err
    path.write_text(done.out)
    return done.err


def _kill(server_id: str, how: signal.Signals) -> int:
    with BlockingClient() as client:
        pid = client.resolve(server_id).pid
        os.kill(pid, how)
        until_blocking(
            lambda: client.directory("resolve", server_id)["status"] == "gone", timeout_s=20
        )
    return pid


def test_a_server_that_has_died_is_named_and_its_configurations_are_kept(
    running: Path, pykarabo: Run
) -> None:
    text(pykarabo("config", "save", "T/MOTOR/1", "good", "--active"))
    text(pykarabo("shutdown", "T/MOTOR/2"))
    _kill("T/MOTORS", signal.SIGKILL)
    path = running.with_name("exported.yaml")
    told = _exported(pykarabo, path, code=1)
    assert "'T/MOTORS' is gone; it is missing in the file" in told
    assert "'T/MOTOR/1' is gone with its server 'T/MOTORS'" in told
    assert "#   T/MOTOR/1 is gone with its server 'T/MOTORS'" in path.read_text()
    assert json.loads(pykarabo("export", "--json").out)["missing"].keys() == {
        "T/MOTORS",
        "T/MOTOR/1",
    }
    good = NamedConfiguration({"velocity": 2.5}, active=True, class_id="SimulatedMotor")
    assert read_facility(path, {}).configurations == {"T/MOTOR/1": {"good": good}}
    assert "no changes" in text(pykarabo("plan", str(path), "--check"))


def test_the_configurations_of_a_device_that_was_stopped_are_in_the_file_and_stay(
    running: Path, pykarabo: Run
) -> None:
    text(pykarabo("config", "save", "T/MOTOR/2", "good"))
    text(pykarabo("shutdown", "T/MOTOR/2"))
    path = running.with_name("exported.yaml")
    text(pykarabo("instantiate", "SimulatedMotor", "T/MOTOR/3", "--server", "DIRECTORY/HOST"))
    told = _exported(pykarabo, path)
    assert told == (
        "warning: 'T/MOTOR/3' is left out: it runs on 'DIRECTORY/HOST', which no facility file "
        "describes\n"
    )
    assert "T/MOTOR/2" not in read_facility(path, {}).homes
    assert "no changes" in text(pykarabo("plan", str(path), "--check"))
    running.write_text(f"{_FACILITY}configurations: {{T/MOTOR/1: {{}}}}\n")
    assert "delete" not in text(start("apply", str(running), "--yes"))
    assert json.loads(text(pykarabo("config", "list", "T/MOTOR/2", "--json")))


def test_where_no_server_answers_nothing_is_written(running: Path, pykarabo: Run) -> None:
    text(pykarabo("shutdown", "T/TIMING"))
    pid = _kill("T/MOTORS", signal.SIGSTOP)
    try:
        done = pykarabo("export")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (done.code, done.out) == (4, "")
    assert "'T/MOTORS' is gone" in done.err
