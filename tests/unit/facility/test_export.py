"""What runs as the text of a facility file."""

from dataclasses import replace
from pathlib import Path

import pytest

from pykarabo.client import DeviceRecord
from pykarabo.data import ChoiceOfNodes, Configurable, Float64, Int32, ListOfNodes, Schema, String
from pykarabo.errors import (
    BadConfigurationError,
    CallTimeoutError,
    NotConnectedError,
    UnknownClassError,
)
from pykarabo.facility import (
    Export,
    FacilityServer,
    NamedConfiguration,
    Running,
    RunningDevice,
    RunningServer,
    read_facility,
)


class Axis(Configurable):
    speed = Float64(unit="mm/s", default=1.0)


class Motor(Configurable):
    velocity = Float64(unit="mm/s", default=5.0)
    pin = String(secret=True)
    number = Int32(secret=True)
    axes = ListOfNodes(Axis)
    drive = ChoiceOfNodes({"a": Axis, "b": Axis})


OPTIONS = FacilityServer(
    {}, ("Motor",), "192.0.2.1", "h", {"rpc": 5000}, ("192.0.2.0/24",), 512
)  # fmt: skip


def _running() -> Running:
    device = RunningDevice(
        "M/1",
        "Motor",
        True,
        Motor.schema(),
        {
            "velocity": 2.0,
            "pin": "${1234}",
            "number": 4,
            "axes": {"x": {}, "y": {}},
            "axes.y.speed": 3.0,
            "drive": {"b": {}},
        },
        {},
        {"more": "its class does not declare it"},
    )
    named = {"M/1": {"b": NamedConfiguration({"drive": {"b": {}}}, "x"), "a": NamedConfiguration()}}
    servers = {
        "Z": RunningServer("Z", "h", True, FacilityServer({}), "T/1", {}),
        "A": RunningServer("A", "h", True, OPTIONS, "T/1", {"M/1": device}),
    }
    return Running(servers, {}, named, "C")


def test_the_text_is_read_as_what_runs(tmp_path: Path) -> None:
    export = Export(_running())
    path = tmp_path / "f.yaml"
    path.write_text(export.text)
    facility = read_facility(path, {"M_1_PIN": "7"})
    assert list(facility.servers) == ["A", "Z"]
    assert facility.time_source == "T/1"
    server = facility.servers["A"]
    assert server.own_process == {"M/1"}
    for name in ("classes", "host", "advertise", "ports", "trusted_networks", "memory"):
        assert getattr(server, name) == getattr(OPTIONS, name)
    assert server.devices["M/1"].configuration == {
        "velocity": 2.0,
        "pin": "7",
        "axes": {"x": {}, "y": {"speed": 3.0}},
        "drive": {"b": {}},
    }
    assert facility.configurations == {
        "M/1": {
            "a": NamedConfiguration(),
            "b": NamedConfiguration({"drive": {"b": {}}}, "x"),
        }
    }
    assert Export(_running()).text == export.text


def test_a_secret_is_in_no_text_and_is_missed_where_it_is_applied(tmp_path: Path) -> None:
    export = Export(_running())
    assert "1234" not in export.text
    assert export.variables == {"M_1_PIN": "M/1.pin"}
    assert export.left_out == {
        "M/1": {"more": "its class does not declare it", "number": "it is secret"}
    }
    path = tmp_path / "f.yaml"
    path.write_text(export.text)
    with pytest.raises(BadConfigurationError, match="M_1_PIN"):
        read_facility(path, {})


def _gone(device_id: str, class_id: str, server_id: str) -> DeviceRecord:
    return DeviceRecord(device_id, class_id, server_id, "", 0, status="gone")


def test_what_is_gone_or_silent_is_named_in_the_text_and_besides() -> None:
    running = replace(
        _running(),
        gone={"M/2": _gone("M/2", "Motor", "B"), "B": _gone("B", "DeviceServer", "B")},
        silent={"M/3": CallTimeoutError("no answer\nwithin 5 s", remedy="look at it")},
    )
    export = Export(running)
    assert export.missing == {
        "B": "is gone",
        "M/2": "is gone with its server 'B'",
        "M/3": "does not answer: no answer\nwithin 5 s",
    }
    for name, why in export.missing.items():
        assert f"#   {name} {why}\n".replace("answer\n", "answer ") in export.text
    assert "#   " not in Export(_running()).text


def test_a_store_that_is_gone_has_taken_the_configurations_with_it() -> None:
    lost = {"C": _gone("C", "ConfigurationStore", "B")}
    running = replace(_running(), configurations=None, store=None, gone=lost)
    assert "all named configurations" in Export(running).missing["C"]
    frozen = CallTimeoutError("no answer within 5 s", remedy="look at it")
    silent = replace(_running(), configurations=None, store="C", silent={"C": frozen})
    assert Export(silent).missing == {
        "C": "does not answer, and with it all named configurations: no answer within 5 s"
    }


def test_where_nothing_runs_nothing_is_written() -> None:
    export = Export(Running(gone={"B": _gone("B", "DeviceServer", "B")}))
    with pytest.raises(NotConnectedError, match="'B' is gone"):
        export.require_servers()
    Export(_running()).require_servers()


def test_configurations_of_a_device_that_does_not_run_tell_their_class(tmp_path: Path) -> None:
    def schema_of(class_id: str) -> Schema:
        if class_id != "Motor":
            raise UnknownClassError(f"no server offers '{class_id}'", remedy="start one")
        return Motor.schema()

    kept = {
        "M/8": {
            "a": NamedConfiguration({"axes": {"x": {}}, "axes.x.speed": 2.0}, class_id="Motor")
        },
        "M/9": {
            "a": NamedConfiguration(class_id="Motor"),
            "b": NamedConfiguration(class_id="Gone"),
        },
    }
    export = Export(replace(_running(), configurations=kept), schema_of)
    path = tmp_path / "f.yaml"
    path.write_text(export.text)
    assert read_facility(path, {"M_1_PIN": "7"}).configurations == {
        "M/8": {"a": NamedConfiguration({"axes": {"x": {"speed": 2.0}}}, class_id="Motor")}
    }
    assert export.missing == {"configurations.M/9": "(a, b): no server offers 'Gone'"}
