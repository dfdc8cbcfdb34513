"""What the members of a site have a right to, besides what their users have shown."""

from typing import Final

from pykarabo.data import AccessLevel
from pykarabo.transport import Sender, Site
from pykarabo.wire import Granted, Hello

from ._rights import Rights, all_rights

_PROOF: Final = "key:"
_HIGHEST: Final = AccessLevel.EXPERT
"""Who is no server tells the directory nothing, which takes an administrator."""
_NANO: Final = 1e9


def members_only(site: Site, persons: Rights | None) -> Rights:
    """Return the rights of a domain that belongs to a site.

    A server may do everything. What a person may do is for `persons` to say where the domain has
    accounts; else whoever uses a member may do all that needs no administrator.
    """

    def rights(hello: Hello, sender: Sender) -> Granted:
        if not sender.proof.startswith(_PROOF):
            return (persons or all_rights)(hello, sender)
        grant = site.require(bytes.fromhex(sender.proof.removeprefix(_PROOF)))
        if persons is not None and (hello.token or not grant.role.serves):
            return persons(hello, sender)
        role = AccessLevel.ADMINISTRATOR if grant.role.serves else _HIGHEST
        return Granted(role, until_ns=int(grant.expires_s * _NANO))

    return rights
