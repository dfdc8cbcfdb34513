"""What a facility file has kept in the store is taken back when a later step fails."""

from pathlib import Path
from typing import Any

from pykarabo.client import BlockingClient, DeviceProxy, connect
from pykarabo.device import serve
from pykarabo.errors import UnknownClassError
from pykarabo.facility import Applier, Kind, NamedConfiguration, Outcome, Step
from pykarabo_services.configuration.main import ConfigurationStore
from pykarabo_services.devices import SimulatedMotor

STORE, MOTOR, SERVER = "T/STORE/1", "T/MOTOR/1", "T/SERVER"


def _saving(name: str, values: dict[str, Any], before: NamedConfiguration | None) -> Step:
    return Step(
        Kind.SAVE,
        MOTOR,
        name=name,
        class_id="SimulatedMotor",
        named=NamedConfiguration(values, "new", 3, True),
        named_before=before,
    )


def _actions(store: DeviceProxy, name: str) -> list[str]:
    return [item["action"] for item in store.call("versions", MOTOR, name)]


def test_configurations_that_were_saved_and_deleted_are_as_before(short_runtime: Path) -> None:
    assert short_runtime.exists()
    with serve({STORE: ConfigurationStore, MOTOR: SimulatedMotor}, server_id=SERVER):
        store = connect(STORE)
        store.call("put", MOTOR, "old", "SimulatedMotor", {"velocity": 1.0}, comment="as it was")
        store.call("put", MOTOR, "gone", "SimulatedMotor", {})
        before = NamedConfiguration({"velocity": 1.0}, "as it was")
        steps = [
            _saving("old", {"velocity": 2.0}, before),
            _saving("new", {"velocity": 3.0}, None),
            Step(Kind.DELETE, MOTOR, name="gone", named_before=NamedConfiguration()),
            Step(Kind.SET, MOTOR, values={"velocity": 7.0}, before={"velocity": 5.0}),
            Step(Kind.START, "T/NO/1", SERVER, "NoSuchClass"),
            Step(Kind.START, "T/NO/2", SERVER, "SimulatedMotor"),
        ]
        with BlockingClient() as client:
            applier = Applier(client, None, lambda _: None, store=STORE)  # type: ignore[arg-type]
            error = applier.carry_out(steps)
        assert isinstance(error, UnknownClassError)
        assert [result.outcome for result in applier.results] == [
            *[Outcome.UNDONE] * 4,
            Outcome.FAILED,
            Outcome.NOT_TRIED,
        ]
        named = store.call("configurations", MOTOR)
        assert set(named) == {"old", "gone"}
        assert named["old"]["values"] == {"velocity": 1.0}
        assert (named["old"]["comment"], named["old"]["active"]) == ("as it was", False)
        assert _actions(store, "new") == ["deleted", "saved"]
        assert _actions(store, "gone") == ["restored", "deleted", "saved"]
        assert connect(MOTOR).velocity == 5.0
