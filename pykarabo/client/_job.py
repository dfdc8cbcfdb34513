"""Long work of a device: a command that returns at once and goes on."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pykarabo.errors import (
    CallTimeoutError,
    CancelledByCallerError,
    ConnectionLostError,
    NotConnectedError,
    OutcomeUnknownError,
    PykaraboError,
    UnknownJobError,
)
from pykarabo.wire import Call

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._client import Client

POLL_S: Final = 2.0
"""One question for the result waits so long at the device; then it is asked again."""
_RETRY_S: Final = 0.2
_PASSING: Final = (NotConnectedError, ConnectionLostError, CallTimeoutError)


class _Job:
    """What both kinds of job have in common."""

    def __init__(self, device_id: str, answer: Mapping[str, Any]) -> None:
        self.device_id = device_id
        self.job_id = str(answer["job"])

    def __repr__(self) -> str:
        return f"<job {self.job_id} of {self.device_id}>"

    def _ask(self, wait_s: float) -> Call:
        return Call(self.device_id, "job_result", [self.job_id, wait_s])

    def _cancelling(self) -> Call:
        return Call(self.device_id, "cancel_job", [self.job_id])

    def _ended(self, answer: Mapping[str, Any]) -> bool:
        """Return whether the job has ended; raises what it ended with if that was no result."""
        if answer["state"] == "failed":
            raise PykaraboError.from_wire(answer["error"])
        if answer["state"] == "cancelled":
            raise CancelledByCallerError(
                f"job {self.job_id} of '{self.device_id}' was cancelled",
                device=self.device_id,
                remedy="it may be half done: read the device before you start another",
            )
        return bool(answer["state"] == "done")

    def _lost(self) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"'{self.device_id}' knows nothing of job {self.job_id}: it was restarted meanwhile, "
            "or the job ended more than ten minutes ago",
            device=self.device_id,
            remedy="look at the device",
        )

    def _too_long(self, timeout_s: float) -> CallTimeoutError:
        return CallTimeoutError(
            f"job {self.job_id} of '{self.device_id}' did not end within {timeout_s} s; it goes on",
            device=self.device_id,
            remedy="wait longer, or cancel it",
        )


class AsyncJob(_Job):
    """A job of a device. It goes on without us; its progress is in the property ``jobs``."""

    def __init__(self, client: "Client", device_id: str, answer: Mapping[str, Any]) -> None:
        super().__init__(device_id, answer)
        self._client = client

    async def status(self) -> dict[str, Any]:
        """Return ``command``, ``state``, ``progress`` (0 to 1), ``message``, and its end."""
        answer: dict[str, Any] = await self._client.request(self.device_id, self._ask(0.0))
        return answer

    async def result(self, *, timeout_s: float | None = None) -> Any:
        """Wait for the job's end and return its result; lost connections do not matter.

        Raises:
            CallTimeoutError: it still runs; it goes on.
            CancelledByCallerError: it was cancelled.
            OutcomeUnknownError: the device was restarted and knows nothing of it.
            PykaraboError: it failed.
        """
        import asyncio

        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            wait_s = POLL_S if until is None else min(POLL_S, until - time.monotonic())
            if timeout_s is not None and wait_s <= 0:
                raise self._too_long(timeout_s)
            try:
                answer = await self._client.request(self.device_id, self._ask(wait_s))
            except _PASSING:
                await asyncio.sleep(min(_RETRY_S, wait_s))
                continue
            except UnknownJobError:
                raise self._lost() from None
            if self._ended(answer):
                return answer["result"]

    async def cancel(self) -> None:
        """Have the device stop it."""
        await self._client.request(self.device_id, self._cancelling())


class Job(_Job):
    """A job of a device, for code that blocks. It goes on without us."""

    def __init__(self, client: "BlockingClient", device_id: str, answer: Mapping[str, Any]) -> None:
        super().__init__(device_id, answer)
        self._client = client

    def status(self) -> dict[str, Any]:
        """Return ``command``, ``state``, ``progress`` (0 to 1), ``message``, and its end."""
        answer: dict[str, Any] = self._client.request(self.device_id, self._ask(0.0))
        return answer

    def result(self, *, timeout_s: float | None = None) -> Any:
        """Wait for the job's end and return its result; lost connections do not matter.

        Raises:
            CallTimeoutError: it still runs; it goes on.
            CancelledByCallerError: it was cancelled.
            OutcomeUnknownError: the device was restarted and knows nothing of it.
            PykaraboError: it failed.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            wait_s = POLL_S if until is None else min(POLL_S, until - time.monotonic())
            if timeout_s is not None and wait_s <= 0:
                raise self._too_long(timeout_s)
            try:
                answer = self._client.request(self.device_id, self._ask(wait_s))
            except _PASSING:
                time.sleep(min(_RETRY_S, wait_s))
                continue
            except UnknownJobError:
                raise self._lost() from None
            if self._ended(answer):
                return answer["result"]

    def cancel(self) -> None:
        """Have the device stop it."""
        self._client.request(self.device_id, self._cancelling())
