"""The package that `new-device` writes works as it is: installed, tested, checked."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.errors import InvalidNameError

_ROOT: Final = Path(__file__).resolve().parents[3]
_PIP: Final = ("-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index")


def _python(place: Path, *arguments: str, **environment: str) -> str:
    """Run the present interpreter at a place; returns what it wrote, and fails with it."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def package(pykarabo: Callable[..., Any], tmp_path: Path) -> Path:
    """Return a package that was just written."""
    done = pykarabo("new-device", "BeamShutter", "--directory", str(tmp_path / "code"))
    assert done.code == 0, done.err
    assert "pip install" in done.out
    return tmp_path / "code" / "beam_shutter"


def test_tests_of_the_package_pass(package: Path) -> None:
    shown = _python(
        package, "-m", "pytest", "-q", "-p", "no:cacheprovider", PYTHONPATH=str(package)
    )
    assert "6 passed" in shown


def test_installed_package_is_found_by_device_servers(package: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "installed")
    _python(package, *_PIP, "--target", target, ".")
    program = (
        "from pykarabo.device import DeviceClasses;"
        "print(DeviceClasses().require('BeamShutter').schema().class_id)"
    )
    assert _python(tmp_path, "-c", program, PYTHONPATH=target) == "BeamShutter\n"


@pytest.mark.parametrize("name", ["BeamShutter", "X", "X" * 20 + "Controller" * 2])
def test_style_of_the_package_is_clean(
    name: str, pykarabo: Callable[..., Any], tmp_path: Path
) -> None:
    assert pykarabo("new-device", name, "--directory", str(tmp_path)).code == 0
    (place,) = (path.parent for path in tmp_path.glob("*/setup.cfg"))
    _python(place, "-m", "ruff", "check", "--no-cache")
    _python(place, "-m", "ruff", "format", "--check", "--no-cache")


@pytest.mark.nightly
def test_types_of_the_package_are_right(package: Path) -> None:
    with (package / "pyproject.toml").open("a") as settings:  # what the checkout's own says too
        settings.write('[[tool.mypy.overrides]]\nmodule = "msgpack.*"\n')
        settings.write("ignore_missing_imports = true\n")
    assert "Success" in _python(package, "-m", "mypy", MYPYPATH=str(_ROOT))


def test_what_was_written_is_told_to_programs(pykarabo: Callable[..., Any], tmp_path: Path) -> None:
    done = pykarabo("new-device", "HTTPProbe2", "--directory", str(tmp_path), "--json")
    assert done.json["directory"] == str(tmp_path / "http_probe2")
    found = {
        path.relative_to(tmp_path / "http_probe2").as_posix()
        for path in (tmp_path / "http_probe2").rglob("*")
        if path.is_file()
    }
    assert set(done.json["files"]) == found
    assert "http_probe2/device.py" in found


@pytest.mark.parametrize(
    "name", ["shutter", "Beam_Shutter", "Beam-Shutter", "", "X" * 41, "Device"]
)
def test_name_that_is_no_class_is_refused(
    name: str, pykarabo: Callable[..., Any], tmp_path: Path
) -> None:
    done = pykarabo("new-device", name, "--directory", str(tmp_path))
    assert done.code == InvalidNameError.exit_code
    assert "use words that begin with capitals" in done.err
    assert list(tmp_path.glob("*/setup.cfg")) == []


def test_package_that_would_hide_another_is_refused(pykarabo: Callable[..., Any]) -> None:
    done = pykarabo("new-device", "Json")
    assert done.code == InvalidNameError.exit_code
    assert "say more of it, such as LabJson" in done.err


def test_existing_directory_is_left_alone(package: Path, pykarabo: Callable[..., Any]) -> None:
    before = (package / "setup.cfg").read_text()
    (package / "setup.cfg").write_text(before + "# mine\n")
    done = pykarabo("new-device", "BeamShutter", "--directory", str(package.parent))
    assert done.code == 3
    assert "exists already - choose another name" in done.err
    assert (package / "setup.cfg").read_text().endswith("# mine\n")


def test_directory_that_cannot_be_written_is_told(
    pykarabo: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = pykarabo("new-device", "BeamShutter", "--directory", str(tmp_path / "file" / "below"))
    assert done.code in (2, 3)
    assert "Traceback" not in done.err
