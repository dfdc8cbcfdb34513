"""The files of a site's authority: its keys, and what it has decided.

The commands that an administrator runs and the service read and write the same file, one at a
time; the service looks at it several times a second. It works while the service is down, and
nobody can change it who may not read the keys.
"""

import contextlib
import fcntl
import json
from collections.abc import Generator
from pathlib import Path
from typing import Final

from pykarabo.errors import BadConfigurationError
from pykarabo.transport import KeyPair, load_key, make_key, site_state_file
from pykarabo.trust import (
    JoinString,
    SigningKey,
    load_signing_key,
    make_signing_key,
    read_private,
    replace_private,
)

from .model import SiteState

_FORMAT: Final = "pykarabo site 1"
_SERVICE: Final = "the key of the site's service"


class SiteStore:
    """What a domain's authority keeps on its host, below the domain's data directory."""

    def __init__(self, domain: str | None = None) -> None:
        self._state = site_state_file(domain)
        self.folder = self._state.parent

    @property
    def seen(self) -> Path:
        """File that says who was there last."""
        return self.folder / "seen.json"

    @property
    def exists(self) -> bool:
        """Whether the authority of the domain's site is on this host."""
        return self._state.exists()

    def create(self, state: SiteState) -> None:
        """Make the authority: its keys and its first state.

        Raises:
            BadConfigurationError: there is one already, or it cannot be written.
        """
        if self.exists:
            raise BadConfigurationError(
                f"the domain has a site already: {self.folder}",
                remedy="'pykarabo site show' tells how to join it; a new one needs another domain",
            )
        make_signing_key(self.folder / "site.key")
        make_key(self.folder / "service.key", _SERVICE)
        self._save(state)

    def signing_key(self) -> SigningKey:
        """Return the key that signs grants."""
        return load_signing_key(self.folder / "site.key")

    def service_key(self) -> KeyPair:
        """Return the key that the service shows."""
        return load_key(self.folder / "service.key", _SERVICE)

    def join_string(self) -> JoinString:
        """Return what others need to know to join."""
        state = self.load()
        return JoinString(state.host, state.port, self.service_key().public)

    @property
    def version(self) -> tuple[int, int]:
        """Something that is another after each change."""
        status = self._state.stat()
        return status.st_mtime_ns, status.st_ino

    def load(self) -> SiteState:
        """Read the state.

        Raises:
            BadConfigurationError: there is none here, or it is none.
        """
        try:
            stored = json.loads(read_private(self._state, "the state of the site"))
            if stored["format"] == _FORMAT:
                return SiteState.from_json(stored)
        except FileNotFoundError:
            raise BadConfigurationError(
                "the site of this domain has its administrator on another host, or there is none",
                remedy="work where 'pykarabo site init' was run, as the same user, or run it here",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadConfigurationError(
                f"{self._state} cannot be read: {error}", remedy="restore it from a copy"
            ) from None
        raise BadConfigurationError(
            f"{self._state} is of another version of pykarabo", remedy="update pykarabo"
        )

    def _save(self, state: SiteState) -> None:
        content = json.dumps({"format": _FORMAT, **state.to_json()})
        try:
            replace_private(self._state, content.encode())
        except OSError as error:
            raise BadConfigurationError(
                f"{self._state} cannot be written: {error.strerror}; nothing has changed",
                remedy="make room there, or make the directory writable",
            ) from None

    @contextlib.contextmanager
    def changed(self) -> Generator[SiteState, None, None]:
        """Yield the state to be changed; nobody else changes it meanwhile.

        It is written when the block has ended well; else nothing has happened.
        """
        self.load()  # which says so where there is none
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.load()
            yield state
            self._save(state)
