"""The train matcher: what belongs to a train, when it is given out, and what is counted."""

from typing import Any

import numpy as np
import pytest

from pykarabo.data import PropertyValue, Timestamp
from pykarabo_services.kernel.losses import LossReason
from pykarabo_services.kernel.trains import MatcherSettings, Train, TrainMatcher

PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
CAMERA = "CAM/1:output"
DIGITIZER = "ADC/1:network"


def time_of(train_id: int) -> int:
    return START_NS + train_id * PERIOD_NS


def stamp(train_id: int) -> Timestamp:
    return Timestamp.from_ns(time_of(train_id), train_id)


def value(content: Any, train_id: int, sequence: int = 0) -> PropertyValue:
    return PropertyValue(content, stamp(train_id), sequence=sequence)


def matcher(*instruments: str, **settings: Any) -> TrainMatcher:
    settings.setdefault("settle_s", 0.0)
    return TrainMatcher(instruments=instruments, settings=MatcherSettings(**settings))


def put(trains: TrainMatcher, source: str, train_id: int, content: Any = 1) -> bool:
    return trains.item(source, train_id, {"data.x": content}, stamp(train_id))


def tick(trains: TrainMatcher, *train_ids: int) -> None:
    for train_id in train_ids:
        trains.tick(train_id, time_of(train_id))


def ids(trains: list[Train]) -> list[int]:
    return [train.train_id for train in trains]


def contents(train: Train, source: str) -> list[Any]:
    return [item.data["data.x"] for item in train.items.get(source, ())]


def test_a_train_leaves_when_every_instrument_has_passed_it() -> None:
    trains = matcher(CAMERA, DIGITIZER)
    tick(trains, 10, 11)
    put(trains, CAMERA, 10, "a")
    put(trains, DIGITIZER, 10, "b")
    put(trains, CAMERA, 11, "c")
    assert trains.advance(0) == []
    put(trains, DIGITIZER, 11, "d")
    (train,) = trains.advance(1)
    assert (train.train_id, train.time_ns, train.complete) == (10, time_of(10), True)
    assert contents(train, CAMERA) == ["a"]
    assert contents(train, DIGITIZER) == ["b"]
    assert trains.losses() == ()


def test_a_source_may_send_several_items_per_train_or_none() -> None:
    trains = matcher(CAMERA)
    tick(trains, 1, 2, 3)
    put(trains, CAMERA, 1, "a")
    put(trains, CAMERA, 1, "b")
    put(trains, CAMERA, 3, "c")
    first, second = trains.advance(0)
    assert contents(first, CAMERA) == ["a", "b"]
    assert second.items == {}


def test_a_silent_source_delays_a_train_by_the_maximum_only() -> None:
    trains = matcher(CAMERA, maximum_delay_s=2.0)
    tick(trains, 1)
    assert trains.advance(100) == []
    assert trains.next_deadline() == 100 + 2_000_000_000
    assert trains.advance(100 + 1_999_999_999) == []
    (train,) = trains.advance(100 + 2_000_000_000)
    assert not train.complete
    assert trains.next_deadline() is None


def test_an_absent_source_is_not_waited_for_until_it_sends_again() -> None:
    trains = matcher(CAMERA)
    trains.absent(CAMERA)
    tick(trains, 1)
    assert ids(trains.advance(0)) == [1]
    tick(trains, 2, 3)
    put(trains, CAMERA, 2)
    assert trains.advance(1) == []
    put(trains, CAMERA, 3)
    assert ids(trains.advance(2)) == [2]


def test_a_complete_train_still_settles() -> None:
    trains = matcher(settle_s=0.25)
    tick(trains, 1)
    assert trains.advance(0) == []
    assert trains.next_deadline() == 250_000_000
    assert ids(trains.advance(250_000_000)) == [1]


def test_control_values_are_repeated_until_they_change() -> None:
    trains = matcher()
    trains.control("MOTOR/1", {"position": value(1.0, 5)})
    tick(trains, 10, 11, 12)
    trains.control("MOTOR/1", {"position": value(2.0, 11)})
    found = trains.advance(0)
    positions = [train.controls["MOTOR/1"]["position"].value for train in found]
    assert positions == [1.0, 2.0, 2.0]
    assert found[1].controls["MOTOR/1"] is found[2].controls["MOTOR/1"]
    assert trains.losses() == ()


def test_the_last_value_within_a_train_counts() -> None:
    trains = matcher()
    tick(trains, 1)
    trains.control("M", {"x": value(1, 1), "y": value(5, 1)})
    trains.control("M", {"x": value(2, 1)})
    (train,) = trains.advance(0)
    assert {key: found.value for key, found in train.controls["M"].items()} == {"x": 2, "y": 5}


def test_a_value_of_a_later_train_waits_for_it() -> None:
    trains = matcher()
    trains.control("M", {"x": value(0, 1)})
    tick(trains, 1, 2)
    trains.control("M", {"x": value(3, 3)})
    trains.control("M", {"x": value(2, 2)})
    tick(trains, 3)
    assert [train.controls["M"]["x"].value for train in trains.advance(0)] == [0, 2, 3]


def test_a_value_without_a_train_is_valid_from_the_newest_on() -> None:
    trains = matcher()
    tick(trains, 1, 2)
    trains.control("M", {"x": PropertyValue(1, Timestamp.from_ns(START_NS))})
    first, second = trains.advance(0)
    assert "M" not in first.controls
    assert second.controls["M"]["x"].value == 1
    trains.control("M", {"x": PropertyValue(2, Timestamp.from_ns(START_NS))})
    tick(trains, 3)
    (third,) = trains.advance(1)
    assert third.controls["M"]["x"].value == 2
    assert trains.losses() == ()


def test_a_late_value_is_counted_and_used_from_then_on() -> None:
    trains = matcher()
    trains.control("M", {"x": value(1, 1)})
    tick(trains, 1, 2)
    assert ids(trains.advance(0)) == [1, 2]
    trains.control("M", {"x": value(7, 2)})
    tick(trains, 3)
    (train,) = trains.advance(1)
    assert train.controls["M"]["x"].value == 7
    (loss,) = trains.losses()
    assert (loss.source, loss.key, loss.reason) == ("M", "x", LossReason.LATE)
    assert loss.trains == ((2, 2),)


def test_a_late_value_does_not_replace_a_newer_one() -> None:
    trains = matcher()
    tick(trains, 1, 2)
    trains.control("M", {"x": value(2, 2)})
    trains.advance(0)
    trains.control("M", {"x": value(1, 1)})
    tick(trains, 3)
    (train,) = trains.advance(1)
    assert train.controls["M"]["x"].value == 2


def test_a_snapshot_that_repeats_values_is_no_loss() -> None:
    trains = matcher()
    trains.control("M", {"x": value(1, 1, sequence=4)})
    tick(trains, 1, 2)
    trains.advance(0)
    trains.control("M", {"x": value(1, 1, sequence=4)})
    assert trains.losses() == ()


def test_a_late_item_is_counted_with_its_train() -> None:
    trains = matcher(CAMERA, maximum_delay_s=1.0)
    tick(trains, 1, 2)
    trains.advance(0)
    assert ids(trains.advance(1_000_000_000)) == [1, 2]
    assert not put(trains, CAMERA, 1)
    assert not put(trains, CAMERA, 2)
    (loss,) = trains.losses()
    assert (loss.source, loss.reason, loss.count) == (CAMERA, LossReason.LATE, 2)
    assert loss.trains == ((1, 2),)


@pytest.mark.parametrize(
    ("train_id", "reason"),
    [(0, LossReason.UNSTAMPED), (3, LossReason.OUTSIDE), (500, LossReason.AHEAD)],
)
def test_an_item_of_no_train_is_counted(train_id: int, reason: LossReason) -> None:
    trains = matcher(CAMERA)
    tick(trains, 10)
    assert not put(trains, CAMERA, train_id)
    assert [loss.reason for loss in trains.losses()] == [reason]
    assert trains.advance(0) == []


def test_an_item_of_a_train_that_was_never_ticked_is_counted() -> None:
    trains = matcher(CAMERA)
    tick(trains, 1, 3, 4)
    for train_id in (1, 2, 3, 4):
        assert put(trains, CAMERA, train_id)
    assert ids(trains.advance(0)) == [1, 3]
    (loss,) = trains.losses()
    assert (loss.reason, loss.trains) == (LossReason.UNTICKED, ((2, 2),))


def test_gaps_of_the_stream_are_counted() -> None:
    trains = matcher(CAMERA)
    trains.gap(CAMERA, 3)
    trains.gap(CAMERA, None)
    (loss,) = trains.losses()
    assert (loss.reason, loss.count, loss.unknown) == (LossReason.GAP, 3, 1)


def test_trains_leave_in_increasing_order_even_when_ticks_go_back() -> None:
    trains = matcher()
    tick(trains, 5, 7, 6, 7, 8)
    assert ids(trains.advance(0)) == [5, 7, 8]
    (loss,) = trains.losses()
    assert (loss.reason, loss.trains) == (LossReason.BACKWARD, ((6, 6),))


def test_an_item_may_come_before_its_tick() -> None:
    trains = matcher(CAMERA)
    tick(trains, 1)
    put(trains, CAMERA, 1)
    put(trains, CAMERA, 2, "early")
    tick(trains, 2, 3)
    put(trains, CAMERA, 3)
    first, second = trains.advance(0)
    assert (first.suspect, first.origin) == (False, None)
    assert (second.suspect, second.origin) == (False, CAMERA)
    assert contents(second, CAMERA) == ["early"]


def test_a_train_named_long_before_its_tick_is_suspect() -> None:
    trains = matcher(CAMERA)
    tick(trains, 1)
    put(trains, CAMERA, 4)
    tick(trains, 2, 3, 4)
    put(trains, CAMERA, 5)
    assert [train.suspect for train in trains.advance(0)] == [False, False, False, True]


def test_a_device_far_ahead_makes_its_train_suspect_too() -> None:
    trains = matcher()
    tick(trains, 1)
    trains.control("M", {"x": value(1, 3)})
    tick(trains, 2, 3)
    *_, third = trains.advance(0)
    assert (third.suspect, third.origin) == (True, "M")


def test_a_full_memory_gives_out_the_oldest_train_early() -> None:
    trains = matcher(CAMERA, DIGITIZER, maximum_bytes=10_000)
    tick(trains, 1, 2, 3)
    block = np.zeros(4000, dtype=np.uint8)
    assert put(trains, CAMERA, 1, block)
    assert put(trains, CAMERA, 2, block)
    assert trains.advance(0) == []
    assert put(trains, CAMERA, 3, block)
    (train,) = trains.advance(1)
    assert (train.train_id, train.complete) == (1, False)
    assert trains.released_early == 1
    assert not put(trains, DIGITIZER, 1)
    (loss,) = trains.losses()
    assert (loss.source, loss.reason, loss.trains) == (DIGITIZER, LossReason.LATE, ((1, 1),))


def test_what_does_not_fit_at_all_is_counted() -> None:
    trains = matcher(CAMERA, maximum_bytes=1000)
    tick(trains, 1)
    assert not put(trains, CAMERA, 1, np.zeros(2000, dtype=np.uint8))
    (loss,) = trains.losses()
    assert (loss.reason, loss.trains) == (LossReason.OVERFLOW, ((1, 1),))


def test_memory_stays_bounded_when_nobody_fetches_trains() -> None:
    trains = matcher(CAMERA, maximum_bytes=100_000)
    taken = 0
    for train_id in range(1, 1001):
        tick(trains, train_id)
        taken += put(trains, CAMERA, train_id, np.zeros(5000, dtype=np.uint8))
    assert trains.nbytes <= 2 * 100_000 + 6000
    lost = sum(loss.count for loss in trains.losses())
    assert taken + lost == 1000
    given = sum(len(contents(train, CAMERA)) for train in trains.finish())
    assert given == taken


def test_the_end_gives_out_all_trains_and_counts_the_rest() -> None:
    trains = matcher(CAMERA)
    tick(trains, 1, 2)
    put(trains, CAMERA, 2)
    put(trains, CAMERA, 3)
    assert ids(trains.finish()) == [1, 2]
    (loss,) = trains.losses()
    assert (loss.reason, loss.trains) == (LossReason.OUTSIDE, ((3, 3),))
    assert trains.nbytes == 0


def test_every_item_is_given_out_or_counted() -> None:
    random = np.random.default_rng(7)
    trains = matcher(CAMERA, DIGITIZER, maximum_delay_s=0.5, maximum_bytes=20_000)
    offered = given = 0
    now = 0
    last = 0
    for train_id in range(1, 500):
        now += PERIOD_NS
        if random.random() < 0.95:
            tick(trains, train_id)
        for source in (CAMERA, DIGITIZER):
            for _ in range(int(random.integers(0, 3))):
                offered += 1
                put(trains, source, max(train_id - int(random.integers(-3, 9)), 0), b"x" * 300)
        for train in trains.advance(now):
            assert train.train_id > last
            last = train.train_id
            given += sum(map(len, train.items.values()))
    given += sum(sum(map(len, train.items.values())) for train in trains.finish())
    lost = sum(loss.count for loss in trains.losses() if loss.source in (CAMERA, DIGITIZER))
    assert offered == given + lost
    assert given > 0
