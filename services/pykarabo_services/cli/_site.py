"""`pykarabo site`: make a site, take members in, shut them out."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from pykarabo.cli import common, print_json, print_table, require_role, set_up_log
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, DeniedError
from pykarabo.transport import joined_site
from pykarabo.trust import Grant, JoinString, MemberRole, told_time
from pykarabo_services.site.joining import change_key, join_site, make_site, refresh_own
from pykarabo_services.site.model import INVITED
from pykarabo_services.site.service import seen_times
from pykarabo_services.site.store import SiteStore

PORT: Final = 45450
_LAST_FIRST_PORT: Final = 65_535 - 3
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600}
_SPAN: Final = re.compile(r"(\d+)([smh])")
_KEY_DIGITS: Final = 16
_COLUMNS: Final = ("name", "role", "host", "key", "state", "expires", "last seen")


class _Span(click.ParamType):  # type: ignore[type-arg]
    """A time such as ``15m``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = _SPAN.fullmatch(str(value))
        if found is None:
            self.fail(f"'{value}' is no time; write it like 15m, 90s or 2h", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@click.group("site")
def site_group() -> None:
    """Make a site of several hosts and users, take members in, and shut them out."""


@site_group.command("init")
@click.option("--host", required=True, help="Address of this host in the site's network.")
@click.option(
    "--port",
    type=click.IntRange(1, _LAST_FIRST_PORT),
    default=PORT,
    show_default=True,
    help="First of four TCP ports: of who takes members in, and of the directory.",
)
@common
def init_command(host: str, port: int, *, as_json: bool) -> None:
    """Make this host the one where the domain's site is administered."""
    require_role(AccessLevel.ADMINISTRATOR, "making a site")
    join_string = make_site(None, host, port)
    if as_json:
        print_json({"join": str(join_string)})
        return
    click.echo(f"the site has been made; its join string is\n\n    '{join_string}'\n")
    click.echo("start it:          pykarabo up")
    click.echo("invite a member:   pykarabo site invite --role server")


@site_group.command("show")
@common
def show_command(*, as_json: bool) -> None:
    """Show the site that this user belongs to here, and how others join it."""
    site = joined_site()
    if site is None:
        raise BadConfigurationError(
            "this user belongs to no site on this host",
            remedy="make one: pykarabo site init --host ADDRESS; or join one: pykarabo site join",
        )
    member, grants = site.membership, site.grants
    try:
        grant: Grant | None = site.require_own()
        problem = ""
    except DeniedError as error:
        grant, problem = None, str(error)
    found = {
        "join": str(member.service),
        "name": member.name,
        "address": member.address,
        "role": str(grant.role) if grant is not None else "",
        "expires": told_time(grant.expires_s) if grant is not None else "",
        "problem": problem,
        "directories": list(grants.directories),
    }
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        text = "\n             ".join(value) if isinstance(value, list) else value
        if text:
            click.echo(f"{key:<12} {text}")


@site_group.command("serve")
@click.option("--log", type=click.Path(path_type=Path), help="Write to this file instead.")
@common
def serve_command(log: Path | None, *, as_json: bool) -> None:
    """Run the site's directory, and what takes members in, until Ctrl-C; `pykarabo up` does too."""
    from urllib.parse import urlsplit

    from pykarabo.device import DeviceSettings, Server, ServerSettings, run_server

    require_role(AccessLevel.EXPERT, "serving a site")
    set_up_log(log)
    port = urlsplit(refresh_own(None).directories[0]).port or 0

    def started(server: Server) -> None:
        for error in server.problems.values():
            raise error
        join_string = str(SiteStore().join_string())
        if as_json:
            print_json({"server_id": server.server_id, "join": join_string})
        else:
            click.echo(f"the site is open at '{join_string}'; Ctrl-C stops it")

    run_server(
        ServerSettings(
            "DIRECTORY/HOST",
            directory=True,
            devices=(DeviceSettings("SITE/AUTHORITY", "SiteAuthority"),),
            ports={"rpc": port, "events": port + 1, "data": port + 2},
        ),
        started,
    )


@site_group.command("invite")
@click.option(
    "--role", type=click.Choice([str(role) for role in INVITED]), required=True, help="What for."
)
@click.option(
    "--ttl", "ttl_s", type=_Span(), default="15m", show_default=True, help="How long it works."
)
@click.option("--name", default="", help="Name of the member; default is USER@HOST of who joins.")
@click.option("--output", "outputs", multiple=True, help="For a bridge: DEVICE:output; patterns.")
@common
def invite_command(
    role: str, ttl_s: float, name: str, outputs: tuple[str, ...], *, as_json: bool
) -> None:
    """Print a code with which somebody may join once, and the command that uses it."""
    require_role(AccessLevel.ADMINISTRATOR, "inviting to a site")
    store, now_s = SiteStore(), time.time()
    with store.changed() as state:
        code = state.invite(MemberRole(role), ttl_s=ttl_s, now_s=now_s, name=name, outputs=outputs)
    join_string = store.join_string()
    if as_json:
        print_json({"join": str(join_string), "code": code, "expires": told_time(now_s + ttl_s)})
        return
    click.echo(f"on the other host, until {told_time(now_s + ttl_s)}:\n")
    click.echo(f"    pykarabo site join '{join_string}' {code}")


@site_group.command("join")
@click.argument("join_string")
@click.argument("code", required=False)
@click.option("--name", help="Name of this member; default is USER@HOST.")
@common
def join_command(join_string: str, code: str | None, name: str | None, *, as_json: bool) -> None:
    """Join a site with what its administrator has sent; the key made here stays here.

    Without CODE it is asked for: others on this host can see what is typed on a command line.
    """
    if code is None:
        code = str(click.prompt("code", hide_input=True, err=True))
    answer = join_site(None, JoinString.parse(join_string), code, name=name)
    if as_json:
        print_json({"name": answer["name"], "role": answer["role"]})
        return
    click.echo(f"this user is '{answer['name']}' of the site now, as a {answer['role']}")
    click.echo("see what is there: pykarabo status")


@site_group.command("keys")
@common
def keys_command(*, as_json: bool) -> None:
    """List the members, until when their grants hold, and when they were last there."""
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(time.time())]
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, ([row[column] for column in _COLUMNS] for row in rows))


def _rows(now_s: float) -> Iterator[tuple[str, ...]]:
    store = SiteStore()
    if store.exists:
        listed, seen = store.load().granted(()), seen_times(store.seen)
    elif (site := joined_site()) is not None:
        listed, seen = site.grants, {}
    else:
        listed, seen = store.load().granted(()), {}  # which says why there is none
    for grant in sorted(listed.grants.values(), key=lambda grant: (grant.name, grant.issued_s)):
        last = seen.get(grant.key.hex())
        yield (
            grant.name,
            str(grant.role),
            grant.host,
            grant.key.hex()[:_KEY_DIGITS],
            "valid" if now_s < grant.expires_s else "expired",
            told_time(grant.expires_s),
            told_time(last) if last is not None else "",
        )
    for key, entry in listed.revoked.items():
        yield entry.name, "", "", key.hex()[:_KEY_DIGITS], "revoked", told_time(entry.time_s), ""


@site_group.command("revoke")
@click.argument("name")
@common
def revoke_command(name: str, *, as_json: bool) -> None:
    """Shut out a member, or all members of a host; what they are doing ends within 2 s."""
    require_role(AccessLevel.ADMINISTRATOR, "shutting out a member of a site")
    with SiteStore().changed() as state:
        revoked = state.revoke(name, now_s=time.time())
    if as_json:
        print_json([grant.name for grant in revoked])
        return
    for grant in revoked:
        click.echo(f"'{grant.name}' of host '{grant.host}' is shut out")


@site_group.command("rotate")
@common
def rotate_command(*, as_json: bool) -> None:
    """Give this user a new key; programs that run keep the old one, which is good for a day."""
    change_key(None)
    site = joined_site()
    name = site.membership.name if site is not None else ""
    if as_json:
        print_json({"name": name})
        return
    click.echo(f"'{name}' has a new key; start its servers anew within a day: pykarabo down; up")
