"""Devices served for real in one line, from a thread or from a process, without remains."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pykarabo import connect
from pykarabo.client import DeviceProxy
from pykarabo.data import Int64, State, VectorFloat64
from pykarabo.device import Device, command, serve
from pykarabo.errors import BadConfigurationError, OutOfRangeError, PykaraboError, RemoteError
from pykarabo.testing import no_leaks, private_domain, served, until_blocking
from pykarabo.transport import domain_name, run_directory


class Adder(Device):
    """Adds."""

    start = Int64(default=1, maximum=9)
    weights = VectorFloat64()

    async def on_initialize(self) -> None:
        self.state = State.ON
        print("something that a driver prints")

    @command()
    async def add(self, number: int) -> int:
        """Return the sum."""
        return self.start + number

    @command()
    async def die(self) -> None:
        """End the process in an unclean way."""
        os._exit(3)


class Broken(Adder):
    """Refuses to start."""

    async def on_initialize(self) -> None:
        raise OutOfRangeError("no good", device="TEST/1", remedy="repair it")


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
def test_device_is_served_and_nothing_is_left(process: bool, short_runtime: Path) -> None:
    before = {name: os.environ[name] for name in os.environ if name.startswith("XDG_")}
    with no_leaks():
        with served(Adder, {"start": 3, "weights": np.ones(2)}, process=process) as adder:
            assert adder.add(4) == 7
            assert list(adder.weights) == [1.0, 1.0]
            assert (adder.pid == os.getpid()) is not process
            assert connect("TEST/1").start == 3
            until_blocking(lambda: adder.state == State.ON)
            place = run_directory()
            assert place.exists()
            pid = adder.pid
        assert not place.parent.parent.exists()
    assert psutil.pid_exists(pid) is not process
    assert {name: os.environ[name] for name in before} == before
    assert short_runtime.exists()


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
def test_start_that_fails_raises_what_the_device_raised(process: bool) -> None:
    with (
        pytest.raises(OutOfRangeError, match="no good - repair it"),
        served(Broken, process=process),
    ):
        pass


@pytest.mark.parametrize("process", [False, True], ids=["thread", "process"])
def test_configuration_that_does_not_fit_is_refused(process: bool) -> None:
    with (
        pytest.raises(OutOfRangeError, match=r"TEST/1\.start"),
        served(Adder, {"start": 10}, process=process),
    ):
        pass


def test_process_may_be_killed_by_the_test() -> None:
    with served(Adder, process=True) as adder:
        os.kill(adder.pid, signal.SIGKILL)
        with pytest.raises(PykaraboError):
            adder.call("add", 1, timeout_s=0.5)


def test_process_that_dies_by_itself_fails_the_test() -> None:
    with (
        pytest.raises(RemoteError, match=r"ended with status 3: .*something that a driver prints"),
        served(Adder, process=True) as adder,
        pytest.raises(PykaraboError),
    ):
        adder.call("die", timeout_s=2.0)


def test_class_that_only_this_process_knows_is_refused() -> None:
    class Local(Adder):
        """Lives in a function."""

    with (
        pytest.raises(BadConfigurationError, match="another process cannot find"),
        served(Local, process=True),
    ):
        pass
    with served(Local) as local:
        assert local.add(1) == 2


def test_class_of_a_script_is_refused_because_the_script_would_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pykarabo.device import Device\nfrom pykarabo.testing import served\n\n\n"
        'class Lone(Device):\n    """Lone."""\n\n\nwith served(Lone, process=True):\n    pass\n'
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert "another process cannot find the class Lone of __main__" in done.stderr


def test_class_of_a_file_off_the_path_is_served_from_a_process(tmp_path: Path) -> None:
    from importlib.machinery import SourceFileLoader
    from types import ModuleType

    file = tmp_path / "lone.py"
    file.write_text(
        'from pykarabo.device import Device, command\n\n\nclass Lone(Device):\n    """Lone."""\n\n'
        '    @command()\n    async def hello(self) -> str:\n        """Greet."""\n'
        '        return "hello"\n'
    )
    module = ModuleType("lone")
    module.__file__ = str(file)
    sys.modules["lone"] = module
    try:
        SourceFileLoader("lone", str(file)).exec_module(module)
        with served(module.Lone, process=True) as lone:
            assert lone.hello() == "hello"
    finally:
        del sys.modules["lone"]


def test_domains_nest_and_each_is_its_own() -> None:
    with private_domain() as outer, serve({"A/1": Adder}):
        with private_domain() as inner:
            assert domain_name() == inner != outer
            with serve({"A/1": Adder}, configurations={"A/1": {"start": 5}}):
                assert connect("A/1").start == 5
        assert domain_name() == outer
        assert connect("A/1").start == 1


def test_fixtures_serve_until_the_end_of_the_test(
    serve_device: Callable[..., DeviceProxy], pykarabo_domain: str
) -> None:
    assert domain_name() == pykarabo_domain
    first: Any = serve_device(Adder)
    second: Any = serve_device(Adder, {"start": 2}, device_id="TEST/2")
    assert second.add(1) == 3
    assert first.add(1) == 2
