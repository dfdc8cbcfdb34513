"""The writer's process as the archiver sees it: started again whenever it has ended."""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pykarabo.errors import PykaraboError

RESTART_S: Final = 1.0
RESTART_MAX_S: Final = 15.0
"""A writer that cannot begin, as with tables of another version, is not tried all the time."""
SILENT_S: Final = 30.0
"""Its calls of the database have shorter deadlines: one that says nothing for so long hangs."""
END_S: Final = 5.0
_log: Final = logging.getLogger(__name__)
_MODULE: Final = "pykarabo_services.archiver.writer_main"


class WriterProcess:
    """Runs the writer.

    Args:
        options: what it must know, called at each start.
        on_report: told what it tells.
    """

    def __init__(
        self,
        options: Callable[[], Mapping[str, Any]],
        on_report: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._options = options
        self._on_report = on_report
        self._process: asyncio.subprocess.Process | None = None
        self._durable = 0
        self.starts = 0

    @property
    def pid(self) -> int:
        """The process that runs now; 0 if none does."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else 0

    def durable(self, record: int) -> None:
        """Tell up to which record all is on the disk."""
        self._durable = record
        self._tell({"durable": record})

    def settings(self, content: str) -> None:
        """Tell other settings."""
        self._tell({"settings": content})

    def _tell(self, message: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            return
        with contextlib.suppress(ConnectionError, RuntimeError):  # it has ended: the next one hears
            process.stdin.write(json.dumps(message).encode() + b"\n")

    async def run(self) -> None:
        """Keep it running until cancelled; then let it end what it does."""
        try:
            pause_s = RESTART_S
            while True:
                begun = time.monotonic()
                await self._run_once()
                lived_s = time.monotonic() - begun
                pause_s = RESTART_S if lived_s > RESTART_MAX_S else min(2 * pause_s, RESTART_MAX_S)
                await asyncio.sleep(pause_s)
        finally:
            await asyncio.shield(self._end())

    async def _run_once(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.starts += 1
        self._tell(self._options())
        self._tell({"durable": self._durable})
        try:
            await self._listen(self._process)
        except TimeoutError:
            _log.error("the archive's writer says nothing for %d s and is killed", SILENT_S)
            self._kill()
        status = await self._process.wait()
        _log.warning("the archive's writer has ended with status %d", status)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        while True:
            async with asyncio.timeout(SILENT_S):
                line = await process.stdout.readline()
            if not line:
                return
            self._on_report(json.loads(line))

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            self._kill()
            await process.wait()


def error_of(report: Mapping[str, Any]) -> PykaraboError | None:
    """Return the error that a report tells of."""
    told = report.get("error") or report.get("fatal")
    return None if told is None else PykaraboError.from_wire(told)
