"""What the audit log is told of the calls of a process: every write, and every command that counts.

Reads are not told, nor are commands that an observer may run: they change nothing. Of commands
that are declared ``audited=False`` only those are told that somebody was denied.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pykarabo.audit import AuditWriter
from pykarabo.client import ServerRecord
from pykarabo.errors import PykaraboError
from pykarabo.transport import Clock
from pykarabo.wire import Call, Execute, Request, Set, SetMany

from ._attempt import Attempt, Target
from ._device import Device
from ._hosting import Hosting

_log: Final = logging.getLogger(__name__)
_ALARM: Final = "audit"
_INCIDENT: Final = "audit-file"
"""Names of alarms; no property of a server is called so."""


class Audit:
    """Tells the audit log of a process what reaches it.

    Args:
        folder: where the log's files are; None in a process without one, such as a test in memory.
    """

    def __init__(self, hosting: Hosting, server_id: str, folder: Path | None, clock: Clock) -> None:
        self._hosting = hosting
        self._server_id = server_id
        self._clock = clock
        self._writer = (
            None if folder is None else AuditWriter(folder, server_id, time_ns=clock.time_ns)
        )
        self._problem: str | None = None
        self._incident: str | None = None

    # -- what is told ---------------------------------------------------------------------------

    def began(self, call: Execute) -> Sequence[Attempt]:
        """Tell that a call has come; returns an attempt for each device that it is about."""
        return [
            Attempt(self._writer, self._clock, call, target, self._device(target.device))
            for target in _targets(call.request)
        ]

    def refused(self, call: Execute, error: PykaraboError) -> None:
        """Tell of a call that was refused before anything of it began."""
        for attempt in self.began(call):
            attempt.ended(error)

    def _device(self, device_id: str) -> Device | None:
        return self._hosting.require(device_id).device if device_id in self._hosting else None

    # -- the log --------------------------------------------------------------------------------

    def start(self, record: ServerRecord, domain: str) -> None:
        """Begin to write."""
        if self._writer is not None:
            names = ("instance", "host", "pid", "user", "version")
            facts = {name: getattr(record, name) for name in names}
            self._writer.start({"domain": domain, "server": record.server_id, **facts})

    def watch(self) -> None:
        """Have the server's own device raise an alarm if the log cannot be written."""
        writer, device = self._writer, self._device(self._server_id)
        if writer is None or device is None:
            return
        if writer.problem != self._problem:
            self._problem = writer.problem
            if writer.problem is None:
                device.clear_alarm(_ALARM)
            else:
                _log.critical("%s", writer.problem)
                device.raise_alarm("alarm", writer.problem, source=_ALARM)
        if writer.incident != self._incident and writer.incident is not None:
            self._incident = writer.incident
            _log.critical("%s", writer.incident)
            device.raise_alarm("alarm", writer.incident, source=_INCIDENT, needs_acknowledge=True)

    @property
    def head(self) -> str:
        """Number and hash of the latest line that is on the disk; empty before the first."""
        return "" if self._writer is None else str(self._writer.head or "")

    @property
    def lost(self) -> int:
        """How many lines there was no room for."""
        return 0 if self._writer is None else self._writer.lost

    async def aclose(self) -> None:
        """Write what waits, and the last line."""
        if self._writer is None:
            return
        missing = await asyncio.to_thread(self._writer.close)
        if missing:
            _log.critical("%d lines of the audit log were not written", missing)


def _targets(request: Request) -> Iterator[Target]:
    if isinstance(request, Call):
        yield Target(
            request.device, request.command, (request.args, request.kwargs), request.caller
        )
    elif isinstance(request, Set):
        yield Target(request.device, None, request.values, request.caller)
    elif isinstance(request, SetMany):
        for device_id, _instance, values in request.writes:
            yield Target(device_id, None, values, request.caller)
