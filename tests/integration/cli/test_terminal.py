"""What is different on a terminal: framed tables, and the interactive shell with its completion."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pexpect
import pytest

pytestmark = pytest.mark.usefixtures("benches")

_WAIT_S: Final = 20


@pytest.fixture
def terminal() -> Iterator[Any]:
    """Return a function that runs the command line on a terminal of 120 columns."""
    running: list[Any] = []

    def start(*arguments: str) -> Any:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "pykarabo", *arguments],
            encoding="utf-8",
            timeout=_WAIT_S,
            dimensions=(40, 120),
        )
        running.append(child)
        return child

    yield start
    for child in running:
        child.close(force=True)


def test_tables_are_framed(terminal: Any) -> None:
    child = terminal("devices", "T/BENCH/*")
    child.expect("┏━━")
    child.expect("│ T/BENCH/1 │ Bench")
    child.expect(pexpect.EOF)


def test_text_of_a_device_is_no_markup(terminal: Any, pykarabo: Any) -> None:
    assert pykarabo("set", "T/BENCH/1.name=[bold]x[/]").code == 0
    child = terminal("get", "T/BENCH/1.name", "T/BENCH/1.count")
    child.expect_exact("[bold]x[/]")
    child.expect(pexpect.EOF)


def test_ctrl_c_ends_a_watch(terminal: Any) -> None:
    child = terminal("watch", "T/BENCH/1.count")
    child.expect("count = 7")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in child.before


def test_the_shell_has_the_devices_at_hand_and_completes_their_ids(
    terminal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    child = terminal("shell")
    child.expect("4 devices")
    child.expect("In ")
    child.send('bench = connect("T/SER\t')
    child.expect_exact("T/SERVER")
    child.send('")\r')
    child.expect("In ")
    child.send("bench.device_count * 14\r")
    child.expect("56")
    child.send('connect("T/BENHC/1")\r')
    child.expect_exact("UnknownDeviceError: there is no device 'T/BENHC/1' - did you mean")
    child.send("exit()\r")
    child.expect(pexpect.EOF)
    assert "Traceback" not in child.before
    child.close()
    assert child.exitstatus == 0
