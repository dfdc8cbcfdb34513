"""X9: what would let somebody else's bytes or words run as code fails the build."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PARTS = ("pykarabo", "gui", "services", "scripts")
_OBJECTS = ("recv_pyobj", "send_pyobj", "recv_serialized")


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.loads(b'')",
        "import pickle\npickle.load(open('x', 'rb'))",
        "import marshal\nmarshal.loads(b'')",
        "eval('1')",
        "exec('1')",
        "import yaml\nyaml.load('a: 1')",
        "import yaml\nyaml.load('a: 1', yaml.Loader)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.Popen('ls *', shell=True)",
        "import os\nos.system('ls')",
        "import os\nos.popen('ls')",
    ],
)
def test_X9_the_linter_refuses(code: str) -> None:
    for part in _PARTS:
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--quiet", "--output-format", "concise",
             "--stdin-filename", f"{part}/sample.py", "-"],
            input=code, cwd=_ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1, f"{part}: {done.stdout}{done.stderr}"
        assert " S" in done.stdout


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _is_forbidden(call: ast.Call) -> bool:
    """Tell whether a call unpickles: by an array file, or by a socket's convenience."""
    allows = any(
        word.arg == "allow_pickle"
        and not (isinstance(word.value, ast.Constant) and word.value.value is False)
        for word in call.keywords
    )
    return allows or (isinstance(call.func, ast.Attribute) and call.func.attr in _OBJECTS)


def test_X9_nothing_unpickles_arrays_or_messages() -> None:
    found: list[str] = []
    files = [path for part in _PARTS for path in (_ROOT / part).rglob("*.py")]
    for path in files:
        tree = ast.parse(path.read_text())
        found += [f"{path}:{call.lineno}" for call in _calls(tree) if _is_forbidden(call)]
    assert len(files) > 100
    assert found == []


@pytest.mark.parametrize(
    "code", ["np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=x)", "socket.recv_pyobj()"]
)
def test_X9_such_calls_are_seen(code: str) -> None:
    assert any(map(_is_forbidden, _calls(ast.parse(code))))
