"""pykarabo: a distributed control system for experiment facilities.

``connect`` gives a device to blocking code, ``aconnect`` to asyncio; `pykarabo.device` is for
those who write devices.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykarabo.client import aconnect, connect, wait_until, watch
    from pykarabo.data import State

__version__ = "0.1.0"

__all__ = ["State", "__version__", "aconnect", "connect", "wait_until", "watch"]

_HOMES = {
    "State": "pykarabo.data",
    "aconnect": "pykarabo.client",
    "connect": "pykarabo.client",
    "wait_until": "pykarabo.client",
    "watch": "pykarabo.client",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import pykarabo`` stays light."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pykarabo' has no attribute '{name}'")
    return getattr(import_module(home), name)
