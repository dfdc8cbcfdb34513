"""Membership in a site: who we are there, and whom the site's list of grants vouches for.

A user joins a site once on each host, and all his programs there share what that left in
``$XDG_CONFIG_HOME/pykarabo/<domain>/site/<host>/``: a key of their own, the public key of the site,
and the latest list of grants. Each program reads the list again when another has stored a newer
one, so that a server judges who connects, and a client whom it connects to, while nobody of the
site can be asked.
"""

import contextlib
import errno
import fcntl
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pykarabo.errors import BadConfigurationError, DeniedError, NotConnectedError, PykaraboError
from pykarabo.trust import (
    Grant,
    GrantList,
    JoinString,
    make_private,
    read_private,
    replace_private,
)

from ._key_file import load_key, make_key
from ._keys import KeyPair
from ._places import is_member, site_member_file
from ._ports import NOT_ADMITTED, OTHER_KEY

_log: Final = logging.getLogger(__name__)
_FORMAT: Final = "pykarabo site member 1"
_OWN_KEY: Final = "this host's key to the site"
ASK_AGAIN_S: Final = 30.0
"""Programs that live for a moment ask the site no more often than that."""
RECENT_S: Final = 1.0
"""What was told so lately is not asked again because something does not go well."""
JUST_NOW_S: Final = 0.2
"""Who is not admitted asks unless he was told so lately: something has changed since."""
CONSULT_S: Final = 0.7
"""A service in the same network answers in milliseconds; one that is away must not delay us."""
_ANOTHER: Final = "it has another key than the site knows, or stopped just now"
_TELL: Final = (
    "if its server was given a new key, start that server again; if nobody knows of one, somebody "
    "else listens there: tell the site's administrator"
)
_NO_MEMBER: Final = "no program of this site listens there: 'pykarabo status' shows what there is"
_OLD_LIST: Final = (
    "its log says why; if it says that we have no grant, it does not reach the site's service"
)
_FOR_NOW: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""A host that has no room for another open file must not take everybody for a stranger."""
_KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Membership:
    """What joining has left.

    Attributes:
        name: of the member.
        service: where the site is asked, and the key that answers there.
        address: of this host, as the site sees it; servers listen there.
        signers: public keys that may sign lists of grants.
    """

    name: str
    service: JoinString
    address: str
    signers: tuple[bytes, ...]


class Site:
    """The site that a domain belongs to on this host.

    Args:
        now_s: tells the time in seconds of UTC.

    Raises (each method):
        BadConfigurationError: a file is missing, or says nothing that is known.
    """

    def __init__(
        self, domain: str | None = None, *, now_s: Callable[[], float] = time.time
    ) -> None:
        self._member = site_member_file(domain)
        self.folder = self._member.parent
        self.now_s = now_s
        self._list = self.folder / "grants"
        self._asked = self.folder / "asked"
        self._known: tuple[tuple[int, int], GrantList] | None = None

    @property
    def joined(self) -> bool:
        """Whether this user has joined a site on this host."""
        return is_member(self._member)

    @property
    def address(self) -> str:
        """The address of this host in the site."""
        return self.membership.address

    @cached_property
    def pair(self) -> KeyPair:
        """Our own key."""
        return load_key(self.folder / "key", _OWN_KEY)

    def make_key(self, *, again: bool = False) -> KeyPair:
        """Return a key to join with, made if there is none; `again` makes another one."""
        name = "new-key" if again else "key"
        return make_key(self.folder / name, _OWN_KEY)

    def take_new_key(self) -> None:
        """Use the key that `make_key` made again from now on; programs that run have the old."""
        (self.folder / "new-key").replace(self.folder / "key")
        self.__dict__.pop("pair", None)

    @property
    def membership(self) -> Membership:
        """What joining has left."""
        try:
            stored: Any = json.loads(read_private(self._member, "the membership in the site"))
            if stored["format"] == _FORMAT:
                return Membership(
                    stored["name"],
                    JoinString.parse(stored["service"]),
                    stored["address"],
                    tuple(bytes.fromhex(key) for key in stored["signers"]),
                )
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise BadConfigurationError(
            f"{self._member} says nothing of a site", remedy="join again: pykarabo site join"
        )

    def _save_member(self, member: Membership) -> None:
        stored = {
            "format": _FORMAT,
            "name": member.name,
            "service": str(member.service),
            "address": member.address,
            "signers": [key.hex() for key in member.signers],
        }
        replace_private(self._member, json.dumps(stored).encode())

    def join(self, member: Membership, blob: bytes) -> None:
        """Keep what joining has left: from now on the domain is that site's.

        Raises:
            DeniedError: the list is not signed by the site.
        """
        GrantList.opened(blob, member.signers, now_s=self.now_s())
        with self._alone():
            replace_private(self._list, blob)
            self._save_member(member)

    # -- the list of grants ---------------------------------------------------------------------

    @property
    def grants(self) -> GrantList:
        """The latest list that any program of this user here has heard of.

        Raises:
            DeniedError: it has expired, or the site has not signed it.
        """
        try:
            status = self._list.stat()
            version = status.st_mtime_ns, status.st_ino
            if self._known is None or self._known[0] != version:
                self._known = version, self._opened(read_private(self._list, "the list of grants"))
        except OSError as error:
            if self._known is not None and error.errno in _FOR_NOW:
                return self._known[1]
            raise BadConfigurationError(
                f"the site's list of grants, {self._list}, cannot be read: {error.strerror}",
                remedy="join again: pykarabo site join",
            ) from None
        return self._known[1]

    def _opened(self, blob: bytes) -> GrantList:
        return GrantList.opened(blob, self.membership.signers, now_s=self.now_s())

    def take(self, blob: bytes) -> bool:
        """Keep a list if it is newer than what is known; returns whether it was.

        Raises:
            DeniedError: the site has not signed it.
        """
        with self._alone():
            new = self._opened(blob)
            with contextlib.suppress(DeniedError, BadConfigurationError):
                if new.number <= self.grants.number:
                    return False
            replace_private(self._list, blob)
            member = self.membership
            if new.signers != member.signers:
                self._save_member(
                    Membership(member.name, member.service, member.address, new.signers)
                )
        return True

    def require(self, key: bytes) -> Grant:
        """Return the grant of a key; raises `DeniedError` if it has none now."""
        return self.grants.require(key, now_s=self.now_s())

    def refusal(self, key: bytes) -> str:
        """Return why a key has no grant now; empty when it has one."""
        try:
            self.require(key)
        except PykaraboError as error:  # also a list that cannot be read: then nobody has one
            return error.message
        return ""

    def require_own(self) -> Grant:
        """Return our own grant; raises `DeniedError` if we have none any more."""
        return self.require(self.pair.public)

    def server_key(self, endpoint: str) -> bytes:
        """Return the key that whoever listens at an endpoint must have.

        Raises:
            DeniedError: the site does not vouch for it.
        """
        address, _, text = endpoint.partition("#")
        if not _KEY.fullmatch(text):
            raise DeniedError(
                f"{address} does not say which key its server has, and this domain belongs to a "
                "site",
                remedy="write the endpoint as 'pykarabo site show' does: tcp://HOST:PORT#KEY",
            )
        key = bytes.fromhex(text)
        try:
            self.grants.require_server(key, now_s=self.now_s())
        except DeniedError as error:
            error.message = f"{address} is no server of this site: {error.message}"
            raise
        return key

    # -- asking the site ------------------------------------------------------------------------

    def prepare(self, endpoint: str = "") -> None:
        """See that we may connect, or listen, before anything is sent.

        A service that cannot be reached keeps nobody from working with the list that is known.

        Args:
            endpoint: what is to be connected to; empty for nothing yet.

        Raises:
            DeniedError, ClockError: what the site has against it.
        """
        if self._age_of_answer() > ASK_AGAIN_S:
            self.consult()
        try:
            self._require(endpoint)
        except DeniedError:
            if self._age_of_answer() <= RECENT_S:
                raise
            self.consult()  # the other side may have joined just now
            self._require(endpoint)

    def _require(self, endpoint: str) -> None:
        self.require_own()
        if endpoint:
            self.server_key(endpoint)

    def _age_of_answer(self) -> float:
        try:
            return abs(self.now_s() - self._asked.stat().st_mtime)
        except OSError:
            return math.inf

    def consult(self, *, timeout_s: float = CONSULT_S) -> None:
        """Ask the site's service for a newer list, if it is there.

        Raises:
            DeniedError, ClockError: what it has against us.
        """
        from ._site_link import SiteLink, require_same_time

        self._asked.unlink(missing_ok=True)
        with SiteLink(self.membership.service, self.pair) as link:
            try:
                link.open(timeout_s)
                answer = link.ask(self.question(), timeout_s=timeout_s)
            except NotConnectedError as error:
                _log.info("%s", error)
                answer = {}
        if answer:
            require_same_time(float(answer["time"]), self.now_s(), "this host")
            self.learn(answer)
        self._asked.touch()
        os.utime(self._asked, (self.now_s(), self.now_s()))

    def vouch_for_users(self, issuer: bytes) -> None:
        """Have the whole site believe tokens of users that `issuer` has signed.

        Raises:
            DeniedError: we were not invited for that.
            NotConnectedError: the site's service does not answer.
        """
        from ._site_link import SiteLink

        with SiteLink(self.membership.service, self.pair) as link:
            link.open()
            self.learn(link.ask({"op": "vouch", "key": issuer}))

    def question(self) -> dict[str, Any]:
        """Return what to ask the service for news."""
        number = -1
        with contextlib.suppress(DeniedError):
            number = self.grants.number
        return {"op": "list", "have": number}

    def learn(self, answer: Mapping[str, Any]) -> bool:
        """Take what the service has told; returns whether there is a newer list."""
        blob = answer.get("list")
        return isinstance(blob, bytes) and bool(blob) and self.take(blob)

    def explained(self, reason: str, *, ask: bool = False) -> tuple[str, str]:
        """Return why there is no connection, and what helps, as far as is known.

        Args:
            ask: ask the site, which may take a moment, whether it is because of us.

        Raises:
            DeniedError: it is.
        """
        if reason == OTHER_KEY:
            return _ANOTHER, _TELL
        if reason != NOT_ADMITTED:
            return reason, _NO_MEMBER
        if ask and self._age_of_answer() > JUST_NOW_S:
            self.consult()
        self.require_own()
        return reason, _OLD_LIST

    @contextlib.contextmanager
    def _alone(self) -> Generator[None, None, None]:
        make_private(self.folder / "lock", b"")
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
