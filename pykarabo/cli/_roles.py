"""`whoami`, and what is asked before processes are started or ended."""

import click

from pykarabo.client import BlockingClient, asked_role, own_identity
from pykarabo.data import AccessLevel
from pykarabo.errors import DeniedError

from ._app import common
from ._text import print_json


@click.command("whoami")
@common
def whoami_command(*, as_json: bool) -> None:
    """Show as whom you work, and the role that the domain's directory gives you."""
    identity = own_identity()
    with BlockingClient() as client:
        domain, asked, role = client.domain, client.role, client.role_at()
        mode = client.domain_mode()
    if as_json:
        print_json(
            {
                "user": identity.user,
                "host": identity.host,
                "domain": domain,
                "role": role.name,
                "asked": asked.name,
                "mode": mode.to_wire(),
            }
        )
        return
    click.echo(f"{identity.user} on {identity.host}")
    more = f" (asked for {asked.name.lower()})" if asked != role else ""
    click.echo(f"{role.name.lower()} in domain {domain}{more}")
    if mode.read_only:
        click.echo(f"domain {domain} {mode}")


def require_role(required: AccessLevel, doing: str) -> None:
    """Refuse what goes round the device servers to whoever has asked for less.

    Starting a process and ending it by a signal are for the operating system to allow. Who works
    as an observer wants to be sure that nothing happens all the same.

    Raises:
        DeniedError: a lower role was asked for; nothing was done.
    """
    role = asked_role()
    if role < required:
        needed, have = required.name.lower(), role.name.lower()
        raise DeniedError(
            f"{doing} needs the role {needed}, and you work as {have}; nothing was done",
            remedy=f"work as {needed}: --role {needed}, or PYKARABO_ROLE",
            details={"required": required.name, "have": role.name},
        )
