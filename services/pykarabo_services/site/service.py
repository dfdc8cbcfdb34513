"""The service of a site: takes those in who have an invitation, and tells members who is one."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pykarabo.errors import BusyError, DeniedError, MalformedMessageError, PykaraboError
from pykarabo.transport import Asker, SiteListener, require_same_time
from pykarabo.trust import replace_private

from .model import SiteStorage

_log: Final = logging.getLogger(__name__)
WRONG_CODES: Final = 5
"""So many wrong codes a minute are mistakes; nobody guesses one of 80 bits."""
_MINUTE_S: Final = 60.0
_MAX_ADDRESSES: Final = 10_000
KEY_BYTES: Final = 32
SIGN_ANEW_S: Final = 86_400.0
"""A list holds for 90 days: one that nobody has changed must not run out."""
_MOST: Final = 2**53
SEEN_S: Final = 2.0
"""How often it is noted who was there."""


class WrongCodes:
    """Counts wrong codes by address."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def require_few(self, address: str, now_s: float) -> None:
        """Refuse an address with too many of them; raises `BusyError`."""
        recent = [at for at in self._times.get(address, ()) if now_s - at < _MINUTE_S]
        if len(recent) >= WRONG_CODES:
            raise BusyError(
                f"{len(recent)} wrong codes came from {address} within a minute",
                remedy="wait a minute, and copy the code as 'pykarabo site invite' printed it",
            )
        self._times[address] = recent

    def count(self, address: str, now_s: float) -> None:
        """Take note of a wrong one."""
        if len(self._times) >= _MAX_ADDRESSES:
            self._times.clear()
        self._times.setdefault(address, []).append(now_s)


class Seen:
    """When each key was last there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times: dict[str, float] = seen_times(path)
        self._saved_s = 0.0

    def note(self, key: bytes, now_s: float) -> None:
        """Take note that somebody is there."""
        self._times[key.hex()] = now_s
        if now_s - self._saved_s >= SEEN_S:
            self._saved_s = now_s
            self.save()

    def save(self) -> None:
        """Write it down; nothing depends on it."""
        try:
            replace_private(self._path, json.dumps(self._times).encode())
        except OSError as error:
            _log.warning("who was there cannot be noted: %s", error)


def seen_times(path: Path) -> dict[str, float]:
    """Return when each key was last there, by its hex form; nothing where that is not known."""
    try:
        stored = json.loads(path.read_bytes())
        return {str(key): float(at) for key, at in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


class SiteCounts(NamedTuple):
    """What the service shows of itself."""

    number: int
    members: int
    refused: int


class SiteService:
    """Answers for the authority of a site; use it as a context manager.

    Args:
        now_s: tells the time in seconds of UTC.

    Raises:
        BadConfigurationError: the authority is not on this host, or its port is taken.
    """

    def __init__(self, store: SiteStorage, *, now_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now_s = now_s
        self._signer = store.signing_key()
        self._wrong = WrongCodes()
        self._refused = 0
        self._seen = Seen(store.seen)
        self._version = store.version
        self._state = store.load()
        self._sign(self._now_s())
        self._listener = SiteListener(
            self._state.host,
            self._state.port,
            store.service_key(),
            answer=self._answer,
            news=self._news,
            hears=lambda key: key in self._state.grants or key in self._state.revoked,
        )

    def __enter__(self) -> "SiteService":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer no more."""
        self._listener.close()
        self._seen.save()

    @property
    def alive(self) -> bool:
        """Whether questions are answered."""
        return self._listener.alive

    def counts(self, now_s: float) -> SiteCounts:
        """Return what there is to show."""
        members = sum(grant.expires_s > now_s for grant in self._list.grants.values())
        return SiteCounts(self._list.number, members, self._refused)

    # -- in the listener's thread ---------------------------------------------------------------

    def _sign(self, now_s: float) -> None:
        self._list = self._state.granted([self._signer.public])
        self._blob = self._list.signed(self._signer, now_s=now_s)
        self._signed_s = now_s
        self._untold = True

    def _news(self) -> dict[str, Any] | None:
        """Look whether somebody has changed something; returns what members are told then."""
        try:
            self._look()
        except (OSError, PykaraboError):  # a full disk, a file that somebody edits: not for ever
            _log.exception("what the site decides cannot be read")
        untold, self._untold = self._untold, False
        return {"list": self._blob} if untold else None

    def _look(self) -> None:
        now_s = self._now_s()
        if now_s - self._signed_s >= SIGN_ANEW_S:
            with self._store.changed() as state:
                state.number += 1
        version = self._store.version
        if version == self._version:
            return
        self._version, number = version, self._state.number
        self._state = self._store.load()
        if self._state.number != number:  # else somebody was invited: that is no member's business
            self._sign(now_s)

    def _answer(self, asker: Asker, question: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._answered(asker, question)
        except PykaraboError as error:
            self._refused += 1
            _log.warning("refused %s from %s: %s", question.get("op"), asker.address, error)
            raise

    def _answered(self, asker: Asker, question: Mapping[str, Any]) -> dict[str, Any]:
        now_s, theirs_s = self._now_s(), question.get("time")
        if not isinstance(theirs_s, float):
            raise _malformed("a question to the site's service without a time")
        match question.get("op"):
            case "enrol":
                return self._enrol(asker, question, now_s, theirs_s)
            case "list":
                return self._tell(asker, question, now_s)
            case "rotate":
                return self._replace_key(asker, question, now_s)
            case "vouch":
                return self._let_vouch(asker, question, now_s)
            case _:
                raise _malformed("a question that the site's service does not know")

    def _enrol(
        self, asker: Asker, question: Mapping[str, Any], now_s: float, theirs_s: float
    ) -> dict[str, Any]:
        self._wrong.require_few(asker.address, now_s)
        code, name, host = (_text(question, key) for key in ("code", "name", "host"))
        require_same_time(now_s, theirs_s, f"host '{host}'")
        try:
            with self._store.changed() as state:
                grant = state.enrol(code, asker.key, name=name, host=host, now_s=now_s)
        except DeniedError:
            self._wrong.count(asker.address, now_s)
            raise
        _log.info("'%s' has joined from %s as %s", grant.name, asker.address, grant.role)
        self._seen.note(asker.key, now_s)
        self._look()
        return {
            "name": grant.name,
            "role": str(grant.role),
            "list": self._blob,
            "signers": [self._signer.public],
            "time": now_s,
        }

    def _tell(self, asker: Asker, question: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        # Whoever is shut out gets the list that says so: his own programs must not go on with
        # the one that they have.
        if asker.key not in self._state.revoked:
            self._list.require(asker.key, now_s=now_s)
        self._seen.note(asker.key, now_s)
        if self._state.is_due(asker.key, now_s):
            with self._store.changed() as state:
                state.renew(asker.key, now_s)
            self._look()
        have = question.get("have")
        if isinstance(have, int) and self._list.number < have < _MOST:
            self._overtake(asker, have)
        is_known = have == self._list.number
        return {"list": b"" if is_known else self._blob, "time": now_s}

    def _overtake(self, asker: Asker, number: int) -> None:
        """Number lists so that members take them who know a later one than we do.

        It is as after the authority's files came from a copy: whoever was shut out since is in
        again, which only the administrator can know.
        """
        _log.error(
            "a member at %s knows list %d, and this is %d: were the site's files restored from a "
            "copy? Look at 'pykarabo site keys', and shut out again who is to be",
            asker.address, number, self._list.number,
        )  # fmt: skip
        with self._store.changed() as state:
            state.number = number + 1
        self._look()

    def _replace_key(
        self, asker: Asker, question: Mapping[str, Any], now_s: float
    ) -> dict[str, Any]:
        with self._store.changed() as state:
            grant = state.replace_key(asker.key, _key(question), now_s=now_s)
        _log.info("'%s' has another key from now on", grant.name)
        self._look()
        return {"list": self._blob, "time": now_s}

    def _let_vouch(self, asker: Asker, question: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        with self._store.changed() as state:
            state.let_vouch(asker.key, _key(question), now_s=now_s)
        self._look()
        return {"list": self._blob, "time": now_s}


def _key(question: Mapping[str, Any]) -> bytes:
    key = question.get("key")
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise _malformed("a key that is none")
    return key


def _malformed(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, remedy="update pykarabo on the host that asks")


def _text(question: Mapping[str, Any], key: str) -> str:
    value = question.get(key)
    if not isinstance(value, str):
        raise _malformed(f"who wants to join says no {key}")
    return value
