"""Which records of the directory are wanted."""

from collections.abc import Sequence

import pytest

from pykarabo.client import DeviceFilter, DeviceRecord
from pykarabo.client._finding import finding_devices
from pykarabo.client._steps import AskDirectory

_RECORDS = (
    DeviceRecord("M/1", "Motor", "S/1", "aa", 1, state="MOVING", tags=("interface:Motor", "x")),
    DeviceRecord("M/2", "Motor", "S/2", "bb", 1, state="ON", host="here", status="gone"),
    DeviceRecord("C/1", "Camera", "S/2", "cc", 1, state="OF_A_LATER_VERSION", tags=("x",)),
)


def _found(wanted: DeviceFilter, records: Sequence[DeviceRecord] = _RECORDS) -> list[str]:
    steps = finding_devices("*", wanted)
    assert next(steps) == AskDirectory("topology", ("*",))
    with pytest.raises(StopIteration) as done:
        steps.send({"devices": [record.to_wire() for record in records]})
    return [record.device_id for record in done.value.value]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, ["M/1", "C/1"]),
        ({"gone": True}, ["M/1", "M/2", "C/1"]),
        ({"tag": "x"}, ["M/1", "C/1"]),
        ({"interface": "Motor"}, ["M/1"]),
        ({"interface": "Motor", "tag": "y"}, []),
        ({"interface": "Mot*"}, []),
        ({"state": "CHANGING"}, ["M/1"]),
        ({"state": "NORMAL", "gone": True}, ["M/1", "M/2"]),
        ({"class_id": "Cam*", "server": "*/2"}, ["C/1"]),
        ({"host": "here", "gone": True}, ["M/2"]),
    ],
)
def test_all_that_is_asked_for_must_match(wanted: DeviceFilter, ids: list[str]) -> None:
    assert _found(wanted) == ids
