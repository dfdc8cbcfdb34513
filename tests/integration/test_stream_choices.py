"""What a subscriber chooses: every change or the latest, how often, which part of an array."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from pykarabo.client import Change, Client, Gap, Live, Watch, connect
from pykarabo.wire import Choice
from tests.harness import record


async def _first(updates: Watch, kind: type[Any]) -> Any:
    async with asyncio.timeout(5):
        async for update in updates:
            if isinstance(update, kind):
                return update
    raise AssertionError("the stream ended")


async def _flood(client: Client, changes: int, rate: float) -> None:
    device = await client.device("B/1", follow=False)
    await device.flood(changes, rate)


def test_rate_is_limited_by_the_server_and_the_last_value_arrives(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> tuple[list[int], float, int]:
        async with Client() as client:
            limits = Choice(max_rate_hz=20.0)
            async with client.watch("B/1.value", limits=limits) as updates:
                await _first(updates, Live)
                began = time.monotonic()
                await _flood(client, 1_000, 1_000.0)
                seen: list[int] = []
                while not seen or seen[-1] < 1_000:
                    change: Change = await _first(updates, Change)
                    assert set(change.values) == {"value"}
                    seen.append(change.values["value"].value)
                took_s = time.monotonic() - began
                server = await client.device("S/1", follow=False)
                return seen, took_s, (await server.get("chosen_streams"))["chosen_streams"]

    seen, took_s, streams = asyncio.run(scenario())
    assert seen == sorted(seen)
    assert len(seen) <= took_s * 20 + 2
    # Shown once a second; by one more the server itself hears of the mode of the domain.
    assert streams in (1, 2)
    server = connect("S/1")
    until = time.monotonic() + 5
    while server.chosen_streams > 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert server.chosen_streams == 1


def test_equal_choices_of_several_clients_share_one_stream(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> int:
        async with Client() as one, Client() as two:
            limits = Choice(max_rate_hz=10.0)
            first, second = (c.watch("B/1.value", limits=limits) for c in (one, two))
            async with first, second:
                await _first(first, Live)
                await _first(second, Live)
                server = await one.device("S/1", follow=False)
                async with asyncio.timeout(5):
                    while (found := (await server.get("chosen_streams"))["chosen_streams"]) < 2:
                        await asyncio.sleep(0.05)
                return int(found)

    assert asyncio.run(scenario()) == 2  # and the one by which the server hears of the mode


def test_region_and_binning_of_an_image_are_cut_by_the_server(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> Any:
        async with Client() as client:
            limits = Choice(region=((0, 4), (2, 8)), binning=(2, 3))
            async with client.watch("B/1.image", limits=limits) as updates:
                live: Live = await _first(updates, Live)
                return live.values["image"].value

    whole = np.arange(64.0).reshape(8, 8)
    expected = whole[0:4, 2:8].reshape(2, 2, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(asyncio.run(scenario()), expected)


def test_stream_with_a_choice_comes_back_with_the_device(benches: Any) -> None:
    benches.start("S/0", directory=True)
    benches.start("S/1", "B/1")
    limits = Choice(max_rate_hz=50.0)

    async def scenario() -> list[str]:
        async with Client() as client, client.watch("B/1.value", limits=limits) as updates:
            await _first(updates, Live)
            server = await client.device("S/1", follow=False)
            await server.shutdown_device("B/1")
            await server.instantiate("Bench", "B/1")
            kinds: list[str] = []
            async with asyncio.timeout(5):
                async for update in updates:
                    kinds.append(type(update).__name__)
                    if isinstance(update, Live):
                        break
            await _flood(client, 5, 100.0)
            change: Change = await _first(updates, Change)
            assert change.values["value"].value >= 1
            return kinds

    assert asyncio.run(scenario()) == ["Stale", "Gap", "Live"]


@pytest.mark.parametrize("latest", [False, True])
def test_lost_events_are_replayed_to_who_wants_all_and_skipped_by_a_display(
    benches: Any, latest: bool
) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> tuple[list[int], list[Gap], int]:
        async with Client() as client:
            got: list[Any] = []
            follower = client.follow("B/1", got.append, latest=latest)
            while not follower.live:
                await asyncio.sleep(0.01)
            link, _target = await client.reach("B/1")
            await _flood(client, 300, 1_000.0)
            await asyncio.sleep(0.1)  # some have come
            link.disconnected("cut by the test")
            async with asyncio.timeout(10):
                while follower.values["value"].value < 300:
                    await asyncio.sleep(0.01)
            values = [
                item.values["value"].value
                for item in got
                if isinstance(item, Change) and "value" in item.values
            ]
            counters = client.stream_counters()
            gaps = [item for item in got if isinstance(item, Gap)]
            assert counters.missed == sum(gap.missed or 0 for gap in gaps if not gap.recovered)
            return values, gaps, counters.recovered

    values, gaps, recovered = asyncio.run(scenario())
    if latest:
        assert recovered == 0
        assert len(values) < 300
    else:
        assert values == list(range(1, 301))
        assert all(gap.recovered for gap in gaps)
        assert recovered > 0


def test_E8_slow_display_shows_present_values_and_knows_that_it_is_slow(benches: Any) -> None:
    benches.start("S/1", "B/1", directory=True)

    async def scenario() -> tuple[list[float], int]:
        ages: list[float] = []

        def draw(update: Any) -> None:
            """Take 10 ms for each update, as a display of 100 updates per second does."""
            if isinstance(update, Change) and "value" in update.values:
                time.sleep(0.01)
                value = update.values["value"]
                ages.append(time.time() - value.timestamp.to_float())

        async with Client() as client:
            follower = client.follow("B/1", draw, latest=True)
            while not follower.live:
                await asyncio.sleep(0.01)
            await _flood(client, 8_000, 2_000.0)
            async with asyncio.timeout(30):
                while follower.values["value"].value < 8_000:
                    await asyncio.sleep(0.01)
            return ages, client.stream_counters().skipped

    ages, skipped = asyncio.run(scenario())
    record(
        "E8",
        "shown values less than 1 s old; it knows that it is slow",
        f"{max(ages):.2f} s old at most, skipped {skipped} times, {len(ages)} of 8 000 drawn",
    )
    assert skipped > 0
    assert max(ages) < 1.0
