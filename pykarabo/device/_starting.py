"""The devices that a server is told to start with."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pykarabo.client import check_device_id
from pykarabo.errors import OutcomeUnknownError, PykaraboError
from pykarabo.transport import TaskOwner

from ._registration import NO_GRANT, Registration

if TYPE_CHECKING:
    from ._server import Server

_log: Final = logging.getLogger(__name__)
AGAIN_S: Final = 1.0
"""A directory that is being restarted is there soon."""
START_LATER: Final = "start of devices that wait for the directory"


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """A device that a server starts with.

    Attributes:
        own_process: run it apart from the others, in a process that the server starts for it.
        attributes: limits, dead-bands and what the archive keeps, by property; they are in force
            before anybody sees the device.
    """

    device_id: str
    class_id: str
    configuration: Mapping[str, Any] = field(default_factory=dict[str, Any])
    own_process: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])


class FirstDevices:
    """Starts devices; those whose ids the directory cannot grant now come when it can.

    A device that fails by itself is not started again: nobody knows what it did to its hardware.

    Args:
        tasks: whose task waits for the directory.

    Attributes:
        ready: whether everything was tried.
        problems: why devices are not there, by device id.
    """

    def __init__(self, server: "Server", registration: Registration, tasks: TaskOwner) -> None:
        self.ready = False
        self.problems: dict[str, PykaraboError] = {}
        self._server = server
        self._registration = registration
        self._tasks = tasks

    async def start(self, devices: Iterable[DeviceSettings]) -> None:
        """Start several; one that cannot be keeps no other from it."""
        items = list(devices)
        hosted = [item for item in items if not item.own_process]
        await self._registration.claim_many({item.device_id for item in hosted})
        waiting = await self._start_each(items)
        for item in hosted:
            if not self._server.hosts(item.device_id):
                await self._registration.release(item.device_id)
        try:
            await self._registration.tell_all()
        except PykaraboError as error:
            _log.warning("the devices are not in the directory yet: %s", error)
        self.ready = True
        self._server.show_devices()
        if waiting:
            self._tasks.spawn(self._start_later(waiting), name=START_LATER)

    async def _start_each(self, items: Iterable[DeviceSettings]) -> list[DeviceSettings]:
        """Try to start some; returns those for which it makes sense to try again."""
        return [item for item in items if await self._must_wait(item)]

    async def _must_wait(self, item: DeviceSettings) -> bool:
        """Try to start one; returns whether it waits for the directory."""
        device_id = item.device_id
        try:
            await self._server.classes.imported(item.class_id)
            check_device_id(device_id)
            try:
                if item.own_process:
                    await self._server.instantiate_apart(
                        item.class_id, device_id, item.configuration, item.attributes
                    )
                else:
                    await self._registration.claim(device_id)
            except NO_GRANT as error:
                self._note(device_id, error)
                # A process whose start was not answered in time may be starting still.
                return not (item.own_process and isinstance(error, OutcomeUnknownError))
            if not item.own_process:
                await self._server.instantiate(
                    item.class_id, device_id, item.configuration, item.attributes, wait=False
                )
        except PykaraboError as error:
            self._note(device_id, error)
        else:
            self.problems.pop(device_id, None)
        return False

    def _note(self, device_id: str, error: PykaraboError) -> None:
        if device_id not in self.problems:
            _log.error("device '%s' could not be started: %s", device_id, error)
        self.problems[device_id] = error

    async def _start_later(self, items: list[DeviceSettings]) -> None:
        """Try again until there is nothing to wait for; what was started meanwhile is left out."""
        while items:
            await asyncio.sleep(AGAIN_S)
            there = [item for item in items if self._server.hosts(item.device_id)]
            for item in there:
                self.problems.pop(item.device_id, None)
            waiting = await self._start_each([item for item in items if item not in there])
            if len(waiting) < len(items):
                self._server.show_devices()
            items = waiting
