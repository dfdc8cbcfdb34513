"""Tests written as coroutines, without a plug-in."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

_P = ParamSpec("_P")


def async_test(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Make a coroutine a test that pytest or unittest can call; each has its own event loop."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
