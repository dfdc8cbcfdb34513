"""Limits, dead-bands and archive settings of single devices: read, checked, planned, written."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.data import (
    AS_DECLARED,
    Configurable,
    Float64,
    ListOfNodes,
    PropertyValue,
    Schema,
    String,
    Timestamp,
    UInt8,
    live_configuration,
)
from pykarabo.errors import BadConfigurationError, InvalidValuesError
from pykarabo.facility import (
    Change,
    CheckedFacility,
    Export,
    FacilityServer,
    Kind,
    Plan,
    Running,
    RunningDevice,
    RunningServer,
    check_facility,
    make_plan,
    read_facility,
    resolve_variables,
)


class _Axis(Configurable):
    speed = Float64(unit="mm/s", read_only=True)


class _Motor(Configurable):
    velocity = Float64(unit="mm/s", default=5.0)
    port = String(init_only=True)
    position = Float64(unit="mm", read_only=True, warn_high=30.0, alarm_high=40.0)
    load = UInt8(read_only=True)
    acknowledge = Float64(read_only=True)
    axes = ListOfNodes(_Axis)


_SERVERS: Final = """servers:
  S:
    devices:
      M/1: {class: Motor, axes: {x: {}}}
"""
_FILE: Final = (
    _SERVERS
    + """attributes:
  M/1:
    position: {warn_high: 35, archive_interval: 2.0}
    axes:
      x:
        speed: {deadband: 0.5, archive: false}
"""
)
_GIVEN: Final = {
    "position": {"warn_high": 35, "archive_interval": 2.0},
    "axes.x.speed": {"deadband": 0.5, "archive": False},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f.yaml"


def _schema_of(_server_id: str, _server: FacilityServer, _class_id: str) -> Schema:
    return replace(_Motor.schema(), class_id="Motor")


def _checked(path: Path, text: str, **variables: str) -> CheckedFacility:
    path.write_text(text)
    return check_facility(read_facility(path, variables), _schema_of)


def _running(
    attributes: dict[str, dict[str, Any]] | None, *, gives: bool = True, **values: Any
) -> Running:
    made = _Motor({"axes": {"x": {}}, **values})
    read = {
        key: PropertyValue(item.value, Timestamp(0, 0, 0)) for key, item in made._values.items()
    }
    schema = _schema_of("", FacilityServer({}), "Motor")
    plain = {key: item.value for key, item in read.items()}
    kept = live_configuration(schema, made.schema(), plain)
    device = RunningDevice(
        "M/1", "Motor", False, schema, kept.values, read, attributes=attributes
    )  # fmt: skip
    server = RunningServer("S", "h", True, FacilityServer({}), None, {"M/1": device}, gives)
    return Running({"S": server})


def _plan(path: Path, running: Running, text: str = _FILE, *, reset: bool = False) -> Plan:
    return make_plan(_checked(path, text), running, reset=reset)


def test_they_are_read_by_dotted_key(path: Path) -> None:
    assert _checked(path, _FILE).devices["M/1"].attributes == _GIVEN
    dotted = _FILE.replace("    axes:\n      x:\n        speed:", "    axes.x.speed:")
    assert _checked(path, dotted).devices["M/1"].attributes == _GIVEN
    variable = _FILE.replace("warn_high: 35", "warn_high: '${LIMIT}'")
    assert _checked(path, variable, LIMIT="35").devices["M/1"].attributes == _GIVEN


def test_a_variable_is_a_number_or_a_text_as_the_attribute_takes_it(path: Path) -> None:
    text = (
        _SERVERS
        + """attributes:
  M/1:
    acknowledge: {warn_high: '${N}', limit_info: {warn_high: '${N}'}}
    axes: {x: {speed: {archive: '${NO}'}}}
"""
    )
    given = {
        "acknowledge": {"warn_high": 5, "limit_info": {"warn_high": "5"}},
        "axes.x.speed": {"archive": False},
    }
    assert _checked(path, text, N="5", NO="false").devices["M/1"].attributes == given
    facility = resolve_variables(read_facility(path, {"N": "5", "NO": "false"}), _schema_of)
    assert facility.servers["S"].devices["M/1"].attributes == {
        "acknowledge": given["acknowledge"], "axes": {"x": {"speed": {"archive": False}}}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ("attributes: 0", "line 5, attributes: this is no map"),
        ("attributes: []", "line 5, attributes: this is no map"),
        ("attributes: {M/1: []}", "line 5, attributes.M/1: this is no map"),
        ("attributes: {M/1: false}", "line 5, attributes.M/1: this is no map"),
    ],
)
def test_what_is_no_map_is_refused_and_nothing_at_all_is_nothing(
    path: Path, entry: str, where: str
) -> None:
    with pytest.raises(BadConfigurationError) as refused:
        _checked(path, f"{_SERVERS}{entry}\n")
    assert where in str(refused.value)
    for nothing in ("attributes:", "attributes: {M/1: }", "attributes: {M/1: {}}"):
        assert _checked(path, f"{_SERVERS}{nothing}\n").devices["M/1"].attributes == {}


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("warn_high", "warn_hihg", "line 7, attributes.M/1.position.warn_hihg", "'warn_high'"),
        (
            "warn_high: 35",
            "minimum: 3",
            "line 7, attributes.M/1.position.minimum",
            "class declares",
        ),
        ("warn_high: 35", "warn_high: many", "7, attributes.M/1.position.warn_high", "no number"),
        ("warn_high: 35", "warn_high: '${L}'", "position.warn_high", "it comes from ${L}"),
        ("warn_high: 35", "warn_high: 41", "line 7, attributes.M/1.position:", "alarm_high 40"),
        ("warn_high: 35", "alarm_high: 29", "line 7, attributes.M/1.position:", "warn_high 30"),
        (
            "position: {warn_high: 35",
            "load: {warn_high: 256",
            "7, attributes.M/1.load.warn_",
            "255",
        ),
        ("position: {", "port: {", "line 7, attributes.M/1.port:", "has no limits"),
        ("position", "positon", "line 7, attributes.M/1.positon:", "'position'"),
        ("      x:", "      y:", "line 9, attributes.M/1.axes.y:", "'axes.x'"),
        (
            "archive: false",
            "archive: no thanks",
            "10, attributes.M/1.axes.x.speed.arch",
            "or false",
        ),
        ("speed: {deadband: 0.5, archive: false}", "speed: 5", "line 10, attr", "give a map"),
        ("speed", "sped", "line 10, attributes.M/1.axes.x.sped:", "'axes.x.speed'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(
    path: Path, old: str, new: str, where: str, words: str
) -> None:
    with pytest.raises(BadConfigurationError) as refused:
        _checked(path, _FILE.replace(old, new, 1), L="many")
    assert where in str(refused.value)
    assert words in str(refused.value)
    assert refused.value.remedy


def test_everything_that_is_wrong_is_told_at_once(path: Path) -> None:
    wrong = _FILE.replace("warn_high", "warn_hihg").replace("deadband", "deadbnd")
    with pytest.raises(InvalidValuesError, match="2 entries of the file do not fit"):
        _checked(path, wrong.replace("x: {}", "x: {}"))


def test_a_device_that_is_started_has_them_from_the_start(path: Path) -> None:
    _server, start = _plan(path, Running()).steps
    assert (start.kind, start.attributes) == (Kind.START, _GIVEN)
    assert [change for change in start.changes if " " in change.key] == [
        Change("position warn_high", None, 35, "mm"),
        Change("position archive_interval", None, 2.0, "s"),
        Change("axes.x.speed deadband", None, 0.5, "mm/s"),
        Change("axes.x.speed archive", None, False),
    ]


def test_what_differs_is_told_line_by_line_and_restarts_nothing(path: Path) -> None:
    before: dict[str, dict[str, Any]] = {
        "position": {"warn_high": 33},
        "axes.x.speed": _GIVEN["axes.x.speed"],
    }
    (step,) = _plan(path, _running(before)).steps
    assert (step.kind, step.target, step.server) == (Kind.GIVE, "M/1", "S")
    assert step.changes == (
        Change("position warn_high", 33, 35, "mm"),
        Change("position archive_interval", AS_DECLARED, 2.0, "s"),
    )
    assert (step.attributes, step.attributes_before) == (_GIVEN, before)
    assert _plan(path, _running(dict(_GIVEN))) == Plan()


def test_to_be_given_what_the_class_declares_is_not_to_be_given_nothing(path: Path) -> None:
    """A device may change what its class declares; what it is given goes before that."""
    text = _SERVERS + "attributes:\n  M/1:\n    position: {warn_high: 30.0}\n"
    given: dict[str, dict[str, Any]] = {"position": {"warn_high": 30.0}}
    (step,) = _plan(path, _running({}), text).steps
    assert step.changes == (Change("position warn_high", AS_DECLARED, 30.0, "mm"),)
    assert step.attributes == given
    assert _plan(path, _running(given), text) == Plan()
    assert _plan(path, _running(given), _SERVERS).notes == (
        "'M/1' has attributes that the file does not mention, and keeps them: position warn_high",
    )
    (step,) = _plan(path, _running(given), _SERVERS, reset=True).steps
    assert step.changes == (Change("position warn_high", 30.0, AS_DECLARED, "mm"),)
    more = text.replace("warn_high: 30.0", "archive: false")
    (step,) = _plan(path, _running(given), more).steps
    assert step.attributes == {"position": {"warn_high": 30.0, "archive": False}}
    assert "warn_high: 30.0" in Export(_running(given)).text


def test_limits_change_before_the_values_that_they_judge(path: Path) -> None:
    text = _FILE.replace("class: Motor,", "class: Motor, velocity: 7.0,")
    assert [step.kind for step in _plan(path, _running({}), text).steps] == [Kind.GIVE, Kind.SET]


def test_what_the_file_does_not_mention_is_kept_unless_it_is_reset(path: Path) -> None:
    running = _running({**_GIVEN, "load": {"alarm_high": 9}})
    plan = _plan(path, running)
    assert plan.steps == ()
    assert plan.notes == (
        "'M/1' has attributes that the file does not mention, and keeps them: load alarm_high",
    )
    (step,) = _plan(path, running, reset=True).steps
    assert step.changes == (Change("load alarm_high", 9, AS_DECLARED),)
    assert step.attributes == _GIVEN
    more = _FILE.replace("archive_interval: 2.0", "archive_interval: 3.0")
    (step,) = _plan(path, running, more).steps
    assert step.attributes["load"] == {"alarm_high": 9}
    assert step.changes == (Change("position archive_interval", 2.0, 3.0, "s"),)


def test_what_contradicts_what_the_file_does_not_mention_is_a_problem(path: Path) -> None:
    running = _running({"position": {"alarm_high": 34}})
    (problem,) = _plan(path, running).problems
    assert "'M/1.position' has the warn_high 35 above the alarm_high 34" in problem
    assert "does not mention alarm_high: mention it there, or give --reset" in problem
    assert _plan(path, running, reset=True).problems == ()


def test_a_device_that_is_started_anew_keeps_what_it_was_given(path: Path) -> None:
    running = _running({"load": {"alarm_high": 9}, "axes.x.speed": {"archive": False}}, port="a")
    text = _SERVERS.replace("axes: {x: {}}", "port: b, axes: {y: {}}")
    stop, start = _plan(path, running, text).steps
    assert stop.attributes_before == {
        "load": {"alarm_high": 9}, "axes.x.speed": {"archive": False}
    }  # fmt: skip
    assert start.attributes == {"load": {"alarm_high": 9}}


def test_a_server_that_is_too_old_is_a_problem_and_no_crash(path: Path) -> None:
    old = _running(None, gives=False)
    (problem,) = _plan(path, old).problems
    assert "server 'S' runs an older version, which cannot give 'M/1' attributes" in problem
    assert _plan(path, old, _SERVERS) == Plan()
    assert "attributes" not in Export(old).text
    restarted = _plan(path, old, _FILE.replace("    devices", "    memory: 512\n    devices"))
    assert restarted.problems == ()


def test_what_was_given_is_exported_in_a_stable_order_and_read_as_the_same(path: Path) -> None:
    given: dict[str, dict[str, Any]] = {
        "load": {"limit_info": {"alarm_high": "see ${X}"}, "alarm_high": 9},
        "axes.x.speed": {"archive": False, "deadband": 0.5},
        "position": {"alarm_high": None, "warn_high": 30.0},
    }
    text = Export(_running(given)).text
    assert text == Export(_running(dict(reversed(list(given.items()))))).text
    assert text.index("position") < text.index("load") < text.index("axes", text.index("load"))
    assert _plan(path, _running(given), text) == Plan()
    wanted = _checked(path, text).devices["M/1"].attributes
    assert wanted == given
