"""The device classes of an installation, found by entry points."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from pykarabo.errors import UnknownClassError, did_you_mean

from ._device import Device
from ._versions import installed_points

_log: Final = logging.getLogger(__name__)


class DeviceClasses:
    """The classes that a server offers.

    A package whose import fails does not stop the server; what failed is told to whoever asks
    for its classes.

    Args:
        names: offer only these; None offers all that are installed.
        more: classes besides the installed ones, for scripts and tests.
    """

    def __init__(
        self, names: Iterable[str] | None = None, *, more: Mapping[str, type[Device]] | None = None
    ) -> None:
        self._points = installed_points()
        self._loaded: dict[str, type[Device]] = dict(more or {})
        self._allowed = None if names is None else frozenset(names) | self._loaded.keys()
        for name in sorted((self._allowed or frozenset()) - self.installed()):
            raise self._unknown(name)

    def installed(self) -> frozenset[str]:
        """Return the names of every class that is installed here."""
        return frozenset(self._points) | frozenset(self._loaded)

    def names(self) -> list[str]:
        """Return the names of the classes on offer, sorted."""
        installed = self.installed()
        return sorted(installed if self._allowed is None else installed & self._allowed)

    def require(self, name: str) -> type[Device]:
        """Return a class by name.

        Raises:
            UnknownClassError: not on offer here (near matches are named), or its import failed.
        """
        if name not in self.names():
            raise self._unknown(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    async def imported(self, name: str) -> type[Device]:
        """Return a class by name; what it needs is imported while the devices go on.

        Raises:
            UnknownClassError: as `require`.
        """
        if name in self._loaded or name not in self.names():
            return self.require(name)
        return await asyncio.to_thread(self.require, name)

    def _load(self, name: str) -> type[Device]:
        point = self._points[name]
        try:
            loaded = point.load()
        except Exception as error:
            _log.error("class '%s' cannot be imported", name, exc_info=True)
            raise UnknownClassError(
                f"class '{name}' cannot be imported from {point.value}: {error}",
                remedy="install what it needs; the server's log has the details",
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, Device)):
            raise UnknownClassError(
                f"{point.value} is no device class", remedy="derive it from pykarabo.device.Device"
            )
        return loaded

    def _unknown(self, name: str) -> UnknownClassError:
        return UnknownClassError(
            f"there is no device class '{name}' here",
            remedy=did_you_mean(name, self.names()) or "see 'pykarabo classes'",
        )
