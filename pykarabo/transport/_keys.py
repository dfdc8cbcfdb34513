"""Who may talk over TCP: programs with the right key. Everything they say is encrypted.

A domain of one user has one CURVE key pair (http://curvezmq.org/page:read-the-docs), which the
first of his programs makes and all of them share through a file that only he may read. It is the
key of both ends: whoever cannot show it is not let in, and a listener that does not have it is not
spoken to. The Unix sockets of one host need no key; see `Doorkeeper`.

In a site every member has a key of its own, and the site's list of grants says whose it is. Then
an endpoint names the key of its server, and the list must vouch for it: see `Site`.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import zmq

from pykarabo.errors import DeniedError, PykaraboError

from ._places import is_member, key_file, site_member_file
from ._ports import KEY_REASONS
from ._sockets import unreachable

if TYPE_CHECKING:
    from ._site import Site


class KeyPair(NamedTuple):
    """A CURVE key pair, 32 bytes each."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Show which pair it is, and no secret."""
        return f"KeyPair({self.public.hex()})"


class DomainKeys:
    """Encrypts the TCP connections of a domain. The key is read when the first one needs it.

    Raises (each method):
        BadConfigurationError: the key cannot be read, made or used.
        DeniedError: the site has not granted, or does not grant any more, what is needed.
    """

    def __init__(self, domain: str | None = None) -> None:
        self._domain = domain

    @cached_property
    def site(self) -> "Site | None":
        """The site that the domain belongs to on this host; None for a domain of one user."""
        return joined_site(self._domain)

    @cached_property
    def pair(self) -> KeyPair:
        """Our key pair: that of this user in the site, else the one that the domain shares."""
        if self.site is not None:
            return self.site.pair
        from ._key_file import domain_key

        return domain_key(key_file(self._domain))

    def prepare(self, endpoint: str = "") -> None:
        """See that we may speak at all, and to whom; may ask the site, and take a moment."""
        if self.site is not None:
            self.site.prepare(endpoint)

    def protect(self, socket: "zmq.Socket[Any]") -> None:
        """Make a listening socket encrypt; who may come in is the doorkeeper's to say."""
        self._introduce(socket)
        socket.setsockopt(zmq.CURVE_SERVER, 1)

    def use(self, socket: "zmq.Socket[Any]", endpoint: str) -> None:
        """Make a connecting socket encrypt, and speak to whom the endpoint belongs only."""
        self._introduce(socket)
        server = self.pair.public if self.site is None else self.site.server_key(endpoint)
        socket.setsockopt(zmq.CURVE_SERVERKEY, server)

    def _introduce(self, socket: "zmq.Socket[Any]") -> None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.pair.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.pair.secret)

    def advertised(self, endpoint: str) -> str:
        """Return what others are told of an endpoint of ours."""
        return endpoint if self.site is None else f"{endpoint}#{self.pair.public.hex()}"

    def unreachable(
        self, peer: str, endpoint: str, reason: str, *, ask: bool = False
    ) -> PykaraboError:
        """Return what to tell about a connection that could not be made, or is over.

        Args:
            peer: what the other side is called.
            reason: that of `DealerHandler.disconnected`.
            ask: ask the site, which may take a moment, if it may have to do with keys.
        """
        if self.site is None or reason not in KEY_REASONS:
            return unreachable(peer, endpoint, reason)
        try:
            told, remedy = self.site.explained(reason, ask=ask)
        except DeniedError as error:  # it is because of us
            error.details["reason"] = reason
            return error
        return unreachable(peer, endpoint, reason, told, remedy)


def joined_site(domain: str | None = None) -> "Site | None":
    """Return the site that a domain belongs to on this host, if this user has joined one."""
    if not is_member(site_member_file(domain)):
        return None
    from ._site import Site  # whoever belongs to no site needs nothing of it

    return Site(domain)
