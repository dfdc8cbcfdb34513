"""The command line in the test's own process, and a device with a property of each kind."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from pykarabo.cli import run
from pykarabo.data import (
    Array,
    Bool,
    Bytes,
    Choice,
    Complex128,
    Configurable,
    Float64,
    Int32,
    Node,
    State,
    String,
    VectorFloat64,
    VectorString,
)
from pykarabo.device import Device, Output, command, serve


class Axis(Configurable):
    """An axis."""

    gap = Float64(unit="mm", default=1.0)


class Item(Configurable):
    """What the output sends."""

    number = Int32()


class Bench(Device):
    """Has a property of each kind.

    And more to say.
    """

    position = Float64(unit="mm", minimum=-10.0, maximum=10.0, description="Where it is.")
    count = Int32(default=7)
    enabled = Bool()
    name = String(default="bench")
    mode = Choice(["slow", "fast"])
    raw = Bytes()
    phase = Complex128()
    steps = VectorFloat64(unit="s")
    words = VectorString()
    table = Array(dtype="uint16", shape=(None, 2))
    parked = Bool(allowed_states={State.OFF})
    ticks = Int32(read_only=True)
    hot = Float64(read_only=True, unit="K", warn_high=300.0)
    axis = Node(Axis)
    output = Output(Item)

    async def on_initialize(self) -> None:
        """Be on."""
        self.state = State.ON

    @command(units={"position": "mm"})
    async def move(self, position: float, fast: bool = False) -> dict[str, Any]:
        """Say what was asked for.

        In more than one line.
        """
        return {"position": position, "fast": fast}

    @command()
    async def add(self, numbers: list[float], more: Any = None) -> list[float]:
        """Return what came."""
        return [*numbers, *(more or [])]

    @command()
    async def fail(self) -> None:
        """Fail."""
        raise ValueError("no luck")

    @command()
    async def sleep(self, seconds: float) -> None:
        """Take long."""
        await asyncio.sleep(seconds)

    @command(allowed_states={State.OFF})
    async def park(self) -> None:
        """Be allowed only when off."""

    @command()
    async def tick(self) -> None:
        """Count, and get hot."""
        self.ticks += 1
        self.hot = 400.0

    @command()
    async def trip(self) -> None:
        """Be in error."""
        self.state = State.ERROR


@dataclass(frozen=True, slots=True)
class Done:
    """What a command has written, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.out.splitlines()


Run: TypeAlias = Callable[..., Done]


def start(*arguments: str) -> Done:
    """Run what starts servers as a program of its own: they are not this process's children."""
    done = subprocess.run(
        [sys.executable, "-m", "pykarabo", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def text(done: Done) -> str:
    """Return what a command that went well has written."""
    assert done.code == 0, done.out + done.err
    return done.out


@pytest.fixture
def pykarabo(
    short_runtime: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Return a function that runs the command line in the test's domain."""
    monkeypatch.setenv("PYKARABO_DEBUG", "")
    monkeypatch.setenv("PYKARABO_ROLE", "")
    monkeypatch.setenv("PYKARABO_DATABASE_URL", "")
    assert short_runtime.exists()

    def call(*arguments: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(list(arguments))
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, shown.out, shown.err)

    return call


@pytest.fixture
def benches(short_runtime: Path) -> Iterator[None]:
    """Serve two benches, T/BENCH/1 and T/BENCH/2, on T/SERVER."""
    assert short_runtime.exists()
    with serve({"T/BENCH/1": Bench, "T/BENCH/2": Bench}, server_id="T/SERVER"):
        yield
