"""The process of `served(..., process=True)`: serves one device until its stdin ends.

So it ends too when the test's process is killed.
"""

import asyncio
import os
import pickle
import sys
import threading

from pykarabo.device import DeviceSettings, Server, ServerSettings, serve_until_stopped

from ._served import load_class


def _serve(settings: ServerSettings, answers: int) -> None:
    """Serve, tell `answers` how the start went, and end with stdin."""

    def started(server: Server) -> None:
        loop = asyncio.get_running_loop()

        def wait_for_end() -> None:
            os.read(sys.stdin.fileno(), 1)
            loop.call_soon_threadsafe(server.stopping.set)

        threading.Thread(target=wait_for_end, name="end of the test", daemon=True).start()
        problem = next(iter(server.problems.values()), None)
        with os.fdopen(answers, "wb") as pipe:
            pickle.dump(None if problem is None else problem.to_wire(), pipe)

    asyncio.run(serve_until_stopped(settings, started))


def main() -> None:
    """Serve what stdin tells; what the device prints goes where its log goes."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    order = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that has started us
    sys.path[:] = order["path"]
    cls = load_class(order["module"], order["file"], order["class"])
    settings = ServerSettings(
        "TEST/SERVER",
        devices=(DeviceSettings(order["device"], cls.__name__, order["configuration"]),),
        more_classes={cls.__name__: cls},
        directory=True,
    )
    _serve(settings, answers)
