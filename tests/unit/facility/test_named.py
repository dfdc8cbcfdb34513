"""What a plan does in the configuration store, and what it cannot know."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pykarabo.data import Configurable, Float64, PropertyValue, Schema, String, Timestamp
from pykarabo.facility import (
    Facility,
    FacilityDevice,
    FacilityServer,
    NamedConfiguration,
    Plan,
    Running,
    RunningDevice,
    RunningServer,
    check_facility,
    make_plan,
    same_steps,
    with_configurations_of,
)


class Motor(Configurable):
    velocity = Float64(unit="mm/s", default=5.0)


class Vault(Configurable):
    pin = String(required=True, secret=True)
    level = Float64(default=1.0)


class Wired(Configurable):
    port = String(required=True)


class ConfigurationStore(Configurable):
    database = String(init_only=True)


_CLASSES: Final = {cls.__name__: cls for cls in (Motor, Vault, Wired, ConfigurationStore)}
_KEPT: Final = {
    "M": {
        "a": NamedConfiguration({"velocity": 1.0}, class_id="Motor"),
        "b": NamedConfiguration(class_id="Motor"),
    }
}
_WANTED: Final = {"M": {"a": NamedConfiguration({"velocity": 1.0})}}


def _schema_of(_server_id: str, _server: FacilityServer, class_id: str) -> Schema:
    return _CLASSES[class_id].schema()


def _facility(
    configurations: Mapping[str, Mapping[str, NamedConfiguration]] | None = None,
    store: Mapping[str, Any] | None = None,
    *,
    memory: int | None = None,
    devices: Mapping[str, FacilityDevice] | None = None,
) -> Facility:
    stored = {} if store is None else {"C": FacilityDevice("ConfigurationStore", store)}
    motor = {"M": FacilityDevice("Motor"), **(devices or {})}
    return Facility(
        {"S": FacilityServer({**motor, **stored}, memory=memory)},
        configurations=_WANTED if configurations is None else configurations,
    )


def _running_device(device_id: str, class_id: str) -> RunningDevice:
    made = _CLASSES[class_id]({"pin": "1"} if class_id == "Vault" else {})
    read = {
        key: PropertyValue(item.value, Timestamp(0, 0, 0)) for key, item in made._values.items()
    }
    plain = {key: item.value for key, item in read.items()}
    return RunningDevice(device_id, class_id, False, made.schema(), plain, read)


def _running(**devices: str) -> Running:
    found = {name: _running_device(name, class_id) for name, class_id in devices.items()}
    server = RunningServer("S", "host", True, FacilityServer({}), None, found)
    return Running({"S": server}, configurations=_KEPT, store="C")


def _plan(facility: Facility, running: Running, *, keep: bool = False) -> Plan:
    checked = check_facility(facility, _schema_of)
    plan = make_plan(checked, running, keep=keep)
    return with_configurations_of(plan, checked, running, keep=keep)


def _in_store(plan: Plan) -> list[tuple[str, str]]:
    return [(step.kind.value, step.name) for step in plan.steps if step.name]


def test_what_is_deleted_is_shown_also_where_the_store_is_restarted() -> None:
    running = _running(M="Motor", C="ConfigurationStore")
    deleted = [("delete configuration", "b")]
    assert _in_store(_plan(_facility(store={}), running)) == deleted
    restarted = _plan(_facility(store={}, memory=600), running)
    assert _in_store(restarted) == deleted
    assert restarted.compared
    assert _in_store(_plan(_facility(store={}, memory=600), running, keep=True)) == []


def test_of_a_store_that_may_have_anything_nothing_is_deleted() -> None:
    other = _plan(
        _facility(store={"database": "other.db"}), _running(M="Motor", C="ConfigurationStore")
    )
    absent = _plan(
        _facility(store={}), replace(_running(M="Motor"), configurations=None, store=None)
    )
    for plan in (other, absent):
        assert _in_store(plan) == [("save configuration", "a")]
        assert not plan.compared
        assert plan.problems == ()
        assert "'C' keeps already is known when it has been started" in plan.notes[0]


def test_configurations_without_a_store_are_a_problem() -> None:
    absent = replace(_running(M="Motor"), configurations=None, store=None)
    (problem,) = _plan(_facility(), absent).problems
    assert "no device keeps them: add one device of class ConfigurationStore" in problem
    assert _plan(_facility({}), absent).problems == ()
    running = _running(M="Motor", C="ConfigurationStore")
    assert len(_plan(_facility(), running).problems) == 1  # the store is stopped
    assert _plan(_facility(), running, keep=True).problems == ()


def test_what_the_store_would_refuse_is_a_problem_unless_it_has_it_so() -> None:
    vault = {"V": FacilityDevice("Vault", {"pin": "1"})}
    wanted = {"V": {"n": NamedConfiguration({"level": 2.0})}}
    running = _running(M="Motor", C="ConfigurationStore", V="Vault")
    new = _plan(_facility(wanted, {}, devices=vault), running)
    (problem,) = new.problems
    assert "requires 'pin', which is secret" in problem
    assert "pykarabo config save V" in problem
    lacking = _plan(_facility({"W": {"n": NamedConfiguration(class_id="Wired")}}, {}), running)
    assert ["'W.port' must be configured" in problem for problem in lacking.problems] == [True]
    kept = {"V": {"n": NamedConfiguration({"level": 2.0}, class_id="Vault")}}
    same = _plan(_facility(wanted, {}, devices=vault), replace(running, configurations=kept))
    assert (same.problems, _in_store(same)) == ((), [])


def test_a_name_that_the_store_refuses_is_a_problem_unless_it_has_it_so() -> None:
    running = _running(M="Motor", C="ConfigurationStore")
    wanted = {"M": {"live": NamedConfiguration()}}
    (problem,) = _plan(_facility(wanted, {}), running, keep=True).problems
    assert "choose another name" in problem
    kept = {"M": {"live": NamedConfiguration(class_id="Motor")}}
    assert _plan(_facility(wanted, {}), replace(running, configurations=kept)).problems == ()


def test_steps_are_the_same_only_where_the_store_has_the_same() -> None:
    running = _running(M="Motor", C="ConfigurationStore")
    steps = _plan(_facility(store={}), running).steps
    assert same_steps(steps, _plan(_facility(store={}), running).steps)
    changed = {"M": {**_KEPT["M"], "b": NamedConfiguration({"velocity": 9.0}, class_id="Motor")}}
    other = _plan(_facility(store={}), replace(running, configurations=changed)).steps
    assert not same_steps(steps, other)


def test_a_step_knows_which_configuration_loses_the_mark() -> None:
    kept = {"M": {"a": NamedConfiguration(active=True), "b": NamedConfiguration()}}
    wanted = {"M": {"c": NamedConfiguration(active=True), "d": NamedConfiguration()}}
    running = replace(_running(M="Motor", C="ConfigurationStore"), configurations=kept)
    steps = [step for step in _plan(_facility(wanted, {}), running).steps if step.named]
    assert [(step.name, step.marked_before) for step in steps] == [("c", "a"), ("d", "a")]
