"""An event loop whose time goes on only when nothing is left to do: hours pass in milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Never waits; the loop's time goes on instead."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self.loop.advance(timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own, which begins at 0 s."""

    def __init__(self) -> None:
        self._now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time go on, as work does that blocks the loop."""
        self._now += seconds


def run_virtually(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` in virtual time; it must use neither threads nor sockets."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


def block(seconds: float) -> None:
    """Take so long without letting others run."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.advance(seconds)
