"""Users of the host, by PAM: a process of its own asks, which can be ended when it hangs.

What PAM is made of is the host's matter; some of it is slow on purpose, and some of it crashes.
"""

import asyncio
import json
import sys
from typing import Any, Final

from pykarabo.errors import BadConfigurationError, ProviderUnavailableError
from pykarabo_services.accounts.model import DeviceLogin, Person, RoleMap

_PROGRAM: Final = "pykarabo_services.accounts.pam_check"


class PamProvider:
    """Asks the host's PAM; meets `model.AuthProvider`.

    Args:
        service: which of the services in ``/etc/pam.d`` decides.
    """

    asks_password = True

    def __init__(self, *, name: str, roles: RoleMap, service: str) -> None:
        self.name = name
        self.roles = roles
        self._service = service

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def check(self, user: str, password: str) -> Person | None:
        """Return who it is, or None if that is no user here or not his password."""
        question = {"service": self._service, "user": user, "password": password}
        answer = await self._asked(json.dumps(question).encode())
        if "problem" in answer:
            raise self._unavailable(str(answer["problem"]))
        return Person(user, frozenset(answer["groups"])) if answer["fits"] else None

    async def _asked(self, question: bytes) -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", _PROGRAM,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            told, _ = await process.communicate(question)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        try:
            return json.loads(told)
        except ValueError:
            raise self._unavailable(f"it ended with {process.returncode}") from None

    def _unavailable(self, reason: str) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            f"'{self.name}' (PAM service {self._service}) cannot tell: {reason}",
            remedy="try again; users with a password of this domain can log in",
        )

    async def begin(self) -> DeviceLogin:
        """Refuse: users log in with a password."""
        raise _needs_password(self.name)

    async def finish(self, handle: str) -> Person | None:
        """Refuse: users log in with a password."""
        raise _needs_password(self.name)


def _needs_password(name: str) -> BadConfigurationError:
    return BadConfigurationError(
        f"users of '{name}' log in with a password", remedy=f"pykarabo login --provider {name}"
    )
