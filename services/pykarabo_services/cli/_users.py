"""`pykarabo user`: turn accounts on, and look after users."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import click

from pykarabo.cli import (
    ROLES,
    accounts_service,
    ask_secret,
    common,
    print_json,
    print_table,
    require_role,
)
from pykarabo.client import DIRECTORY_ID, BlockingClient
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, NotConnectedError
from pykarabo.transport import accounts_folder, domain_name

_CALL_S: Final = 10.0
_COLUMNS: Final = ("user", "role", "may become", "known to", "last login", "")
_role = click.Choice(ROLES, case_sensitive=False)


@click.group("user")
def user_group() -> None:
    """Say who may do what, in a domain with accounts."""


def _call(command: str, *args: Any, **kwargs: Any) -> Any:
    with BlockingClient() as client:
        return accounts_service(client).call(command, *args, timeout_s=_CALL_S, **kwargs)


def _done(as_json: bool, text: str, **told: Any) -> None:
    if as_json:
        print_json(told)
    else:
        click.echo(text)


@user_group.command("init")
@common
def init_command(*, as_json: bool) -> None:
    """Turn accounts on for the domain; without a login one may only look from then on.

    Again, it shows a new code with which an administrator can be made.
    """
    from pykarabo.trust import load_issuers, make_issuers
    from pykarabo_services.accounts.code import new_code

    require_role(AccessLevel.ADMINISTRATOR, "turning accounts on")
    folder = accounts_folder()
    is_new = load_issuers(folder) is None if not folder.exists() else False
    if is_new:
        _require_stopped()
    make_issuers(folder)
    code = new_code(folder, time.time())
    if as_json:
        print_json({"domain": domain_name(), "folder": str(folder), "code": code, "new": is_new})
        return
    if is_new:
        click.echo(f"domain {domain_name()} has accounts now: its keys are in {folder}")
    click.echo("make an administrator, once and within 24 h:")
    click.echo("  pykarabo up")
    click.echo("  pykarabo user claim NAME")
    click.echo(f"code: {code}")


def _require_stopped() -> None:
    """Refuse while servers run that know nothing of accounts: they would let everybody in."""
    with BlockingClient() as client:
        try:
            client.resolve(DIRECTORY_ID)
        except NotConnectedError:
            return
    raise BadConfigurationError(
        f"domain '{domain_name()}' is running without accounts; nothing was changed",
        remedy="stop it on every host: pykarabo down",
    )


@user_group.command("claim")
@click.argument("user")
@common
def claim_command(user: str, *, as_json: bool) -> None:
    """Become an administrator with the code that 'pykarabo user init' has shown.

    Code and password are asked for; without a terminal they are two lines of the input.
    """
    code = ask_secret("code")
    password = ask_secret("password", twice=True)
    _call("claim", code, user, password)
    _done(as_json, f"{user} is an administrator: pykarabo login {user}", user=user)


@user_group.command("add")
@click.argument("user")
@click.option("--role", type=_role, default="user", show_default=True)
@click.option("--may-become", type=_role, help="A higher role that he may take for a while.")
@click.option("--gateway", is_flag=True, help="A program that acts for users connected to it.")
@common
def add_command(
    user: str, role: str, may_become: str | None, gateway: bool, *, as_json: bool
) -> None:
    """Let somebody log in with a password, which is asked for."""
    password = ask_secret(f"password of {user}", twice=True)
    _call("add_user", user, password, role, may_become or "", gateway)
    _done(as_json, f"{user} may log in", user=user, role=role.upper())


@user_group.command("list")
@common
def list_command(*, as_json: bool) -> None:
    """List users, with those of providers who have logged in once."""
    users = _call("users")
    if as_json:
        print_json(users)
        return
    print_table(_COLUMNS, [_row(user) for user in users])


def _row(user: dict[str, Any]) -> tuple[str, ...]:
    higher = user["may_become"] if user["may_become"] != user["role"] else ""
    kinds = [name for name in ("disabled", "gateway") if user[name]]
    last = "never"
    if user["logged_in_s"]:
        last = datetime.fromtimestamp(user["logged_in_s"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    names = (user["user"], user["role"].lower(), higher.lower(), user["provider"])
    return (*names, last, ", ".join(kinds))


@user_group.command("disable")
@click.argument("user")
@common
def disable_command(user: str, *, as_json: bool) -> None:
    """Let a user not log in any more; what he has logged in with ends at once."""
    _call("disable_user", user)
    _done(as_json, f"{user} is disabled, and logged out everywhere", user=user)


@user_group.command("enable")
@click.argument("user")
@common
def enable_command(user: str, *, as_json: bool) -> None:
    """Let a user log in again."""
    _call("enable_user", user)
    _done(as_json, f"{user} may log in again", user=user)


@user_group.command("role")
@click.argument("user")
@click.argument("role", type=_role)
@click.option("--may-become", type=_role, help="A higher role that he may take for a while.")
@common
def role_command(user: str, role: str, may_become: str | None, *, as_json: bool) -> None:
    """Give a user another role; he has to log in anew."""
    _call("set_role", user, role, may_become or "")
    _done(as_json, f"{user} has the role {role.lower()}", user=user, role=role.upper())


@user_group.command("passwd")
@click.argument("user", required=False)
@common
def passwd_command(user: str | None, *, as_json: bool) -> None:
    """Change your password, or as an administrator that of a user.

    What was logged in with the old one ends at once.
    """
    with BlockingClient() as client:
        me = client.welcome_at().user
        service = accounts_service(client)
        if user is not None and user != me:
            new = ask_secret(f"new password of {user}", twice=True)
            service.call("set_password", user, new, timeout_s=_CALL_S)
        else:
            user = me or click.prompt("user", err=True)
            password = ask_secret("password")
            new = ask_secret("new password", twice=True)
            service.call("change_password", user, password, new, timeout_s=_CALL_S)
    _done(as_json, f"{user} has a new password: pykarabo login {user}", user=user)
