"""Devices whose values are large: followed together, or refused with the reason."""

import asyncio
from typing import Any

import pytest

from pykarabo.client import Change, Live, Stale, Update
from pykarabo.data import Float64, HashProperty, String, VectorString, encode
from pykarabo.device import Device
from pykarabo.errors import NotConnectedError
from pykarabo.testing import MemoryFacility, run_facility
from pykarabo.wire import Open, check_size


class _Diary(Device):
    """Holds much text."""

    number = Float64()
    first = VectorString()
    second = VectorString()
    third = VectorString()
    text = String()
    tree = HashProperty()


async def _followed(facility: MemoryFacility, told: list[Update]) -> Any:
    """Start a device of which somebody is told, and return it."""
    device = await facility.server.instantiate("Diary", "D/1")
    facility.client.follow("D/1", told.append)
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0.01)
    return device


def test_an_answer_holds_as_many_devices_with_long_texts_as_a_message_can() -> None:
    async def scenario() -> None:
        async with run_facility({"Diary": _Diary}) as facility:
            streams: list[list[Any]] = []
            for number in range(4):
                device: Any = await facility.server.instantiate("Diary", f"D/{number}")
                device.first = ["x" * 6_000] * 600  # of all together 14 MB
                hosted = facility.server.hosted(device.context.device_id)
                streams.append([device.context.device_id, hosted.source.instance])
            found, _schemas = facility.server._calls._answers._open(Open(streams))
            check_size(encode(found), "the answer")
            shown = [answer for answer, error in found if answer is not None and error is None]
            assert 1 <= len(shown) < len(streams)
            assert found[len(shown) :] == [[None, None]] * (len(streams) - len(shown))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (
            dict.fromkeys(("first", "second", "third"), ["x"] * 39_000),
            "a message holds more than 100000 values",
        ),
        (
            {"text": "x" * 4_000_000, "first": ["y" * 3_000] * 1_390, "second": ["z" * 999] * 999},
            "an answer takes",
        ),
        ({"text": "x" * 4_000_000, "first": ["y" * 3_000] * 1_300}, ""),
    ],
    ids=["too many", "too long", "just right"],
)
def test_more_than_a_message_holds_is_told_to_whoever_follows(
    values: dict[str, Any], why: str
) -> None:
    async def scenario() -> None:
        told: list[Update] = []
        async with run_facility({"Diary": _Diary}) as facility:
            device = await _followed(facility, told)
            async with asyncio.timeout(10):
                device.set_values({"number": 1.0, **values})
                changed: set[str] = set()
                while not changed >= {"number", *values}:
                    changed |= {
                        key for item in told if isinstance(item, Change) for key in item.values
                    }
                    await asyncio.sleep(0.01)
            assert not any(isinstance(item, Stale) for item in told)
            if why:
                with pytest.raises(NotConnectedError, match=f"all values of 'D/1' .*{why}"):
                    await facility.client.device("D/1")
            else:
                proxy = await facility.client.device("D/1")
                assert len(proxy.text) == 4_000_000
            assert isinstance(told[0], Live)

    asyncio.run(scenario())


def test_a_value_that_has_grown_beyond_a_message_keeps_no_other_from_being_told_once() -> None:
    async def scenario() -> None:
        told: list[Update] = []
        async with run_facility({"Diary": _Diary}) as facility:
            device = await _followed(facility, told)
            async with asyncio.timeout(10):
                growing: dict[str, Any] = {"a": ""}
                device.number = 1.0
                device.number = 2.0
                device.tree = growing
                growing["a"] = "x" * 9_000_000  # its author should not
                device.number = 3.0
                numbers: list[float] = []
                while 3.0 not in numbers:
                    await asyncio.sleep(0.01)
                    changes = [item.values for item in told if isinstance(item, Change)]
                    numbers = [one["number"].value for one in changes if "number" in one]
            assert numbers == [1.0, 2.0, 3.0]

    asyncio.run(scenario())
