"""A facility file is read strictly: an error names file, line, place and remedy."""

from pathlib import Path

import pytest

from pykarabo.cli._facility import FacilityDevice, default_facility, read_facility
from pykarabo.client import check_device_id
from pykarabo.errors import BadConfigurationError

GOOD = """
domain: hall
time_source: T/CLOCK/1
servers:
  T/SERVER:
    classes: [TrainClock]
    devices:
      T/CLOCK/1: {class: TrainClock, period: 0.1}
  M/SERVER:
    host: 127.0.0.1
    advertise: ${HOST}
    ports: {rpc: 45001, events: 0}
    memory: 512
    devices:
      M/1: {class: Motor, path: "${DATA}/m", steps: [1, "${HOST}"], axis: {'on': true, gap: null}}
  EMPTY:
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "facility.yaml"


def _refused(path: Path, text: str) -> BadConfigurationError:
    path.write_text(text)
    with pytest.raises(BadConfigurationError) as refused:
        read_facility(path, {})
    assert str(path) in refused.value.message
    assert refused.value.remedy
    return refused.value


def test_servers_and_devices_are_read(path: Path) -> None:
    path.write_text(GOOD)
    facility = read_facility(path, {"HOST": "h1"}, data=Path("/d"))
    assert facility.domain == "hall"
    assert facility.time_source == "T/CLOCK/1"
    timing, motors, empty = facility.servers.values()
    assert timing.classes == ("TrainClock",)
    assert timing.devices == {"T/CLOCK/1": FacilityDevice("TrainClock", {"period": 0.1})}
    assert (motors.host, motors.advertise) == ("127.0.0.1", "h1")
    assert motors.ports == {"rpc": 45001, "events": 0}
    assert (timing.memory, motors.memory) == (None, 512)
    assert motors.devices["M/1"].configuration == {
        "path": "/d/m", "steps": [1, "h1"], "axis": {"on": True, "gap": None},
    }  # fmt: skip
    assert empty.devices == {}


def test_a_domain_that_the_user_names_goes_first(path: Path) -> None:
    path.write_text(GOOD)
    assert read_facility(path, {"HOST": "h1"}, domain="test").domain == "test"


def test_data_is_that_of_the_domain_unless_it_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path.write_text("domain: hall\nservers: {S: {devices: {D: {class: C, x: '${DATA}'}}}}")
    facility = read_facility(path, {})
    assert facility.servers["S"].devices["D"].configuration == {
        "x": str(tmp_path / "pykarabo" / "hall")
    }


@pytest.mark.parametrize(
    ("text", "where", "remedy"),
    [
        ("", "map of names", "name: ..."),
        ("servers: {}", "servers: there is no server", "add one"),
        ("server:\n  A: {}", "line 1, server: 'server'", "'servers'"),
        ("servers:\n  A/1:\n    device: {}", "line 3, servers.A/1.device", "'devices'"),
        ("servers:\n  A/1:\n    devices: [x]", "line 3, servers.A/1.devices", "name: ..."),
        ("servers:\n  A:\n    ports: {rcp: 1}", "line 3, servers.A.ports.rcp", "'rpc'"),
        ("servers:\n  A:\n    ports: {rpc: x}", "servers.A.ports.rpc: 'x' is no port", "0 to"),
        ("servers:\n  A:\n    ports: {rpc: 70000}", "'70000' is no port", "65535"),
        ("servers:\n  A:\n    memory: 1 GB", "A.memory: '1 GB' is no number of MiB", "256"),
        ("servers:\n  A:\n    memory: 255", "line 3, servers.A.memory: '255'", "or more"),
        ("servers:\n  A:\n    classes: Motor", "line 3, servers.A.classes", "[NAME, NAME]"),
        ("servers:\n  A:\n    host: 5", "line 3, servers.A.host: this is no text", "quotes"),
        ("servers:\n  a b: {}", "line 2, servers.a b", "letters"),
        ("servers: {A: {devices: {D: {clas: X}}}}", "servers.A.devices.D", "'clas'"),
        ("servers: {A: {devices: {D: {class: C, on: 1}}}}", "the name 'True' is no", "quotes"),
        ("servers: {A: {devices: {D: {}}}}", "the device has no class", "class: NAME"),
        ("servers: {A: {devices: {D: }}}", "servers.A.devices.D", "name: ..."),
        (
            "servers:\n  A:\n    devices:\n      D: {class: C, at: 2024-01-01}",
            "line 4, servers.A.devices.D.at: '2024-01-01'",
            "quotes",
        ),
        (
            "servers: {A: {devices: {D: {class: C, a: '${NOT_SET}'}}}}",
            "servers.A.devices.D.a: ${NOT_SET} is not set",
            "export NOT_SET",
        ),
        ("time_source: 5\nservers: {A: {}}", "line 1, time_source", "quotes"),
        ("domain: 'a/b'\nservers: {A: {}}", "line 1, domain: 'a/b' is no name", "letters"),
    ],
)
def test_an_entry_that_means_nothing_is_named_with_its_line(
    path: Path, text: str, where: str, remedy: str
) -> None:
    error = _refused(path, text)
    assert where in error.message
    assert remedy in str(error.remedy)


def test_one_name_twice_in_one_place_is_refused(path: Path) -> None:
    text = "servers:\n  A:\n    devices:\n      D: {class: C}\n      D: {class: B}"
    assert "line 5, servers.A.devices.D: the same name is on line 4" in str(_refused(path, text))


def test_a_device_in_two_servers_is_refused(path: Path) -> None:
    text = "servers:\n  A: {devices: {D: {class: C}}}\n  B: {devices: {D: {class: C}}}"
    assert "line 3, servers.B.devices.D: 'D' is also in 'A'" in str(_refused(path, text))


def test_text_that_is_no_yaml_is_refused_with_its_line(path: Path) -> None:
    assert "line 2" in str(_refused(path, "servers:\n  A: {devices: ]\n"))


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    with pytest.raises(BadConfigurationError, match="No such file"):
        read_facility(path, {})
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadConfigurationError, match=r"facility\.yaml"):
        read_facility(path, {})


def test_an_alias_that_holds_itself_is_refused(path: Path) -> None:
    assert "holds itself" in str(
        _refused(path, "servers: {A: {devices: {D: &d {class: C, x: *d}}}}")
    )


def test_an_alias_may_be_used_twice(path: Path) -> None:
    path.write_text("servers:\n  A: {devices: {D: &d {class: C, x: 1}}}\n  B: {devices: {E: *d}}")
    facility = read_facility(path, {})
    assert facility.servers["A"].devices["D"] == facility.servers["B"].devices["E"]


@pytest.mark.parametrize("host", ["beamline-3.example.org", "pc 12", "", "ä.b"])
def test_the_default_facility_has_ids_that_are_ids(host: str) -> None:
    facility = default_facility(host)
    for server_id, server in facility.servers.items():
        for name in [server_id, *server.devices]:
            check_device_id(name)
