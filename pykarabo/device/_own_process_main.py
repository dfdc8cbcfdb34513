"""The process of a single device; see `_own_process`.

It reads on its standard input what to start, tells on its standard output how that went, and
serves until the input ends or the device was stopped.
"""

import asyncio
import logging
import os
import sys
from importlib import import_module
from typing import Any

from ._own_process import packed, read_packed
from ._process import ServerSettings, run_server
from ._server import Server
from ._starting import DeviceSettings


def main() -> None:
    """Serve one device."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the device prints is no answer
    logging.basicConfig(level=logging.INFO)
    told = read_packed(sys.stdin.buffer)
    device_id, class_id = told.pop("device_id"), told.pop("class_id")
    configuration, cls = told.pop("configuration"), _found(told.pop("class"))
    device = DeviceSettings(device_id, class_id, configuration, attributes=told.pop("attributes"))
    settings = ServerSettings(
        devices=(device,),
        classes=(),
        more_classes={class_id: cls},
        **told,
    )
    run_server(settings, lambda server: _started(server, device_id, answer))


def _found(path: str) -> Any:
    module, _, name = path.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _started(server: Server, device_id: str, answer: int) -> None:
    problem = server.problems.get(device_id)
    os.write(answer, packed({"problem": None if problem is None else problem.to_wire()}))
    os.close(answer)
    if problem is not None:
        server.stopping.set()
        return

    def ended() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            server.stopping.set()

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended)
    server.ends_with = device_id


if __name__ == "__main__":
    main()
