"""Counting losses: exact numbers, bounded memory."""

from pykarabo_services.kernel.losses import (
    MAXIMUM_RANGES,
    MAXIMUM_RECORDS,
    LossCounter,
    LossReason,
)


def test_consecutive_trains_become_one_range() -> None:
    losses = LossCounter()
    for train_id in (1, 2, 3, 3, 7, 8, 2):
        losses.add("A", LossReason.LATE, train_id=train_id)
    (record,) = losses.records()
    assert record.trains == ((1, 3), (7, 8), (2, 2))
    assert record.count == 7


def test_the_count_stays_exact_when_ranges_are_cut() -> None:
    losses = LossCounter()
    for train_id in range(2, 2 * MAXIMUM_RANGES + 10, 2):
        losses.add("A", LossReason.LATE, train_id=train_id)
    (record,) = losses.records()
    assert record.count == MAXIMUM_RANGES + 4
    assert record.truncated
    assert len(record.trains) == MAXIMUM_RANGES


def test_records_are_bounded() -> None:
    losses = LossCounter()
    for number in range(MAXIMUM_RECORDS + 50):
        losses.add(f"S{number}", LossReason.UNDECLARED)
    assert len(losses.records()) == MAXIMUM_RECORDS + 1
    assert losses.count() == MAXIMUM_RECORDS + 50


def test_counts_are_asked_by_source_and_reason() -> None:
    losses = LossCounter()
    losses.add("A", LossReason.LATE, count=3)
    losses.add("A", LossReason.OVERFLOW)
    losses.add("B", LossReason.LATE)
    assert losses.count("A") == 4
    assert losses.count(reason=LossReason.LATE) == 4
    assert losses.count("A", LossReason.LATE) == 3
