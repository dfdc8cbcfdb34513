"""`shell`: IPython with the devices at hand."""

from typing import Any, Final

import click

import pykarabo
from pykarabo.client import BlockingClient, disconnect_all, stop_watching
from pykarabo.errors import BadConfigurationError, PykaraboError

from ._app import common

_NOT_AT_HAND: Final = frozenset({"__version__", "unit"})
"""Units take longer to import than the shell: who wants them imports them from pykarabo."""
_BANNER: Final = """pykarabo in domain '{domain}': {count} devices
connect("DEVICE"), wait_until(lambda: ...), watch("DEVICE.property"), find_devices(), State
Tab completes device ids in connect("...") and names behind a proxy's dot."""


@click.command("shell")
@click.option("--execute", "-c", help="Run this code instead of asking for input.")
@common
def shell_command(execute: str | None, *, as_json: bool) -> None:
    """Work interactively with the domain's devices."""
    del as_json
    names: dict[str, Any] = {
        name: getattr(pykarabo, name) for name in pykarabo.__all__ if name not in _NOT_AT_HAND
    }
    names["devices"] = devices
    try:
        if execute is not None:
            exec(compile(execute, "<command line>", "exec"), names)  # noqa: S102 - his own words
        else:
            _interact(names)
    finally:
        stop_watching()
        disconnect_all()


def devices(pattern: str = "*") -> list[str]:
    """Return the ids of the devices that match the pattern."""
    with BlockingClient() as client:
        return [record.device_id for record in client.topology(pattern)]


def _interact(names: dict[str, Any]) -> None:
    try:
        from IPython.core.completer import context_matcher
        from IPython.terminal import embed
    except ImportError:
        raise BadConfigurationError(
            "the shell needs IPython", remedy="pip install 'pykarabo[shell]'"
        ) from None
    with BlockingClient() as client:
        banner = _BANNER.format(domain=client.domain, count=len(client.topology()))

    library: Any = embed  # which has no types
    shell = library.InteractiveShellEmbed(banner1=banner, user_ns=names)
    mark: Any = context_matcher()
    shell.Completer.custom_matchers.append(mark(_device_ids))
    shell.set_custom_exc((PykaraboError,), _show_error)
    shell()


def _show_error(_shell: Any, _kind: type, error: BaseException, _trace: Any, **_more: Any) -> None:
    """Show an error of ours in one line; its traceback would only show our own code."""
    click.echo(f"{type(error).__name__}: {error}", err=True)


def _device_ids(context: Any) -> Any:
    """Return for IPython the device ids that continue the text that the line leaves open."""
    from IPython.core.completer import SimpleCompletion, SimpleMatcherResult

    line: str = context.text_until_cursor
    quote = max(line.rfind('"'), line.rfind("'"))
    is_open = quote >= 0 and line.count(line[quote]) % 2 == 1
    try:
        found = devices(f"{line[quote + 1 :]}*") if is_open else []
    except PykaraboError:
        found = []
    return SimpleMatcherResult(
        completions=[SimpleCompletion(text=name, type="device") for name in found],
        suppress=bool(found),
        matched_fragment=line[quote + 1 :],
    )
