"""Who takes what is recorded of devices, and how much of each."""

from dataclasses import dataclass
from typing import Any, Protocol

from pykarabo_services.archiver.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingLimits:
    """How much of a device is stored.

    Attributes:
        rate: samples per second.
        value_bytes: of one value.
    """

    rate: float = 10_000.0
    value_bytes: int = 1 << 20


class Sink(Protocol):
    """Who takes the entries."""

    registry: Registry
    limits: RecordingLimits

    def put(self, entry: list[Any], rows: int = 0) -> None:
        """Take an entry for the spool."""
        ...
