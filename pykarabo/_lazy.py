"""Packages whose public names are imported when they are first used.

The command line and small scripts use a few of them, and start in half the time that importing
all would take.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names live in the modules that `homes` tells.

    Declare it for the interpreter only, beside plain imports under ``TYPE_CHECKING``: for a type
    checker a package with ``__getattr__`` has every name.
    """

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        found = getattr(import_module(f".{home}", package), name)
        setattr(sys.modules[package], name, found)
        return found

    return find
