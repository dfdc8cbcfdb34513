"""Running a call once, however often it is sent: the memory of a server for keyed calls.

A caller that lost its connection cannot know whether its call ran. With a key of its own it may
send the call again: the server runs it only if it has not seen the key, and otherwise gives the
answer that it gave, or will give. The memory belongs to one life of the server and is bounded; a
key that was forgotten would be run again, so callers give up long before.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from pykarabo.data import AccessLevel, encode
from pykarabo.errors import DeniedError, NotExecutedError, PykaraboError, WrongTypeError

from ._requests import request_body
from ._server_session import Execute

KEPT_S: Final = 600.0
MAX_KEPT: Final = 10_000


@dataclass(slots=True)
class Outcome:
    """How a keyed call ended.

    Attributes:
        result, sequence: what `ServerSessions.reply` gets.
        error: what `ServerSessions.fail` gets instead.
    """

    result: Any = None
    sequence: int = 0
    error: PykaraboError | None = None


@dataclass(slots=True)
class _Keyed:
    digest: bytes
    begun_ns: int
    role: AccessLevel
    waiting: list[Execute] = field(default_factory=list[Execute])
    outcome: Outcome | None = None


class OnceMemory:
    """The keyed calls of one server."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, _Keyed] = OrderedDict()
        self._key_of: dict[tuple[bytes, bytes], str] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def begin(self, key: str, call: Execute, now_ns: int) -> Outcome | bool:
        """Note a keyed call.

        Returns:
            True when it is new and must be run; False when the same call is running, whose end
            will answer this one too; its outcome when it has ended.

        Raises:
            WrongTypeError: the key was used for another call.
            DeniedError: whoever made the call first has a higher role, and alone gets its answer.
        """
        self._forget(now_ns)
        known = self._calls.get(key)
        digest = _digest(call)
        if known is None:
            self._calls[key] = _Keyed(digest, now_ns, call.role)
            return True
        if known.digest != digest:
            raise WrongTypeError(
                f"the key '{key}' was used for another call", remedy="take a new key for each call"
            )
        if call.role < known.role:
            raise DeniedError(
                f"the key '{key}' was used with the role {known.role.name.lower()}",
                remedy="take a new key for each call, or connect with that role again",
                details={"required": known.role.name, "have": call.role.name},
            )
        if known.outcome is not None:
            return known.outcome
        known.waiting.append(call)
        self._key_of[call.peer, call.call_id] = key
        return False

    def give_up(self, peer: bytes, call_id: bytes) -> Execute | None:
        """Forget a call that waits for the end of another, and return it; None if it does not."""
        key = self._key_of.pop((peer, call_id), None)
        if key is None:
            return None
        waiting = self._calls[key].waiting
        place = [(call.peer, call.call_id) for call in waiting].index((peer, call_id))
        return waiting.pop(place)

    def end(self, key: str, outcome: Outcome) -> list[Execute]:
        """Note how a keyed call ended; returns the calls that get the same answer.

        A call that certainly did not run is forgotten: sent again, it may run.
        """
        known = self._calls[key]
        known.outcome = outcome
        waiting, known.waiting = known.waiting, []
        for call in waiting:
            self._key_of.pop((call.peer, call.call_id), None)
        error = outcome.error
        if isinstance(error, NotExecutedError) and not error.foreign:
            del self._calls[key]
        return waiting

    def _forget(self, now_ns: int) -> None:
        """Forget what ended long ago, and the oldest of too many; never what still runs."""
        limit_ns = now_ns - int(KEPT_S * 1e9)
        while self._calls:
            key, oldest = next(iter(self._calls.items()))
            if oldest.outcome is None:
                self._calls.move_to_end(key)
                return
            if len(self._calls) < MAX_KEPT and oldest.begun_ns > limit_ns:
                return
            del self._calls[key]


def _digest(call: Execute) -> bytes:
    digest = hashlib.blake2b(call.instance, digest_size=16)
    for frame in encode(request_body(call.request)):
        digest.update(frame)
    return digest.digest()
