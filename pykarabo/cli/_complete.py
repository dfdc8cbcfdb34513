"""Completion of device ids and property names in the user's shell; silent when it cannot."""

import contextlib
import signal
from collections.abc import Generator
from typing import Final, NoReturn

import click
from click.shell_completion import CompletionItem

from pykarabo.errors import PykaraboError

PATIENCE_S: Final = 1.0
"""Who presses Tab does not wait longer for a directory that hangs."""
_UNAVAILABLE: Final = (PykaraboError, TimeoutError)


def complete_devices(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the device ids that begin like this."""
    del ctx, parameter
    from pykarabo.client import BlockingClient

    try:
        with _patience(), BlockingClient() as client:
            records = client.topology(f"{incomplete}*")
    except _UNAVAILABLE:
        return []
    return [CompletionItem(record.device_id, help=record.class_id) for record in records]


def complete_targets(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return device ids, and behind the dot the names that the command can do with.

    These are commands for ``call``, what can be written for ``set``, else all properties.
    """
    device_id, dot, start = incomplete.partition(".")
    if not dot:
        return complete_devices(ctx, parameter, incomplete)
    return [
        CompletionItem(f"{device_id}.{name}", help=text.partition("\n")[0])
        for name, text in _names(device_id, parameter.name or "").items()
        if name.startswith(start)
    ]


def _names(device_id: str, purpose: str) -> dict[str, str]:
    from pykarabo.client import BlockingClient
    from pykarabo.data import AccessMode

    try:
        with _patience(), BlockingClient() as client:
            schema = client.schema(device_id)
    except _UNAVAILABLE:
        return {}
    if purpose == "target":
        return {name: command.description for name, command in schema.commands.items()}
    return {
        key: info.description
        for key, info in schema.properties.items()
        if purpose != "assignments" or info.access_mode is AccessMode.RECONFIGURABLE
    }


@contextlib.contextmanager
def _patience() -> Generator[None, None, None]:
    """Raise `TimeoutError` in what takes too long; the process does nothing but complete."""

    def give_up(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
