"""Which installed distribution a device class comes from, for whoever keeps account of versions."""

import functools
import importlib.metadata
import sys
from collections.abc import Mapping
from typing import Final

ENTRY_POINT_GROUP: Final = "pykarabo.devices"


@functools.cache
def installed_points() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Return the entry points of all device classes installed, by class name; read once."""
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in points}


def distribution_of(cls: type) -> str:
    """Return ``name-version`` of the distribution that a class was installed with.

    It is empty for a class of a script or notebook that names no version.
    """
    return _version_of_package(cls.__module__.partition(".")[0])


@functools.cache
def _version_of_package(package: str) -> str:
    for point in installed_points().values():
        if point.dist is not None and point.module.partition(".")[0] == package:
            return f"{point.dist.name}-{point.dist.version}"
    try:
        return f"{package}-{importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        version = getattr(sys.modules.get(package), "__version__", "")
        return f"{package}-{version}" if version else ""
