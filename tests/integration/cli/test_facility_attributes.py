"""Limits and archive settings of single devices in a facility file, with real processes."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient, connect
from pykarabo.errors import (
    ChangedMeanwhileError,
    DeniedError,
    UnknownDeviceError,
    UnknownPropertyError,
)
from pykarabo.testing import until_blocking
from pykarabo.transport import run_directory
from pykarabo_services.kernel.database import place_of
from tests.harness import audit_log
from tests.harness.archive import Archive

from .conftest import Run, start, text

_FACILITY: Final = """
servers:
  T/MOTORS:
    devices:
      T/MOTOR/1: {class: SimulatedMotor, velocity: 25.0}
      T/MOTOR/2: {class: SimulatedMotor}
    own_process: [T/MOTOR/2]
"""
_ATTRIBUTES: Final = """
attributes:
  T/MOTOR/1:
    actual_position: {warn_high: 35, archive_interval: 1.0}
  T/MOTOR/2:
    actual_position: {warn_low: -1.0, deadband: 0.5}
    status: {archive: false}
"""
_BROKEN: Final = """
  T/LAST:
    devices:
      T/BRIDGE/1: {class: KaraboBridge, endpoint: 'tcp://256.0.0.1:1'}
"""


@pytest.fixture
def config(pykarabo: Run, tmp_path: Path) -> Iterator[Path]:
    """Return a facility file, and stop at the end what was started in the test's domain."""
    path = tmp_path / "facility.yaml"
    path.write_text(_FACILITY + _ATTRIBUTES)
    yield path
    if run_directory().exists():
        pykarabo("down")


@pytest.fixture
def running(config: Path) -> Path:
    """Return a facility file that runs."""
    text(start("up", "--config", str(config)))
    return config


def _described(device_id: str, key: str) -> Any:
    with BlockingClient() as client:
        return client.schema(device_id).properties[key]


def _noted(device_id: str) -> Any:
    return connect(device_id).read("last_command")["last_command"].value


def _given(device_id: str) -> Any:
    return connect(device_id).read("given_attributes")["given_attributes"].value


def test_they_are_the_same_after_export_down_up_and_apply(
    running: Path, tmp_path: Path, pykarabo: Run
) -> None:
    assert "no changes" in text(pykarabo("plan", str(running), "--check"))
    assert _described("T/MOTOR/1", "actual_position").warn_high == 35
    assert _described("T/MOTOR/2", "actual_position").deadband == 0.5
    changed = running.read_text().replace("35", "36").replace("-1.0", "-2.0")
    running.write_text(changed + "    velocity: {archive: true}\n")
    planned = text(pykarabo("plan", str(running))).splitlines()
    assert planned == [
        "change  T/MOTOR/1 on T/MOTORS",
        "            actual_position warn_high: 35 -> 36 mm",
        "change  T/MOTOR/2 on T/MOTORS, in a process of its own",
        "            actual_position warn_low: -1.0 -> -2.0 mm",
        "            velocity archive: as declared -> true",
        "2 to change",
    ]
    before = [connect(f"T/MOTOR/{number}").read("pid")["pid"].value for number in (1, 2)]
    text(start("apply", str(running), "--yes"))
    assert [connect(f"T/MOTOR/{number}").read("pid")["pid"].value for number in (1, 2)] == before
    assert _described("T/MOTOR/2", "actual_position").warn_low == -2.0
    exported = tmp_path / "f.yaml"
    exported.write_text(text(pykarabo("export")))
    text(pykarabo("down"))
    text(start("up", "--config", str(exported)))
    assert "no changes" in text(pykarabo("plan", str(exported), "--check"))
    assert "no changes" in text(start("apply", str(exported), "--yes"))
    assert text(pykarabo("export")) == exported.read_text()
    assert _described("T/MOTOR/2", "status").archive is False


def test_a_step_that_fails_takes_them_back_and_devices_that_start_anew_keep_them(
    running: Path, pykarabo: Run
) -> None:
    before = text(pykarabo("export"))
    wanted = _FACILITY.replace("{class: SimulatedMotor}", "{class: SimulatedMotor, low_switch: -7}")
    changed = _ATTRIBUTES.replace("35", "36").replace("-1.0", "-2.0")
    running.write_text(wanted + _BROKEN + changed)
    done = start("apply", str(running), "--yes")
    assert done.code == 3, done.out + done.err
    assert "undone: change T/MOTOR/1" in done.out
    assert "undone: stop T/MOTOR/2" in done.out
    assert text(pykarabo("export")) == before
    running.write_text(wanted + _ATTRIBUTES)
    text(start("apply", str(running), "--yes"))
    assert _given("T/MOTOR/2")["actual_position"] == {"warn_low": -1.0, "deadband": 0.5}


def test_a_device_whose_process_was_killed_has_them_again_when_the_file_is_applied(
    running: Path, pykarabo: Run
) -> None:
    with BlockingClient() as client:
        os.kill(client.resolve("T/MOTOR/2").pid, signal.SIGKILL)
    until_blocking(lambda: connect("T/MOTORS").get("problems"), timeout_s=20)
    assert "actual_position warn_low: -1.0 mm" in text(pykarabo("plan", str(running)))
    text(start("apply", str(running), "--yes"))
    assert "no changes" in text(pykarabo("plan", str(running), "--check"))
    assert _described("T/MOTOR/2", "actual_position").warn_low == -1.0


@pytest.mark.usefixtures("running")
def test_the_command_works_for_devices_apart_and_is_audited_with_old_and_new() -> None:
    server = connect("T/MOTORS")
    given = {"actual_position": {"warn_low": -5.0}}
    with pytest.raises(UnknownDeviceError, match="'set_attributes' of 'T/MOTORS/T/MOTOR/2'"):
        server.set_attributes("T/MOTOR/2", given)
    motor = connect("T/MOTOR/2")
    home = connect(motor.read("server_id")["server_id"].value)
    owner = motor.call("lock")
    before = home.set_attributes("T/MOTOR/2", given)
    assert before["status"] == {"archive": False}
    assert _given("T/MOTOR/2") == given
    until_blocking(lambda: _noted("T/MOTOR/2") == f"set_attributes <- {owner}")
    motor.call("unlock")
    with pytest.raises(UnknownPropertyError, match=r"T/MOTOR/2.*'actual_positon'"):
        home.set_attributes("T/MOTOR/2", {"actual_positon": {"warn_low": -5.0}})
    with pytest.raises(ChangedMeanwhileError, match="T/MOTOR/2"):
        home.set_attributes("T/MOTOR/2", {}, {})
    with (
        BlockingClient(role="operator") as operator,
        pytest.raises(DeniedError, match=r"set_attributes.*needs the role expert"),
    ):
        operator.device("T/MOTORS/T/MOTOR/2").call("set_attributes", "T/MOTOR/2", {})
    assert _given("T/MOTOR/2") == given
    server.set_attributes("T/MOTOR/1", {"actual_position": {"warn_high": 36}})
    line = audit_log.wait_for("T/MOTORS", command="set_attributes", outcome="done")
    assert line["arguments"]["device_id"] == "T/MOTOR/1"
    own = audit_log.wait_for("T/MOTORS/T/MOTOR/2", command="set_attributes", outcome="done")
    assert own["arguments"]["attributes"] == {
        "actual_position": {"warn_low": [-1.0, -5.0], "deadband": [0.5, "as declared"]},
        "status": {"archive": [False, "as declared"]},
    }


@pytest.mark.usefixtures("running")
def test_they_are_shown_and_set_by_hand(pykarabo: Run) -> None:
    shown = text(pykarabo("attributes", "T/MOTOR/1"))
    assert shown == "actual_position.warn_high = 35\nactual_position.archive_interval = 1.0\n"
    done = pykarabo("attributes", "T/MOTOR/2", "actual_position.warn_low=null", "status.archive=")
    assert text(done) == "actual_position.deadband = 0.5\nactual_position.warn_low = null\n"
    assert _described("T/MOTOR/2", "actual_position").warn_low is None
    assert pykarabo("attributes", "T/MOTOR/1", "--json").json == {
        "actual_position": {"warn_high": 35, "archive_interval": 1.0}
    }
    wrong = pykarabo("attributes", "T/MOTOR/1", "actual_position.warn_hihg=3")
    assert (wrong.code, "did you mean 'warn_high'" in wrong.err) == (3, True)
    for place, near in (("actual_positon.warn_high", "position"), ("status.archiv", "archive")):
        wrong = pykarabo("attributes", "T/MOTOR/1", f"{place}=")
        assert (wrong.code, "did you mean" in wrong.err, near in wrong.err) == (3, True, True)
    assert "property.attribute=value" in pykarabo("attributes", "T/MOTOR/1", "warn_high=3").err
    none = ("actual_position.warn_high=", "actual_position.archive_interval=")
    assert text(pykarabo("attributes", "T/MOTOR/1", *none)) == (
        "T/MOTOR/1 has what its class declares\n"
    )
    denied = start("--role", "operator", "attributes", "T/MOTOR/1", "status.archive=false")
    assert (denied.code, "needs the role expert" in denied.err) == (3, True)


def test_a_file_that_is_wrong_changes_nothing(config: Path, pykarabo: Run) -> None:
    config.write_text(_FACILITY + _ATTRIBUTES.replace("warn_high", "warn_hihg"))
    wrong = start("apply", str(config), "--yes")
    assert wrong.code == 3
    assert f"{config}, line 11, attributes.T/MOTOR/1.actual_position.warn_hihg" in wrong.err
    assert "did you mean 'warn_high'" in wrong.err
    assert pykarabo("status").code == 4


def test_servers_that_know_nothing_of_them_are_planned_and_told(
    running: Path, pykarabo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pykarabo.facility._running._GIVEN", "what_older_ones_lack")
    done = pykarabo("plan", str(running), "--json")
    (first, second) = json.loads(text(done))["problems"]
    assert "server 'T/MOTORS' runs an older version, which cannot give 'T/MOTOR/1'" in first
    assert "'T/MOTOR/2'" in second
    running.write_text(_FACILITY)
    assert "no changes" in text(pykarabo("plan", str(running), "--check"))
    assert "attributes" not in text(pykarabo("export"))


_ARCHIVED: Final = """
servers:
  T/ARCHIVE:
    devices:
      T/ARCHIVER/1: {class: Archiver}
  T/CLOCKS:
    devices:
      T/CLOCK/1: {class: TrainClock}
      T/CLOCK/2: {class: TrainClock}
      T/CLOCK/3: {class: TrainClock}
      T/CLOCK/4: {class: TrainClock}
attributes:
  T/CLOCK/2: {train_id: {archive: false}}
  T/CLOCK/3: {train_id: {archive_interval: 3600}}
  T/CLOCK/4: {train_id: {deadband: 1000000}}
"""
_CLOCKS: Final = [f"T/CLOCK/{number}" for number in (1, 2, 3, 4)]


def test_the_archive_keeps_what_the_file_says(config: Path, pykarabo: Run) -> None:
    config.write_text(_ARCHIVED)
    text(start("up", "--config", str(config)))
    archive = Archive(place_of("archive"))

    def stored() -> list[int]:
        return [len(archive.samples(device_id, "train_id")) for device_id in _CLOCKS]

    def runs(number: int) -> bool:
        is_there = archive.newest(f"T/CLOCK/{number}", "train_id") is not None
        return is_there and stored()[number - 1] > 20

    until_blocking(lambda: runs(1), timeout_s=30)
    first, silent, seldom, coarse = stored()
    assert silent == 0
    assert (seldom < 4, coarse < 4) == (True, True), (first, seldom, coarse)

    config.write_text(_ARCHIVED.replace("  T/CLOCK/2: {t", "  T/CLOCK/1: {t"))
    text(start("apply", str(config), "--yes", "--reset"))
    until_blocking(lambda: runs(2), timeout_s=30)
    first = stored()[0]
    more = stored()[1]
    until_blocking(lambda: stored()[1] > more + 20, timeout_s=30)
    assert stored()[0] == first
