"""What a device remembers: memorised set-points and the events it was connected to.

Each device has a file in the domain's data directory. It is written beside the old one, brought
to the disk and renamed, so whoever kills the process or the host leaves a whole file behind. One
write takes all that has changed since the last one began.
"""

import asyncio
import os
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pykarabo.data import decode, encode
from pykarabo.errors import LimitExceededError, MalformedMessageError
from pykarabo.transport import TaskOwner

_MAGIC: Final = b"pykarabo memory 1\n"
_NUMBER: Final = struct.Struct(">I")
AGAIN_S: Final = 2.0
"""What could not be written is tried again after so long."""
_DAMAGED: Final = (OSError, ValueError, struct.error, MalformedMessageError, LimitExceededError)


class Memory:
    """The file of one device.

    Args:
        path: None for a device that forgets all at its end.
        tasks: owns the task that writes.
        damaged: called with the reason in words when the file cannot be read.
        unwritten: called with the reason when it cannot be written, and with None when it was.
    """

    def __init__(
        self,
        path: Path | None,
        tasks: TaskOwner,
        *,
        damaged: Callable[[str], None],
        unwritten: Callable[[str | None], None],
    ) -> None:
        self._path = path
        self._tasks = tasks
        self._damaged = damaged
        self._unwritten = unwritten
        self._collect: Callable[[], Mapping[str, Any]] = dict
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._later: asyncio.Task[None] | None = None
        self._dirty = False
        self._written = b""

    def load(self) -> dict[str, Any]:
        """Return what was written last; a damaged file is put aside, and nothing is returned."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            self._written = self._path.read_bytes()
            return unpack(self._written)
        except _DAMAGED as error:
            aside = self._path.with_suffix(f".damaged-{time.time_ns()}")
            self._damaged(
                f"what it remembered is damaged ({error}): it starts with defaults; the file is "
                f"kept as {aside}"
            )
            self._path.rename(aside)
            self._written = b""
            return {}

    def begin(self, collect: Callable[[], Mapping[str, Any]]) -> None:
        """Write from now on what `collect` returns, whenever something has changed."""
        self._collect = collect

    def changed(self, _value: object = None) -> None:
        """Write soon; from any thread."""
        if self._path is not None:
            self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._dirty = True
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._write(), name="memory")

    async def _write(self) -> None:
        while self._dirty and self._path is not None:
            self._dirty = False
            packed = pack(self._collect())
            if packed == self._written:
                continue
            try:
                await asyncio.to_thread(replace_file, self._path, packed)
            except OSError as error:
                self._unwritten(f"it cannot remember its set-points in {self._path}: {error}")
                if self._later is None or self._later.done():
                    self._later = self._tasks.spawn(self._try_again(), name="memory later")
            else:
                self._written = packed
                self._unwritten(None)
                self._stop_trying()

    async def _try_again(self) -> None:
        await asyncio.sleep(AGAIN_S)
        self._later = None
        self._start()

    def _stop_trying(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None

    async def saved(self) -> None:
        """Return when everything that has changed before is on the disk, or could not be written.

        What could not be written before is tried once more.
        """
        if self._path is None:
            return
        await asyncio.sleep(0)  # `changed` is heard in the next turn of the loop
        if self._later is not None:
            self._start()
        if self._task is not None:
            await asyncio.shield(self._task)


def memory_file(directory: Path | None, device_id: str) -> Path | None:
    """Return the file of a device below a directory; None for a process without one."""
    return None if directory is None else directory / f"{device_id}.memory"


def pack(content: Mapping[str, Any]) -> bytes:
    """Return a file's bytes: a checksum, then the frames of the content with their lengths."""
    frames = [bytes(frame) for frame in encode(dict(content))]
    body = b"".join(_NUMBER.pack(len(frame)) + frame for frame in frames)
    return _MAGIC + _NUMBER.pack(zlib.crc32(body)) + body


def unpack(packed: bytes) -> dict[str, Any]:
    """Return a file's content.

    Raises:
        ValueError, struct.error, MalformedMessageError, LimitExceededError: it is damaged.
    """
    start = len(_MAGIC) + _NUMBER.size
    body = packed[start:]
    if not packed.startswith(_MAGIC):
        raise ValueError("it does not begin as such a file does")
    if _NUMBER.unpack_from(packed, len(_MAGIC))[0] != zlib.crc32(body):
        raise ValueError("its checksum does not fit")
    frames: list[bytes | memoryview] = []
    place = 0
    while place < len(body):
        (size,) = _NUMBER.unpack_from(body, place)
        place += _NUMBER.size + size
        frames.append(body[place - size : place])
    content = decode(frames)
    if not isinstance(content, dict):
        raise ValueError("it holds something else")
    return content


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that after a crash the old or the new one is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
