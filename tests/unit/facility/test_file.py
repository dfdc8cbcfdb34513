"""A facility file is read strictly: an error names file, line, place and remedy."""

import json
import time
from importlib import resources
from pathlib import Path
from typing import Final

import jsonschema
import pytest
import yaml

from pykarabo.client import check_device_id
from pykarabo.errors import BadConfigurationError
from pykarabo.facility import FacilityDevice, NamedConfiguration, default_facility, read_facility
from pykarabo.facility._yaml import MAX_BYTES, MAX_DEPTH

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
    time_source: null
  EMPTY:
    time_source: T/CLOCK/2
attributes:
  T/CLOCK/1:
    period: {warn_high: 0.2, alarm_high: null, limit_info: {warn_high: "see ${HOST}"}}
    axis: {gap: {archive: false, deadband: "${BAND}"}, limit: {acknowledge: [warn_high]}}
  M/1:
configurations:
  T/CLOCK/1:
    slow: {comment: at night, priority: 2, active: true, values: {period: 1.0}}
    empty:
  T/SPARE/1:
    day: {class: Motor, values: {speed: 1}}
"""

_ONE: Final = "servers: {A: {devices: {D/1: {class: C}}}}"
BAD: Final[list[tuple[str, str, str]]] = [
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
    ("servers: {A: }\nattributes:\n  B/1: {}", "line 3, attributes.B/1: there is no", "name a"),
    (f"{_ONE}\nattributes:\n  D/11: {{}}", "line 3, attributes.D/11: there is no", "'D/1'"),
    (f"{_ONE}\nattributes: [D/1]", "line 2, attributes: this is no map", "name: ..."),
    (f"{_ONE}\nattributes: {{D/1: 5}}", "attributes.D/1: this is no map", "name: ..."),
    (
        f"{_ONE}\nattributes: {{D/1: {{x: {{warn_high: '${{NO}}'}}}}}}",
        "line 2, attributes.D/1.x.warn_high: ${NO} is not set",
        "export NO",
    ),
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
    (
        "servers: {A: {devices: {D: {class: C}}}}\nconfigurations: {E: {}}",
        "line 2, configurations.E: there is no device 'E'",
        "a device of this file",
    ),
    (
        "servers: {A: {devices: {D: {class: C}}}}\nconfigurations: {E: {n: {}}}",
        "line 2, configurations.E.n: there is no device 'E' in this file",
        "tell the 'class'",
    ),
    (
        "servers: {A: {devices: {D: {class: C}}}}\nconfigurations: {D: {n: {class: 5}}}",
        "line 2, configurations.D.n.class",
        "name",
    ),
    (
        "servers: {A: {devices: {D: {class: C}}}}\nconfigurations: {D: {n: {value: {}}}}",
        "line 2, configurations.D.n.value",
        "'values'",
    ),
    (
        "servers: {A: {devices: {D: {class: C}}}}\nconfigurations: {D: {n: {active: 1}}}",
        "configurations.D.n.active",
        "true",
    ),
    (
        "servers: {A: {devices: {D: {class: C}}}}\nconfigurations: {D: {n: {priority: a}}}",
        "configurations.D.n.priority: 'a' is no priority",
        "0 to 9",
    ),
    (
        "servers: {A: {devices: {D: {class: C}}}}\nconfigurations: {D: {default: {}}}",
        "line 2, configurations.D.default",
        "not 'default'",
    ),
    (
        "servers: {A: {devices: {D: {class: C}}}}\n"
        "configurations: {D: {n: {active: true}, m: {active: true}}}",
        "line 2, configurations.D: n and m are both active",
        "one of them",
    ),
    (
        "servers: {A: {devices: {D: {class: C, x: {$complex: [1]}}}}}",
        "servers.A.devices.D.x",
        "codecs",
    ),
    (
        f"servers: {{A: {{devices: {{D: {{class: C}}}}}}}}\n"
        f"configurations: {{D: {{n: {{comment: {'x' * 4001}}}}}}}",
        "line 2, configurations.D.n.comment: a comment of 4001 characters",
        "4000",
    ),
    ("servers:\n  A: {own_process: [[x]]}", "line 2, servers.A.own_process", "[DEVICE, DEVICE]"),
    ("servers:\n  A: {own_process: [5]}", "line 2, servers.A.own_process", "[DEVICE, DEVICE]"),
    *(
        (f"servers:\n  A: {{devices: {{D: {{class: C, x: {tagged}}}}}}}", told, "alone")
        for tagged, told in (
            ('!!int ""', "line 2: there is a tag, '!!int'"),
            ("!!timestamp x", "line 2: there is a tag, '!!timestamp'"),
            ("!!bool x", "line 2: there is a tag, '!!bool'"),
            ("!!set {a}", "line 2: there is a tag, '!!set'"),
            ("!mine x", "line 2: there is a tag, '!mine'"),
        )
    ),
    ("time_source: 5\nservers: {A: {}}", "line 1, time_source", "quotes"),
    ("servers:\n  A:\n    time_source: a b", "line 3, servers.A.time_source", "letters"),
    ("domain: 'a/b'\nservers: {A: {}}", "line 1, domain: 'a/b' is no name", "letters"),
]
UNSEEN: Final = {
    "the name 'True' is no",
    "line 4, servers.A.devices.D.at: '2024-01-01'",
    "servers.A.devices.D.a: ${NOT_SET} is not set",
    "line 1, domain: 'a/b' is no name",
    "line 2, configurations.E: there is no device 'E'",
    "line 2, configurations.E.n: there is no device 'E' in this file",
    "line 2, configurations.D: n and m are both active",
    "servers.A.devices.D.x",
    "line 3, attributes.B/1: there is no",
    "line 3, attributes.D/11: there is no",
    "line 2, attributes.D/1.x.warn_high: ${NO} is not set",
}
_TAGGED: Final = "there is a tag"
"""What a schema cannot tell."""


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
    facility = read_facility(path, {"HOST": "h1", "BAND": "0.5"}, data=Path("/d"))
    assert facility.domain == "hall"
    assert facility.time_source == "T/CLOCK/1"
    timing, motors, empty = facility.servers.values()
    assert timing.classes == ("TrainClock",)
    attributes = {
        "period": {"warn_high": 0.2, "alarm_high": None, "limit_info": {"warn_high": "see h1"}},
        "axis": {
            # A number as soon as the class is known.
            "gap": {"archive": False, "deadband": "0.5"},
            "limit": {"acknowledge": ["warn_high"]},
        },
    }
    clock = FacilityDevice("TrainClock", {"period": 0.1}, attributes)
    assert timing.devices == {"T/CLOCK/1": clock}
    assert motors.devices["M/1"].attributes == {}
    assert (motors.host, motors.advertise) == ("127.0.0.1", "h1")
    assert motors.ports == {"rpc": 45001, "events": 0}
    assert (timing.memory, motors.memory) == (None, 512)
    assert motors.devices["M/1"].configuration == {
        "path": "/d/m", "steps": [1, "h1"], "axis": {"on": True, "gap": None},
    }  # fmt: skip
    assert empty.devices == {}
    sources = [facility.source_of(server) for server in facility.servers.values()]
    assert sources == ["T/CLOCK/1", None, "T/CLOCK/2"]
    assert facility.homes == {"T/CLOCK/1": "T/SERVER", "M/1": "M/SERVER"}
    assert facility.configurations == {
        "T/CLOCK/1": {
            "slow": NamedConfiguration({"period": 1.0}, "at night", 2, True),
            "empty": NamedConfiguration(),
        },
        "T/SPARE/1": {"day": NamedConfiguration({"speed": 1}, class_id="Motor")},
    }


def test_a_domain_that_the_user_names_goes_first(path: Path) -> None:
    path.write_text(GOOD)
    variables = {"HOST": "h1", "BAND": "0.5"}
    assert read_facility(path, variables, domain="test").domain == "test"


def test_data_is_that_of_the_domain_unless_it_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path.write_text("domain: hall\nservers: {S: {devices: {D: {class: C, x: '${DATA}'}}}}")
    facility = read_facility(path, {})
    assert facility.servers["S"].devices["D"].configuration == {
        "x": str(tmp_path / "pykarabo" / "hall")
    }


@pytest.mark.parametrize(("text", "where", "remedy"), BAD)
def test_an_entry_that_means_nothing_is_named_with_its_line(
    path: Path, text: str, where: str, remedy: str
) -> None:
    error = _refused(path, text)
    assert where in error.message
    assert remedy in str(error.remedy)


def _schema_takes(text: str) -> bool:
    schema = json.loads((resources.files("pykarabo.schemas") / "facility.json").read_text())
    return not list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(text)))


def test_the_schema_for_editors_takes_what_is_read() -> None:
    assert _schema_takes(GOOD)
    assert _schema_takes("servers: {A: }")


@pytest.mark.parametrize(
    "text", [text for text, where, _ in BAD if where not in UNSEEN and _TAGGED not in where]
)
def test_the_schema_for_editors_refuses_what_is_refused(text: str) -> None:
    assert not _schema_takes(text)


def test_one_name_twice_in_one_place_is_refused(path: Path) -> None:
    text = "servers:\n  A:\n    devices:\n      D: {class: C}\n      D: {class: B}"
    assert "line 5, servers.A.devices.D: the same name is on line 4" in str(_refused(path, text))


def test_a_name_that_looks_like_the_place_in_a_list_is_no_second_one(path: Path) -> None:
    path.write_text("servers: {A: {devices: {D: {class: C, x: {'a': [1], 'a[0]': 2}}}}}")
    facility = read_facility(path, {})
    assert facility.servers["A"].devices["D"].configuration == {"x": {"a": [1], "a[0]": 2}}


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


def test_one_name_twice_in_a_map_of_a_list_is_refused(path: Path) -> None:
    text = "servers:\n  A:\n    devices:\n      D:\n        class: C\n        t: [{a: 1, a: 2}]"
    assert "line 6, servers.A.devices.D.t[0].a: the same name" in str(_refused(path, text))


def test_B9_an_alias_is_refused_whatever_it_stands_for(path: Path) -> None:
    text = "servers:\n  A: {devices: {D: &d {class: C}}}\n  B: {devices: {E: *d}}"
    assert "line 3: there is an alias, '*d'" in str(_refused(path, text))
    itself = _refused(path, "servers: {A: {devices: {D: &d {class: C, x: *d}}}}")
    assert "there is an alias" in str(itself)


def test_B9_a_few_lines_that_stand_for_gigabytes_are_refused_at_once(path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    lines.append("servers: {A: {devices: {D: {class: C, x: *a19}}}}")
    began = time.process_time()
    assert "line 2: there is an alias" in str(_refused(path, "\n".join(lines)))
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 100_000])
def test_B9_deep_nesting_is_refused(path: Path, depth: int) -> None:
    refused = str(_refused(path, f"servers: {'[' * depth}{']' * depth}"))
    assert "line 1" in refused
    assert "deeper" in refused or "depth" in refused


def test_B9_a_huge_file_is_refused_unread(path: Path) -> None:
    assert "larger than" in str(_refused(path, "#" * (MAX_BYTES + 1)))


def test_B9_yaml_that_would_make_objects_is_refused(path: Path) -> None:
    text = "servers:\n  A: !!python/object/apply:os.system ['touch /tmp/made']"
    assert "line 2" in str(_refused(path, text))


def test_B9_a_date_that_there_is_not_is_refused(path: Path) -> None:
    assert "quotes" in str(_refused(path, "servers: 2026-02-31").remedy)


def test_dollar_signs_can_be_written(path: Path) -> None:
    path.write_text("servers: {A: {devices: {D: {class: C, x: '$${HOME} $x $$ ${Y}'}}}}")
    facility = read_facility(path, {"Y": "y"})
    assert facility.servers["A"].devices["D"].configuration == {"x": "${HOME} $x $$ y"}


def test_a_variable_can_stand_for_a_number_of_a_server_or_configuration(path: Path) -> None:
    path.write_text(
        "servers: {A: {memory: '${MIB}', ports: {rpc: '${PORT}'}, devices: {D: {class: C}}}}\n"
        "configurations: {D: {n: {priority: '${FIRST}', active: '${ON}'}}}"
    )
    numbers = {"MIB": "512", "PORT": "45001", "FIRST": "3", "ON": "true"}
    facility = read_facility(path, numbers)
    assert (facility.servers["A"].memory, facility.servers["A"].ports) == (512, {"rpc": 45001})
    assert facility.configurations == {"D": {"n": NamedConfiguration({}, "", 3, True)}}
    with pytest.raises(BadConfigurationError) as refused:
        read_facility(path, {**numbers, "PORT": "http"})
    assert "servers.A.ports.rpc: 'http', which ${PORT} stands for, is no port" in str(refused.value)


def test_another_host_of_a_site_has_a_monitor_of_its_own_and_no_clock() -> None:
    facility = default_facility("ctrl2.example.org", alone=False)
    assert list(facility.servers) == ["CTRL2/MAIN"]
    assert list(facility.servers["CTRL2/MAIN"].devices) == ["HOST/MONITOR/CTRL2"]
    assert facility.time_source == "TIMING/CLOCK/1"


@pytest.mark.parametrize("host", ["beamline-3.example.org", "pc 12", "", "ä.b"])
def test_the_default_facility_has_ids_that_are_ids(host: str) -> None:
    facility = default_facility(host)
    for server_id, server in facility.servers.items():
        for name in [server_id, *server.devices]:
            check_device_id(name)


def test_a_text_can_have_its_tag(path: Path) -> None:
    path.write_text("servers: {A: {devices: {D: {class: C, x: !!str 5}}}}")
    facility = read_facility(path, {})
    assert facility.servers["A"].devices["D"].configuration == {"x": "5"}
