"""`login` and `logout`: show the domain who you are, and take it back."""

import os
import re
import sys
import time
from typing import Any, Final

import click

from pykarabo.client import BlockingClient, DeviceProxy, login_file, own_identity, own_proofs
from pykarabo.errors import BadInputError, PykaraboError, UnknownDeviceError
from pykarabo.transport import domain_name

from ._app import ROLES, common
from ._text import print_json, told_time

_LOGIN_S: Final = 10.0
"""A provider has 4 s to answer, and passwords may have to wait for their turn."""
_DURATION: Final = re.compile(r"(?:(\d+)\s*h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+)\s*s)?")
_FACTORS: Final = (3_600, 60, 1)


@click.command("login")
@click.argument("user", required=False)
@click.option(
    "--role",
    type=click.Choice(ROLES, case_sensitive=False),
    help="Have this role at most; or a higher one than every day, with --for.",
)
@click.option(
    "--for",
    "duration",
    help="For how long: 30min, 2h; then it falls back, or ends.",
)
@click.option("--provider", default="", help="Who knows you, if that is not to be tried out.")
@common
def login_command(
    user: str | None, role: str | None, duration: str | None, provider: str, *, as_json: bool
) -> None:
    """Log in; all of your programs of this domain on this host show it from then on.

    The password is asked for; where there is no terminal it is the first line of the input.
    """
    more: dict[str, Any] = {"role": role or "", "for_s": _seconds(duration)}
    with BlockingClient(login=lambda: b"") as client:
        service = accounts_service(client)
        if provider and provider in service.browser_providers:
            given = _in_browser(service, provider, more, quiet=as_json)
        else:
            name = user or click.prompt("user", default=own_identity().user, err=True)
            given = service.call(
                "login",
                name,
                ask_secret("password"),
                list(own_proofs()),
                provider=provider,
                timeout_s=_LOGIN_S,
                **more,
            )
    _end_former_login()
    _keep(given["token"])
    if as_json:
        print_json({name: value for name, value in given.items() if name != "token"})
        return
    after = ""
    if given["role_after"] != given["role"]:
        after = f", then {given['role_after'].lower()} until {told_time(given['expires_s'])}"
    click.echo(
        f"{given['user']}: {given['role'].lower()} in domain {domain_name()} "
        f"until {told_time(given['until_s'])}{after}"
    )


def accounts_service(client: BlockingClient) -> DeviceProxy:
    """Return the accounts service of the domain.

    Raises:
        UnknownDeviceError: it does not run here, or the domain has no accounts.
    """
    from pykarabo.trust import ACCOUNTS_ID

    try:
        client.resolve(ACCOUNTS_ID)
    except UnknownDeviceError:
        raise UnknownDeviceError(
            f"domain '{client.domain}' has no accounts, or their service does not run",
            device=ACCOUNTS_ID,
            remedy="'pykarabo up' starts it on its host; 'pykarabo user init' turns accounts on",
        ) from None
    return client.device(ACCOUNTS_ID)


def ask_secret(what: str, *, twice: bool = False) -> str:
    """Return something that nobody may see: typed without an echo, or a line of the input."""
    if sys.stdin.isatty():
        typed: str = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
        return typed
    line = sys.stdin.readline()
    if not line:
        raise BadInputError(f"no {what} was given", remedy="type it, or put it on the input")
    return line.rstrip("\r\n")


def _seconds(duration: str | None) -> float:
    if duration is None:
        return 0.0
    found = _DURATION.fullmatch(duration.strip())
    seconds = 0
    if found is not None:
        parts = (int(part or 0) for part in found.groups())
        seconds = sum(part * factor for part, factor in zip(parts, _FACTORS, strict=True))
    if seconds == 0:
        raise BadInputError(f"'{duration}' is no time", remedy="write it like 30min, or 2h")
    return float(seconds)


def _in_browser(
    service: DeviceProxy, provider: str, more: dict[str, Any], *, quiet: bool
) -> dict[str, Any]:
    begun = service.call("begin_login", provider, timeout_s=_LOGIN_S)
    click.echo(f"log in at {begun['url']} with the code {begun['code']}", err=quiet)
    end_s = time.monotonic() + begun["expires_s"]
    while True:
        given: dict[str, Any] | None = service.call(
            "finish_login", begun["login"], list(own_proofs()), timeout_s=_LOGIN_S, **more
        )
        if given is not None:
            return given
        if time.monotonic() > end_s:
            raise BadInputError("nobody has logged in", remedy="begin anew: pykarabo login")
        time.sleep(begun["interval_s"])


def _keep(token: bytes) -> None:
    from pykarabo.trust import replace_private

    replace_private(login_file(create=True), token)


def _end_former_login() -> PykaraboError | None:
    """End the login that the file has; returns why it could not be ended, if it could not."""
    path = login_file()
    try:
        token = path.read_bytes()
    except OSError:
        return None
    path.unlink(missing_ok=True)
    try:
        with BlockingClient(login=lambda: token) as client:
            accounts_service(client).call("logout", timeout_s=_LOGIN_S)
    except PykaraboError as error:
        return error
    return None


@click.command("logout")
@common
def logout_command(*, as_json: bool) -> None:
    """End your login: what runs with it may look from then on, and nothing else."""
    was_there = os.path.lexists(login_file())
    problem = _end_former_login()
    if as_json:
        print_json({"ended": was_there and problem is None})
    elif not was_there:
        click.echo("nobody was logged in")
    elif problem is None:
        click.echo("logged out")
    if problem is not None:
        click.echo(
            f"warning: this host has forgotten the login, but the servers have not been told: "
            f"{problem}; it ends by itself",
            err=True,
        )
