"""Who called the command that is being run."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from pykarabo.wire import ClientIdentity

_caller: Final[ContextVar[ClientIdentity | None]] = ContextVar("caller", default=None)


@contextmanager
def called_by(identity: ClientIdentity | None) -> Generator[None, None, None]:
    """Note for the block, and for tasks and threads that it starts, who called it."""
    token = _caller.set(identity)
    try:
        yield
    finally:
        _caller.reset(token)


def caller_name() -> str | None:
    """Return ``user@host`` as the caller told it, None outside a call from a client."""
    identity = _caller.get()
    return None if identity is None else f"{identity.user}@{identity.host}"
