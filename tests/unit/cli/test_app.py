"""The command group: lazy commands, one line per error, exit codes that say what happened."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Final

import click
import pytest

import pykarabo
from pykarabo import errors
from pykarabo.cli import common, print_json, run
from pykarabo.cli._app import ROLES, app
from pykarabo.data import AccessLevel

_HEAVY: Final = {"IPython", "h5py", "logging.handlers", "pint", "psutil", "rich", "uvloop", "yaml"}
_EXIT_CODES: Final = {
    errors.PykaraboError: 1,
    errors.UnknownDeviceError: 3,
    errors.StateForbidsError: 3,
    errors.NotConnectedError: 4,
    errors.CallTimeoutError: 5,
    errors.RemoteError: 6,
    errors.DiskFullError: 7,
}


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what options leave in the environment of the process."""
    monkeypatch.setenv("PYKARABO_DEBUG", "")
    monkeypatch.setenv("PYKARABO_DOMAIN", "none")


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Return a function that adds a command `try` to the group for the test."""

    def add(action: Callable[..., Any]) -> None:
        command = click.command("try")(common(action))
        known = type(app).get_command

        def get_command(self: Any, ctx: click.Context, name: str) -> click.Command | None:
            return command if name == "try" else known(self, ctx, name)

        monkeypatch.setattr(type(app), "get_command", get_command)

    return add


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--version") == 0
    assert pykarabo.__version__ in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--help") == 0
    shown = capsys.readouterr().out
    for name in app.list_commands(click.Context(app)):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize("name", app.list_commands(click.Context(app)))
def test_every_command_has_its_help_and_its_own_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.name == name
    assert _run(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: pykarabo {name} ")


@pytest.mark.parametrize(
    "name",
    [name for name in app.list_commands(click.Context(app)) if name not in {"run", "bridge"}],
)
def test_every_command_takes_domain_debug_and_json(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for found in commands:
        assert found is not None
        assert {"domain", "debug", "as_json"} <= {item.name for item in found.params}


def test_an_unknown_command_is_a_wrong_usage_with_a_near_match(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run("wach") == 2
    assert "'watch'" in capsys.readouterr().err


def test_a_wrong_option_is_a_wrong_usage() -> None:
    assert _run("devices", "--jsn") == 2
    assert _run("get") == 2
    assert _run("watch", "X", "--count", "0") == 2
    assert _run("call", "X.y", "--timeout", "0") == 2
    assert _run("server", "start", "--id", "X", "--rpc-port", "70000") == 2


@pytest.mark.parametrize(("cls", "code"), _EXIT_CODES.items())
def test_an_error_is_one_line_and_its_class_is_the_exit_code(
    add: Callable[..., None],
    cls: type[errors.PykaraboError],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*, as_json: bool) -> None:
        raise cls("it is so", device="A/1", remedy="do that")

    add(fail)
    assert _run("try") == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: it is so - do that\n")


def test_with_json_an_error_is_the_one_document_on_stdout(
    add: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    error = errors.OutOfRangeError("too far", device="A/1", key="x", remedy="stay")

    def fail(*, as_json: bool) -> None:
        raise error

    add(fail)
    assert _run("try", "--json") == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"error": error.to_wire()}
    assert shown.err == "error: too far - stay\n"


@pytest.mark.parametrize("arguments", [("--debug", "try"), ("try", "--debug")])
def test_debug_shows_where_an_error_comes_from(
    add: Callable[..., None], arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*, as_json: bool) -> None:
        raise errors.NotConnectedError("gone")

    add(fail)
    assert _run(*arguments) == 4
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("-D", "d1", "try"), ("try", "--domain", "d1")])
def test_the_domain_may_stand_before_and_behind_the_command(
    add: Callable[..., None], arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def show(*, as_json: bool) -> None:
        print_json(os.environ["PYKARABO_DOMAIN"])

    add(show)
    assert _run(*arguments) == 0
    assert json.loads(capsys.readouterr().out) == "d1"


def test_a_domain_that_is_none_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("-D", "a/b", "devices") == 3
    assert capsys.readouterr().err.startswith("error: 'a/b' is no name for a domain")


def test_ctrl_c_ends_with_130_and_without_a_traceback(
    add: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*, as_json: bool) -> None:
        raise KeyboardInterrupt

    add(interrupt)
    assert _run("try") == 130
    assert capsys.readouterr().err.strip() == ""


def test_a_package_that_cannot_be_imported_takes_only_its_own_commands_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = EntryPoint("x", "no_such_module_at_all:commands", "pykarabo.cli")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [broken])
    assert _run("--help") == 0
    shown = capsys.readouterr()
    assert "\n  get " in shown.out
    assert "no_such_module_at_all" in shown.err


def _script(code: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **more},
    )


def test_a_command_imports_no_heavy_library(short_runtime: Path) -> None:
    code = (
        "import sys\n"
        "from pykarabo.cli import run\n"
        "try:\n    run(['get', 'A/1.x'])\n"
        f"finally:\n    print(*sorted({_HEAVY!r} & set(sys.modules)))"
    )
    done = _script(code)
    assert done.returncode == 4, done.stderr
    assert done.stdout.split() == []
    assert short_runtime.exists()


def test_the_roles_to_choose_from_are_all_there_are() -> None:
    assert [level.name.lower() for level in AccessLevel] == list(ROLES)


def test_without_a_directory_the_remedy_is_to_start_one(
    short_runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["status"], ["devices"], ["show", "A/1"], ["call", "A/1.x"]):
        assert _run(*arguments) == 4
        assert "pykarabo up" in capsys.readouterr().err
    assert short_runtime.exists()


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import click\n"
        "from pykarabo.cli import _app\n"
        "def write():\n    for _ in range(100_000):\n        click.echo('x' * 100)\n"
        "_app.app = click.command('try')(write)\n"
        "_app.run([])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
