"""`shell`: IPython with the devices at hand."""

from typing import Any

import click

from pykarabo.client import (
    BlockingClient,
    connect,
    disconnect_all,
    stop_watching,
    wait_until,
    watch,
)
from pykarabo.data import State
from pykarabo.errors import BadConfigurationError, PykaraboError

from ._app import common

_BANNER = """pykarabo in domain '{domain}': {count} devices
connect("DEVICE"), wait_until(lambda: ...), watch("DEVICE.property"), devices(), State
Tab completes device ids in connect("...") and names behind a proxy's dot."""


@click.command("shell")
@click.option("--execute", "-c", help="Run this code instead of asking for input.")
@common
def shell_command(execute: str | None, *, as_json: bool) -> None:
    """Work interactively with the domain's devices."""
    del as_json
    try:
        import IPython
        from IPython.core.completer import context_matcher
    except ImportError:
        raise BadConfigurationError(
            "the shell needs IPython", remedy="pip install 'pykarabo[shell]'"
        ) from None

    def devices(pattern: str = "*") -> list[str]:
        """Return the ids of the devices that match the pattern."""
        with BlockingClient() as client:
            return [record.device_id for record in client.topology(pattern)]

    names: dict[str, Any] = {
        "State": State, "connect": connect, "devices": devices, "wait_until": wait_until,
        "watch": watch,
    }  # fmt: skip
    try:
        if execute is not None:
            exec(compile(execute, "<command line>", "exec"), names)
            return
        with BlockingClient() as client:
            banner = _BANNER.format(domain=client.domain, count=len(client.topology()))

        def device_ids(context: Any) -> Any:
            return _matches(context.token, devices)

        shell = IPython.terminal.embed.InteractiveShellEmbed(banner1=banner, user_ns=names)
        shell.Completer.custom_matchers.append(context_matcher()(device_ids))
        shell()
    finally:
        stop_watching()
        disconnect_all()


def _matches(token: str, devices: Any) -> Any:
    from IPython.core.completer import SimpleCompletion, SimpleMatcherResult

    start = token.rpartition('"')[2] if '"' in token else token.rpartition("'")[2]
    try:
        found = devices(f"{start}*") if '"' in token or "'" in token else []
    except PykaraboError:
        found = []
    return SimpleMatcherResult(
        completions=[SimpleCompletion(text=name, type="device") for name in found],
        suppress=bool(found),
    )
