"""A device as others use it: who may, who did what last, and what became of it."""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Coroutine, Generator, Mapping
from typing import Any, ClassVar, Final

from pykarabo.data import AccessLevel, PropertyValue, Timestamp
from pykarabo.errors import NotExecutedError
from pykarabo.transport import Caller, present_caller

from ._admission import caller_of, refuse_locking
from ._command import command
from ._injecting import Injecting
from ._lock import DeviceLock

NOTE_S: Final = 0.1
"""Who did what last is published with the next change, or after so long."""


class Called(Injecting):
    """A device as far as others call it."""

    _lock: DeviceLock
    _note: PropertyValue | None = None
    _note_timer: asyncio.TimerHandle | None = None
    commands_at_work: set[asyncio.Task[Any]]
    log: logging.Logger
    stop_timeout_s: ClassVar[float] = 5.0
    """`on_stop` may take so long before it is cancelled."""
    can_be_locked: ClassVar[bool] = True
    """False for a device that everybody needs."""
    allowed_when_locked: ClassVar[Collection[str]] = ()
    """Commands that anybody may run while somebody has locked the device, such as ``stop``."""
    notes_callers: ClassVar[bool] = True
    """False where `last_command` would tell nothing: other programs call it all the time."""

    # -- hooks ----------------------------------------------------------------------------------

    async def on_cancelled(self, command: str) -> None:
        """Tidy up after a command that was stopped half way."""

    async def on_exception(self, what: str, error: Exception) -> None:
        """React to what a command or task of this device has failed with."""

    def told_arguments(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the audit log may show of a command's arguments, by name.

        Those that are declared secret are hidden in any case. Override it where one holds a
        secret somewhere inside; put `pykarabo.audit.SECRET` in its place.
        """
        del command
        return arguments

    # -- for authors ----------------------------------------------------------------------------

    def now(self) -> Timestamp:
        """Return the present time."""
        raise NotImplementedError

    @property
    def caller(self) -> Caller | None:
        """Who called the command or made the write that is being worked on; None in no call."""
        return present_caller()

    @command(name="lock", idempotent=True)
    async def take_lock(self, lease: float = 0.0) -> str:
        """Lock the device: nobody else can write to it or run its commands. Returns the owner.

        With a lease the lock ends when its owner has not used the device for so many seconds.
        """
        refuse_locking(self)
        caller = caller_of(self)
        self._lock.take(caller, lease)
        return caller.name

    @command(name="unlock", idempotent=True)
    async def release_lock(self) -> None:
        """Give the lock back."""
        self._lock.release(caller_of(self))

    @command(name="clear_lock", idempotent=True, access_level=AccessLevel.EXPERT)
    async def clear_lock(self) -> None:
        """End the lock, whoever holds it."""
        self._lock.clear()

    # -- for the server -------------------------------------------------------------------------

    @property
    def lock_state(self) -> DeviceLock:
        """Who alone may use the device."""
        return self._lock

    def _show_owner(self, name: str) -> None:
        self.set_values({"locked_by": name})

    def note_caller(self, what: str, who: str) -> None:
        """Note who did what; it is published soon."""
        if not self.notes_callers:
            return
        self._note = PropertyValue(f"{what} <- {who}", self.now())
        if self._note_timer is None:
            self._note_timer = self._loop.call_later(NOTE_S, self.flush)

    def _take_note(self) -> None:
        note, self._note = self._note, None
        if self._note_timer is not None:
            self._note_timer.cancel()
            self._note_timer = None
        if note is not None:
            self._values["last_command"] = note
            self._pending.append(("last_command", note))

    @contextlib.contextmanager
    def command_at_work(self) -> Generator[None, None, None]:
        """Run a command in the present task, which ends with the device."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - commands run in tasks
        self.commands_at_work.add(task)
        try:
            yield
        finally:
            self.commands_at_work.discard(task)

    async def tell_cancelled(self, command: str) -> None:
        """Run the hook for a command that was stopped."""
        await self._run_hook(self.on_cancelled(command), "on_cancelled")

    async def tell_exception(self, what: str, error: Exception) -> None:
        """Run the hook for a command or task that has failed; a refusal is no failure."""
        if not isinstance(error, NotExecutedError) or error.foreign:
            await self._run_hook(self.on_exception(what, error), "on_exception")

    async def _run_hook(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a hook to its end; what it fails with must not hide what it was called for."""
        try:
            async with asyncio.timeout(self.stop_timeout_s):
                await work
        except Exception:
            self.log.exception("%s failed or took too long", name)

    async def _end_commands(self) -> None:
        """Cancel the commands that are under way, except one that stops its own device."""
        running = self.commands_at_work - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=self.stop_timeout_s)
