"""Assignments that go to a device in one write."""

import asyncio

import pytest

from pykarabo.client import Client, connect
from pykarabo.errors import (
    BadInputError,
    ChangedMeanwhileError,
    OutOfRangeError,
    PykaraboError,
    ReadOnlyError,
)

from .conftest import Processes


def test_assignments_of_a_bundle_are_one_write(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    with bench.changes() as changes:
        with bench.bundle():
            bench.target = 1
            with bench.bundle():
                bench.other = 2
            bench.target = "3 mm"
            assert bench.get("target", "other") == {"target": 0.0, "other": 0.0}
        together = changes.get(timeout_s=5)
        assert {key: value.value for key, value in together.items() if key != "last_command"} == {
            "target": 3.0,
            "other": 2.0,
        }


def test_bundle_that_fails_writes_nothing(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")

    def write(**values: object) -> None:
        with bench.bundle():
            for key, value in values.items():
                setattr(bench, key, value)

    with pytest.raises(OutOfRangeError, match=r"B/1\.target"):
        write(other=2, target=11)
    with pytest.raises(ZeroDivisionError), bench.bundle():
        bench.other = 1 / 0
    assert bench.other == 0.0
    with pytest.raises(ReadOnlyError) as refused:
        write(other=2, value=3)
    assert refused.value.__notes__ == [
        "in one write to 'B/1': other = 2, value = 3: nothing was written"
    ]
    assert refused.value.details["keys"] == ["other", "value"]
    assert bench.other == 0.0


def test_command_in_a_bundle_comes_after_what_was_assigned(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    with bench.changes("other", "executed") as changes, bench.bundle():
        bench.other = 2
        bench.execute()
        assert [sorted(changes.get(timeout_s=5)) for _ in range(2)] == [["other"], ["executed"]]


def test_bundle_has_one_condition_for_all(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    known = bench.read("other")
    bench.other = 5
    with pytest.raises(ChangedMeanwhileError), bench.bundle(expected=known):
        bench.target = 2
    with pytest.raises(BadInputError, match="one condition for all"), bench.bundle():
        bench.set(target=2, expected=known)
    assert bench.target == 0.0


def test_write_of_several_wrong_values_names_each(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    with pytest.raises(BadInputError) as refused:
        bench.set(target=11, other="far", tarquet=1)
    message = str(refused.value)
    assert "3 values are refused" in message
    assert all(name in message for name in ("'B/1.target'", "'B/1.other'", "'tarquet'"))
    assert [error["key"] for error in refused.value.details["errors"]] == [
        "target", "other", "tarquet",
    ]  # fmt: skip


def test_asynchronous_bundle(benches: Processes) -> None:
    server = benches.start("S/1", "B/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            bench = await client.device("B/1")
            async with bench.changes() as changes:
                async with bench.bundle(), bench.bundle():
                    bench.target = 1
                    await bench.set(other=2)
                together = await changes.get(timeout_s=5)
                assert {
                    key: new.value for key, new in together.items() if key != "last_command"
                } == {
                    "target": 1.0,
                    "other": 2.0,
                }

            async def write_too_far() -> None:
                async with bench.bundle():
                    bench.other = 7
                    bench.target = 11

            with pytest.raises(OutOfRangeError):
                await write_too_far()
            assert (await bench.get("other"))["other"] == 2.0
            async with bench.bundle():
                bench.other = 8
                await bench.execute()
                assert (await bench.get("other"))["other"] == 8
            benches.end(server)
            with pytest.raises(PykaraboError) as refused:
                async with bench.bundle():
                    bench.other = 9
            assert "in one write to 'B/1': other = 9: " in refused.value.__notes__[0]

    asyncio.run(scenario())


def test_assignment_that_would_do_nothing_is_refused(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            bench = await client.device("B/1")
            with pytest.raises(ReadOnlyError, match=r"await device\.set"):
                bench.target = 1

    asyncio.run(scenario())
