"""What every test gets: a check for leaks, a private runtime directory, the shared data."""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from hypothesis import HealthCheck, settings

_ROOT: Final = Path(__file__).resolve().parents[1]
_LONGEST_RUNTIME_PATH: Final = 60
"""Leaves room for a domain and a socket's name within the 107 bytes of a Unix socket's path."""
_GRACE_S: Final = 1.0
"""A thread or child that was told to end may need this long on a busy machine."""
_SHARED_HELPERS: Final = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Children that Python keeps for the life of the process."""
_LIBRARY_THREADS: Final = frozenset({"zmq.utils.garbage"})
"""Modules whose one thread lives as long as the process and is not ours to end."""
_RUNNER_END: Final = "_cancel_all_tasks"
"""The function of asyncio.runners that ends what asyncio.run() left behind."""

# Shared machines stall; a slow example or slow generation is no defect.
settings.register_profile(
    "pykarabo", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("pykarabo")

_abandoned_tasks: list[str] = []
"""Tasks that were still pending when the coroutine given to asyncio.run() had returned."""


def _note_abandoned_tasks() -> None:
    """Have asyncio's runner tell us the tasks that it cancels at its end.

    The runner cancels them silently, so a test could not see them afterwards; it offers no hook.
    """
    cancel: Callable[[asyncio.AbstractEventLoop], None] = getattr(asyncio.runners, _RUNNER_END)

    def note_then_cancel(loop: asyncio.AbstractEventLoop) -> None:
        _abandoned_tasks.extend(repr(task) for task in asyncio.all_tasks(loop))
        cancel(loop)

    setattr(asyncio.runners, _RUNNER_END, note_then_cancel)


_note_abandoned_tasks()


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """Fail a test that leaves a thread, a child process or an asyncio task behind."""
    threads = set(threading.enumerate())
    children = _child_pids()
    _abandoned_tasks.clear()
    yield
    leaks = [
        *_abandoned_tasks,
        *(repr(thread) for thread in _leaked_threads(threads)),
        *_leaked_children(children),
    ]
    if leaks:
        pytest.fail("the test left behind: " + "; ".join(leaks), pytrace=False)


def _leaked_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    new = [
        thread
        for thread in threading.enumerate()
        if thread not in before and type(thread).__module__ not in _LIBRARY_THREADS
    ]
    for thread in new:
        thread.join(_GRACE_S)
    return [thread for thread in new if thread.is_alive()]


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
    _, alive = psutil.wait_procs(suspects, timeout=_GRACE_S)
    found = [f"child process {child.pid} ({_command_of(child)})" for child in alive]
    for child in alive:
        child.kill()
    psutil.wait_procs(alive, timeout=_GRACE_S)
    return found


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "already gone"


def _is_shared_helper(process: psutil.Process) -> bool:
    command = _command_of(process)
    return any(helper in command for helper in _SHARED_HELPERS)


@pytest.fixture
def short_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a domain of its own and return its runtime directory.

    The directory has mode 0700 and a path below 60 characters; data, state and cache go below
    the test's temporary directory. What the process shares for blocking calls is closed at the
    end; processes of the domain that outlive the test are killed, and the test fails.
    """
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_RUNTIME_PATH // 2:
        base = "/tmp"
    runtime = Path(tempfile.mkdtemp(prefix="pk-", dir=base))
    domain = f"t{secrets.token_hex(6)}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    for name in ("DATA", "STATE", "CACHE"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder))
    monkeypatch.setenv("PYKARABO_DOMAIN", domain)
    yield runtime
    _close_shared_clients()
    left = _kill_domain(domain)
    shutil.rmtree(runtime, ignore_errors=True)
    if left:
        pytest.fail("processes of the test's domain still ran: " + "; ".join(left), pytrace=False)


def _close_shared_clients() -> None:
    """End the connections and the event thread that blocking code shares in one process."""
    if "pykarabo.client" in sys.modules:
        from pykarabo.client import disconnect_all, stop_watching

        stop_watching()
        disconnect_all()


def _kill_domain(domain: str) -> list[str]:
    """Kill the processes that were started with the test's domain; return their commands."""
    alive = [process for process in psutil.process_iter() if _belongs_to(process, domain)]
    if alive:
        _, alive = psutil.wait_procs(alive, timeout=_GRACE_S)
    commands = [_command_of(process) for process in alive]
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=_GRACE_S)
    return commands


def _belongs_to(process: psutil.Process, domain: str) -> bool:
    try:
        return process.pid != os.getpid() and (
            process.environ().get("PYKARABO_DOMAIN") == domain
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real measurements that lies beside the checkout, or skip the test."""
    folder = _ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the checkout has no shared/data beside it")
    return folder


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Repeat the stages of scripts/test that failed before pytest, where one looks last."""
    stages = os.environ.get("PYKARABO_FAILED_STAGES", "")
    if stages:
        terminalreporter.section("failed before pytest")
        terminalreporter.line(stages)
