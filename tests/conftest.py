"""What every test gets: a check for leaks, a private runtime directory, the shared data."""

import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from hypothesis import HealthCheck, settings

from pykarabo.testing import LeakWatch
from pykarabo.testing._leaks import GRACE_S, command_of

_ROOT: Final = Path(__file__).resolve().parents[1]
_LONGEST_RUNTIME_PATH: Final = 60
"""Leaves room for a domain and a socket's name within the 107 bytes of a Unix socket's path."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background; what the tests start would inherit that nobody can interrupt it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Shared machines stall; a slow example or slow generation is no defect.
settings.register_profile(
    "pykarabo", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("pykarabo")


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """Fail a test that leaves a thread, a child process or an asyncio task behind."""
    watch = LeakWatch(descriptors=False)
    yield
    leaks = watch.leaks()
    if leaks:
        pytest.fail("the test left behind: " + "; ".join(leaks), pytrace=False)


@pytest.fixture
def short_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a domain of its own and return its runtime directory.

    The directory has mode 0700 and a path below 60 characters; configuration, data, state and cache
    go below the test's temporary directory. What the process shares for blocking calls is closed at
    the end; processes of the domain that outlive the test are killed, and the test fails.
    """
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_RUNTIME_PATH // 2:
        base = "/tmp"
    runtime = Path(tempfile.mkdtemp(prefix="pk-", dir=base))
    domain = f"t{secrets.token_hex(6)}"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
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
        _, alive = psutil.wait_procs(alive, timeout=GRACE_S)
    commands = [command_of(process) for process in alive]
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=GRACE_S)
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
