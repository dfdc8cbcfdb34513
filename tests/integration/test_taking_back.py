"""What a plan has done is taken back so that nothing of what was there before is lost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient, DeviceProxy, connect
from pykarabo.device import serve
from pykarabo.facility import (
    Applier,
    FacilityServer,
    Kind,
    NamedConfiguration,
    Outcome,
    Result,
    Step,
)
from pykarabo_services.configuration.main import ConfigurationStore
from pykarabo_services.devices import SimulatedMotor

_STORE, _MOTOR, _SERVER = "T/STORE/1", "T/MOTOR/1", "T/SERVER"
_FAILS: Final = Step(Kind.START, "T/NO/1", _SERVER, "NoSuchClass")


class _NoProcesses:
    """Refuses to start and stop servers, which nobody does here."""

    def start(self, server_id: str, server: FacilityServer, time_source: str | None) -> None:
        raise AssertionError(server_id, server, time_source)

    def stop(self, server_id: str) -> None:
        raise AssertionError(server_id)


@pytest.fixture
def store(short_runtime: Path) -> Iterator[DeviceProxy]:
    """Serve a motor and a store that keeps two configurations of it; 'a' is the active one."""
    assert short_runtime.exists()
    with serve({_STORE: ConfigurationStore, _MOTOR: SimulatedMotor}, server_id=_SERVER):
        store = connect(_STORE)
        store.call("put", _MOTOR, "a", "SimulatedMotor", {"velocity": 1.0}, active=True)
        store.call("put", _MOTOR, "b", "SimulatedMotor", {})
        yield store


def _carry_out(steps: list[Step], told: Callable[[Result], None] = lambda _: None) -> list[Outcome]:
    with BlockingClient() as client:
        applier = Applier(client, _NoProcesses(), told, store=_STORE)
        assert applier.carry_out([*steps, _FAILS]) is not None
    return [result.outcome for result in applier.results][:-1]


def _active(store: DeviceProxy) -> list[str]:
    found: dict[str, Any] = store.call("configurations", _MOTOR)
    return [name for name, item in found.items() if item["active"]]


def _saving(name: str, named: NamedConfiguration, before: NamedConfiguration | None) -> Step:
    return Step(
        Kind.SAVE,
        _MOTOR,
        name=name,
        class_id="SimulatedMotor",
        named=named,
        named_before=before,
        marked_before="a",
    )


_A: Final = NamedConfiguration({"velocity": 1.0}, active=True)
_MARKED: Final = NamedConfiguration(active=True)


@pytest.mark.parametrize(
    "steps",
    [
        [_saving("c", _MARKED, None)],
        [_saving("b", _MARKED, NamedConfiguration())],
        [Step(Kind.DELETE, _MOTOR, name="a", named_before=_A)],
        [_saving("c", _MARKED, None), Step(Kind.DELETE, _MOTOR, name="a", named_before=_A)],
        [_saving("a", NamedConfiguration(), _A), _saving("c", _MARKED, None)],
    ],
    ids=["new", "other", "deleted", "replaced", "unmarked"],
)
def test_the_configuration_that_was_active_is_so_again(
    store: DeviceProxy, steps: list[Step]
) -> None:
    assert set(_carry_out(steps)) == {Outcome.UNDONE}
    assert _active(store) == ["a"]
    found = store.call("configurations", _MOTOR)
    assert set(found) == {"a", "b"}
    assert found["a"]["values"] == {"velocity": 1.0}


def test_what_somebody_has_written_since_is_not_overwritten(store: DeviceProxy) -> None:
    del store
    motor = connect(_MOTOR)

    told: list[str] = []

    def interfere(result: Result) -> None:
        told.append(result.told)
        if result.outcome is Outcome.DONE:
            motor.velocity = 7.0

    step = Step(Kind.SET, _MOTOR, values={"velocity": 2.0}, before={"velocity": 5.0})
    assert _carry_out([step], interfere) == [Outcome.NOT_UNDONE]
    assert motor.velocity == 7.0
    assert "has changed since" in told[-1]
    assert _carry_out([step]) == [Outcome.UNDONE]
    assert motor.velocity == 5.0
