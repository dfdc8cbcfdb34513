"""Who is believed about users: the folder that makes a domain one with accounts.

=================  ==========================================  =====================
file               holds                                       is on
=================  ==========================================  =====================
``trust.json``     who is believed, and where to log in        every server's host
``programs.key``   signs the tokens of the domain's programs   every server's host
``accounts.key``   signs the tokens of users                   the service's host
=================  ==========================================  =====================

A domain without this folder has no accounts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pykarabo.errors import BadConfigurationError

from ._private_file import make_private, read_private
from ._signing import SigningKey, load_signing_key, make_signing_key

ACCOUNTS_ID: Final = "ACCOUNTS"
"""Device id of the accounts service."""
_TRUST: Final = "trust.json"
_PROGRAMS: Final = "programs.key"
_ACCOUNTS: Final = "accounts.key"
_FORMAT: Final = "pykarabo accounts 1"


@dataclass(frozen=True, slots=True)
class Issuers:
    """Whose signatures are believed about users.

    Attributes:
        keys: public keys of those who sign tokens.
        service: device id of the accounts service.
        folder: where the keys lie that sign.
    """

    keys: frozenset[bytes]
    service: str
    folder: Path

    def programs_key(self) -> SigningKey:
        """Return the key that signs the tokens of the domain's programs.

        Raises:
            BadConfigurationError: it is not here.
        """
        return load_signing_key(self.folder / _PROGRAMS)

    def accounts_key(self) -> SigningKey:
        """Return the key that signs the tokens of users.

        Raises:
            BadConfigurationError: it is not here.
        """
        return load_signing_key(self.folder / _ACCOUNTS)


def serves_accounts(folder: Path) -> bool:
    """Tell whether this is the host of the accounts service."""
    return (folder / _ACCOUNTS).exists()


def load_issuers(folder: Path) -> Issuers | None:
    """Return who is believed about users; None in a domain without accounts.

    Raises:
        BadConfigurationError: the folder is there and tells nothing; nobody may take that for a
            domain without accounts.
    """
    if not folder.exists():
        return None
    path = folder / _TRUST
    try:
        stored: Any = json.loads(read_private(path, "the list of who is believed about users"))
        return _parsed(stored, folder)
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = f"{path} does not say who is believed about users"
    raise BadConfigurationError(
        problem, remedy=f"copy it anew from the host of the accounts, or remove {folder}"
    )


def _parsed(stored: Mapping[str, Any], folder: Path) -> Issuers:
    if stored["format"] != _FORMAT:
        raise ValueError
    keys = frozenset(bytes.fromhex(key) for key in stored["issuers"].values())
    if not keys:
        raise ValueError
    return Issuers(keys, str(stored["service"]), folder)


def make_issuers(folder: Path) -> Issuers:
    """Make a domain one with accounts; returns what there is if it is one already.

    Raises:
        BadConfigurationError: the folder cannot be made.
    """
    keys = {name: make_signing_key(folder / f"{name}.key") for name in ("accounts", "programs")}
    issuers = {name: key.public.hex() for name, key in keys.items()}
    content = {"format": _FORMAT, "service": ACCOUNTS_ID, "issuers": issuers}
    try:
        make_private(folder / _TRUST, json.dumps(content, indent=1).encode())
    except OSError as error:
        raise BadConfigurationError(
            f"{folder} cannot be written: {error.strerror}", remedy="make it writable"
        ) from None
    found = load_issuers(folder)
    if found is None:
        raise BadConfigurationError(f"{folder} is gone again", remedy="try again")
    return found
