"""Devices that run in processes of their own, at the request of their server.

A device that may crash its process, or needs all of a core, is kept apart from the others of its
server: a process is started for it alone. That is a device server itself, whose id is the
server's and the device's, so that everything about a device holds for this one as well. It ends
with the server that has started it, however that ends, because both hold the ends of a pipe.
A process that dies is not started again: nobody knows what it did to its hardware.
"""

import asyncio
import contextlib
import inspect
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final, cast

from pykarabo.client import check_device_id, own_server_id
from pykarabo.data import decode, encode
from pykarabo.errors import BadConfigurationError, DuplicateDeviceError, PykaraboError, RemoteError

from ._device import Device

_SIZE_BYTES: Final = 8
_ALL_INSIDE: Final = 2**62
START_S: Final = 30.0
"""Python takes a second to start, `on_initialize` may take ten."""
STOP_S: Final = 15.0
_PROGRAM: Final = "pykarabo.device._own_process_main"


def packed(content: Mapping[str, Any]) -> bytes:
    """Return a map as the two processes tell it each other: its length, then msgpack."""
    body = bytes(encode(dict(content), inline_limit=_ALL_INSIDE)[0])
    return len(body).to_bytes(_SIZE_BYTES, "big") + body


def read_packed(stream: IO[bytes]) -> dict[str, Any]:
    """Return what `packed` has made; raises `MalformedMessageError`."""
    size = int.from_bytes(stream.read(_SIZE_BYTES), "big")
    return cast("dict[str, Any]", decode([stream.read(size)]))


def class_path(cls: type[Device]) -> str:
    """Return ``module:name`` of a class, by which another process finds it.

    Raises:
        BadConfigurationError: another process cannot import it.
    """
    module = inspect.getmodule(cls)
    if module is None or module.__name__ == "__main__" or "<" in cls.__qualname__:
        raise BadConfigurationError(
            f"class '{cls.__name__}' cannot run in a process of its own: only this program has it",
            remedy="define it in a module that can be imported",
        )
    return f"{module.__name__}:{cls.__qualname__}"


@dataclass(slots=True)
class _Running:
    process: Process
    watching: "asyncio.Task[None] | None" = None
    unwanted: bool = True


class OwnProcesses:
    """The processes that a server has started for single devices.

    Args:
        settings: what they have in common with the server: the keyword arguments of
            `ServerSettings` that are plain values.
        ended: called with a device whose process is over, and why if nobody wanted that.
    """

    def __init__(
        self,
        server_id: str,
        settings: Mapping[str, Any],
        ended: Callable[[str, RemoteError | None], None],
    ) -> None:
        self._server_id = server_id
        self._settings = settings
        self._ended = ended
        self._running: dict[str, _Running] = {}

    def __contains__(self, device_id: str) -> bool:
        return device_id in self._running

    def shown(self) -> dict[str, Any]:
        """Return process and server of each device, as plain maps."""
        return {
            device_id: {
                "pid": running.process.pid,
                "server_id": own_server_id(self._server_id, device_id),
            }
            for device_id, running in self._running.items()
        }

    async def start(
        self,
        cls: type[Device],
        class_id: str,
        device_id: str,
        configuration: Mapping[str, Any],
        attributes: Mapping[str, Any],
    ) -> int:
        """Start a device in a process of its own; returns the process id.

        Raises:
            BadConfigurationError: another process cannot import the class.
            DuplicateDeviceError: it runs already.
            RemoteError: the process ended, or took too long.
            PykaraboError: why the device could not be started there.
        """
        told = {
            **self._settings,
            "server_id": check_device_id(own_server_id(self._server_id, device_id)),
            "device_id": device_id,
            "class_id": class_id,
            "class": class_path(cls),
            "configuration": dict(configuration),
            "attributes": dict(attributes),
        }
        if device_id in self._running:
            raise DuplicateDeviceError(
                f"device '{device_id}' has a process of its own already "
                f"({self._running[device_id].process.pid})",
                device=device_id,
                remedy=f"choose another id, or stop it: pykarabo shutdown {device_id}",
            )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _PROGRAM, stdin=PIPE, stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )  # fmt: skip
        try:
            await self._tell(process, told, device_id)
        except BaseException:
            await _end(process)
            raise
        running = self._running[device_id] = _Running(process)
        watching = self._wait(device_id, running)
        running.watching = asyncio.create_task(watching, name=f"process of {device_id}")
        return process.pid

    async def _tell(self, process: Process, told: Mapping[str, Any], device_id: str) -> None:
        """Tell a new process what to do, and hear how it went."""
        cast(asyncio.StreamWriter, process.stdin).write(packed(told))
        answers = cast(asyncio.StreamReader, process.stdout)
        try:
            async with asyncio.timeout(START_S):
                size = int.from_bytes(await answers.readexactly(_SIZE_BYTES), "big")
                answer = decode([await answers.readexactly(size)])
        except TimeoutError:
            reason = f"did not come within {START_S:.0f} s"
        except (asyncio.IncompleteReadError, OSError):
            reason = f"has ended: {_how(await process.wait())}"
        else:
            if answer["problem"] is not None:
                problem = PykaraboError.from_wire(answer["problem"])
                problem.foreign = False  # it is our answer too: the device was not started
                raise problem
            return
        raise RemoteError(
            f"the process of '{device_id}' {reason}",
            device=device_id,
            remedy="the server's log has what it said",
        )

    async def _wait(self, device_id: str, running: _Running) -> None:
        code = await running.process.wait()
        if self._running.get(device_id) is running:
            del self._running[device_id]
        error: RemoteError | None = None
        if code and running.unwanted:
            error = RemoteError(
                f"the process of '{device_id}' ({running.process.pid}) has ended: {_how(code)}",
                device=device_id,
                remedy=f"look at its hardware, then start it anew: pykarabo instantiate … "
                f"{device_id} --server {self._server_id} --own-process",
            )
        self._ended(device_id, error)

    async def stop(self, device_id: str) -> None:
        """Stop a device and its process."""
        running = self._running[device_id]
        running.unwanted = False
        await _end(running.process)
        if running.watching is not None:
            await running.watching

    async def aclose(self) -> None:
        """Stop all."""
        await asyncio.gather(*(self.stop(device_id) for device_id in list(self._running)))


async def _end(process: Process) -> None:
    """Let a process end by itself, and kill it if it does not."""
    cast(asyncio.StreamWriter, process.stdin).close()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _how(code: int) -> str:
    return f"status {code}" if code >= 0 else signal.Signals(-code).name
