"""Several things at the same time: work in threads, and waiting for the first or for all of it."""

import asyncio
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from concurrent import futures
from contextvars import copy_context
from typing import Any, Final, Generic, NamedTuple, ParamSpec, TypeVar

from pykarabo.errors import CallTimeoutError, CancelledByCallerError

from ._cancelling import cancelled, stop_if_cancelled
from ._units import seconds

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LOOK_S: Final = 0.05
_SOON_S: Final = 0.2


class Ended(NamedTuple):
    """How things ended that were waited for together, by index or by name.

    Attributes:
        done: results.
        pending: what has not ended, or was cancelled because of that.
        failed: what was raised.
    """

    done: dict[Hashable, Any]
    pending: dict[Hashable, Any]
    failed: dict[Hashable, BaseException]


# -- threads ------------------------------------------------------------------------------------


class Background(Generic[_T]):
    """Work in a thread of its own; get one from `background`."""

    def __init__(self, work: Callable[[], _T], name: str) -> None:
        self.name = name
        self._future: futures.Future[_T] = futures.Future()
        self._stop = threading.Event()
        context = copy_context()
        context.run(cancelled.set, self._stop)
        self._thread = threading.Thread(
            target=lambda: context.run(self._run, work), name=name, daemon=True
        )
        self._thread.start()

    def _run(self, work: Callable[[], _T]) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            self._future.set_exception(error)

    @property
    def future(self) -> "futures.Future[_T]":
        """The result as a future of the standard library."""
        return self._future

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    def cancel(self) -> None:
        """Have it end at its next call of a device, wait or `sleep`.

        A thread cannot be stopped in between; a call that is under way goes on to its end.
        """
        self._stop.set()

    def result(self, *, timeout_s: float | None = None) -> _T:
        """Wait for the end and return the result.

        Raises:
            CallTimeoutError: it has not ended; it goes on.
            CancelledByCallerError: it was cancelled.
            Exception: what the work raised.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            stop_if_cancelled()
            left_s = _SOON_S if deadline is None else min(_SOON_S, deadline - time.monotonic())
            try:
                result = self._future.result(max(0.0, left_s))
            except futures.TimeoutError:
                if self._future.done():
                    raise
                if left_s <= 0:
                    raise CallTimeoutError(
                        f"'{self.name}' has not ended within {timeout_s} s; it goes on",
                        remedy="wait longer, or cancel it",
                    ) from None
            else:
                self._thread.join()
                return result

    def __repr__(self) -> str:
        return f"<background '{self.name}', {'ended' if self.done else 'at work'}>"


def background(work: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Background[_T]:
    """Run a function that blocks in a thread of its own and return at once.

    Proxies and clients may be used in several threads. In asyncio, `asyncio.to_thread` does this.
    """
    name = getattr(work, "__qualname__", repr(work))
    return Background(functools.partial(work, *args, **kwargs), name)


def sleep(duration: Any) -> None:
    """Wait for seconds, a quantity of time, or text such as ``"200 ms"``; cancelling ends it.

    Raises:
        WrongUnitError, WrongTypeError: that is no time.
    """
    deadline = time.monotonic() + seconds(duration)
    while (left_s := deadline - time.monotonic()) > 0:
        stop_if_cancelled()
        time.sleep(min(left_s, _LOOK_S))
    stop_if_cancelled()


async def asleep(duration: Any) -> None:
    """Wait for seconds, a quantity of time, or text such as ``"200 ms"``."""
    await asyncio.sleep(seconds(duration))


def _named(things: Iterable[_T], named: Mapping[str, _T]) -> dict[Hashable, _T]:
    found: dict[Hashable, _T] = dict(enumerate(things))
    found.update(named.items())
    return found


def _wait(
    works: Mapping[Hashable, Background[Any]],
    when: str,
    timeout_s: float | None,
    cancel_pending: bool,
) -> Ended:
    by_future = {work.future: name for name, work in works.items()}
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        stop_if_cancelled()
        left_s = _SOON_S if deadline is None else min(_SOON_S, deadline - time.monotonic())
        done, waiting = futures.wait(by_future, max(0.0, left_s), when)
        failed = any(future.exception() for future in done)
        if not waiting or (done and when == futures.FIRST_COMPLETED):
            break
        if left_s <= 0 or (failed and when == futures.FIRST_EXCEPTION):
            break
    pending = {by_future[future]: works[by_future[future]] for future in waiting}
    if cancel_pending:
        for work in pending.values():
            work.cancel()
    ended = {name: work.future for name, work in works.items() if name not in pending}
    return Ended(
        {name: item.result() for name, item in ended.items() if item.exception() is None},
        dict(pending),
        {name: error for name, item in ended.items() if (error := item.exception()) is not None},
    )


def first_completed(
    *works: Background[Any],
    timeout_s: float | None = None,
    cancel_pending: bool = True,
    **named: Background[Any],
) -> Ended:
    """Wait until one of several works in the background has ended, well or badly.

    Args:
        timeout_s: return after so long whatever has ended.
        cancel_pending: cancel what has not ended.

    Returns:
        What is done, pending and failed, by index or by name.
    """
    return _wait(_named(works, named), futures.FIRST_COMPLETED, timeout_s, cancel_pending)


def first_exception(
    *works: Background[Any],
    timeout_s: float | None = None,
    cancel_pending: bool = True,
    **named: Background[Any],
) -> Ended:
    """Wait until one of several works has failed, or all have ended; like `first_completed`."""
    return _wait(_named(works, named), futures.FIRST_EXCEPTION, timeout_s, cancel_pending)


def all_completed(
    *works: Background[Any],
    timeout_s: float | None = None,
    cancel_pending: bool = True,
    **named: Background[Any],
) -> Ended:
    """Wait until all of several works have ended; like `first_completed`."""
    return _wait(_named(works, named), futures.ALL_COMPLETED, timeout_s, cancel_pending)


# -- asyncio ------------------------------------------------------------------------------------


async def _await(
    things: Mapping[Hashable, Awaitable[Any]],
    when: str,
    timeout_s: float | None,
    cancel_pending: bool,
) -> Ended:
    tasks = {name: asyncio.ensure_future(thing) for name, thing in things.items()}
    if not tasks:
        return Ended({}, {}, {})
    try:
        _done, waiting = await asyncio.wait(tasks.values(), timeout=timeout_s, return_when=when)
    except asyncio.CancelledError:
        await _cancel(tasks.values())
        raise
    pending = {name: task for name, task in tasks.items() if task in waiting}
    if cancel_pending:
        await _cancel(pending.values())
    ended = {name: task for name, task in tasks.items() if task not in waiting}
    errors = {name: _error_of(task) for name, task in ended.items()}
    return Ended(
        {name: task.result() for name, task in ended.items() if errors[name] is None},
        dict(pending),
        {name: error for name, error in errors.items() if error is not None},
    )


def _error_of(task: "asyncio.Future[Any]") -> BaseException | None:
    if task.cancelled():
        return CancelledByCallerError("it was cancelled", remedy="look at what it has done")
    return task.exception()


async def _cancel(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel tasks and wait until they have ended."""
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def afirst_completed(
    *things: Awaitable[Any],
    timeout_s: float | None = None,
    cancel_pending: bool = True,
    **named: Awaitable[Any],
) -> Ended:
    """Wait until one of several awaitables has ended, well or badly.

    Args:
        timeout_s: return after so long whatever has ended.
        cancel_pending: cancel what has not ended, and wait until it has stopped.

    Returns:
        What is done, pending and failed, by index or by name.
    """
    return await _await(_named(things, named), asyncio.FIRST_COMPLETED, timeout_s, cancel_pending)


async def afirst_exception(
    *things: Awaitable[Any],
    timeout_s: float | None = None,
    cancel_pending: bool = True,
    **named: Awaitable[Any],
) -> Ended:
    """Wait until one of several awaitables has failed, or all have ended."""
    return await _await(_named(things, named), asyncio.FIRST_EXCEPTION, timeout_s, cancel_pending)


async def aall_completed(
    *things: Awaitable[Any],
    timeout_s: float | None = None,
    cancel_pending: bool = True,
    **named: Awaitable[Any],
) -> Ended:
    """Wait until all of several awaitables have ended."""
    return await _await(_named(things, named), asyncio.ALL_COMPLETED, timeout_s, cancel_pending)
