"""`plan`, `apply` and `export` with real processes."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from pykarabo.client import BlockingClient, connect
from pykarabo.errors import ChangedMeanwhileError, OutcomeUnknownError
from pykarabo.facility import (
    Applier,
    FacilityServer,
    NamedConfiguration,
    Outcome,
    Result,
    check_facility,
    look,
    make_plan,
    read_facility,
)
from pykarabo.testing import until_blocking
from pykarabo.transport import run_directory

from .conftest import Run, start, text

_FACILITY: Final = """
time_source: T/CLOCK/1
servers:
  T/TIMING:
    memory: 1024
    devices:
      T/CLOCK/1: {class: TrainClock}
  T/MOTORS:
    classes: [SimulatedMotor]
    devices:
      T/MOTOR/1: {class: SimulatedMotor, velocity: 25.0}
      T/MOTOR/2: {class: SimulatedMotor, low_switch: -5 cm}
    own_process: [T/MOTOR/2]
"""
_TOGETHER: Final = _FACILITY.replace("    own_process: [T/MOTOR/2]\n", "")
_KEEPING: Final = (
    _FACILITY.replace(
        "{class: TrainClock}", "{class: TrainClock}\n      T/STORE/1: {class: ConfigurationStore}"
    )
    + """
configurations:
  T/MOTOR/1:
    fast: {comment: for scans, active: true, values: {velocity: 5 cm/s}}
    plain:
"""
)
_BROKEN: Final = """
  T/LAST:
    devices:
      T/BRIDGE/1: {class: KaraboBridge, endpoint: 'tcp://256.0.0.1:1'}
"""


@pytest.fixture
def config(pykarabo: Run, tmp_path: Path) -> Iterator[Path]:
    """Return a facility file, and stop at the end what was started in the test's domain."""
    path = tmp_path / "facility.yaml"
    path.write_text(_FACILITY)
    yield path
    if run_directory().exists():
        pykarabo("down")


@pytest.fixture
def running(config: Path, pykarabo: Run) -> Path:
    """Return a facility file that was applied; its devices share a process."""
    config.write_text(_TOGETHER)
    text(start("apply", str(config), "--yes"))
    return config


@pytest.mark.timeout(400)  # it starts and stops a dozen processes, also on a busy host
def test_a_facility_that_is_exported_and_applied_after_a_restart_is_the_same(
    config: Path, tmp_path: Path, pykarabo: Run
) -> None:
    config.write_text(_KEEPING)
    planned = json.loads(text(pykarabo("plan", str(config), "--json")))
    assert [step["target"] for step in planned["steps"]][:2] == ["T/TIMING", "T/MOTORS"]
    text(start("apply", str(config), "--yes"))
    assert "no changes" in text(pykarabo("plan", str(config), "--check"))
    text(pykarabo("set", "T/MOTOR/1.step_length=2", "T/MOTOR/1.backlash=0"))
    text(pykarabo("config", "save", "T/MOTOR/2", "today"))
    exported = tmp_path / "f.yaml"
    exported.write_text(text(pykarabo("export")))
    facility = read_facility(exported, {})
    assert facility.servers["T/TIMING"].memory == 1024
    assert facility.servers["T/MOTORS"].own_process == {"T/MOTOR/2"}
    assert facility.servers["T/MOTORS"].devices["T/MOTOR/1"].configuration == {
        "velocity": 25.0,
        "backlash": 0.0,
        "step_length": 2.0,
    }
    assert facility.configurations == {
        "T/MOTOR/1": {
            "fast": NamedConfiguration({"velocity": 50.0}, "for scans", active=True),
            "plain": NamedConfiguration(),
        },
        "T/MOTOR/2": {"today": NamedConfiguration({"low_switch": -50.0})},
    }
    text(pykarabo("down"))
    text(start("up"))
    text(start("apply", str(exported), "--yes"))
    assert text(pykarabo("export")) == exported.read_text()
    assert "no changes" in text(pykarabo("plan", str(exported), "--check"))
    exported.write_text(exported.read_text().replace("for scans", "for nobody"))
    assert 'comment: "for scans" -> "for nobody"' in text(start("apply", str(exported), "--yes"))
    history = json.loads(text(pykarabo("config", "history", "T/MOTOR/1", "fast", "--json")))
    assert [item["comment"] for item in history] == ["for nobody", "for scans"]


def test_what_is_done_in_the_store_was_shown_before_also_where_it_is_restarted(
    config: Path, pykarabo: Run
) -> None:
    config.write_text(_KEEPING)
    up = start("up", "--config", str(config))
    assert f"note: the named configurations of {config} were not compared" in up.err
    assert "keep    configuration 'fast' of T/MOTOR/1" in text(pykarabo("plan", str(config)))
    text(start("apply", str(config), "--yes"))
    config.write_text(_KEEPING.replace("    plain:\n", "").replace("1024", "1025"))
    planned = text(pykarabo("plan", str(config)))
    assert "delete  configuration 'plain' of T/MOTOR/1" in planned
    done = text(start("apply", str(config), "--yes"))
    assert [line for line in done.splitlines() if line.startswith("done: delete")] == [
        "done: delete configuration 'plain' of T/MOTOR/1 (it is not in the file)"
    ]
    assert "no changes" in text(pykarabo("plan", str(config), "--check"))


def test_numbers_can_come_from_the_environment(
    config: Path, pykarabo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEED", "12.5")
    monkeypatch.setenv("MIB", "1024")
    wanted = _TOGETHER.replace("velocity: 25.0", "velocity: '${SPEED}'")
    config.write_text(wanted.replace("memory: 1024", "memory: '${MIB}'"))
    text(start("up", "--config", str(config)))
    assert connect("T/MOTOR/1").velocity == 12.5
    assert "no changes" in text(pykarabo("plan", str(config), "--check"))


def test_a_step_that_fails_takes_back_what_was_done_before(running: Path, pykarabo: Run) -> None:
    before = text(pykarabo("export"))
    wanted = _TOGETHER.replace("velocity: 25.0", "velocity: 3.0")
    wanted = wanted.replace("low_switch: -5 cm", "low_switch: -7 cm")
    running.write_text(wanted + _BROKEN)
    done = start("apply", str(running), "--yes")
    assert done.code == 3, done.out + done.err
    assert "failed: start T/BRIDGE/1 KaraboBridge on T/LAST" in done.out
    assert "cannot listen on tcp://256.0.0.1:1" in done.err
    undone = [line.split(" ", 2)[:3] for line in done.out.splitlines() if "undone:" in line]
    assert [f"{word} {rest.split(' (')[0].split(',')[0]}" for _, word, rest in undone] == [
        "start T/MOTOR/2 SimulatedMotor on T/MOTORS",
        "change T/MOTOR/1",
        "start server T/LAST",
        "stop T/MOTOR/2 on T/MOTORS",
    ]
    assert text(pykarabo("export")) == before


def test_a_file_does_not_stop_the_accounts_service_and_starts_it_where_it_is_missing(
    config: Path, pykarabo: Run
) -> None:
    config.write_text("time_source: T/CLOCK/1\nservers: {T/TIMING: {devices: {}}}\n")
    text(pykarabo("user", "init"))
    planned = json.loads(text(pykarabo("plan", str(config), "--json")))
    assert ("start", "ACCOUNTS") in [(step["kind"], step["target"]) for step in planned["steps"]]
    text(start("up", "--config", str(config)))
    assert "no changes" in text(pykarabo("plan", str(config), "--check"))
    config.write_text("servers: {T/TIMING: {devices: {}}}\n")
    assert "ACCOUNTS" not in text(pykarabo("plan", str(config)))
    pids = [item["pid"] for item in json.loads(text(pykarabo("status", "--json")))["servers"]]
    text(pykarabo("down"))
    until_blocking(lambda: not any(map(psutil.pid_exists, pids)), timeout_s=20)


def test_nothing_is_done_without_the_role_or_a_yes(config: Path, pykarabo: Run) -> None:
    assert "start   server T/MOTORS" in text(pykarabo("apply", str(config), "--dry-run"))
    assert "give --yes" in start("apply", str(config)).err
    denied = pykarabo("--role", "operator", "apply", str(config), "--yes")
    assert denied.code == 3
    assert "needs the role expert" in denied.err
    assert pykarabo("status").code == 4
    assert pykarabo("--role", "observer", "plan", str(config)).code == 0


def test_B9_unknown_classes_and_properties_are_named_with_line_and_near_match(
    config: Path, pykarabo: Run
) -> None:
    config.write_text(_FACILITY.replace("velocity: 25.0", "velocty: 25.0"))
    wrong = pykarabo("plan", str(config))
    assert wrong.code == 3
    assert f"{config}, line 11, servers.T/MOTORS.devices.T/MOTOR/1.velocty" in wrong.err
    assert "did you mean 'velocity'?" in wrong.err
    config.write_text(_FACILITY.replace("class: TrainClock", "class: TrainClok"))
    wrong = start("apply", str(config), "--yes")
    assert "line 7, servers.T/TIMING.devices.T/CLOCK/1.class" in wrong.err
    assert "did you mean 'TrainClock'?" in wrong.err
    for devices in ("devices: {}", "devices: {T/CLOCK/1: {class: TrainClock}}"):
        classes = "classes:\n    - TrainClock\n    - TrainClok"
        config.write_text(f"servers:\n  T/TIMING:\n    {classes}\n    {devices}\n")
        wrong = pykarabo("plan", str(config))
        assert wrong.code == 3
        assert f"{config}, line 5, servers.T/TIMING.classes[1]: there is no device" in wrong.err
        assert "did you mean 'TrainClock'?" in wrong.err


class _NoProcesses:
    """Refuses to start and stop servers, which the tests below do not."""

    def start(self, server_id: str, server: FacilityServer, time_source: str | None) -> None:
        raise AssertionError(server_id, server, time_source)

    def stop(self, server_id: str) -> None:
        raise AssertionError(server_id)


def _planned(client: BlockingClient, path: Path) -> Any:
    running = look(client)
    schemas = {
        device.class_id: device.schema
        for server in running.servers.values()
        for device in server.devices.values()
    }
    checked = check_facility(read_facility(path, {}), lambda _id, _server, name: schemas[name])
    return make_plan(checked, running)


def test_what_has_changed_since_the_plan_was_made_is_not_overwritten(
    running: Path, pykarabo: Run
) -> None:
    running.write_text(_TOGETHER.replace("velocity: 25.0", "velocity: 3.0"))
    told: list[Result] = []
    with BlockingClient() as client:
        plan = _planned(client, running)
        connect("T/MOTOR/1").velocity = 11.0
        error = Applier(client, _NoProcesses(), told.append).carry_out(plan.steps)
    assert isinstance(error, ChangedMeanwhileError)
    assert [result.outcome for result in told] == [Outcome.FAILED]
    assert connect("T/MOTOR/1").velocity == 11.0


@pytest.mark.nightly
def test_a_step_of_unknown_outcome_is_told_as_unknown(running: Path, pykarabo: Run) -> None:
    running.write_text(_TOGETHER.replace("velocity: 25.0", "velocity: 3.0"))
    told: list[Outcome] = []
    with BlockingClient() as client:
        plan = _planned(client, running)
        pid = client.resolve("T/MOTORS").pid
        os.kill(pid, signal.SIGSTOP)
        try:
            applier = Applier(client, _NoProcesses(), lambda result: told.append(result.outcome))
            error = applier.carry_out(plan.steps)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert isinstance(error, OutcomeUnknownError)
    assert told == [Outcome.UNKNOWN, Outcome.NOT_UNDONE]
    assert applier.results[0].told
