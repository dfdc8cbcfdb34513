"""What a plan does so that what runs becomes what the file says, and in which order."""

from collections.abc import Mapping
from typing import Any

import pytest

from pykarabo.data import (
    ChoiceOfNodes,
    Configurable,
    Float64,
    HashProperty,
    ListOfNodes,
    PropertyValue,
    Schema,
    String,
    Table,
    Timestamp,
    VectorString,
    live_configuration,
)
from pykarabo.errors import BadConfigurationError, InvalidValuesError, UnknownClassError
from pykarabo.facility import (
    Change,
    Facility,
    FacilityDevice,
    FacilityServer,
    Kind,
    NamedConfiguration,
    Plan,
    Running,
    RunningDevice,
    RunningServer,
    Step,
    check_facility,
    configuration_steps,
    make_plan,
)


class Axis(Configurable):
    speed = Float64(unit="mm/s", default=1.0)


class Motor(Configurable):
    velocity = Float64(unit="mm/s", default=5.0)
    step = Float64(unit="mm", default=1.0)
    port = String(init_only=True)
    pin = String(secret=True)
    count = Float64(read_only=True)
    axes = ListOfNodes(Axis)
    drive = ChoiceOfNodes({"a": Axis, "b": Axis})


class Row(Configurable):
    device = String()


class Scan(Configurable):
    motor = String()
    inputs = VectorString()
    rows = Table(Row)
    more = HashProperty()


CLASSES = {cls.__name__: cls for cls in (Motor, Scan)}


def _schema_of(_server_id: str, _server: FacilityServer, class_id: str) -> Schema:
    if class_id not in CLASSES:
        raise UnknownClassError(f"there is no class '{class_id}'")
    return CLASSES[class_id].schema()


def _facility(servers: Mapping[str, Mapping[str, Any]], **more: Any) -> Facility:
    """Return a facility from ``{server: {device: (class, configuration)}}``."""
    return Facility(
        {
            server_id: FacilityServer(
                {name: FacilityDevice(cls.__name__, values) for name, (cls, values) in own.items()}
            )
            for server_id, own in servers.items()
        },
        **more,
    )


def _running_device(device_id: str, cls: type[Configurable], values: Any) -> RunningDevice:
    made = cls(values)
    read = {
        key: PropertyValue(item.value, Timestamp(0, 0, 0)) for key, item in made._values.items()
    }
    plain = {key: item.value for key, item in read.items()}
    kept = live_configuration(cls.schema(), made.schema(), plain)
    return RunningDevice(device_id, cls.__name__, False, cls.schema(), kept.values, read)


def _running(
    servers: Mapping[str, Mapping[str, Any]],
    *,
    options: FacilityServer | None = None,
    is_here: bool = True,
    **more: Any,
) -> Running:
    return Running(
        {
            server_id: RunningServer(
                server_id,
                "host",
                is_here,
                options or FacilityServer({}),
                None,
                {name: _running_device(name, *item) for name, item in own.items()},
            )
            for server_id, own in servers.items()
        },
        **more,
    )


def _plan(facility: Facility, running: Running, **options: bool) -> Plan:
    return make_plan(check_facility(facility, _schema_of), running, **options)


def _steps(plan: Plan) -> list[tuple[str, str]]:
    return [(step.kind.value, step.target) for step in plan.steps]


def _only(plan: Plan) -> Step:
    (step,) = plan.steps
    return step


def test_nothing_is_to_be_done_where_everything_is_so_already() -> None:
    values = {"velocity": 2.0, "axes": {"x": {"speed": 3.0}}, "drive": "b", "pin": "1"}
    same: dict[str, Any] = {"S": {"M/1": (Motor, values)}}
    assert _plan(_facility(same), _running(same)) == Plan()


def test_servers_start_before_devices_and_devices_before_those_that_name_them() -> None:
    servers: dict[str, Any] = {
        "S": {"SCAN/1": (Scan, {"motor": "M/1", "inputs": ["SCAN/2:output", "M/2.velocity"]})},
        "T": {"M/2": (Motor, {}), "M/1": (Motor, {}), "SCAN/2": (Scan, {"motor": "M/2"})},
    }
    assert _steps(_plan(_facility(servers), Running())) == [
        ("start server", "S"),
        ("start server", "T"),
        ("start", "M/1"),
        ("start", "M/2"),
        ("start", "SCAN/2"),
        ("start", "SCAN/1"),
    ]
    gone = _plan(_facility({"U": {}}), _running(servers))
    assert _steps(gone) == [
        ("stop", "SCAN/1"),
        ("stop", "SCAN/2"),
        ("stop", "M/2"),
        ("stop", "M/1"),
        ("stop server", "S"),
        ("stop server", "T"),
        ("start server", "U"),
    ]


@pytest.mark.parametrize(
    "names",
    [
        {"inputs": ["M/1.velocity"]},
        {"rows": [{"device": "X/1"}, {"device": "M/1:output"}]},
        {"more": {"a": {"b": ["M/1"]}}},
        {"more": {"M/1": 5}},
    ],
)
def test_devices_are_named_in_values_of_every_form(names: dict[str, Any]) -> None:
    servers: dict[str, Any] = {"S": {"SCAN/1": (Scan, names), "M/1": (Motor, {})}}
    started = _steps(_plan(_facility(servers), Running()))
    assert started[1:] == [("start", "M/1"), ("start", "SCAN/1")]
    stopped = _steps(_plan(_facility({"U": {}}), _running(servers)))
    assert stopped[:2] == [("stop", "SCAN/1"), ("stop", "M/1")]


def test_devices_that_name_each_other_start_in_their_order_and_it_is_told() -> None:
    servers = {"S": {"A": (Scan, {"motor": "B"}), "B": (Scan, {"motor": "A"})}}
    plan = _plan(_facility(servers), Running())
    assert _steps(plan)[1:] == [("start", "B"), ("start", "A")]
    assert "A -> B -> A" in plan.notes[0]


def test_what_differs_is_written_property_by_property() -> None:
    facility = _facility({"S": {"M/1": (Motor, {"velocity": "1 cm/s", "step": 2.0})}})
    step = _only(_plan(facility, _running({"S": {"M/1": (Motor, {"step": 2.0})}})))
    assert step.kind is Kind.SET
    assert step.changes == (Change("velocity", 5.0, 10.0, "mm/s"),)
    assert (step.values, step.before) == ({"velocity": 10.0}, {"velocity": 5.0})
    assert list(step.expected) == ["velocity"]


def test_what_the_file_does_not_mention_is_kept_unless_one_wants_defaults() -> None:
    running = _running({"S": {"M/1": (Motor, {"step": 2.0, "axes": {"x": {"speed": 7.0}}})}})
    facility = _facility({"S": {"M/1": (Motor, {})}})
    plan = _plan(facility, running)
    assert plan.steps == ()
    assert "'M/1' has values that the file does not mention" in plan.notes[0]
    assert "step, axes, axes.x.speed" in plan.notes[0]
    stop, start = _plan(facility, running, reset=True).steps
    assert stop.before["step"] == 2.0
    assert start.values == {}
    assert {change.key for change in start.changes} == {"step", "axes", "axes.x.speed"}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"port": "com2"}, "only a start can change port"),
        ({"axes": {"x": {}}}, "only a start can change axes"),
        ({"drive": "b"}, "only a start can change drive"),
    ],
)
def test_what_only_a_start_can_change_starts_the_device_anew_with_what_else_it_has(
    wanted: dict[str, Any], words: str
) -> None:
    running = _running({"S": {"M/1": (Motor, {"port": "com1", "step": 2.0, "pin": "7"})}})
    stop, start = _plan(_facility({"S": {"M/1": (Motor, wanted)}}), running).steps
    assert (stop.kind, start.kind) == (Kind.STOP, Kind.START)
    assert words in start.why
    assert start.values["step"] == 2.0
    assert start.values["pin"] == "7"


def test_a_device_of_another_class_server_or_process_is_started_anew() -> None:
    running = _running({"S": {"A": (Motor, {"step": 2.0})}, "T": {}})
    other = _plan(_facility({"S": {"A": (Scan, {})}, "T": {}}), running)
    assert _steps(other) == [("stop", "A"), ("start", "A")]
    assert other.steps[1].values == {}
    assert "class Motor -> Scan" in other.steps[1].why
    moved = _plan(_facility({"S": {}, "T": {"A": (Motor, {})}}), running)
    assert [step.server for step in moved.steps] == ["S", "T"]
    assert moved.steps[1].values == {"step": 2.0}
    apart = Facility(
        {
            "S": FacilityServer({"A": FacilityDevice("Motor")}, own_process=frozenset({"A"})),
            "T": FacilityServer({}),
        }
    )
    assert _plan(apart, running).steps[1].own_process


def test_a_server_with_other_options_is_restarted_with_all_of_its_devices() -> None:
    facility = Facility({"S": FacilityServer({"A": FacilityDevice("Motor")}, memory=512)})
    plan = _plan(facility, _running({"S": {"A": (Motor, {"step": 3.0})}}))
    assert _steps(plan) == [
        ("stop", "A"),
        ("stop server", "S"),
        ("start server", "S"),
        ("start", "A"),
    ]
    assert plan.steps[2].changes == (Change("memory", None, 512),)
    assert plan.steps[3].values == {"step": 3.0}
    far = _plan(facility, _running({"S": {}}, is_here=False))
    assert "on its host host" in far.problems[0]


def test_a_port_that_the_system_chose_is_no_change() -> None:
    facility = Facility({"S": FacilityServer({}, ports={"rpc": 0})})
    assert _plan(facility, _running({"S": {}})) == Plan()


def test_what_is_not_in_the_file_can_be_kept() -> None:
    running = _running({"S": {"A": (Motor, {}), "B": (Motor, {})}, "T": {"C": (Motor, {})}})
    plan = _plan(_facility({"S": {"A": (Motor, {})}}), running, keep=True)
    assert plan.steps == ()
    assert len(plan.notes) == 3


class Accounts(Configurable):
    database = String()


def test_the_accounts_service_is_never_stopped_because_a_file_does_not_name_it() -> None:
    accounts: dict[str, Any] = {"ACCOUNTS": (Accounts, {}), "M/1": (Motor, {})}
    running = _running({"S": {}, "ACCOUNTS/H": accounts})
    assert _steps(_plan(_facility({"S": {}}), running)) == [("stop", "M/1")]
    restarted = Facility({"S": FacilityServer({}), "ACCOUNTS/H": FacilityServer({}, memory=300)})
    plan = _plan(restarted, running)
    assert "'ACCOUNTS' is not in the file" in plan.problems[0]


def test_a_device_of_another_program_is_a_problem() -> None:
    plan = _plan(
        _facility({"S": {"A": (Motor, {})}}), _running({"S": {}}, others={"A": "SCRIPT/5"})
    )
    assert plan.steps == ()
    assert "runs in 'SCRIPT/5'" in plan.problems[0]


def test_named_configurations_are_saved_and_deleted() -> None:
    fast, slow = NamedConfiguration({"velocity": 9.0}, "quick"), NamedConfiguration()
    facility = _facility(
        {"S": {"A": (Motor, {})}},
        configurations={"A": {"fast": NamedConfiguration({"velocity": "9 mm/s", "step": 1.0})}},
    )
    running = _running({}, configurations={"A": {"fast": fast, "slow": slow}}, store="C")
    checked = check_facility(facility, _schema_of)
    save, delete = configuration_steps(checked, running, keep=False)
    assert save.changes == (Change("comment", "quick", ""),)
    assert (delete.kind, delete.name) == (Kind.DELETE, "slow")
    assert configuration_steps(checked, running, keep=True) == [save]
    without = check_facility(_facility({"S": {"A": (Motor, {})}}), _schema_of)
    assert configuration_steps(without, running, keep=False) == []


def test_configurations_of_a_device_that_the_file_does_not_name_are_never_deleted() -> None:
    kept = {"A": {"a": NamedConfiguration()}, "B": {"b": NamedConfiguration()}}
    running = _running({}, configurations=kept, store="C")
    facility = _facility({"S": {"A": (Motor, {})}}, configurations={})
    assert configuration_steps(check_facility(facility, _schema_of), running, keep=False) == []
    facility = _facility({"S": {"A": (Motor, {})}}, configurations={"A": {}})
    (step,) = configuration_steps(check_facility(facility, _schema_of), running, keep=False)
    assert (step.target, step.name) == ("A", "a")


def test_a_configuration_of_another_class_than_its_device_has_is_checked_by_its_own() -> None:
    scan = NamedConfiguration({"motor": "M/1"}, class_id="Scan")
    named = {"A": {"s": scan}, "SPARE": {"s": scan, "m": NamedConfiguration(class_id="Motor")}}
    facility = _facility({"S": {"A": (Motor, {})}}, configurations=named)
    checked = check_facility(facility, _schema_of)
    running = _running({}, configurations={"A": {"s": scan}, "SPARE": {"s": scan}}, store="C")
    (step,) = configuration_steps(checked, running, keep=False)
    assert (step.target, step.name, step.class_id) == ("SPARE", "m", "Motor")
    other = {"A": {"s": NamedConfiguration(class_id="Motor")}}
    (step,) = configuration_steps(
        checked, _running({}, configurations=other | {"SPARE": named["SPARE"]}), keep=False
    )
    assert Change("class", "Motor", "Scan") in step.changes


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    facility = _facility(
        {"S": {"A": (Motor, {"velocty": 1}), "B": (Motor, {"step": "1 s"})}},
        configurations={"A": {"n": NamedConfiguration({"prt": ""})}},
    )
    with pytest.raises(InvalidValuesError) as refused:
        check_facility(facility, _schema_of)
    for words in ("did you mean 'velocity'", "B.step", "did you mean 'port'"):
        assert words in str(refused.value)
    with pytest.raises(BadConfigurationError, match="no class 'Moter'"):
        check_facility(Facility({"S": FacilityServer({"A": FacilityDevice("Moter")})}), _schema_of)
