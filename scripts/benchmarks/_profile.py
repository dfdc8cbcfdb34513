"""Where the time of a benchmark goes: the functions that take most of it, on both sides.

A profile makes everything slower, Python more than C; its shares tell what to look at, not how
long something takes.
"""

import cProfile
import pstats
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

SHOWN: Final = 12


def shares(profile: cProfile.Profile) -> list[str]:
    """Return the functions that took most of the time themselves, with their shares."""
    profile.create_stats()
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # not in its stub
    total = sum(own for _calls, _all, own, _below, _callers in found.values()) or 1.0
    most = sorted(found.items(), key=lambda item: -item[1][2])[:SHOWN]
    return [f"{own / total:4.0%}  {_named(*where)}" for where, (_, _, own, _, _) in most]


def _named(path: str, line: int, function: str) -> str:
    if path == "~":
        return function.strip("<>")
    file = Path(path)
    return f"{file.parent.name}/{file.name}:{line} {function}"


def profiled(work: Callable[[], object]) -> list[str]:
    """Return the shares of this process while it does `work`."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return ["of the client's time:", *shares(profile)]


def serve_profiles(say: Callable[[list[str]], None]) -> None:
    """Profile this process from one SIGUSR1 to the next, and say what was found."""
    running: list[cProfile.Profile] = []

    def toggle(_number: int, _frame: FrameType | None) -> None:
        if not running:
            running.append(cProfile.Profile())
            running[0].enable()
            return
        profile = running.pop()
        profile.disable()
        say(["of the server's time:", *shares(profile)])

    signal.signal(signal.SIGUSR1, toggle)
