"""A kit for testing devices: in memory or served for real, with a clock of the test's own.

================  ==============================================================================
`device`          a device in memory, seen through a live proxy, as others see it
`run_device`      a device in memory, as the object itself
`run_facility`    a domain in memory with several devices
`served`          a device on a real server in a domain of its own, for code that blocks
`private_domain`  a domain that nobody else can see
`FakeClock`       lets a device's time pass at will
`until`           waits for a condition, and tells what it saw instead
`collected`       collects what a device publishes
`no_leaks`        refuses what is left behind
`check_interface` drives a device as its interface promises that it can be
`EveryType`       a device with one property of every type
`async_test`      makes a coroutine a test
================  ==============================================================================

pytest finds the fixtures `leak_check`, `pykarabo_domain`, `fake_clock` and `serve_device` by
itself. Nothing of this is for run time.
"""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

if TYPE_CHECKING:
    from ._async_test import async_test
    from ._clock import FakeClock
    from ._conformance import ConformanceError, check_interface
    from ._devices import MemoryFacility, device, run_device, run_facility
    from ._domain import private_domain
    from ._every_type import EveryType
    from ._leaks import LeakWatch, no_leaks
    from ._served import served
    from ._updates import Updates, collected
    from ._waiting import until, until_blocking

__all__ = [
    "ConformanceError",
    "EveryType",
    "FakeClock",
    "LeakWatch",
    "MemoryFacility",
    "Updates",
    "async_test",
    "check_interface",
    "collected",
    "device",
    "no_leaks",
    "private_domain",
    "run_device",
    "run_facility",
    "served",
    "until",
    "until_blocking",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            "async_test": "_async_test",
            "FakeClock": "_clock",
            **dict.fromkeys(("ConformanceError", "check_interface"), "_conformance"),
            "EveryType": "_every_type",
            **dict.fromkeys(("MemoryFacility", "device", "run_device", "run_facility"), "_devices"),
            "private_domain": "_domain",
            **dict.fromkeys(("LeakWatch", "no_leaks"), "_leaks"),
            "served": "_served",
            **dict.fromkeys(("Updates", "collected"), "_updates"),
            **dict.fromkeys(("until", "until_blocking"), "_waiting"),
        },
    )
