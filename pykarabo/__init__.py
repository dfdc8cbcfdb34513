"""pykarabo: a distributed control system for experiment facilities.

``connect`` gives a device to blocking code, ``aconnect`` to asyncio; `pykarabo.device` is for
those who write devices. The other names of blocking code have twins for asyncio too, which begin
with ``a``: ``wait_until`` and ``await_until``, ``compare`` and ``acompare``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykarabo.client import (
        aall_completed,
        acompare,
        aconfiguration,
        aconnect,
        afind_devices,
        afirst_completed,
        afirst_exception,
        ainstantiate,
        all_completed,
        ashutdown,
        asleep,
        await_new,
        await_until,
        await_while,
        background,
        compare,
        configuration,
        connect,
        find_devices,
        find_servers,
        first_completed,
        first_exception,
        instantiate,
        settable,
        shutdown,
        sleep,
        wait_new,
        wait_until,
        wait_while,
        watch,
    )
    from pykarabo.data import State

    unit: Any

__version__ = "0.1.0"

__all__ = [
    "State",
    "__version__",
    "aall_completed",
    "acompare",
    "aconfiguration",
    "aconnect",
    "afind_devices",
    "afirst_completed",
    "afirst_exception",
    "ainstantiate",
    "all_completed",
    "ashutdown",
    "asleep",
    "await_new",
    "await_until",
    "await_while",
    "background",
    "compare",
    "configuration",
    "connect",
    "find_devices",
    "find_servers",
    "first_completed",
    "first_exception",
    "instantiate",
    "settable",
    "shutdown",
    "sleep",
    "unit",
    "wait_new",
    "wait_until",
    "wait_while",
    "watch",
]

_HOMES = {**dict.fromkeys(__all__, "pykarabo.client"), "State": "pykarabo.data"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import pykarabo`` stays light."""
    if name == "unit":  # the registry of all units: unit.mm
        return import_module("pykarabo.data").registry()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pykarabo' has no attribute '{name}'")
    return getattr(import_module(home), name)
