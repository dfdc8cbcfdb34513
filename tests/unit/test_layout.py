"""What is shipped is what setup.cfg lists, and nothing else of the checkout can be imported."""

import importlib
import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo_services.kernel.database import StoreDeclaration

_ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCES: Final = {"pykarabo": "pykarabo", "pykarabo.schemas": "schemas"} | {
    "pykarabo_services": "services/pykarabo_services",
    "pykarabo_gui": "gui/pykarabo_gui",
}
_HEAVY: Final = ("h5py", "imagecodecs", "IPython", "pint", "psutil", "rich", "scipy", "sqlalchemy")
_HEAVY_MORE: Final = ("tifffile", "yaml", "PySide6")


def _setup_cfg() -> ConfigParser:
    parser = ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(_ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _lines(section: str, option: str) -> list[str]:
    return _setup_cfg()[section][option].split("\n")[1:]


def _entry_points() -> list[str]:
    groups = _setup_cfg()["options.entry_points"]
    return [
        line.partition("=")[2].strip() for group in groups for line in groups[group].split("\n")[1:]
    ]


def _packages_on_disk() -> set[str]:
    found: set[str] = set()
    for package, folder in _SOURCES.items():
        base = _ROOT / folder
        for init in base.rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(base).parts]))
    return found


def test_setup_cfg_lists_exactly_the_packages_on_disk() -> None:
    listed = _lines("options", "packages")
    assert sorted(listed) == sorted(_packages_on_disk())


def test_every_folder_of_modules_is_a_package() -> None:
    bases = [_ROOT / folder for folder in _SOURCES.values()]
    folders = {module.parent for base in bases for module in base.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_package_dir_names_the_folders_where_packages_are_looked_for() -> None:
    pairs = (line.partition("=") for line in _lines("options", "package_dir"))
    assert {name.strip(): folder.strip() for name, _, folder in pairs} == _SOURCES


@pytest.mark.parametrize("package", ["pykarabo", "pykarabo_services", "pykarabo_gui"])
def test_package_says_that_it_is_typed(package: str) -> None:
    assert (_ROOT / _SOURCES[package] / "py.typed").is_file()


@pytest.mark.parametrize("name", ["gui", "services", "schemas", "scripts", "tests"])
def test_folder_of_the_checkout_cannot_be_imported(name: str, tmp_path: Path) -> None:
    # A package of this name may come from elsewhere: lewis brings one along.
    code = (
        f"import importlib.util, sys; spec = importlib.util.find_spec({name!r});"
        f"places = spec.submodule_search_locations or () if spec else ();"
        f"sys.exit({str(_ROOT / name)!r} in places)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("target", _entry_points())
def test_entry_point_resolves(target: str) -> None:
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    if not attribute:  # the plug-in of pytest is a module
        return
    found = getattr(found, attribute)
    if isinstance(found, StoreDeclaration):
        return
    assert callable(found) or all(callable(command) for command in found)


@pytest.mark.parametrize("module", ["pykarabo", "pykarabo.data", "pykarabo.client"])
def test_import_is_light(module: str) -> None:
    heavy = {*_HEAVY, *_HEAVY_MORE}
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_command_that_reads_a_property_needs_neither_numpy_nor_asyncio() -> None:
    code = "import sys, pykarabo.cli._properties; print(*{'numpy', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_plug_in_of_pytest_costs_nothing_where_it_is_not_used() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import pykarabo.testing._plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = ["pykarabo", "pykarabo._lazy", "pykarabo.testing", "pykarabo.testing._plugin"]
    assert done.stdout.split() == ours


_LATE: Final = ("pykarabo.data", "pykarabo.transport", "pykarabo.client", "pykarabo.testing")


@pytest.mark.parametrize("name", _LATE)
def test_public_names_that_are_imported_late_are_there(name: str) -> None:
    package = importlib.import_module(name)
    assert [public for public in package.__all__ if not hasattr(package, public)] == []
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["scripts/test", "scripts/demo", "scripts/bench", ".ci/run"])
def test_script_is_executable_bash(name: str) -> None:
    script = _ROOT / name
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_continuous_integration_runs_the_test_command() -> None:
    assert "scripts/test" in (_ROOT / ".ci" / "run").read_text(encoding="utf-8")
