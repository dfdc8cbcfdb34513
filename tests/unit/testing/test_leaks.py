"""What a test leaves behind is found and named."""

import asyncio
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from pykarabo.testing import no_leaks


def test_clean_block_passes(tmp_path: Path) -> None:
    with no_leaks():
        (tmp_path / "file").write_text("x")
        thread = threading.Thread(target=int)
        thread.start()
        subprocess.run([sys.executable, "-c", ""], check=True)
        asyncio.run(asyncio.sleep(0))


def test_task_is_named() -> None:
    async def leave() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(60), name="forgotten")

    with pytest.raises(AssertionError, match=r"left behind: .*forgotten"), no_leaks():
        asyncio.run(leave())


def test_thread_is_named() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    with pytest.raises(AssertionError, match=r"left behind: <Thread\(forgotten"), no_leaks():
        thread.start()
    end.set()
    thread.join()


def test_file_is_named(tmp_path: Path) -> None:
    with (
        ExitStack() as kept,
        pytest.raises(AssertionError, match=r"file descriptor \d+ \(.*/log\)"),
        no_leaks(),
    ):
        kept.enter_context((tmp_path / "log").open("w"))


def test_socket_is_named() -> None:
    with (
        ExitStack() as kept,
        pytest.raises(AssertionError, match=r"file descriptor \d+ \(socket:"),
        no_leaks(),
    ):
        kept.enter_context(socket.socket())


def test_socket_that_is_closed_late_is_waited_for() -> None:
    with no_leaks():
        late = socket.socket()
        threading.Timer(0.05, late.close).start()


def test_descriptors_can_be_left_out(tmp_path: Path) -> None:
    with no_leaks(descriptors=False):
        kept = (tmp_path / "log").open("w")
    kept.close()


def test_child_is_named_and_killed() -> None:
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    started: list[subprocess.Popen[bytes]] = []
    with pytest.raises(AssertionError, match=r"child process \d+ \(.*time\.sleep"), no_leaks():
        started.append(subprocess.Popen(program))
    assert not psutil.pid_exists(started[0].pid)
    started[0].wait(5.0)


_LEAKING = """
import asyncio, socket, threading

kept = []

def test_clean(leak_check):
    pass

def test_leaks(leak_check):
    kept.append(socket.socket())

def test_does_not_ask():
    kept.append(socket.socket())
"""


def test_fixture_fails_the_test_that_leaks_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_LEAKING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed, 1 error" in done.stdout, done.stdout
    assert "ERROR test_it.py::test_leaks - Failed: the test left behind: file" in done.stdout
