"""Who calls: the caller of what is being worked on, and on whose behalf calls are made from it.

All devices of a process share its connections. What a device does, in a command or in a task of
its own, is therefore done in a context that names it, and every write and command that leaves the
process from there carries its name.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from pykarabo.data import AccessLevel
from pykarabo.wire import Call, ClientIdentity, Granted, Request, Set, SetMany


@dataclass(frozen=True, slots=True)
class Caller:
    """Who writes a property or runs a command.

    Attributes:
        name: the id of the calling device, or ``host/user/pid/program``.
        identity: the process that it is in.
        role: what it may do; the same caller may connect with several.
        granted: why it may do no more, and by which login it may do so much.
        address: where it connects from, see `Sender`.
    """

    name: str
    identity: ClientIdentity
    role: AccessLevel = field(default=AccessLevel.OBSERVER, compare=False)
    granted: Granted = field(default=Granted(), compare=False)
    address: str = field(default="", compare=False)

    @classmethod
    def of(
        cls,
        identity: ClientIdentity,
        device_id: str | None = None,
        role: AccessLevel = AccessLevel.OBSERVER,
    ) -> "Caller":
        """Return a program as a caller, or one of its devices."""
        host, pid, user, program = identity
        return cls(device_id or f"{host}/{user}/{pid}/{program}", identity, role)


_caller: Final[ContextVar[Caller | None]] = ContextVar("caller", default=None)
_acting: Final[ContextVar[str | None]] = ContextVar("acting", default=None)


@contextmanager
def called_by(caller: Caller) -> Generator[None, None, None]:
    """Work on a call of `caller`."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def present_caller() -> Caller | None:
    """Return whose call is being worked on; None outside of any call."""
    return _caller.get()


@contextmanager
def acting_as(device_id: str) -> Generator[None, None, None]:
    """Make calls on behalf of a device."""
    token = _acting.set(device_id)
    try:
        yield
    finally:
        _acting.reset(token)


def signed(request: Request) -> Request:
    """Return a request with the name of the device on whose behalf it is made, if it acts."""
    device_id = _acting.get()
    if device_id is None or not isinstance(request, Set | Call | SetMany):
        return request
    return request._replace(caller=device_id)
