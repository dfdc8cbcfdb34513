"""Who may talk over TCP: programs that hold the domain's key. Everything they say is encrypted.

A domain of one user has one CURVE key pair (http://curvezmq.org/page:read-the-docs), which the
first of his programs makes and all of them share through a file that only he may read. It is the
key of both ends: whoever cannot show it is not let in, and a listener that does not have it is not
spoken to. The Unix sockets of one host need no key; see `Doorkeeper`.
"""

from typing import Any, NamedTuple

import zmq

from ._places import key_file


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
    """

    def __init__(self, domain: str | None = None) -> None:
        self._domain = domain
        self._pair: KeyPair | None = None

    @property
    def pair(self) -> KeyPair:
        """The key pair that the domain's programs share."""
        if self._pair is None:
            from ._key_file import domain_key

            self._pair = domain_key(key_file(self._domain))
        return self._pair

    def protect(self, socket: "zmq.Socket[Any]") -> None:
        """Make a listening socket encrypt; who may come in is the doorkeeper's to say."""
        self._introduce(socket)
        socket.setsockopt(zmq.CURVE_SERVER, 1)

    def use(self, socket: "zmq.Socket[Any]") -> None:
        """Make a connecting socket encrypt, and speak to holders of the domain's key only."""
        self._introduce(socket)
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.pair.public)

    def _introduce(self, socket: "zmq.Socket[Any]") -> None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.pair.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.pair.secret)
