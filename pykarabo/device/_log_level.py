"""The log level of a single device, changed while it runs."""

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._device import Device

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class LogLevel:
    """Applies a device's `log_level` to its logger.

    Args:
        configured: whether the device was started with a level of its own; without, it has that
            of its process.
    """

    def __init__(self, device: "Device", *, configured: bool) -> None:
        self._log = device.log
        if configured:
            self(device.log_level)
        else:
            self._log.setLevel(logging.NOTSET)
            device.set_values({"log_level": _name_of(self._log.getEffectiveLevel())})

    def __call__(self, name: str) -> None:
        """Log from this level on."""
        self._log.setLevel(name)


def _name_of(level: int) -> str:
    """Return the nearest named level that lets as much pass."""
    passing = [name for name in LEVELS if logging.getLevelNamesMapping()[name] <= level]
    return passing[-1] if passing else LEVELS[0]
