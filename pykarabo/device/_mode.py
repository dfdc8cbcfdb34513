"""What a server knows of its domain's mode."""

import logging
from typing import Any, Final

from pykarabo.client import (
    DIRECTORY_ID,
    MODE_COMMAND,
    MODE_KEY,
    REMIND_COMMAND,
    Change,
    Client,
    DomainMode,
    Live,
    Update,
)
from pykarabo.errors import PykaraboError
from pykarabo.transport import TaskOwner
from pykarabo.wire import Choice

_log: Final = logging.getLogger(__name__)
_ONLY_THIS: Final = Choice(keys=(MODE_KEY,))


class ModeWatch:
    """Follows the directory, whose replicas know what an administrator has said.

    A replica that was away while he said it is reminded.

    Args:
        tasks: whose tasks remind replicas.

    Attributes:
        mode: the latest one of all that were heard of.
    """

    def __init__(self, client: Client, tasks: TaskOwner) -> None:
        self.mode = DomainMode()
        self._client = client
        self._tasks = tasks
        self._follows = False

    async def start(self) -> None:
        """Ask every replica that answers, and follow from now on."""
        for endpoint in self._client.access.endpoints:
            try:
                self._take(await self._client.ask_replica(endpoint, MODE_COMMAND))
            except PykaraboError as error:
                _log.warning("the directory at %s does not tell its mode: %s", endpoint, error)
        self._client.follow(DIRECTORY_ID, self._update, _ONLY_THIS, latest=True)
        self._follows = True

    def _update(self, update: Update) -> None:
        if isinstance(update, Change | Live) and (value := update.values.get(MODE_KEY)) is not None:
            self._take(value.value)

    def _take(self, wire: Any) -> None:
        told = DomainMode.from_wire(wire)
        if told.changed_ns > self.mode.changed_ns:
            if self.mode.changed_ns or told.read_only:
                _log.warning("the domain %s", told)
            self.mode = told
        elif told.changed_ns < self.mode.changed_ns:
            self._tasks.spawn(self._remind(self.mode), name="remind the directory")

    async def _remind(self, mode: DomainMode) -> None:
        for endpoint in self._client.access.endpoints:
            try:
                await self._client.ask_replica(endpoint, REMIND_COMMAND, mode.to_wire())
            except PykaraboError as error:
                _log.warning("the directory at %s was not reminded: %s", endpoint, error)

    def close(self) -> None:
        """Follow no more."""
        if self._follows:
            self._follows = False
            self._client.unfollow(DIRECTORY_ID, self._update)
