"""What `doctor` finds; installed packages add checks of their own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

ENTRY_POINT_GROUP: Final = "pykarabo.checks"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried, and what to do when it is not good."""

    what: str
    good: bool
    result: str
    remedy: str = ""


def foreign_checks() -> Iterator[Finding]:
    """Yield what the checks of installed packages find; one that is broken is a finding."""
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        try:
            check: Callable[[], Iterator[Finding]] = point.load()
        except (ImportError, AttributeError) as error:
            remedy = "install what the package needs"
            yield Finding(f"checks of {point.name}", good=False, result=str(error), remedy=remedy)
        else:
            yield from check()
