"""Thresholds of silence and lag."""

import pytest

from pykarabo.wire import (
    BUSY_LAG_S,
    GONE_AFTER_S,
    RENEW_S,
    SUSPECT_AFTER_S,
    Liveness,
    liveness,
)


@pytest.mark.parametrize(
    ("silent_s", "lag_s", "judged"),
    [
        (0.0, 0.0, Liveness.ONLINE),
        (RENEW_S, BUSY_LAG_S, Liveness.ONLINE),
        (0.0, BUSY_LAG_S + 0.01, Liveness.BUSY),
        (SUSPECT_AFTER_S - 0.01, 0.0, Liveness.ONLINE),
        (SUSPECT_AFTER_S, 0.0, Liveness.SUSPECT),
        (SUSPECT_AFTER_S, 10.0, Liveness.SUSPECT),
        (GONE_AFTER_S - 0.01, 0.0, Liveness.SUSPECT),
        (GONE_AFTER_S, 0.0, Liveness.GONE),
        (GONE_AFTER_S, 10.0, Liveness.GONE),
    ],
)
def test_silence_weighs_more_than_lag(silent_s: float, lag_s: float, judged: Liveness) -> None:
    assert liveness(silent_s, lag_s) is judged


def test_pause_of_an_interpreter_held_by_a_library_is_no_death() -> None:
    assert liveness(3.6) is Liveness.ONLINE


def test_two_lost_renewals_make_nobody_suspect() -> None:
    assert liveness(2 * RENEW_S) is Liveness.ONLINE
