"""What one replica of the directory is told of a server, and what it says of it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Any, Final, Protocol

from pykarabo.client import PAGE, DeviceRecord, ServerRecord
from pykarabo.errors import DiskFullError, PykaraboError
from pykarabo.wire import RENEW_S

_log: Final = logging.getLogger(__name__)
FIRST_RETRY_S: Final = 0.1
"""A directory that is being started on the same host is there soon."""
RETRY_S: Final = 0.5
"""A replica that was lost is looked for twice a second."""
ANSWER_S: Final = 3.0
"""A replica that needs longer is lost; two renewals fit before it would miss this server."""

Ask = Callable[..., Awaitable[Any]]
"""Runs a command of the replica: ``ask(endpoint, command, *args, timeout_s=...)``."""


class Presence(Protocol):
    """All that a server has to tell."""

    @property
    def instance(self) -> str:
        """Hex of the server's life."""
        ...

    @property
    def lag_s(self) -> float:
        """How late its event loop ran last."""
        ...

    def record(self) -> ServerRecord:
        """Return what is told of the server."""
        ...

    def devices(self, endpoint: str) -> list[DeviceRecord]:
        """Return what is told of its devices to the replica there."""
        ...

    def claims(self, endpoint: str) -> dict[str, int]:
        """Return the fencing numbers of its device ids for the replica there."""
        ...

    def lost(self, errors: Iterable[PykaraboError]) -> None:
        """Take note of device ids that a twin holds by an older grant."""
        ...


class Replica:
    """Keeps the knowledge of one replica up to date.

    Attributes:
        connected: whether it has answered last time.
        problem: why it has not.
    """

    def __init__(self, endpoint: str, ask: Ask, presence: Presence) -> None:
        self.endpoint = endpoint
        self.connected = False
        self.problem: PykaraboError | None = None
        self._ask = ask
        self._presence = presence
        self._registered = False
        self._changed: dict[str, DeviceRecord] = {}
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()

    async def ask(self, command: str, *args: Any) -> Any:
        """Run a command there; a failure has everything told again."""
        try:
            return await self._ask(self.endpoint, command, *args, timeout_s=ANSWER_S)
        except DiskFullError:  # it answers
            raise
        except PykaraboError as error:
            self._lost_contact(error)
            raise

    def _lost_contact(self, error: PykaraboError) -> None:
        if self.connected:
            _log.warning("the directory at %s does not answer: %s", self.endpoint, error)
        self.connected = self._registered = False
        self.problem = error

    def tell_soon(self, record: DeviceRecord) -> None:
        """Have a new or changed record told with the next message."""
        self._changed[record.device_id] = record
        self._news.set()

    def forget(self, device_id: str) -> None:
        """Tell no more of a device."""
        self._changed.pop(device_id, None)

    async def keep(self, progress: Callable[[], None]) -> None:
        """Renew the lease, tell news, register again when the replica was restarted or lost."""
        retry_s = FIRST_RETRY_S
        while True:
            if await self.tell():
                retry_s = RETRY_S
            progress()
            if not self.connected:
                await asyncio.sleep(retry_s)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S):
                    await self._news.wait()

    async def tell(self) -> bool:
        """Tell what there is to tell; returns whether the replica has taken it."""
        async with self._turn:
            self._news.clear()
            try:
                if not (self._registered and await self._renew()):
                    await self._register()
            except PykaraboError:
                return False
            self.connected = True
            self.problem = None
            return True

    async def _renew(self) -> bool:
        while True:
            page = [self._changed.pop(name) for name in list(islice(self._changed, PAGE))]
            lost = await self.ask(
                "renew",
                self._presence.instance,
                [record.to_wire() for record in page],
                self._presence.lag_s,
            )
            if lost is None:
                _log.info("the directory at %s was restarted: registering again", self.endpoint)
                return False
            self._presence.lost(map(PykaraboError.from_wire, lost))
            if not self._changed:
                return True

    async def _register(self) -> None:
        devices = self._presence.devices(self.endpoint)
        # What does not fit waits where `forget` reaches it: what is released must not be told.
        self._changed = {record.device_id: record for record in devices[PAGE:]}
        lost = await self.ask(
            "register",
            self._presence.record().to_wire(),
            [record.to_wire() for record in devices[:PAGE]],
            self._presence.claims(self.endpoint),
        )
        self._registered = True
        self._presence.lost(map(PykaraboError.from_wire, lost))
        if self._changed:
            await self._renew()
