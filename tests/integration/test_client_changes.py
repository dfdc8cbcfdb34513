"""A queue of changes: no value is missed, and what is lost is counted."""

import asyncio
import time

import pytest

from pykarabo.client import Client, Gap, await_until, connect
from pykarabo.data import PropertyValue
from pykarabo.errors import (
    BadInputError,
    CallTimeoutError,
    ChangesLostError,
    UnknownPropertyError,
)

from .conftest import Processes


def test_every_value_is_there_however_late_it_is_taken(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    with bench.changes("value") as changes:
        bench.flood(2_000, 5_000.0)
        bench.blink(-1)
        while bench.value < 2_000:
            time.sleep(0.01)
        taken = [changes.get(timeout_s=5).value for _ in range(2_002)]
        assert -1 in taken
        where = taken.index(-1)
        assert taken[:where] + taken[where + 2 :] == list(range(1, 2_001))
        assert (changes.missed, changes.interruptions) == (0, 0)
        with pytest.raises(CallTimeoutError, match="last seen: value = 2000 at 20"):
            changes.get(timeout_s=0.1)


def test_every_value_reaches_asynchronous_code(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            bench = await client.device("B/1")
            async with bench.changes("value") as changes:
                await bench.flood(2_000, 5_000.0)
                taken: list[int] = []
                async for value in changes:
                    taken.append(value.value)
                    if value.value == 2_000:
                        break
                assert taken == list(range(1, 2_001))
                with pytest.raises(CallTimeoutError, match="last seen: value = 2000 at 20"):
                    await changes.get(timeout_s=0.1)

    asyncio.run(scenario())


def test_what_changes_together_comes_together(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    with bench.changes() as changes, bench.changes("target", "value") as some:
        assert changes.present["target"].value == 0.0
        bench.set(target=1.0, other=2.0)
        first = changes.get(timeout_s=5)
        assert {key: value.value for key, value in first.items() if key != "last_command"} == {
            "target": 1.0,
            "other": 2.0,
        }
        assert some.get(timeout_s=5) == {"target": first["target"]}


def test_overflow_is_a_counted_gap(benches: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pykarabo.client._watch.MAX_WAITING", 200)
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> None:
        async with Client() as client:
            bench = await client.device("B/1")
            gaps: list[Gap] = []
            async with (
                bench.changes("value") as changes,
                bench.changes("value", on_gap=gaps.append) as told,
            ):
                await bench.flood(1_000, 2_000.0)
                await await_until(lambda: bench.value == 1_000, timeout_s=30)
                taken, missed = 0, 0
                last: PropertyValue | None = None
                while last is None or last.value < 1_000:
                    try:
                        last = await changes.get(timeout_s=10)
                        taken += 1
                    except ChangesLostError as error:
                        missed += error.details["missed"]
                assert missed == changes.missed > 0
                # The present value that follows a gap is the last of the missed ones.
                assert 0 <= taken + missed - 1_000 <= 3
                while (await told.get(timeout_s=10)).value < 1_000:
                    pass
                assert sum(gap.missed or 0 for gap in gaps) == told.missed > 0

    asyncio.run(scenario())


def test_restart_is_a_gap_of_unknown_size(benches: Processes) -> None:
    benches.start("S/0", directory=True)
    server = benches.start("S/1", "B/1")
    bench = connect("B/1")
    bench.target = 4
    with bench.changes("target") as changes:
        benches.end(server)
        benches.start("S/1", "B/1")
        with pytest.raises(ChangesLostError, match="an unknown number of changes of 'B/1'") as lost:
            changes.get(timeout_s=30)
        assert lost.value.details == {"missed": None}
        assert changes.get(timeout_s=10).value == 0.0
        assert changes.interruptions == 1


def test_wrong_names_are_refused_at_once(benches: Processes) -> None:
    benches.start("S/1", "B/1", directory=True)
    bench = connect("B/1")
    with pytest.raises(UnknownPropertyError, match=r"no property 'tarquet'.*'target'"):
        bench.changes("tarquet")

    async def scenario() -> None:
        async with Client() as client:
            device = await client.device("B/1", follow=False)
            with pytest.raises(UnknownPropertyError):
                device.changes("tarquet")

    asyncio.run(scenario())


def test_node_has_no_changes_of_its_own(processes: Processes) -> None:
    processes.start("S/1", "C/1", directory=True)
    counter = connect("C/1")
    counter.inject_part()
    with pytest.raises(BadInputError, match=r"'C/1\.part' is a node"):
        counter.changes("part")
    with counter.changes("part", "value") as changes:
        counter.part.offset = 4
        assert changes.get(timeout_s=5)["part.offset"].value == 4.0
