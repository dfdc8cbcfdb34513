"""`up`, `down` and `server start` with real processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from pykarabo.client import connect, wait_until
from pykarabo.errors import PykaraboError
from pykarabo.transport import data_directory, run_directory

_PROGRAM: Final = [sys.executable, "-m", "pykarabo"]
_FACILITY: Final = """
time_source: T/CLOCK/1
servers:
  T/TIMING:
    devices:
      T/CLOCK/1: {class: TrainClock}
  T/MOTORS:
    classes: [SimulatedMotor]
    devices:
      T/MOTOR/1: {class: SimulatedMotor, velocity: 25.0}
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command has written, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


def _run(*arguments: str | Path) -> Done:
    done = subprocess.run(
        [*_PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def _pids() -> dict[str, int]:
    """Return the servers' processes by their ids."""
    return {item["server"]: item["pid"] for item in _run("status", "--json").json["servers"]}


def _kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    process.wait(10)


@pytest.fixture
def domain(short_runtime: Path) -> Iterator[Path]:
    """Give the test a domain, and stop what it has started there; gives its runtime directory."""
    assert short_runtime.exists()
    directory = run_directory()
    yield directory
    if directory.exists():
        _run("down")


@pytest.fixture
def config(domain: Path, tmp_path: Path) -> Path:
    """Return a facility file with a timing and a motor server."""
    assert not domain.exists()
    path = tmp_path / "facility.yaml"
    path.write_text(_FACILITY)
    return path


def test_up_without_a_file_gives_a_monitor_and_train_ids_and_down_leaves_nothing(
    domain: Path,
) -> None:
    up = _run("up")
    assert up.code == 0, up.err
    devices = {item["device_id"] for item in _run("devices", "--json").json}
    assert {"DIRECTORY", "DIRECTORY/HOST", "HOST/MONITOR/1", "TIMING/CLOCK/1"} <= devices
    pids = _pids()
    assert len(pids) == 2
    again = _run("up")
    assert again.code == 0
    assert "is running already" in again.out
    assert _pids() == pids
    down = _run("down", "--json")
    assert down.code == 0
    assert {item["how"] for item in down.json["servers"].values()} == {"stopped"}
    assert list(down.json["servers"])[-1] == "DIRECTORY/HOST"
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert not domain.exists()
    assert _run("status").code == 4
    nothing = _run("down")
    assert (nothing.code, nothing.out.split()[:3]) == (0, ["nothing", "is", "running"])


def test_a_facility_is_started_as_its_file_says(config: Path, tmp_path: Path) -> None:
    up = _run("up", "--config", config, "--data", tmp_path / "here", "--json")
    assert up.code == 0, up.err
    assert list(up.json["servers"]) == ["DIRECTORY/HOST", "T/TIMING", "T/MOTORS"]
    assert connect("T/MOTOR/1").velocity == 25.0
    assert connect("T/MOTORS").classes() == ["SimulatedMotor"]
    clock = connect("T/CLOCK/1")
    wait_until(lambda: clock.read("train_id")["train_id"].timestamp.train_id > 0, timeout_s=10)
    logs = {path.name for path in (tmp_path / "here" / "log").iterdir()}
    assert logs == {"DIRECTORY.HOST.log", "T.TIMING.log", "T.MOTORS.log"}


def test_a_killed_server_is_started_again_and_the_others_left_alone(config: Path) -> None:
    assert _run("up", "--config", config).code == 0
    before = _pids()
    _kill(before["T/MOTORS"])
    assert "no answer" in _run("status").out
    read = _run("get", "T/MOTOR/1.velocity", "T/CLOCK/1.state", "--json")
    assert read.code == 4
    assert read.json["T/CLOCK/1.state"]["value"] == "ON"
    assert read.json["T/MOTOR/1.velocity"]["error"]["code"] == "not_connected"
    assert _run("doctor").code == 1
    up = _run("up", "--config", config)
    assert up.code == 0, up.err
    after = _pids()
    assert after.pop("T/MOTORS") != before.pop("T/MOTORS")
    assert after == before
    assert _run("doctor").code == 0


def test_a_lost_directory_is_replaced_and_the_servers_come_back_to_it(config: Path) -> None:
    assert _run("up", "--config", config).code == 0
    before = _pids()
    _kill(before["DIRECTORY/HOST"])
    up = _run("up", "--config", config)
    assert up.code == 0, up.err
    after = _pids()
    assert after.pop("DIRECTORY/HOST") != before.pop("DIRECTORY/HOST")
    assert after == before


def test_a_device_that_cannot_be_is_told_at_every_up(config: Path) -> None:
    config.write_text(_FACILITY + "      T/MOTOR/2: {class: SimulatedMotr}\n")
    up = _run("up", "--config", config)
    assert up.code == 1
    assert "T/MOTORS: T/MOTOR/2: there is no device class 'SimulatedMotr'" in up.err
    assert connect("T/MOTOR/1").velocity == 25.0
    again = _run("up", "--config", config)
    assert again.code == 1
    assert "pykarabo instantiate SimulatedMotr T/MOTOR/2 --server T/MOTORS" in again.err
    assert "not started: T/MOTOR/2" in _run("status").out


def test_a_server_that_ends_at_its_start_is_told_with_the_end_of_its_log(
    domain: Path, tmp_path: Path
) -> None:
    config = tmp_path / "facility.yaml"
    config.write_text("servers:\n  T/BAD: {classes: [NoSuchClass]}\n  T/GOOD: {}\n")
    up = _run("up", "--config", config, "--json")
    assert up.code == 1
    assert up.json["servers"]["T/BAD"] == "failed"
    assert up.json["servers"]["T/GOOD"].startswith("started")
    (problem,) = up.json["problems"]
    assert "server 'T/BAD' ended with status 3; its log" in problem
    assert "| error: there is no device class 'NoSuchClass' here" in problem
    assert domain.exists()


def test_a_file_with_an_error_starts_nothing(domain: Path, tmp_path: Path) -> None:
    config = tmp_path / "facility.yaml"
    config.write_text("servers:\n  T/X: {device: {}}\n")
    up = _run("up", "--config", config, "--json")
    assert up.code == 3
    assert "line 2, servers.T/X.device" in up.json["error"]["message"]
    assert not domain.exists()


def test_many_ups_at_once_start_everything_once(config: Path) -> None:
    command = [*_PROGRAM, "up", "--config", str(config)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(4)
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    assert sum("T/MOTORS: started" in text for text in said) == 1
    assert sum("T/MOTORS: is running already" in text for text in said) == 3
    assert len(_pids()) == 3


def test_up_and_down_at_once_do_not_mix(config: Path) -> None:
    assert _run("up", "--config", config).code == 0
    commands = [["down"], ["up", "--config", str(config)], ["down"]]
    running = [subprocess.Popen([*_PROGRAM, *arguments]) for arguments in commands]
    assert [process.wait(90) for process in running] == [0] * 3
    up = _run("up", "--config", config)
    assert up.code == 0, up.err
    assert len(_pids()) == 3


def test_down_ends_a_frozen_server_by_force(config: Path) -> None:
    assert _run("up", "--config", config).code == 0
    pids = _pids()
    os.kill(pids["T/MOTORS"], signal.SIGSTOP)
    down = _run("down", "--json")
    assert down.code == 0
    assert down.json["servers"]["T/MOTORS"]["how"] == "ended by SIGKILL, it did not answer"
    assert down.json["servers"]["T/TIMING"]["how"] == "stopped"
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


def test_down_ends_servers_that_have_lost_their_directory(config: Path) -> None:
    assert _run("up", "--config", config).code == 0
    pids = _pids()
    _kill(pids["DIRECTORY/HOST"])
    down = _run("down", "--json")
    assert down.code == 0
    assert set(down.json["servers"]) == {"T/TIMING", "T/MOTORS"}
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


def test_down_spares_a_process_that_only_has_the_number_of_a_former_server(domain: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as innocent:
        directory = run_directory(create=True)
        (directory / "0123456789ab.lock").write_text(str(innocent.pid))
        (directory / "0123456789ab.rpc").touch()
        assert _run("down").code == 0
        assert innocent.poll() is None
        innocent.kill()
    assert not domain.exists()


def test_down_spares_the_program_that_serves_a_device_besides(domain: Path) -> None:
    assert domain == run_directory()
    code = (
        "import sys\n"
        "from pykarabo.device import Device, serve\n"
        "class Thing(Device):\n"
        "    '''A thing.'''\n"
        "with serve({'T/THING/1': Thing}):\n"
        "    print('serving', flush=True)\n"
        "    sys.stdin.readline()\n"
        "print('goes on', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "serving\n"
        down = _run("down")
        assert down.code == 0
        assert f"SCRIPT/{program.pid}: stopped; process {program.pid} goes on" in down.out
        assert program.communicate("\n")[0] == "goes on\n"
        assert program.returncode == 0


def test_the_domain_of_a_file_is_used_where_the_user_names_none(
    domain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.environ["PYKARABO_DOMAIN"]
    assert domain.name == name
    config = tmp_path / "facility.yaml"
    config.write_text(f"domain: {name}\nservers: {{T/S: {{}}}}\n")
    monkeypatch.delenv("PYKARABO_DOMAIN")
    up = _run("up", "--config", config)
    assert up.code == 0, up.err
    assert up.out.startswith(f"domain {name}\n")
    assert set(_run("-D", name, "status", "--json").json["servers"][0])
    assert _run("-D", name, "down").code == 0


def _start(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*_PROGRAM, "server", "start", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_server_runs_in_the_foreground_until_it_is_told_to_stop(
    domain: Path, tmp_path: Path, how: signal.Signals
) -> None:
    init = tmp_path / "devices.json"
    init.write_text('{"T/M/1": {"class": "SimulatedMotor"}, "T/M/2": {"class": "X"}}')
    with _start("--id", "T/S", "--directory", "--init", init) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "server T/S is running; Ctrl-C stops it\n"
        assert connect("T/M/1").class_id == "SimulatedMotor"
        process.send_signal(how)
        assert process.wait(15) == 0
        assert "device T/M/2 could not be started: there is no device class 'X'" in (
            process.stderr.read()
        )
    assert list(domain.glob("*.rpc")) == []


def test_a_second_server_of_the_same_id_is_refused_with_the_first_ones_place(domain: Path) -> None:
    assert domain.name
    with _start("--id", "T/S", "--directory") as process:
        assert process.stdout is not None
        process.stdout.readline()
        second = _run("server", "start", "--id", "T/S")
        assert second.code == 3
        assert second.err.splitlines()[-1].startswith("error: device 'T/S' exists already: server")
        assert str(process.pid) in second.err
        assert "Traceback" not in second.err
        directory = _run("server", "start", "--id", "T/D", "--directory")
        assert directory.code == 3
        assert f"has a directory already (process {process.pid})" in directory.err
        process.terminate()


@pytest.mark.parametrize("text", ["", "[]", '{"A": 1}', '{"A": {}}'])
def test_a_list_of_devices_that_is_none_is_bad_input(
    domain: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "devices.json").write_text(text)
    done = _run("server", "start", "--id", "T/S", "--init", tmp_path / "devices.json")
    assert done.code == 3
    assert "devices.json" in done.err
    assert not domain.exists()


def test_a_directory_on_tcp_is_found_by_its_address(
    domain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _start("--id", "T/S", "--directory", "--host", "127.0.0.1") as process:
        assert process.stdout is not None
        process.stdout.readline()
        address = next(
            f"tcp://127.0.0.1:{item.laddr.port}"
            for item in psutil.Process(process.pid).net_connections()
            if item.status == psutil.CONN_LISTEN and _answers(f"tcp://127.0.0.1:{item.laddr.port}")
        )
        monkeypatch.setenv("PYKARABO_DIRECTORY", address)
        assert _run("get", "T/S.state").out == "ON\n"
        assert _run("doctor").code == 0
        assert "T/S: stopped" in _run("down").out
    assert not domain.exists()


def _answers(endpoint: str) -> bool:
    from pykarabo.client import BlockingClient

    try:
        with BlockingClient(directory=endpoint) as client:
            client.topology()
    except PykaraboError:
        return False
    return True


def test_a_log_is_rotated_with_all_that_the_process_writes(tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from pykarabo.cli._serving import ProcessLog\n"
        "log = ProcessLog(Path('log'), maxBytes=1000, backupCount=2)\n"
        "logging.basicConfig(handlers=[log], level=logging.INFO)\n"
        "for number in range(30):\n"
        "    logging.info('%d %s', number, 'x' * 80)\n"
        "print('to stdout', flush=True)\n"
        "print('to stderr', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert {path.name for path in tmp_path.glob("log*")} == {"log", "log.1", "log.2"}
    last = (tmp_path / "log").read_text()
    assert "29 xx" in last
    assert last.endswith("to stdout\nto stderr\n")
    assert all(path.stat().st_size < 1100 for path in tmp_path.glob("log*"))


def test_a_log_that_cannot_be_written_is_bad_input(domain: Path, tmp_path: Path) -> None:
    done = _run("server", "start", "--id", "T/S", "--log", tmp_path / "no" / "log")
    assert done.code == 3
    assert "cannot be written" in done.err
    assert not domain.exists()
    assert not data_directory().exists()
