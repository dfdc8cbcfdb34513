"""A clock that stands still until it is told to go on."""


class FakeClock:
    """Both clocks of a process under a test's control.

    Args:
        time_ns: UTC in ns since 1970 to begin with.
    """

    def __init__(self, time_ns: int = 1_700_000_000_000_000_000) -> None:
        self._time_ns = time_ns
        self._monotonic_ns = 0

    def time_ns(self) -> int:
        """Return UTC in ns since 1970."""
        return self._time_ns

    def monotonic_ns(self) -> int:
        """Return ns since the clock was made."""
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        step_ns = round(seconds * 1e9)
        self._time_ns += step_ns
        self._monotonic_ns += step_ns

    def set_utc(self, time_ns: int) -> None:
        """Let UTC jump, as when a host's clock is set."""
        self._time_ns = time_ns
