"""Ages without synchronised clocks: offsets and drift do not matter, waiting does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykarabo.wire import AgeMeter

_S = 1_000_000_000
_MS = 1_000_000
_HOUR = 3_600 * _S


class _Peers:
    """A sender and a receiver whose clocks have an offset and drift apart."""

    def __init__(self, offset_ns: int = 0, drift_ppm: float = 0.0) -> None:
        self.meter = AgeMeter()
        self.true_ns = 10**15
        self._offset_ns = offset_ns
        self._drift_ppm = drift_ppm

    def age_ns(self, waited_ns: int) -> int:
        """Return the age of a message that arrives now and waited for so long."""
        sent_ns = self.true_ns - waited_ns
        return self.meter.age_ns(sent_ns, self._receivers(self.true_ns))

    def _receivers(self, true_ns: int) -> int:
        return true_ns + self._offset_ns + int(true_ns * self._drift_ppm / 1e6)


def test_first_message_has_no_age() -> None:
    assert AgeMeter().age_ns(sent_ns=5, now_ns=10**18) == 0


@given(offset_ns=st.integers(-(10**18), 10**18), waited_ns=st.integers(0, _HOUR))
def test_age_is_the_waiting_time_whatever_the_clocks_offset(offset_ns: int, waited_ns: int) -> None:
    peers = _Peers(offset_ns)
    peers.age_ns(0)
    peers.true_ns += _S
    assert peers.age_ns(waited_ns) == pytest.approx(waited_ns, abs=_MS)


@given(st.lists(st.tuples(st.integers(0, 300 * _S), st.integers(0, 60 * _S)), min_size=1))
def test_age_is_never_negative_and_never_above_the_waiting_time(
    messages: list[tuple[int, int]],
) -> None:
    peers = _Peers(offset_ns=-(10**17))
    for pause_ns, waited_ns in messages:
        peers.true_ns += pause_ns
        assert 0 <= peers.age_ns(waited_ns) <= waited_ns


def test_messages_that_waited_in_a_frozen_process_are_all_old() -> None:
    peers = _Peers(offset_ns=7 * _HOUR)
    for _ in range(100):
        peers.true_ns += _S
        assert peers.age_ns(_MS) < 2 * _MS
    peers.true_ns += 20 * _S
    ages = [peers.age_ns(waited_s * _S) for waited_s in range(20, 0, -1)]
    assert ages == pytest.approx([waited_s * _S for waited_s in range(20, 0, -1)], abs=10 * _MS)


def test_freeze_longer_than_two_windows_is_still_seen() -> None:
    peers = _Peers()
    peers.age_ns(0)
    peers.true_ns += 300 * _S
    assert peers.age_ns(300 * _S) == pytest.approx(300 * _S, abs=50 * _MS)
    assert peers.age_ns(299 * _S) == pytest.approx(299 * _S, abs=50 * _MS)


def test_freeze_after_an_hour_of_silence_is_still_seen() -> None:
    peers = _Peers()
    peers.age_ns(0)
    peers.true_ns += _HOUR
    assert peers.age_ns(20 * _S) > 19 * _S


@pytest.mark.parametrize("drift_ppm", [-50.0, 50.0])
def test_drifting_clocks_make_no_age_while_messages_flow(drift_ppm: float) -> None:
    peers = _Peers(drift_ppm=drift_ppm)
    ages: list[int] = []
    for _ in range(2_000):
        peers.true_ns += 10 * _S
        ages.append(peers.age_ns(_MS))
    assert max(ages) < 10 * _MS


@pytest.mark.parametrize("drift_ppm", [-50.0, 50.0])
def test_drifting_clocks_make_no_age_after_a_quiet_weekend(drift_ppm: float) -> None:
    peers = _Peers(drift_ppm=drift_ppm)
    peers.age_ns(0)
    peers.true_ns += 60 * _HOUR
    assert peers.age_ns(0) < 100 * _MS


def test_clock_that_was_set_back_by_a_suspension_costs_two_windows_at_most() -> None:
    peers = _Peers()
    peers.age_ns(0)
    waited_ns = _HOUR  # the sender's clock stood still for an hour: all looks that old
    ages: list[int] = []
    for _ in range(13):
        peers.true_ns += 10 * _S
        ages.append(peers.age_ns(waited_ns))
    assert ages[0] > waited_ns // 2
    assert ages[-1] < 10 * _MS
