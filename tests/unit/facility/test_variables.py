"""`${NAME}` stands for what a property takes: a text, a number, true or false."""

from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.data import (
    Bool,
    Choice,
    ChoiceOfNodes,
    Configurable,
    Float64,
    Int32,
    Schema,
    String,
    Table,
    VectorFloat64,
)
from pykarabo.errors import BadConfigurationError
from pykarabo.facility import (
    CheckedFacility,
    FacilityServer,
    check_facility,
    read_facility,
    resolve_variables,
)


class Axis(Configurable):
    speed = Float64(unit="mm/s")


class Row(Configurable):
    name = String()
    size = Int32()


class Motor(Configurable):
    velocity = Float64(unit="mm/s")
    count = Int32()
    label = String()
    on = Bool()
    mode = Choice(["slow", "fast"])
    steps = VectorFloat64()
    rows = Table(Row)
    drive = ChoiceOfNodes({"a": Axis, "b": Axis})


_VARIABLES: Final = {"N": "7", "F": "2.5", "Q": "1 cm/s", "T": "true", "A": "a", "S": "slow"}


def _schema_of(_server_id: str, _server: FacilityServer, _class_id: str) -> Schema:
    return Motor.schema()


def _checked(path: Path, entry: str) -> CheckedFacility:
    path.write_text(f"servers:\n  A:\n    devices:\n      D: {{class: Motor, {entry}}}\n")
    return check_facility(read_facility(path, _VARIABLES), _schema_of)


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ("velocity: '${F}'", {"velocity": 2.5}),
        ("velocity: '${N}'", {"velocity": 7.0}),
        ("velocity: '${Q}'", {"velocity": 10.0}),
        ("count: '${N}'", {"count": 7}),
        ("label: '${N}'", {"label": "7"}),
        ("label: 'a${N}'", {"label": "a7"}),
        ("on: '${T}'", {"on": True}),
        ("label: '${T}'", {"label": "true"}),
        ("mode: '${S}'", {"mode": "slow"}),
        ("drive: {a: {speed: '${F}'}}", {"drive": {"a": {}}, "drive.a.speed": 2.5}),
        ("drive: '${A}'", {"drive": {"a": {}}}),
    ],
)
def test_a_variable_is_what_the_property_takes(
    tmp_path: Path, entry: str, wanted: dict[str, Any]
) -> None:
    found = _checked(tmp_path / "f.yaml", entry.replace("on:", "'on':")).devices["D"].values
    assert found == wanted
    assert [type(value) for value in found.values()] == [type(value) for value in wanted.values()]


def test_variables_in_lists_and_tables_are_taken_column_by_column(tmp_path: Path) -> None:
    entry = "steps: ['${F}', 1], rows: [{name: '${N}', size: '${N}'}]"
    found = _checked(tmp_path / "f.yaml", entry).devices["D"].values
    assert list(found["steps"]) == [2.5, 1.0]
    assert (list(found["rows"]["name"]), list(found["rows"]["size"])) == (["7"], [7])


def test_what_does_not_fit_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(BadConfigurationError) as refused:
        _checked(tmp_path / "f.yaml", "count: '${A}'")
    assert "line 4, servers.A.devices.D.count" in str(refused.value)
    assert "it comes from ${A}" in str(refused.value)


def test_what_is_started_without_a_plan_has_its_numbers_too(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("servers: {A: {devices: {D: {class: Motor, count: '${N}', label: '${N}'}}}}")
    found = resolve_variables(read_facility(path, _VARIABLES), _schema_of)
    assert found.servers["A"].devices["D"].configuration == {"count": 7, "label": "7"}
