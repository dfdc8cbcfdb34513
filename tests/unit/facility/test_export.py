"""What runs as the text of a facility file."""

from pathlib import Path

import pytest

from pykarabo.data import ChoiceOfNodes, Configurable, Float64, Int32, ListOfNodes, String
from pykarabo.errors import BadConfigurationError
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
