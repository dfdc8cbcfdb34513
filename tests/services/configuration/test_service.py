"""The configuration store as a device, with real servers: saved, compared and applied."""

import getpass
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pykarabo.client import DeviceProxy, connect, wait_until
from pykarabo.data import (
    AccessLevel,
    ChoiceOfNodes,
    Configurable,
    Float64,
    Int32,
    ListOfNodes,
    State,
    String,
    Timestamp,
)
from pykarabo.device import Device, command, serve
from pykarabo.errors import (
    BadConfigurationError,
    DatabaseInUseError,
    DatabaseUnavailableError,
    DeniedError,
    InvalidNameError,
    LockedError,
    MissingValueError,
    OutOfRangeError,
    PykaraboError,
    StateForbidsError,
    UnknownClassError,
    UnknownDeviceError,
    UnknownPropertyError,
)
from pykarabo.wire import Call
from pykarabo_services.configuration.main import ConfigurationStore
from tests.harness.databases import Databases
from tests.harness.postgres import PostgresServer

STORE = "T/STORE/1"
MOTOR = "T/MOTOR/1"
SERVER = "T/SERVER"


class Axis(Configurable):
    """An axis."""

    speed = Float64(unit="mm/s", default=1.0)


class Motor(Device):
    """Has a property of each kind that matters."""

    velocity = Float64(unit="mm/s", default=5.0)
    backlash = Float64(unit="mm", default=0.0, access_level=AccessLevel.EXPERT)
    port = String(init_only=True, default="com1")
    pin = String(secret=True)
    parked = Float64(allowed_states={State.OFF})
    axes = ListOfNodes(Axis)
    drive = ChoiceOfNodes({"a": Axis, "b": Axis})

    async def on_initialize(self) -> None:
        """Be on."""
        self.state = State.ON


class Scan(Device):
    """Saves itself."""

    @command()
    async def keep(self) -> None:
        """Save it."""
        await self.client.request(STORE, Call(STORE, "save", [self.device_id, "scan"]))


class Pump(Device):
    """Has a velocity, too."""

    velocity = Float64(unit="mm/s", default=1.0)


def _motor_of_tomorrow() -> type[Device]:
    return type(
        "Motor",
        (Device,),
        {
            "__doc__": "Has no backlash any more, another unit and another default.",
            "velocity": Float64(unit="cm/s", default=9.0),
            "port": String(init_only=True, default="com1"),
            "more": Int32(default=1),
        },
    )


@pytest.fixture
def store(short_runtime: Path) -> Iterator[DeviceProxy]:
    """Serve a store; gives a proxy of it."""
    assert short_runtime.exists()
    with serve({STORE: ConfigurationStore}, server_id="T/STORES"):
        yield connect(STORE)


def _serving(stack: ExitStack, cls: type[Device] = Motor, **configuration: Any) -> DeviceProxy:
    stack.enter_context(
        serve({MOTOR: cls}, server_id=SERVER, configurations={MOTOR: configuration})
    )
    return connect(MOTOR)


@pytest.fixture
def motor(store: DeviceProxy) -> Iterator[DeviceProxy]:
    """Serve a motor beside the store."""
    assert store.device_id == STORE
    with ExitStack() as stack:
        yield _serving(stack, velocity=2.0, axes={"x": {"speed": 3.0}}, drive="b", pin="1234")


def test_only_what_differs_from_the_class_is_saved_with_who_did_it(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    saved = store.call("save", MOTOR, "fast", "for scans", 4, True)
    assert saved["number"] == 1
    assert saved["left_out"] == {"pin": "it is secret"}
    kept = store.call("configurations", MOTOR)["fast"]
    assert kept["values"] == {
        "velocity": 2.0,
        "axes": {"x": {}},
        "axes.x.speed": 3.0,
        "drive": {"b": {}},
    }
    assert (kept["comment"], kept["priority"], kept["active"]) == ("for scans", 4, True)
    assert (kept["class_id"], kept["server_id"]) == ("Motor", SERVER)
    assert kept["user"] == getpass.getuser()
    assert store.call("show", MOTOR, "fast@1")["drift"] == []
    assert store.call("devices") == [MOTOR]


def test_a_device_that_saves_is_named_beside_the_user(store: DeviceProxy) -> None:
    with serve({"T/SCAN/1": Scan}, server_id="T/SCANS"):
        connect("T/SCAN/1").call("keep")
    (version,) = store.call("names", "T/SCAN/1")
    assert version["user"] == f"{getpass.getuser()} through T/SCAN/1"


def test_versions_are_compared_with_each_other_and_with_the_device(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    store.call("save", MOTOR, "fast")
    motor.velocity = 8.0
    motor.backlash = 0.5
    (velocity, backlash) = store.call("compare", MOTOR, "fast")["differences"]
    assert (velocity["left"], velocity["right"], velocity["left_unit"]) == (2.0, 8.0, "mm/s")
    assert (backlash["key"], backlash["right"]) == ("backlash", 0.5)
    store.call("save", MOTOR, "fast")
    assert store.call("compare", MOTOR, "fast")["differences"] == []
    keys = [item["key"] for item in store.call("compare", MOTOR, "fast@1", "fast@2")["differences"]]
    assert keys == ["velocity", "backlash"]
    past = store.call("versions", MOTOR, "fast")[-1]["time_ns"]
    moment = Timestamp.from_ns(past).iso()
    assert len(store.call("compare", MOTOR, f"fast@{moment}")["differences"]) == 2


def test_a_configuration_is_written_back_whole_or_in_part(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    store.call("save", MOTOR, "fast")
    motor.set({"velocity": 8.0, "backlash": 0.5, "axes.x.speed": 1.0})
    plan = store.call("restore", MOTOR, "fast", dry_run=True)
    assert plan["written"] is False
    assert plan["values"] == {"velocity": 2.0, "backlash": 0.0, "axes.x.speed": 3.0}
    assert motor.velocity == 8.0
    part = store.call("restore", MOTOR, "fast", ["axes"])
    assert (part["values"], part["before"]) == ({"axes.x.speed": 3.0}, {"axes.x.speed": 1.0})
    assert motor.velocity == 8.0
    whole = store.call("restore", MOTOR, "fast")
    assert whole["written"]
    assert motor.velocity == 2.0
    assert motor.backlash == 0.0
    assert store.call("restore", MOTOR, "fast")["written"] is False
    with pytest.raises(UnknownPropertyError, match="velocty") as unknown:
        store.call("restore", MOTOR, "fast", ["velocty"])
    assert "velocity" in str(unknown.value.remedy)


def test_what_only_a_start_can_change_is_told_and_a_start_changes_it(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    store.call("put", MOTOR, "other", "Motor", {"port": "com2", "velocity": "1 cm/s"}, active=True)
    told = store.call("restore", MOTOR, "other", ["port", "velocity"])
    assert told["at_start"] == ["port"]
    assert motor.velocity == 10.0
    with pytest.raises(PykaraboError, match="runs already"):
        store.call("instantiate", MOTOR)
    connect(SERVER).call("shutdown_device", MOTOR)
    started = store.call("instantiate", MOTOR, timeout_s=20.0)
    assert (started["configuration"], started["server_id"]) == ("other@1", SERVER)
    assert connect(MOTOR).port == "com2"


def test_X1_a_configuration_is_applied_with_the_rights_of_whoever_asks(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    store.call("put", MOTOR, "risky", "Motor", {"backlash": 3.0, "velocity": 4.0})
    asking = {role: connect(STORE, role=role) for role in ("observer", "operator", "expert")}
    with pytest.raises(DeniedError, match="restore"):
        asking["observer"].call("restore", MOTOR, "risky")
    with pytest.raises(DeniedError, match="backlash") as denied:
        asking["operator"].call("restore", MOTOR, "risky")
    assert denied.value.details["required"] == "EXPERT"
    assert (motor.velocity, motor.backlash) == (2.0, 0.0)
    assert asking["operator"].call("restore", MOTOR, "risky", ["velocity"])["written"]
    asking["expert"].call("restore", MOTOR, "risky")
    assert motor.backlash == 3.0
    connect(SERVER).call("shutdown_device", MOTOR)
    with pytest.raises(DeniedError, match="backlash"):
        asking["operator"].call("instantiate", MOTOR, "risky")
    with pytest.raises(UnknownDeviceError):
        connect(MOTOR)
    assert asking["expert"].call("instantiate", MOTOR, "risky", timeout_s=20.0)["state"] == "ON"
    for role, allowed in (("observer", False), ("operator", False), ("expert", True)):
        if allowed:
            asking[role].call("delete", MOTOR, "risky")
        else:
            with pytest.raises(DeniedError):
                asking[role].call("delete", MOTOR, "risky")
    assert asking["observer"].call("names", MOTOR) == []


def test_what_a_device_refuses_is_refused_and_nothing_is_written(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    store.call("put", MOTOR, "parked", "Motor", {"parked": 1.0, "velocity": 7.0})
    with pytest.raises(StateForbidsError, match="parked"):
        store.call("restore", MOTOR, "parked")
    assert motor.velocity == 2.0
    motor.call("lock")
    try:
        with pytest.raises(LockedError):
            store.call("restore", MOTOR, "parked", ["velocity"])
    finally:
        motor.call("unlock")
    assert motor.velocity == 2.0


def test_a_class_that_has_changed_is_told_of_and_nothing_is_dropped(store: DeviceProxy) -> None:
    with ExitStack() as stack:
        _serving(stack, velocity=2.0, backlash=0.5)
        store.call("save", MOTOR, "fast")
        store.call("put", MOTOR, "plain", "Motor", {})
    with ExitStack() as stack:
        motor = _serving(stack, _motor_of_tomorrow())
        drift = {item["key"]: item for item in store.call("show", MOTOR, "fast")["drift"]}
        assert drift["backlash"]["conflict"]
        assert drift["more"]["kind"] == "new"
        assert drift["velocity"]["changes"]["unit"] == ["mm/s", "cm/s"]
        with pytest.raises(BadConfigurationError, match="backlash") as refused:
            store.call("restore", MOTOR, "fast")
        assert "leave out" in str(refused.value.remedy)
        assert motor.velocity == 9.0
        done = store.call("restore", MOTOR, "fast", without=["backlash"])
        assert done["left_out"] == ["backlash"]
        assert motor.velocity == pytest.approx(0.2)
        store.call("restore", MOTOR, "plain", without=["backlash"])
        assert motor.velocity == pytest.approx(0.5)


def test_what_is_to_be_left_out_must_be_a_property(store: DeviceProxy, motor: DeviceProxy) -> None:
    store.call("save", MOTOR, "fast")
    motor.velocity = 8.0
    with pytest.raises(UnknownPropertyError, match="velocty") as refused:
        store.call("restore", MOTOR, "fast", without=["velocty"])
    assert "velocity" in str(refused.value.remedy)
    assert motor.velocity == 8.0
    assert not store.call("restore", MOTOR, "fast", without=["velocity", "axes"])["written"]


def test_a_device_that_has_got_another_class_is_told_of_and_gets_only_what_is_named(
    store: DeviceProxy,
) -> None:
    with ExitStack() as stack:
        _serving(stack, velocity=2.0)
        store.call("save", MOTOR, "fast")
    with ExitStack() as stack:
        motor = _serving(stack, Pump)
        shown = store.call("show", MOTOR, "fast")
        assert (shown["class_id"], shown["class_today"]) == ("Motor", "Pump")
        assert store.call("compare", MOTOR, "fast")["classes"] == ["Motor", "Pump"]
        with pytest.raises(BadConfigurationError, match="'Motor', and the device has class 'Pump'"):
            store.call("restore", MOTOR, "fast")
        assert motor.velocity == 1.0
        store.call("restore", MOTOR, "fast", ["velocity"])
        assert motor.velocity == 2.0


def test_several_devices_are_saved_at_once_and_one_that_fails_is_named(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    assert motor.device_id == MOTOR
    saved = store.call("save_many", [MOTOR, "T/NO/1", STORE], "today")
    assert saved[MOTOR]["number"] == 1
    assert saved[STORE]["class_id"] == "ConfigurationStore"
    assert saved["T/NO/1"]["error"]["code"] == "unknown_device"
    marked = store.call("save_many", [MOTOR, STORE], "today", "why", 5, True)
    assert {
        (item["number"], item["comment"], item["priority"], item["active"])
        for item in marked.values()
    } == {(2, "why", 5, True), (2, "why", 5, True)}
    with pytest.raises(OutOfRangeError):
        store.call("save_many", [MOTOR], "today", "", 10)


def test_what_is_brought_back_is_the_active_one_again_or_it_is_told_which_is(
    store: DeviceProxy, motor: DeviceProxy
) -> None:
    assert motor.device_id == MOTOR
    store.call("save", MOTOR, "a", active=True)
    store.call("save", MOTOR, "b")
    store.call("delete", MOTOR, "a")
    back = store.call("undelete", MOTOR, "a")
    assert (back["active"], back["active_instead"]) == (True, "")
    store.call("delete", MOTOR, "a")
    store.call("describe", MOTOR, "b", active=True)
    back = store.call("undelete", MOTOR, "a")
    assert (back["active"], back["active_instead"]) == (False, "b")


def test_bad_input_is_refused_with_a_remedy(store: DeviceProxy, motor: DeviceProxy) -> None:
    store.call("save", MOTOR, "fast")
    cases: list[tuple[type[PykaraboError], str, tuple[Any, ...]]] = [
        (InvalidNameError, "save", (MOTOR, "../../x")),
        (InvalidNameError, "save", (MOTOR, "default")),
        (InvalidNameError, "save_many", ([MOTOR], "x" * 31)),
        (OutOfRangeError, "save", (MOTOR, "a", "", 10)),
        (OutOfRangeError, "save", (MOTOR, "a", "x" * 5_000)),
        (UnknownDeviceError, "save", ("T/NO/1", "a")),
        (InvalidNameError, "show", (MOTOR, "fats")),
        (InvalidNameError, "restore", (MOTOR, "fast@7")),
        (InvalidNameError, "versions", (MOTOR, "nothing")),
        (UnknownClassError, "put", (MOTOR, "a", "Moter", {})),
        (UnknownPropertyError, "put", (MOTOR, "a", "Motor", {"velocty": 1})),
        (BadConfigurationError, "put", (MOTOR, "a", "Motor", {"pin": "1"})),
        (InvalidNameError, "put", ("no device", "a", "Motor", {})),
        (MissingValueError, "instantiate", (MOTOR,)),
        (BadConfigurationError, "undelete", (MOTOR, "fast")),
        (InvalidNameError, "undelete", (MOTOR, "never")),
        (MissingValueError, "describe", (MOTOR, "fast")),
    ]
    for kind, name, arguments in cases:
        with pytest.raises(kind) as refused:
            store.call(name, *arguments)
        assert refused.value.message, name
    assert motor.velocity == 2.0
    assert [item["name"] for item in store.call("names", MOTOR)] == ["fast"]
    store.call("delete", MOTOR, "fast")
    with pytest.raises(InvalidNameError, match="was deleted by"):
        store.call("show", MOTOR, "fast")


def test_the_store_keeps_its_versions_in_the_database_of_the_domain(
    databases: Databases, short_runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert short_runtime.exists()
    monkeypatch.setenv("PYKARABO_DATABASE_URL", databases.url)
    for number in (1, 2):
        with serve({STORE: ConfigurationStore, MOTOR: Motor}, server_id=SERVER):
            store = connect(STORE)
            assert store.state == State.ON
            assert store.call("save", MOTOR, "fast")["number"] == number


def test_a_database_that_stops_is_told_of_and_comes_back(
    short_runtime: Path, own_postgres: PostgresServer
) -> None:
    assert short_runtime.exists()
    configuration = {STORE: {"database": own_postgres.url}}
    with serve(
        {STORE: ConfigurationStore, MOTOR: Motor}, server_id=SERVER, configurations=configuration
    ):
        store = connect(STORE)
        store.call("save", MOTOR, "fast")
        own_postgres.stop(immediate=True)
        with pytest.raises(DatabaseUnavailableError):
            store.call("save", MOTOR, "fast", timeout_s=20.0)
        wait_until(lambda: store.state == State.ERROR, timeout_s=10)
        own_postgres.start()
        wait_until(lambda: store.state == State.ON, timeout_s=20)
        assert store.call("save", MOTOR, "fast")["number"] == 2


def test_a_second_store_of_one_file_is_refused_with_the_process_of_the_first(
    store: DeviceProxy,
) -> None:
    assert store.state == State.ON
    with pytest.raises(DatabaseInUseError, match=str(os.getpid())):
        connect("T/STORES").call("instantiate", "ConfigurationStore", "T/STORE/2", timeout_s=20.0)
    with pytest.raises(UnknownDeviceError):
        connect("T/STORE/2")
    assert store.call("devices") == []


@pytest.mark.nightly
def test_a_database_that_is_frozen_keeps_no_store_from_starting(
    short_runtime: Path, own_postgres: PostgresServer
) -> None:
    assert short_runtime.exists()
    own_postgres.freeze()
    configuration = {STORE: {"database": own_postgres.url}}
    with serve(
        {STORE: ConfigurationStore, MOTOR: Motor}, server_id=SERVER, configurations=configuration
    ):
        store = connect(STORE)
        assert store.state in (State.STARTING, State.ERROR)
        with pytest.raises(DatabaseUnavailableError):
            store.call("devices")
        own_postgres.thaw()
        wait_until(lambda: store.state == State.ON, timeout_s=30)
        assert store.call("devices") == []
