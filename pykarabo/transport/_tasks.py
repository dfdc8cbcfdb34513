"""Tasks that belong to somebody: they end with their owner, and none fails unseen."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final

from ._deadline import deadline

_log: Final = logging.getLogger(__name__)

CLOSE_TIMEOUT_S: Final = 5.0
"""Cancelled tasks have so long to clean up; what takes longer is named in the log."""


class TaskOwner:
    """Starts tasks and ends them.

    Args:
        name: whom error messages name.
        failed: called with a task's name and its exception when one ends badly; by default it is
            logged.
    """

    def __init__(
        self, name: str, failed: Callable[[str, BaseException], None] | None = None
    ) -> None:
        self._name = name
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """The tasks that are running."""
        return frozenset(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start `work` as a task of this owner; it outlives the call that is being worked on."""
        with deadline(None):
            context = copy_context()
        task = asyncio.get_running_loop().create_task(
            work, name=f"{self._name}: {name}", context=context
        )
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if self._failed is not None:
            self._failed(task.get_name(), error)
        else:
            _log.error("task %s failed", task.get_name(), exc_info=error)

    async def aclose(self, *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Cancel every task except the calling one and wait for their ends."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            _done, pending = await asyncio.wait(tasks, timeout=timeout_s)
            for task in pending:
                _log.error("task %s does not end", task.get_name())
