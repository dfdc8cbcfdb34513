"""Hashes of passwords, made and compared by threads of their own.

Argon2id (RFC 9106) with the costs that OWASP recommends for it: 46 MiB and one pass, about 50 ms.
Two at a time bound the memory and leave the processor to the devices; whoever would wait for long
is told so.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from pykarabo.errors import ProviderUnavailableError

AT_ONCE: Final = 2
MAX_WAITING: Final = 50
"""A second of work: whoever has his turn after that would not wait for it."""
_MEMORY_KIB: Final = 47_104
_PASSES: Final = 1
_LANES: Final = 1
_T = TypeVar("_T")


class PasswordHasher:
    """Makes and compares hashes without keeping the event loop waiting."""

    def __init__(self) -> None:
        from argon2 import PasswordHasher as Argon2

        self._argon2: Any = Argon2(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
        self._threads = ThreadPoolExecutor(AT_ONCE, "passwords")
        self._waiting = 0
        self._nobody: str = self._argon2.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """Return the hash of a new password."""
        return await self._run(lambda: str(self._argon2.hash(password)))

    async def fits(self, known: str, password: str) -> bool:
        """Tell whether a password is the one that was hashed.

        Args:
            known: the hash; empty for a user whom nobody knows. Comparing takes as long then.
        """
        matches = await self._run(lambda: self._matches(known or self._nobody, password))
        return matches and bool(known)

    def _matches(self, known: str, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return bool(self._argon2.verify(known, password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= MAX_WAITING:
            raise ProviderUnavailableError(
                f"{self._waiting} passwords wait to be compared", remedy="try again in a while"
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads when they have done what they are at."""
        self._threads.shutdown(wait=True, cancel_futures=True)
