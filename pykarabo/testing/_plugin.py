"""Fixtures for pytest, offered to every test run; what they need is imported when they are used."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pykarabo.client import DeviceProxy
    from pykarabo.testing import FakeClock


@pytest.fixture
def leak_check() -> Iterator[None]:
    """Fail a test that leaves tasks, threads, files, sockets or child processes behind."""
    from pykarabo.testing import LeakWatch

    watch = LeakWatch()
    yield
    leaks = watch.leaks()
    if leaks:
        pytest.fail("the test left behind: " + "; ".join(leaks), pytrace=False)


@pytest.fixture
def pykarabo_domain() -> Iterator[str]:
    """Give the test a domain of its own, and return its name."""
    from pykarabo.testing import private_domain

    with private_domain() as name:
        yield name


@pytest.fixture
def fake_clock() -> "FakeClock":
    """Return a clock that stands still until the test lets time pass."""
    from pykarabo.testing import FakeClock

    return FakeClock()


@pytest.fixture
def serve_device() -> "Iterator[Callable[..., DeviceProxy]]":
    """Return a function like `served` whose device runs until the end of the test."""
    from pykarabo.testing import served

    with ExitStack() as running:

        def start(*args: Any, **options: Any) -> "DeviceProxy":
            return running.enter_context(served(*args, **options))

        yield start
