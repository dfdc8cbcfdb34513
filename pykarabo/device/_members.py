"""What the members of a site have a right to, besides what their users have shown."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from pykarabo.data import AccessLevel
from pykarabo.errors import DeniedError
from pykarabo.transport import Sender, Site
from pykarabo.trust import MemberRole
from pykarabo.wire import Granted, Hello

from ._rights import Readers, Rights, all_rights

_HIGHEST: Final = AccessLevel.EXPERT
"""Who is no server tells the directory nothing, which takes an administrator."""
_OUTDATED: Final = "this server was started before the site had accounts: start it anew"
_NANO: Final = 1e9


def members_only(site: Site, persons: Rights | None) -> Rights:
    """Return the rights of a domain that belongs to a site.

    A server may do everything. What a person may do is for `persons` to say where the domain has
    accounts; else whoever uses a member may do all that needs no administrator.
    """

    def rights(hello: Hello, sender: Sender) -> Granted:
        if not sender.key:
            return (persons or all_rights)(hello, sender)
        grant = site.require(sender.key)
        if persons is not None and (hello.token or not grant.role.serves):
            return persons(hello, sender)
        if not grant.role.serves and site.grants.issuers(now_s=site.now_s()):
            return Granted(note=_OUTDATED)
        role = AccessLevel.ADMINISTRATOR if grant.role.serves else _HIGHEST
        return Granted(role, until_ns=int(grant.expires_s * _NANO))

    return rights


def bridges_by_name(site: Site) -> Readers:
    """Return who may read which outputs in a site: a bridge those that its grant names."""

    def readers(sender: Sender, output: str) -> None:
        if not sender.key:
            return
        grant = site.require(sender.key)
        if grant.role is MemberRole.BRIDGE and not _is_named(output, grant.outputs):
            raise DeniedError(
                f"the bridge '{grant.name}' may not read '{output}', only "
                f"{', '.join(grant.outputs)}",
                remedy="have it invited for more: pykarabo site invite --role bridge --output ...",
            )

    return readers


def _is_named(output: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(output, pattern) for pattern in patterns)
