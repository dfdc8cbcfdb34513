"""Finding what a test leaves behind: tasks, threads, open files and sockets, child processes."""

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import psutil

GRACE_S: Final = 1.0
"""A thread, child or socket that was told to end may need this long on a busy machine."""
_LOOK_S: Final = 0.01
_SHARED_HELPERS: Final = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Children that Python keeps for the life of the process."""
_LIBRARY_THREADS: Final = frozenset({"zmq.utils.garbage"})
"""Modules whose one thread lives as long as the process and is not ours to end."""
_RUNNER_END: Final = "_cancel_all_tasks"
"""The function of asyncio.runners that ends what asyncio.run() left behind."""
_DESCRIPTORS: Final = Path("/proc/self/fd")
_WATCHED: Final = ("socket:", "pipe:", "/")
"""What open files and sockets link to; event counters of libraries live as long as they like."""
_NOT_WATCHED: Final = ("/dev/", "/proc/", "/sys/")

_abandoned_tasks: Final[list[str]] = []
"""Tasks that were still pending when the coroutine given to asyncio.run() had returned.

A watch that finds some takes them away, so that they are told once.
"""


def _note_abandoned_tasks() -> None:
    """Have asyncio's runner tell us the tasks that it cancels at its end.

    The runner cancels them silently, so a test could not see them afterwards; it offers no hook.
    """
    cancel: Callable[[asyncio.AbstractEventLoop], None] = getattr(asyncio.runners, _RUNNER_END)
    if hasattr(cancel, "notes"):
        return

    def note_then_cancel(loop: asyncio.AbstractEventLoop) -> None:
        _abandoned_tasks.extend(repr(task) for task in asyncio.all_tasks(loop))
        cancel(loop)

    setattr(note_then_cancel, "notes", True)  # noqa: B010 - functions have no such attribute
    setattr(asyncio.runners, _RUNNER_END, note_then_cancel)


class LeakWatch:
    """What there was at one moment, to compare with later.

    Args:
        descriptors: look at open files and sockets too.
    """

    def __init__(self, *, descriptors: bool = True) -> None:
        _note_abandoned_tasks()
        self._tasks = len(_abandoned_tasks)
        self._threads = set(threading.enumerate())
        self._children = _child_pids()
        self._descriptors = _open_descriptors() if descriptors else None

    def leaks(self) -> list[str]:
        """Return what has been left behind since; child processes are killed.

        What is about to end gets a second for it.
        """
        found = _abandoned_tasks[self._tasks :]
        del _abandoned_tasks[self._tasks :]
        found += [repr(thread) for thread in _leaked_threads(self._threads)]
        found += _leaked_children(self._children)
        if self._descriptors is not None:
            found += _leaked_descriptors(self._descriptors)
        return found


@contextlib.contextmanager
def no_leaks(*, descriptors: bool = True) -> Generator[None, None, None]:
    """Refuse a block that leaves tasks, threads, files, sockets or child processes behind.

    Tasks are those that were pending when an ``asyncio.run()`` in the block ended.

    Raises:
        AssertionError: names what was left behind.
    """
    watch = LeakWatch(descriptors=descriptors)
    yield
    leaks = watch.leaks()
    if leaks:
        raise AssertionError("left behind: " + "; ".join(leaks))


# -- threads --------------------------------------------------------------------------------------


def _leaked_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    new = [
        thread
        for thread in threading.enumerate()
        if thread not in before and type(thread).__module__ not in _LIBRARY_THREADS
    ]
    for thread in new:
        thread.join(GRACE_S)
    return [thread for thread in new if thread.is_alive()]


# -- child processes ------------------------------------------------------------------------------


def _child_pids() -> set[int]:
    """Return the pids of this process's children, unreaped ones included.

    Reads the kernel's list, which costs microseconds; psutil walks over all processes.
    """
    try:
        lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    except OSError:  # a thread ended while we looked
        lists = []
    if not lists:
        return {child.pid for child in psutil.Process().children()}
    return {int(pid) for text in lists for pid in text.split()}


def _leaked_children(before: set[int]) -> list[str]:
    """Return what is left of the children started since; kills them, for the tests to come."""
    new = [_process(pid) for pid in _child_pids() - before]
    suspects = [child for child in new if child is not None and not _is_shared_helper(child)]
    if not suspects:
        return []
    _, alive = psutil.wait_procs(suspects, timeout=GRACE_S)
    found = [f"child process {child.pid} ({command_of(child)})" for child in alive]
    for child in alive:
        child.kill()
    psutil.wait_procs(alive, timeout=GRACE_S)
    return found


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def command_of(process: psutil.Process) -> str:
    """Return the command line of a process, or its name."""
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "already gone"


def _is_shared_helper(process: psutil.Process) -> bool:
    command = command_of(process)
    return any(helper in command for helper in _SHARED_HELPERS)


# -- open files and sockets -----------------------------------------------------------------------


def _open_descriptors() -> dict[str, str]:
    """Return what every open file descriptor refers to; nothing where the system does not tell."""
    found: dict[str, str] = {}
    try:
        names = os.listdir(_DESCRIPTORS)
    except OSError:
        return found
    for name in names:
        with contextlib.suppress(OSError):
            found[name] = os.readlink(_DESCRIPTORS / name)
    return found


def _leaked_descriptors(before: dict[str, str]) -> list[str]:
    """Return the files, sockets and pipes opened since; what nobody holds any more is collected."""
    end_s = time.monotonic() + GRACE_S
    found = _new_descriptors(before)
    if found:
        gc.collect()
    while found and time.monotonic() < end_s:
        time.sleep(_LOOK_S)
        found = _new_descriptors(before)
    return found


def _new_descriptors(before: dict[str, str]) -> list[str]:
    return [
        f"file descriptor {name} ({target})"
        for name, target in _open_descriptors().items()
        if before.get(name) != target
        and target.startswith(_WATCHED)
        and not target.startswith(_NOT_WATCHED)
    ]
