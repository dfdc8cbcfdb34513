"""Completion of device ids and property names in the user's shell; silent when it cannot."""

import click
from click.shell_completion import CompletionItem

from pykarabo.errors import PykaraboError


def complete_devices(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the device ids that begin like this."""
    del ctx, parameter
    from pykarabo.client import BlockingClient

    try:
        with BlockingClient() as client:
            records = client.topology(f"{incomplete}*")
    except PykaraboError:
        return []
    return [CompletionItem(record.device_id, help=record.class_id) for record in records]


def complete_targets(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return device ids, and behind the dot the names of properties and commands."""
    device_id, dot, start = incomplete.partition(".")
    if not dot:
        return complete_devices(ctx, parameter, incomplete)
    from pykarabo.client import BlockingClient

    try:
        with BlockingClient() as client:
            schema = client.schema(device_id)
    except PykaraboError:
        return []
    names = schema.commands if parameter.name == "target" else schema.properties
    return [
        CompletionItem(f"{device_id}.{name}", help=names[name].description.partition("\n")[0])
        for name in names
        if name.startswith(start)
    ]
