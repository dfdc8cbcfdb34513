"""`whoami`, and what is asked before processes are started or ended."""

import click

from pykarabo.client import BlockingClient, asked_role, own_identity
from pykarabo.data import AccessLevel
from pykarabo.errors import DeniedError

from ._app import common
from ._text import print_json, told_time


@click.command("whoami")
@common
def whoami_command(*, as_json: bool) -> None:
    """Show as whom you work, and the role that the domain's directory gives you."""
    identity = own_identity()
    with BlockingClient() as client:
        domain, asked, welcome = client.domain, client.role, client.welcome_at()
        mode = client.domain_mode()
    user, role, until_s = welcome.user or identity.user, AccessLevel(welcome.role), None
    if welcome.until_ns:
        until_s = welcome.until_ns / 1e9
    if as_json:
        print_json(
            {
                "user": user,
                "host": identity.host,
                "domain": domain,
                "role": role.name,
                "asked": asked.name,
                "until_s": until_s,
                "note": welcome.note,
                "mode": mode.to_wire(),
            }
        )
        return
    click.echo(f"{user} on {identity.host}")
    until = "" if until_s is None else f" until {told_time(until_s)}"
    is_less = asked != role and not (until_s or welcome.note)
    more = f" (asked for {asked.name.lower()})" if is_less else ""
    click.echo(f"{role.name.lower()} in domain {domain}{until}{more}")
    if welcome.note:
        click.echo(welcome.note)
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
