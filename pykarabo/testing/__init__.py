"""A kit for testing devices: run them in memory, control their clock. Not for run time."""

from ._clock import FakeClock
from ._conformance import ConformanceError, check_interface
from ._devices import MemoryFacility, run_device, run_facility

__all__ = [
    "ConformanceError",
    "FakeClock",
    "MemoryFacility",
    "check_interface",
    "run_device",
    "run_facility",
]
