"""What makes a host a member of a site: on the authority's own host, and on all others."""

import socket
import time
from collections.abc import Mapping
from typing import Any, Final

from pykarabo.errors import BadConfigurationError, ClockError, DeniedError
from pykarabo.transport import (
    Membership,
    Site,
    SiteLink,
    accounts_folder,
    is_refused,
    numeric,
    user_name,
)
from pykarabo.trust import (
    GRANT_LIFE_S,
    GrantList,
    JoinString,
    MemberRole,
    load_issuers,
    serves_accounts,
)

from .model import SiteState
from .store import SiteStore

ADMITTED_S: Final = 2.0
"""Members hear of a new one within milliseconds. One that could not be heard of for so long is
told by whoever refuses it."""
_PAUSE_S: Final = 0.05
EVERYWHERE: Final = ("0.0.0.0", "::", "*")


def make_site(
    domain: str | None, host: str, port: int, *, life_s: float = GRANT_LIFE_S
) -> JoinString:
    """Make the authority of a site here, and this user its first member; returns how to join.

    Raises:
        BadConfigurationError: the domain has a site already, or the address is none.
    """
    address = checked_address(host)
    site, store = Site(domain), SiteStore(domain)
    require_no_site(site)
    now_s = time.time()
    state = SiteState(host, port, life_s=life_s)
    state.directories = (f"tcp://{_bracketed(host)}:{port + 1}#{site.make_key().public.hex()}",)
    state.admit(
        site.make_key().public,
        MemberRole.DIRECTORY,
        name=default_name(),
        host=socket.gethostname(),
        now_s=now_s,
    )
    store.create(state)
    signer = store.signing_key()
    blob = state.granted([signer.public]).signed(signer, now_s=now_s)
    join_string = store.join_string()
    member = Membership(default_name(), join_string, address, (signer.public,))
    site.join(member, blob)
    return join_string


def refresh_own(domain: str | None) -> GrantList:
    """Sign the list anew where the authority is, and keep it; returns it.

    After months in which nobody served the site nobody has a valid list any more, nor a grant,
    the authority's own host included.

    Raises:
        BadConfigurationError: the authority is not here.
    """
    site, store, now_s = Site(domain), SiteStore(domain), time.time()
    with store.changed() as state:
        own = site.pair.public
        state.admit(
            own,
            MemberRole.DIRECTORY,
            name=site.membership.name,
            host=socket.gethostname(),
            now_s=now_s,
            issuer=_issuer(domain),
        )
        host, port = state.host, state.port
        state.directories = (f"tcp://{_bracketed(host)}:{port + 1}#{own.hex()}",)
    signer = store.signing_key()
    listed = store.load().granted([signer.public])
    site.take(listed.signed(signer, now_s=now_s))
    return listed


def _issuer(domain: str | None) -> bytes:
    """Return the key that signs tokens of users, where this host keeps the domain's accounts."""
    folder = accounts_folder(domain)
    issuers = load_issuers(folder) if serves_accounts(folder) else None
    return issuers.accounts_key().public if issuers is not None else b""


def join_site(
    domain: str | None,
    service: JoinString,
    code: str,
    *,
    name: str | None = None,
) -> Mapping[str, Any]:
    """Join a site with an invitation; returns what it said: ``name`` and ``role``.

    Only the public half of the key that is made here leaves this host. Who was a member and is none
    any more comes back with a new key.

    Raises:
        PykaraboError: the site's service cannot be reached, or takes us not in.
    """
    site = Site(domain)
    require_no_site(site)
    pair = site.make_key(again=True)
    question = {
        "op": "enrol",
        "code": code,
        "name": name or default_name(),
        "host": socket.gethostname(),
    }
    with SiteLink(service, pair) as link:
        link.open()
        answer = link.ask(question)
    signers = tuple(bytes(key) for key in answer["signers"])
    address = _address_towards(service)
    site.take_new_key()
    site.join(Membership(str(answer["name"]), service, address, signers), bytes(answer["list"]))
    if answer["role"] != MemberRole.BRIDGE:
        _await_admission(site)
    return answer


def _await_admission(site: Site) -> None:
    """Wait until the directory has heard that we are a member; it may also be away."""
    deadline = time.monotonic() + ADMITTED_S
    for directory in site.grants.directories:
        while is_refused(directory, site.pair) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)


def change_key(domain: str | None) -> None:
    """Replace this user's key by a new one; the old one is good for another day.

    Raises:
        PykaraboError: the site's service cannot be reached, or knows us not.
    """
    site = Site(domain)
    new = site.make_key(again=True)
    with SiteLink(site.membership.service, site.pair) as link:
        link.open()
        answer = link.ask({"op": "rotate", "key": new.public})
    site.learn(answer)
    site.take_new_key()


def require_no_site(site: Site) -> None:
    """Refuse to replace a membership that still holds; raises `BadConfigurationError`."""
    if not site.joined or _is_over(site):
        return
    member = site.membership
    raise BadConfigurationError(
        f"this user belongs to a site on this host already, as '{member.name}': {member.service}",
        remedy=f"remove {site.folder} to leave it, or name another domain: --domain NAME",
    )


def _is_over(site: Site) -> bool:
    """Tell whether a membership holds no more, as far as is known or can be asked."""
    try:
        site.consult()
        site.require_own()
    except ClockError:
        return False
    except DeniedError:
        return True
    return False


def checked_address(host: str) -> str:
    """Return the numeric address of a host name; raises `BadConfigurationError` if it is none."""
    if host in EVERYWHERE:
        raise BadConfigurationError(
            f"--host {host} would listen on every network of this host",
            remedy="name the address of the one that the site uses",
        )
    return numeric(host)


def default_name() -> str:
    """Return who we are in a site unless somebody says otherwise: ``user@host``."""
    import os

    return f"{user_name(os.getuid())}@{socket.gethostname()}"


def _address_towards(service: JoinString) -> str:
    """Return the address of this host in the network of the site."""
    target = numeric(service.host)
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, service.port))  # which sends nothing
        return str(probe.getsockname()[0])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
