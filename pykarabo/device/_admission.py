"""Who may use a device now, and who did what last."""

from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from pykarabo.data import AccessLevel, CommandInfo
from pykarabo.errors import LockedError
from pykarabo.transport import Caller, present_caller

from ._rights import permit_command, permit_in_mode, permit_write

if TYPE_CHECKING:
    from ._called import Called

_SHOWN: Final = 5
"""So many properties of a write are named."""
ENDING: Final = frozenset({"unlock", "cancel_job", "acknowledge_alarm"})
"""Commands that every device has and that are not kept back while a domain is read-only."""
ALWAYS: Final = frozenset({"lock", "unlock", "clear_lock"})
"""Commands that judge the lock themselves."""


def caller_of(device: "Called") -> Caller:
    """Return whose call is being worked on; the device itself outside of any call."""
    known = present_caller()
    if known is not None:
        return known
    own = device.context
    return Caller(own.device_id, own.client.identity, AccessLevel.ADMINISTRATOR)


def permit(device: "Called", info: CommandInfo) -> None:
    """Refuse a command that the role of whoever calls does not allow; raises `DeniedError`."""
    caller, context = caller_of(device), device.context
    permit_command(caller, info, context.device_id)
    if info.access_level is not AccessLevel.OBSERVER and not _ends_something(device, info):
        permit_in_mode(caller, context.mode(), context.device_id, info.name)


def _ends_something(device: "Called", info: CommandInfo) -> bool:
    """Tell whether a command is needed in a domain that nobody may change, such as ``stop``."""
    return info.name in ENDING or info.name in device.allowed_when_locked


def admit(device: "Called", info: CommandInfo) -> None:
    """Let whoever calls run a command, and note who did.

    Raises:
        LockedError: somebody else has locked the device; nothing was done.
    """
    caller = caller_of(device)
    if _is_subject_to_locks(device, info):
        device.lock_state.require(caller)
    if info.access_level is not AccessLevel.OBSERVER:
        device.note_caller(info.name, caller.name)


def using(device: "Called", info: CommandInfo) -> AbstractContextManager[None]:
    """Run a command under the lock of whoever calls, if he has one: its lease waits so long."""
    if _is_subject_to_locks(device, info):
        return device.lock_state.used_by(caller_of(device))
    return nullcontext()


def _is_subject_to_locks(device: "Called", info: CommandInfo) -> bool:
    """Tell whether a lock refuses a command; what an observer may call changes nothing."""
    return (
        info.access_level is not AccessLevel.OBSERVER
        and info.name not in ALWAYS
        and info.name not in device.allowed_when_locked
    )


@contextmanager
def writing(
    device: "Called", keys: Collection[str], check_unchanged: Callable[[], None]
) -> Generator[Callable[[], None], None, None]:
    """Write properties for whoever calls, and note who did when it is done.

    Yields:
        What must hold when the write is applied: that nothing has changed that the caller knows,
        nor what is needed to write it, and that nobody else has locked the device while the write
        was waiting.

    Raises:
        DeniedError: the caller's role does not allow all of it; nothing was done.
        LockedError: somebody else has locked the device; nothing was done.
    """
    caller = caller_of(device)

    context = device.context

    def check_rights() -> None:
        permit_write(caller, device.schema(), keys, context.device_id)
        permit_in_mode(caller, context.mode(), context.device_id, next(iter(keys), None))

    def check() -> None:
        check_rights()
        device.lock_state.require(caller)
        check_unchanged()

    check_rights()
    with device.lock_state.used_by(caller):
        yield check
        device.note_caller(f"set {_named(list(keys))}", caller.name)


def _named(keys: list[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def refuse_locking(device: "Called") -> None:
    """Raise `LockedError` if the author does not want the device to be locked."""
    if not device.can_be_locked:
        device_id = device.context.device_id
        raise LockedError(
            f"device '{device_id}' cannot be locked: everybody needs it",
            device=device_id,
            key="lock",
            remedy="lock the devices that you use",
        )
