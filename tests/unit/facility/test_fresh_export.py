"""Whatever runs: the plan of a fresh export has nothing to do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.data import (
    Configurable,
    Float64,
    ListOfNodes,
    PropertyValue,
    Schema,
    String,
    Timestamp,
    live_configuration,
)
from pykarabo.facility import (
    Export,
    FacilityServer,
    NamedConfiguration,
    Plan,
    Running,
    RunningDevice,
    RunningServer,
    check_facility,
    make_plan,
    read_facility,
    with_configurations_of,
)


class Axis(Configurable):
    speed = Float64(unit="mm/s", default=1.0)


class Motor(Configurable):
    velocity = Float64(unit="mm/s", default=5.0, maximum=10.0)
    label = String()
    axes = ListOfNodes(Axis)


class Vault(Configurable):
    pin = String(required=True, secret=True, init_only=True)
    level = Float64(default=1.0)


class ConfigurationStore(Configurable):
    database = String(init_only=True)


_CLASSES: Final = {cls.__name__: cls for cls in (Motor, Vault, ConfigurationStore)}


def _schema_of(_server_id: str, _server: FacilityServer, class_id: str) -> Schema:
    return _CLASSES[class_id].schema()


def _device(device_id: str, class_id: str, values: Mapping[str, Any]) -> RunningDevice:
    cls = _CLASSES[class_id]
    made = cls(values)
    plain = {key: item.value for key, item in made._values.items()}
    read = {key: PropertyValue(value, Timestamp(0, 0, 0)) for key, value in plain.items()}
    kept = live_configuration(cls.schema(), made.schema(), plain)
    return RunningDevice(device_id, class_id, False, cls.schema(), kept.values, read)


def _server(
    server_id: str, source: str | None, devices: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> RunningServer:
    found = {name: _device(name, *item) for name, item in devices.items()}
    return RunningServer(server_id, "h", True, FacilityServer({}), source, found)


def _running(
    configurations: Mapping[str, Mapping[str, NamedConfiguration]] | None = None,
    *servers: RunningServer,
) -> Running:
    devices: dict[str, tuple[str, Mapping[str, Any]]] = {
        "M": ("Motor", {"label": "${HOME} $${x}", "axes": {"x": {"speed": 2.0}}}),
        "V": ("Vault", {"pin": "1234"}),
        "C": ("ConfigurationStore", {}),
    }
    own = _server("S", "T/CLOCK", devices)
    return Running(
        {server.server_id: server for server in (own, *servers)},
        configurations=configurations or {},
        store="C",
    )


def _planned(running: Running, path: Path) -> tuple[Export, Plan]:
    export = Export(running, lambda class_id: _CLASSES[class_id].schema())
    path.write_text(export.text)
    checked = check_facility(read_facility(path, {"V_PIN": "1234", "HOME": "/root"}), _schema_of)
    plan = make_plan(checked, running)
    return export, with_configurations_of(plan, checked, running, keep=False)


def test_texts_and_comments_with_dollar_signs_are_as_they_were(tmp_path: Path) -> None:
    named = {"M": {"n": NamedConfiguration({}, "costs ${USD}, is in ${HOME}", 0, True, "Motor")}}
    _export, plan = _planned(_running(named), tmp_path / "f.yaml")
    assert plan == Plan()


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"gone": 3.0}, "gone"),
        ({"velocity": 99.0}, "velocity"),
        ({"velocity": "fast"}, "velocity"),
        ({"axes": {"x": {}}, "axes.x.gone": 1}, "axes.x.gone"),
    ],
)
def test_what_the_class_takes_no_more_is_left_out_and_is_no_difference(
    tmp_path: Path, values: dict[str, Any], key: str
) -> None:
    kept = NamedConfiguration({"label": "a", **values}, class_id="Motor")
    export, plan = _planned(_running({"M": {"n": kept}}), tmp_path / "f.yaml")
    assert list(export.left_out["M"]) == [f"configurations.n.{key}"]
    assert plan == Plan()


def test_a_class_with_a_secret_that_is_required_can_have_configurations(tmp_path: Path) -> None:
    kept = {"V": {"n": NamedConfiguration({"level": 2.0}, class_id="Vault")}}
    export, plan = _planned(_running(kept), tmp_path / "f.yaml")
    assert export.left_out == {}
    assert plan == Plan()


@pytest.mark.parametrize(
    ("sources", "common"),
    [
        ([None], "T/CLOCK"),
        ([None, None], None),
        (["T/OTHER", "T/OTHER"], "T/OTHER"),
        (["T/CLOCK", None], "T/CLOCK"),
    ],
)
def test_servers_keep_their_time_sources(
    tmp_path: Path, sources: list[str | None], common: str | None
) -> None:
    others = [_server(f"S{number}", source, {}) for number, source in enumerate(sources)]
    path = tmp_path / "f.yaml"
    _export, plan = _planned(_running(None, *others), path)
    assert plan == Plan()
    facility = read_facility(path, {"V_PIN": "1", "HOME": "h"})
    assert facility.time_source == common
    assert [facility.source_of(server) for server in facility.servers.values()] == [
        "T/CLOCK",
        *sources,
    ]


def test_a_value_that_only_the_device_allows_is_left_out_and_kept(tmp_path: Path) -> None:
    device = _device("M/2", "Motor", {})
    device = RunningDevice(
        "M/2", "Motor", False, device.schema, {**device.configuration, "velocity": 50.0},
        device.read,
    )  # fmt: skip
    server = RunningServer("S2", "h", True, FacilityServer({}), "T/CLOCK", {"M/2": device})
    export, plan = _planned(_running(None, server), tmp_path / "f.yaml")
    assert list(export.left_out["M/2"]) == ["velocity"]
    assert plan.steps == ()
    assert "keeps them: velocity" in plan.notes[0]


def test_devices_on_servers_that_no_file_describes_are_named() -> None:
    others = {"DIRECTORY": "DIRECTORY/HOST", "M/3": "DIRECTORY/HOST"}
    running = Running(_running().servers, others)
    assert Export(running).outside == {"M/3": "DIRECTORY/HOST"}
