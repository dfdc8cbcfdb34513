"""`devices`, `classes`, `show`, `status`, `instantiate`, `shutdown`, `doctor`, completion."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pykarabo.client import wait_until
from pykarabo.device import Device
from pykarabo.transport import run_directory

pytestmark = pytest.mark.usefixtures("benches")


@pytest.fixture
def complete(pykarabo: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return a function that completes a command line as bash would have it done."""

    def complete(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_PYKARABO_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        done = pykarabo()
        assert done.err == ""
        return [item.partition(",")[2] for item in done.lines if item]

    return complete


def test_devices_are_listed_with_class_state_server_and_host(pykarabo: Any) -> None:
    done = pykarabo("devices", "T/B*")
    assert done.code == 0
    assert done.lines[0].split() == ["device", "class", "state", "server", "host", "status"]
    assert [line.split()[:4] for line in done.lines[1:]] == [
        ["T/BENCH/1", "Bench", "ON", "T/SERVER"],
        ["T/BENCH/2", "Bench", "ON", "T/SERVER"],
    ]
    listed = pykarabo("devices", "--json").json
    assert {item["device_id"] for item in listed} == {
        "DIRECTORY", "T/BENCH/1", "T/BENCH/2", "T/SERVER",
    }  # fmt: skip
    assert {item["pid"] for item in listed} == {os.getpid()}


def test_classes_are_listed_with_the_servers_that_have_them(pykarabo: Any) -> None:
    assert pykarabo("classes", "--json").json["Bench"] == ["T/SERVER"]
    assert ["Bench", "T/SERVER"] in [line.split() for line in pykarabo("classes").lines]


def test_show_tells_all_there_is_to_know(pykarabo: Any) -> None:
    shown = pykarabo("show", "T/BENCH/1").out
    assert "T/BENCH/1: Bench on T/SERVER" in shown
    assert "Has a property of each kind.\n\nAnd more to say." in shown
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines() if line}
    assert lines["position"] == "0 mm reconfigurable >= -10, <= 10 any operator Where it is."
    assert lines["mode"] == "slow reconfigurable slow | fast any operator"
    assert lines["parked"] == "false reconfigurable OFF operator"
    assert lines["hot"] == "0 K read_only warn > 300"
    assert lines["axis."] == "An axis."
    assert lines["move(position:"] == (
        "float64 [mm], fast: bool = False) -> hash any operator Say what was asked for."
    )
    assert lines["park()"] == "-> none OFF operator Be allowed only when off."
    assert lines["output"].startswith("T/BENCH/1:output")
    assert lines["number"] == "int32"


def test_show_as_json_has_record_schema_and_values(pykarabo: Any) -> None:
    shown = pykarabo("show", "T/BENCH/1", "--json").json
    assert shown["record"]["class_id"] == "Bench"
    assert "move" in shown["schema"]["commands"] or any(
        item["name"] == "move" for item in shown["schema"]["commands"]
    )
    assert shown["values"]["count"]["value"] == 7


def test_show_of_an_unknown_device_names_near_ones(pykarabo: Any) -> None:
    done = pykarabo("show", "T/BENHC/1")
    assert done.code == 3
    assert "'T/BENCH/1'" in done.err


def test_status_shows_every_server_with_its_health(pykarabo: Any) -> None:
    found = pykarabo("status", "--json").json
    (server,) = found["servers"]
    assert server["server"] == "T/SERVER"
    assert (server["pid"], server["status"], server["answers"]) == (os.getpid(), "online", True)
    assert server["devices"] == found["devices"] == 4
    assert 0 <= server["loop_lag_s"] < 60
    assert 0 <= server["uptime_s"] < 3600
    assert found["domain"] == os.environ["PYKARABO_DOMAIN"]
    header, directory, columns, row = pykarabo("status").lines
    assert "1 servers, 4 devices" in header
    assert directory.startswith("directory at ipc://")
    assert "online since" in directory
    assert columns.split()[:2] == ["server", "status"]
    assert row.split()[:3] == ["T/SERVER", "online", "4"]


def test_status_names_devices_in_trouble(pykarabo: Any) -> None:
    assert pykarabo("status", "--json").json["not_well"] == []
    pykarabo("call", "T/BENCH/2.trip")
    wait_until(lambda: pykarabo("status", "--json").json["not_well"], timeout_s=10)
    (wrong,) = pykarabo("status", "--json").json["not_well"]
    assert (wrong["device_id"], wrong["state"]) == ("T/BENCH/2", "ERROR")
    shown = pykarabo("status").lines
    assert "not well:" in shown
    assert shown[-1].split()[:3] == ["T/BENCH/2", "Bench", "ERROR"]


def test_a_device_is_instantiated_with_its_configuration_and_shut_down(pykarabo: Any) -> None:
    done = pykarabo(
        "instantiate", "Bench", "T/BENCH/3", "--server", "T/SERVER", "position=0.2 cm",
        "axis.gap=3", "enabled=on",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out == "T/BENCH/3 (Bench) is running on T/SERVER, state ON\n"
    read = pykarabo("get", "T/BENCH/3.position", "T/BENCH/3.axis.gap", "--json").json
    assert [item["value"] for item in read.values()] == [2.0, 3.0]
    assert pykarabo("shutdown", "T/BENCH/3").out == "T/BENCH/3 was stopped\n"
    assert pykarabo("get", "T/BENCH/3.position").code == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Bench", "T/BENCH/1"), "runs already"),
        (("Bnech", "T/BENCH/3"), "'Bench'"),
        (("Bench", "T/BENCH/3", "cuont=3"), "'count'"),
        (("Bench", "T/BENCH/3", "position=99"), "at most 10 mm"),
        (("Bench", "T BENCH"), "no device id"),
    ],
)
def test_what_cannot_be_instantiated_is_bad_input(
    pykarabo: Any, arguments: tuple[str, ...], said: str
) -> None:
    done = pykarabo("instantiate", *arguments, "--server", "T/SERVER")
    assert done.code == 3
    assert said in done.err


def test_the_doctor_finds_a_domain_that_is_well(pykarabo: Any) -> None:
    done = pykarabo("doctor")
    assert done.code == 0, done.out
    assert {line.split()[0] for line in done.lines} == {"ok"}
    findings = pykarabo("doctor", "--json").json
    assert [item["what"] for item in findings if "T/SERVER" in item["what"]]
    assert all(item["good"] for item in findings)


def test_the_doctor_tries_every_step_to_a_device(pykarabo: Any) -> None:
    findings = pykarabo("doctor", "T/BENCH/1", "--json").json
    assert [item["what"].split()[0] for item in findings] == [
        "device", "runtime", "directory", "record", "lease", "process", "address", "connection",
        "instance", "state", "event",
    ]  # fmt: skip
    assert all(item["good"] for item in findings)


def test_the_doctor_stops_at_the_step_that_fails(pykarabo: Any) -> None:
    done = pykarabo("doctor", "T/BENHC/1")
    assert done.code == 1
    assert done.lines[-2].startswith("FAIL record:")
    assert "'T/BENCH/1'" in done.lines[-1]
    done = pykarabo("doctor", "T BENCH")
    assert done.code == 1
    assert done.lines[0].startswith("FAIL device id:")


def test_the_doctor_finds_what_killed_processes_have_left(pykarabo: Any) -> None:
    (run_directory() / "0123456789ab.rpc").touch()
    done = pykarabo("doctor")
    assert done.code == 1
    assert "FAIL leftovers: files of ended processes: 0123456789ab.rpc" in done.lines


def test_the_doctor_names_a_directory_that_others_may_enter(pykarabo: Any) -> None:
    directory = run_directory()
    directory.chmod(0o755)
    done = pykarabo("doctor")
    directory.chmod(0o700)
    assert done.code == 1
    assert "chmod 700" in done.out


def test_commands_devices_and_names_are_completed(complete: Callable[[str], list[str]]) -> None:
    assert complete("pykarabo wa") == ["watch"]
    assert complete("pykarabo show T/B") == ["T/BENCH/1", "T/BENCH/2"]
    assert complete("pykarabo get T/BENCH/1.pos") == ["T/BENCH/1.position"]
    assert complete("pykarabo watch T/BENCH/1.ax") == ["T/BENCH/1.axis", "T/BENCH/1.axis.gap"]
    assert complete("pykarabo call T/BENCH/1.") == [
        f"T/BENCH/1.{name}"
        for name in (
            *Device.schema().commands,
            *("move", "add", "fail", "sleep", "park", "tick", "trip"),
        )
    ]
    assert complete("pykarabo set T/BENCH/1.t") == ["T/BENCH/1.table"]
    assert complete("pykarabo call T/NONE/1.") == []


def test_completion_asks_the_domain_of_the_option(
    complete: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = os.environ["PYKARABO_DOMAIN"]
    for option in (f"pykarabo -D {domain} get T/B", f"pykarabo get -D {domain} T/B"):
        monkeypatch.setenv("PYKARABO_DOMAIN", "other")
        assert complete(option) == ["T/BENCH/1", "T/BENCH/2"]
    monkeypatch.setenv("PYKARABO_DOMAIN", "other")
    assert complete("pykarabo get T/B") == []


def test_completion_gives_up_on_a_directory_that_hangs(
    complete: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch, short_runtime: Path
) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short_runtime / "silent"))
        silent.listen()
        monkeypatch.setenv("PYKARABO_DIRECTORY", f"ipc://{short_runtime}/silent")
        started = time.monotonic()
        assert complete("pykarabo get T/B") == []
        assert time.monotonic() - started < 4


def test_the_shell_runs_code_with_the_devices_at_hand(pykarabo: Any) -> None:
    code = "print(connect('T/BENCH/1').count, devices('T/B*'), State.ON)"
    assert pykarabo("shell", "-c", code).out == "7 ['T/BENCH/1', 'T/BENCH/2'] ON\n"


def test_the_shell_has_the_names_of_the_package_at_hand(pykarabo: Any) -> None:
    code = "print([record.device_id for record in find_devices('T/B*')], await_until.__name__)"
    assert pykarabo("shell", "-c", code).out == "['T/BENCH/1', 'T/BENCH/2'] await_until\n"
