"""`read-only`: letting only administrators change a domain."""

import click

from pykarabo.client import SET_MODE_COMMAND, BlockingClient, DomainMode
from pykarabo.errors import NotConnectedError, PykaraboError
from pykarabo.transport import without_key

from ._app import common
from ._text import print_json


@click.command("read-only")
@click.argument("state", type=click.Choice(["on", "off", "show"]), default="show")
@click.option("--reason", default="", help="Told to whoever is refused.")
@common
def read_only_command(state: str, reason: str, *, as_json: bool) -> int:
    """Let only administrators change anything in the domain, or everybody again.

    Servers learn of it within a second, and later ones when they start. What runs goes on; who is
    refused may still stop devices, cancel jobs and acknowledge alarms.
    """
    with BlockingClient() as client:
        domain, endpoints = client.domain, client.access.endpoints
        if state == "show":
            mode = client.domain_mode()
        else:
            mode = _change(domain, endpoints, state == "on", reason)
    if as_json:
        print_json({"domain": domain, **mode.to_wire()})
    else:
        click.echo(f"domain {domain} {mode}")
    return 0


def _change(domain: str, endpoints: tuple[str, ...], read_only: bool, reason: str) -> DomainMode:
    """Tell every replica of the directory; servers remind those that do not answer now."""
    told: DomainMode | None = None
    problem: PykaraboError | None = None
    for endpoint in endpoints:
        try:
            with BlockingClient(domain, directory=endpoint) as replica:
                answer = replica.directory(SET_MODE_COMMAND, read_only, reason)
        except NotConnectedError as error:
            problem = error
            click.echo(f"the directory at {without_key(endpoint)} does not answer", err=True)
        else:
            told = DomainMode.from_wire(answer)
    if told is None and problem is not None:
        raise problem
    return told or DomainMode()
