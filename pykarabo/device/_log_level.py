"""The log level of a single device, changed while it runs."""

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._device import Device

AS_SERVER: Final = "SERVER"
"""The device logs what its server does."""
LEVELS: Final = (AS_SERVER, "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class LogLevel:
    """Applies a device's `log_level` to its logger."""

    def __init__(self, device: "Device") -> None:
        self._log = device.log
        if device.log_level != AS_SERVER or self._log.level:  # it costs more the more loggers exist
            self(device.log_level)

    def __call__(self, name: str) -> None:
        """Log from this level on."""
        self._log.setLevel(logging.NOTSET if name == AS_SERVER else name)
