"""Types of live devices: what they say, that they stay the same, and that checkers obey them."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.data import Choice, Configurable, Float64, Int32, Node
from pykarabo.device import Device, command, serve
from pykarabo.errors import BadConfigurationError, UnknownDeviceError

_ROOT: Final = Path(__file__).resolve().parents[3]


class _Axis(Configurable):
    """An axis "with" a \\ sign."""

    gap = Float64(unit="mm")

    @command()
    async def open(self, gap: float) -> None:
        """Open it."""


class Slit(Device):
    """A slit.

    And more to say.
    """

    mode = Choice(["slow", "fast"])
    count = Int32(nullable=True)
    hidden = Int32(key="get")
    odd = Int32(key="class")
    shadow = Int32(key="float")
    once = Int32(init_only=True)
    axis = Node(_Axis)

    async def on_initialize(self) -> None:
        if self.context.device_id.endswith("2"):
            self.inject(extra=Int32())

    @command(job=True)
    async def scan(self, steps: int, note: str = "") -> list[float]:
        """Scan."""
        return [float(steps), float(len(note))]


@pytest.fixture
def stubs(benches: None, pykarabo: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes the stubs of patterns and returns their text."""

    def write(*patterns: str) -> str:
        done = pykarabo("stubs", *patterns, "--output", str(tmp_path))
        assert done.code == 0, done.err
        assert "devices of" in done.out
        return (tmp_path / "pykarabo_devices" / "__init__.pyi").read_text()

    return write


def _members(text: str, name: str) -> dict[str, str]:
    """Return the declarations of a class by name; of a property that of its getter."""
    (found,) = (
        item
        for item in ast.parse(text).body
        if isinstance(item, ast.ClassDef) and item.name == name
    )
    members: dict[str, str] = {}
    for item in found.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name not in members:
            kind = "async " if isinstance(item, ast.AsyncFunctionDef) else ""
            returns = ast.unparse(item.returns) if item.returns else ""
            members[item.name] = f"{kind}({ast.unparse(item.args)}) -> {returns}"
    return members


def test_every_kind_of_property_has_its_type(stubs: Callable[..., str]) -> None:
    text = stubs("T/BENCH/*")
    bench = _members(text, "Bench")
    assert bench["position"] == "(self) -> float"
    assert bench["count"] == "(self) -> int"
    assert bench["enabled"] == "(self) -> bool"
    assert bench["raw"] == "(self) -> bytes"
    assert bench["phase"] == "(self) -> complex"
    assert bench["steps"] == "(self) -> npt.NDArray[np.float64]"
    assert bench["words"] == "(self) -> list[str]"
    assert bench["table"] == "(self) -> npt.NDArray[np.uint16]"
    assert bench["mode"] == "(self) -> Literal['slow', 'fast']"
    assert bench["state"] == "(self) -> State"
    assert bench["jobs"] == "(self) -> dict[str, Any]"
    assert bench["axis"] == "(self) -> _Bench_axis"
    assert _members(text, "_Bench_axis")["gap"] == "(self) -> float"
    assert '"""Where it is. [mm], >= -10, <= 10"""' in text
    assert "device_id: Literal['T/BENCH/1', 'T/BENCH/2'], *" in text


def test_commands_have_their_signatures_in_both_flavours(stubs: Callable[..., str]) -> None:
    text = stubs("T/BENCH/*")
    number = "float | str | Quantity[Any]"
    options = "*, timeout_s: float=..., once_key: str | None=...)"
    move = f"(self, position: {number}, fast: bool=..., {options} -> dict[str, Any]"
    assert _members(text, "Bench")["move"] == move
    assert _members(text, "AsyncBench")["move"] == f"async {move}"
    assert _members(text, "Bench")["park"] == f"(self, {options} -> None"


def test_devices_of_one_class_with_other_properties_are_kinds_of_their_own(
    stubs: Callable[..., str],
) -> None:
    with serve({"S/SLIT/1": Slit, "S/SLIT/2": Slit, "S/SLIT/3": Slit}, server_id="S/SERVER"):
        text = stubs("S/SLIT/*")
    assert "extra" not in _members(text, "Slit")
    assert _members(text, "Slit_2")["extra"] == "(self) -> int"
    assert "Literal['S/SLIT/1', 'S/SLIT/3']" in text
    assert "Literal['S/SLIT/2']" in text
    slit = _members(text, "AsyncSlit")
    assert slit["count"] == "(self) -> int | None"
    assert slit["scan"].endswith("-> AsyncJob")
    assert _members(text, "Slit")["scan"].endswith("-> Job")
    assert "class" not in slit
    assert "float" not in slit
    assert "open" in _members(text, "_Slit_axis")
    assert "once" in slit
    assert "@once.setter" not in text
    assert '"""An axis \\"with\\" a \\\\ sign."""' in text


def test_output_is_the_same_again_and_replaces_itself(stubs: Callable[..., str]) -> None:
    assert stubs("T/BENCH/2", "T/BENCH/1") == stubs("T/BENCH/*")
    assert stubs() != stubs("T/BENCH/1")


def test_module_gives_the_real_functions(stubs: Callable[..., str], tmp_path: Path) -> None:
    stubs()
    program = "import pykarabo, pykarabo_devices as d; print(d.connect is pykarabo.connect)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_kinds_are_told_to_programs(
    benches: None, pykarabo: Callable[..., Any], tmp_path: Path
) -> None:
    done = pykarabo("stubs", "T/BENCH/*", "--output", str(tmp_path), "--json")
    assert json.loads(done.out) == {
        "package": str(tmp_path / "pykarabo_devices"),
        "devices": {"T/BENCH/1": "Bench", "T/BENCH/2": "Bench"},
    }


def test_pattern_without_devices_writes_nothing(
    benches: None, pykarabo: Callable[..., Any], tmp_path: Path
) -> None:
    done = pykarabo("stubs", "NOTHING/*", "--output", str(tmp_path / "new"))
    assert done.code == UnknownDeviceError.exit_code
    assert "no device matches 'NOTHING/*'" in done.err
    assert not (tmp_path / "new").exists()


def test_package_of_somebody_else_is_left_alone(
    benches: None, pykarabo: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "pykarabo_devices").mkdir()
    (tmp_path / "pykarabo_devices" / "__init__.py").write_text("mine = 1\n")
    done = pykarabo("stubs", "--output", str(tmp_path))
    assert done.code == BadConfigurationError.exit_code
    assert "was not made by 'pykarabo stubs'" in done.err


_RIGHT: Final = """
from pint import UnitRegistry

from pykarabo import State
from pykarabo_devices import aconnect, connect

bench = connect("T/BENCH/1")
bench.position = 3
bench.position = "3 mm"
bench.position = 3.0 * UnitRegistry().mm
position: float = bench.position
bench.mode = "fast"
bench.axis.gap = 1.0
done: dict[str, object] = bench.move(2.0, fast=True, timeout_s=3.0)
bench.set(count=3, words=["a"])
assert bench.state is State.ON
other = connect(str(bench.name))
other.anything(1)


async def main() -> None:
    bench = await aconnect("T/BENCH/2")
    await bench.set(position=1.0)
    position: float = bench.position + bench.axis.gap
    await bench.add([position], more=3)
"""
_WRONG: Final = """
from pykarabo_devices import aconnect, connect

bench = connect("T/BENCH/1")
bench.positon
bench.position = [1]
bench.ticks = 1
bench.mode = "medium"
bench.move()
bench.move(1.0, slow=True)
bench.axis.gape = 1.0
bench.set(cuont=3)
text: str = bench.position


async def main() -> None:
    bench = await aconnect("T/BENCH/2")
    bench.position = 3.0
    await bench.fly()
"""
_WRONG_LINES: Final = [5, 6, 7, 8, 9, 10, 11, 12, 13, 18, 19]


@pytest.mark.nightly
def test_type_checker_passes_a_right_program_and_refuses_each_mistake(
    stubs: Callable[..., str], tmp_path: Path
) -> None:
    stubs("T/BENCH/*")
    (tmp_path / "right.py").write_text(_RIGHT)
    (tmp_path / "wrong.py").write_text(_WRONG)
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-msgpack.*]\nignore_missing_imports = true\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "right.py", "wrong.py", "pykarabo_devices"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [int(line.split(":")[1]) for line in errors] == _WRONG_LINES, done.stdout
    assert all(line.startswith("wrong.py:") for line in errors), done.stdout
