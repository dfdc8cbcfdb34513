"""Work of several calls, written once for both kinds of client.

It is a generator that yields what is to be asked and is sent the answer, or thrown the error.
"""

import asyncio
import time
from collections.abc import Generator
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from pykarabo.errors import PykaraboError
from pykarabo.wire import Request

from ._identity import CALL_TIMEOUT_S

_T = TypeVar("_T")


class Ask(NamedTuple):
    """Make a call to a device."""

    device_id: str
    request: Request
    timeout_s: float = CALL_TIMEOUT_S


class AskDirectory(NamedTuple):
    """Run a command of the directory."""

    command: str
    args: tuple[Any, ...]


class Pause(NamedTuple):
    """Go on after so many seconds."""

    seconds: float


Step: TypeAlias = Ask | AskDirectory | Pause
Steps: TypeAlias = Generator[Step, Any, _T]


class Caller(Protocol):
    """What steps need of a blocking client."""

    def request(self, device_id: str, request: Request, *, timeout_s: float = ...) -> Any:
        """Make a call."""
        ...

    def directory(self, command: str, *args: Any) -> Any:
        """Run a command of the directory."""
        ...


class AsyncCaller(Protocol):
    """What steps need of an asynchronous client."""

    async def request(self, device_id: str, request: Request, *, timeout_s: float = ...) -> Any:
        """Make a call."""
        ...

    async def directory(self, command: str, *args: Any) -> Any:
        """Run a command of the directory."""
        ...


def carry_out(client: Caller, steps: Steps[_T]) -> _T:
    """Carry out steps and return their result."""

    def take(step: Step) -> Any:
        if isinstance(step, Ask):
            return client.request(step.device_id, step.request, timeout_s=step.timeout_s)
        if isinstance(step, AskDirectory):
            return client.directory(step.command, *step.args)
        time.sleep(step.seconds)
        return None

    try:
        step = next(steps)
        while True:
            try:
                answer = take(step)
            except PykaraboError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        result: _T = done.value
        return result


async def acarry_out(client: AsyncCaller, steps: Steps[_T]) -> _T:
    """Carry out steps and return their result."""

    async def take(step: Step) -> Any:
        if isinstance(step, Ask):
            return await client.request(step.device_id, step.request, timeout_s=step.timeout_s)
        if isinstance(step, AskDirectory):
            return await client.directory(step.command, *step.args)
        await asyncio.sleep(step.seconds)
        return None

    try:
        step = next(steps)
        while True:
            try:
                answer = await take(step)
            except PykaraboError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as done:
        result: _T = done.value
        return result
