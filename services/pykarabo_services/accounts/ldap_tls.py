"""TLS for ldap3 as Python itself does it: the certificate must be the server's own.

Importing ldap3 tells of names of pyasn1 that are deprecated; that is nobody's business here.
"""

import ssl
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from ldap3 import Tls

__all__ = ["CheckedTls"]


class CheckedTls(Tls):  # type: ignore[misc]  # ldap3 has no types
    """Checks the certificate and the name in it, by the host's certificates or those of a file."""

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Encrypt a connection."""
        del do_handshake  # always
        context = ssl.create_default_context(cafile=self.ca_certs_file)
        connection.socket = context.wrap_socket(
            connection.socket, server_hostname=connection.server.host
        )
