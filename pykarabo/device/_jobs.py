"""Long work of a device, which goes on when the call that began it has been answered."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pykarabo.errors import PykaraboError, UnknownJobError
from pykarabo.transport import Clock, TaskOwner

KEPT_S: Final = 600.0
"""The result of a job can be fetched for ten minutes after its end."""
MAX_KEPT: Final = 100
_ID_BYTES: Final = 4


class JobState(StrEnum):
    """What has become of a job."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class Job:
    """One job.

    Attributes:
        progress: from 0 to 1, as the job tells it.
        message: what it is doing, in words.
    """

    job_id: str
    command: str
    state: JobState = JobState.RUNNING
    progress: float = 0.0
    message: str = ""
    result: Any = None
    error: PykaraboError | None = None
    ended_ns: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def shown(self) -> dict[str, Any]:
        """Return what others see of it while it runs."""
        return {
            "command": self.command,
            "state": str(self.state),
            "progress": self.progress,
            "message": self.message,
        }

    def answer(self) -> dict[str, Any]:
        """Return all that is known of it."""
        error = None if self.error is None else self.error.to_wire()
        return self.shown() | {"result": self.result, "error": error}


_current: Final[ContextVar[Job | None]] = ContextVar("job", default=None)


class Jobs:
    """The jobs of one device.

    Args:
        changed: called with what others may see of all jobs, by id.
    """

    def __init__(
        self,
        device_id: str,
        clock: Clock,
        tasks: TaskOwner,
        changed: Callable[[dict[str, Any]], None],
    ) -> None:
        self._device_id = device_id
        self._clock = clock
        self._tasks = tasks
        self._changed = changed
        self._jobs: dict[str, Job] = {}

    def start(self, command: str, work: Awaitable[Any]) -> str:
        """Begin a job; returns its id."""
        self._forget()
        job = Job(secrets.token_hex(_ID_BYTES), command)
        self._jobs[job.job_id] = job
        job.task = self._tasks.spawn(self._run(job, work), name=f"job {job.job_id} {command}")
        self._tell()
        return job.job_id

    async def _run(self, job: Job, work: Awaitable[Any]) -> None:
        _current.set(job)
        try:
            job.result = await work
            job.state, job.progress = JobState.DONE, 1.0
        except PykaraboError as error:
            job.state = JobState.CANCELLED if job.state is JobState.CANCELLED else JobState.FAILED
            job.error, job.message = error, error.message
        finally:
            if job.state is JobState.RUNNING:
                job.state = JobState.CANCELLED
            job.ended_ns = self._clock.monotonic_ns()
            job.ended.set()
            self._tell()

    def report(self, progress: float, message: str) -> None:
        """Tell how far the job is that calls this; outside of a job it does nothing."""
        job = _current.get()
        if job is not None and self._jobs.get(job.job_id) is job:
            job.progress, job.message = min(1.0, max(0.0, progress)), message
            self._tell()

    async def result(self, job_id: str, wait_s: float) -> dict[str, Any]:
        """Return what is known of a job, as soon as it has ended or `wait_s` are over."""
        job = self._require(job_id)
        if wait_s > 0:
            try:
                async with asyncio.timeout(wait_s):
                    await job.ended.wait()
            except TimeoutError:
                return job.answer()
        return job.answer()

    def cancel(self, job_id: str) -> None:
        """Stop a job; one that has ended is left alone."""
        job = self._require(job_id)
        if job.state is JobState.RUNNING and job.task is not None:
            job.state = JobState.CANCELLED
            job.task.cancel()

    def _require(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise UnknownJobError(
                f"device '{self._device_id}' has no job {job_id}",
                device=self._device_id,
                remedy="its property 'jobs' shows those that it has",
            )
        return job

    def _forget(self) -> None:
        limit_ns = self._clock.monotonic_ns() - int(KEPT_S * 1e9)
        ended = [job for job in self._jobs.values() if job.state is not JobState.RUNNING]
        for place, job in enumerate(reversed(ended)):
            if place >= MAX_KEPT or job.ended_ns < limit_ns:
                del self._jobs[job.job_id]

    def _tell(self) -> None:
        self._changed({job_id: job.shown() for job_id, job in self._jobs.items()})
