"""A domain with accounts, its service, and a device with a command of each level."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from pykarabo.client import BlockingClient, own_proofs
from pykarabo.data import AccessLevel, Int64
from pykarabo.device import Device, command, serve
from pykarabo.errors import DeniedError
from pykarabo.transport import accounts_folder
from pykarabo.trust import ACCOUNTS_ID, make_issuers
from pykarabo.wire import Call
from pykarabo_services.accounts.code import new_code
from pykarabo_services.accounts.main import Accounts

PROBE: Final = "T/PROBE/1"
ADMIN: Final = "root.of.all"
PASSWORD: Final = "correct horse battery"
PATIENCE_S: Final = 20.0


def _runner(level: AccessLevel) -> Any:
    async def run(self: Any) -> str:
        self.executed += 1
        return str(self.caller.identity.user)

    return command(access_level=level, name=f"run_{level.name.lower()}")(run)


class _Base(Device):
    """Has a command of each level."""

    executed = Int64(read_only=True)


Probe: Final = type(
    "Probe", (_Base,), {f"run_{level.name.lower()}": _runner(level) for level in AccessLevel}
)


@dataclass(frozen=True, slots=True)
class Facility:
    """A domain with accounts that is served by the test's process."""

    stack: ExitStack

    def client(self, token: bytes = b"") -> BlockingClient:
        """Return a client that shows a token."""
        return self.stack.enter_context(BlockingClient(login=lambda: token))

    def ask(self, client: BlockingClient, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run a command of the service."""
        call = Call(ACCOUNTS_ID, name, list(args), kwargs)
        return client.request(ACCOUNTS_ID, call, timeout_s=PATIENCE_S)

    def login(
        self,
        user: str,
        password: str = PASSWORD,
        *,
        client: BlockingClient | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Log in with a password."""
        given: dict[str, Any] = self.ask(
            client or self.client(), "login", user, password, list(own_proofs()), **more
        )
        return given

    def as_user(self, user: str, password: str = PASSWORD, **more: Any) -> BlockingClient:
        """Return a client of somebody who has logged in."""
        return self.client(self.login(user, password, **more)["token"])

    def admin(self) -> BlockingClient:
        """Return a client of the administrator."""
        return self.as_user(ADMIN)

    def add(self, user: str, role: str = "operator", **more: Any) -> None:
        """Let somebody log in."""
        self.ask(self.admin(), "add_user", user, PASSWORD, role, **more)


def highest(client: BlockingClient) -> AccessLevel:
    """Return the highest level of whose commands a client may run, by trying all of them."""
    allowed = [level for level in AccessLevel if may(client, level)]
    assert allowed == [level for level in AccessLevel if level <= allowed[-1]]
    return allowed[-1]


def may(client: BlockingClient, level: AccessLevel) -> bool:
    """Tell whether a client may run a command of a level, by trying."""
    try:
        client.request(PROBE, Call(PROBE, f"run_{level.name.lower()}"))
    except DeniedError:
        return False
    return True


@pytest.fixture
def start(short_runtime: Path) -> Iterator[Callable[[], Facility]]:
    """Return what serves a domain with accounts, and its first administrator."""
    assert short_runtime.exists()
    make_issuers(accounts_folder())
    with ExitStack() as stack:

        def started() -> Facility:
            devices = {ACCOUNTS_ID: Accounts, PROBE: Probe}
            stack.enter_context(serve(devices, server_id="T/SERVER"))
            facility = Facility(stack)
            code = new_code(accounts_folder(), time.time())
            facility.ask(facility.client(), "claim", code, ADMIN, PASSWORD)
            return facility

        yield started


@pytest.fixture
def facility(start: Callable[[], Facility]) -> Facility:
    """Serve a domain with accounts and no other provider."""
    return start()
