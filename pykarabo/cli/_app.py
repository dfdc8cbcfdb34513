"""The command group: commands are imported when they are used, errors end in one line.

Exit codes: 0 well, 1 other errors, 2 wrong usage, and those of the error classes: 3 bad input, 4
not connected, 5 outcome unknown, 6 failed remotely, 7 a service could not do it; 130 Ctrl-C.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

import pykarabo
from pykarabo.errors import PykaraboError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_F = TypeVar("_F", bound=Callable[..., Any])

ENTRY_POINT_GROUP: Final = "pykarabo.cli"
DEBUG_VARIABLE: Final = "PYKARABO_DEBUG"
INTERRUPTED: Final = 130
_ROLE_VARIABLE: Final = "PYKARABO_ROLE"
ROLES: Final = ("observer", "user", "operator", "expert", "administrator")
"""Those of `AccessLevel`, which takes long to import for somebody who only asks for help."""


class _Output:
    """Whether the command that runs was asked for JSON: its errors are then JSON too."""

    as_json = False


_output: Final = _Output()

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "up": ("_launching", "Start what is missing of a facility."),
    "down": ("_stopping", "Stop the facility."),
    "plan": ("_planning", "Compare a facility file with what runs."),
    "apply": ("_planning", "Have everything run as a facility file says."),
    "export": ("_planning", "Write what runs as a facility file."),
    "status": ("_looking", "Show servers and devices at a glance."),
    "devices": ("_looking", "List devices."),
    "classes": ("_looking", "List the device classes that can be instantiated."),
    "show": ("_looking", "Show all there is to know of a device."),
    "get": ("_properties", "Read properties."),
    "set": ("_properties", "Write properties."),
    "attributes": ("_attributes", "Show or set limits and archive settings of a device."),
    "call": ("_properties", "Run a command of a device."),
    "watch": ("_watching", "Follow devices until Ctrl-C."),
    "instantiate": ("_instances", "Start a device."),
    "shutdown": ("_instances", "Stop a device, or a server with all of its devices."),
    "server": ("_serving", "Run a device server."),
    "shell": ("_shell", "Work interactively, with completion of device ids."),
    "audit": ("_auditing", "Show who did what, and check that nobody has changed the record."),
    "read-only": ("_mode", "Let only administrators change anything, or everybody again."),
    "doctor": ("_doctor", "Find out what is wrong."),
    "new-device": ("_creating", "Write a package with a device class of your own."),
    "login": ("_logging_in", "Log in, in a domain with accounts."),
    "logout": ("_logging_in", "End your login."),
    "whoami": ("_roles", "Show as whom you work, and with which role."),
    "stubs": ("_stubs", "Write types of live devices for editors and type checkers."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every name: ours, and those of installed packages."""
        del ctx
        return [*_COMMANDS, *sorted(_foreign())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        del ctx
        if cmd_name in _COMMANDS:
            module = import_module(f"pykarabo.cli.{_COMMANDS[cmd_name][0]}")
            found: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
            return found
        return _foreign().get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown one say which may have been meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from pykarabo.errors import did_you_mean

            hint = did_you_mean(args[0], self.list_commands(ctx)) if args else ""
            if not hint or getattr(error, "possibilities", None):
                raise
            text = f"{error.message} {hint[0].upper()}{hint[1:]}"
            raise click.UsageError(text, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with what they do, without importing ours."""
        del ctx
        rows = [(name, text) for name, (_module, text) in _COMMANDS.items()]
        rows += [(name, found.get_short_help_str(80)) for name, found in sorted(_foreign().items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _foreign() -> dict[str, click.Command]:
    """Return the commands that installed packages add; a package that is broken adds none."""
    # Costs a tenth of the start, and our own commands do without.
    from importlib.metadata import entry_points

    found: dict[str, click.Command] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        found |= {command.name or "": command for command in _loaded(point)}
    return found


def _loaded(point: "EntryPoint") -> list[click.Command]:
    try:
        commands: list[click.Command] = point.load()
    except (ImportError, AttributeError) as error:
        click.echo(f"warning: the commands of {point.value} are missing: {error}", err=True)
        return []
    return commands


def _take_domain(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        os.environ["PYKARABO_DOMAIN"] = value


def _take_role(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        os.environ[_ROLE_VARIABLE] = value


def _take_debug(_ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ[DEBUG_VARIABLE] = "1"


def _take_json(_ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    _output.as_json = value
    return value


# Options with callbacks: they work as soon as they are read, which completion needs too.
_domain_option = click.option(
    "--domain",
    "-D",
    expose_value=False,
    callback=_take_domain,
    is_eager=True,
    help="The domain to work in; default: $PYKARABO_DOMAIN.",
)
_role_option = click.option(
    "--role",
    type=click.Choice(ROLES, case_sensitive=False),
    expose_value=False,
    callback=_take_role,
    is_eager=True,
    help="Work with this role at most; an observer changes nothing. Default: $PYKARABO_ROLE.",
)
_debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_take_debug,
    is_eager=True,
    help="Show where errors come from.",
)
_json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_take_json,
    is_eager=True,
    help="Write one JSON document, for programs.",
)


def common(function: _F) -> _F:
    """Give a command the options that every command has: --domain, --debug and --json.

    The command gets `as_json`; the others are in the environment from then on.
    """
    return _domain_option(_debug_option(_json_option(function)))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pykarabo.__version__, prog_name="pykarabo")
@_domain_option
@_role_option
@_debug_option
def app() -> None:
    """Pykarabo: a control system for experiment facilities.

    In bash, eval "$(_PYKARABO_COMPLETE=bash_source pykarabo)" makes Tab complete commands and
    device ids; zsh_source and fish_source do in zsh and fish.
    """


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    _output.as_json = False
    try:
        result = app.main(arguments, prog_name="pykarabo", standalone_mode=False)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except PykaraboError as error:
        code = report(error)
        if _output.as_json:
            click.echo(json.dumps({"error": error.to_wire()}, default=str))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def report(error: PykaraboError) -> int:
    """Write one line about an error, and where it comes from if asked; returns its exit code."""
    if os.environ.get(DEBUG_VARIABLE):
        import traceback

        traceback.print_exception(error)
    click.echo(f"error: {error}", err=True)
    return error.exit_code
