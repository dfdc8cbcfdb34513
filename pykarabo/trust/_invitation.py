"""What an administrator hands to who is to join: the site's address with its key, and a code.

The address is no secret, but it must arrive unchanged: the key in it is how the one who joins
knows the site. The code is a secret that works once and for minutes.
"""

import base64
import hashlib
import re
import secrets
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pykarabo.errors import InvalidNameError

_SCHEME: Final = "pk"
_CODE_BYTES: Final = 10
"""80 bits: nobody guesses them in the minutes that a code works."""
_GROUP: Final = 4
_HEX_KEY: Final = re.compile(r"[0-9a-f]{64}")


class JoinString(NamedTuple):
    """Where a site is joined, and the key that its service must have."""

    host: str
    port: int
    key: bytes

    def __str__(self) -> str:
        return f"{_SCHEME}://{_bracketed(self.host)}:{self.port}#{self.key.hex()}"

    @property
    def endpoint(self) -> str:
        """Where the service listens."""
        return f"tcp://{_bracketed(self.host)}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "JoinString":
        """Read a join string.

        Raises:
            InvalidNameError: it is none, or a part of it is missing.
        """
        try:
            parts = urlsplit(text.strip())
            is_whole = parts.scheme == _SCHEME and _HEX_KEY.fullmatch(parts.fragment)
            if is_whole and parts.hostname and parts.port:
                return cls(parts.hostname, parts.port, bytes.fromhex(parts.fragment))
        except ValueError:
            pass
        raise InvalidNameError(
            f"'{text}' is no join string, or not all of it",
            remedy="copy what 'pykarabo site show' prints, in quotes: 'pk://HOST:PORT#KEY'",
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def make_code() -> str:
    """Return a new invitation code, as people copy it: ``ABCD-EFGH-IJKL-MNOP``."""
    text = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def code_digest(code: str) -> str:
    """Return what is kept of a code: it tells whether one is the same, and not which it is.

    A code has 80 random bits, so that no slow hash is needed to keep it from being found.
    """
    plain = re.sub(r"[\s-]", "", code).upper()
    return hashlib.sha256(plain.encode()).hexdigest()
