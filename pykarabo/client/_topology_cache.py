"""The last topology that a user's clients have seen, on the disk.

It lets a program start while no directory answers. It is never more than a hint, so a file that
cannot be read or written is left alone.
"""

import contextlib
import fcntl
import fnmatch
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pykarabo.errors import PykaraboError
from pykarabo.transport import cache_directory

from ._records import DeviceRecord

CACHED: Final = "cached"
"""The status of a record that no directory has confirmed."""
SAVE_S: Final = 10.0
"""A program that finds one device after the other does not write after each."""
_UNREADABLE: Final = (OSError, ValueError, KeyError, TypeError, AttributeError, PykaraboError)


class _Content:
    def __init__(
        self, devices: Iterable[DeviceRecord] = (), servers: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self.devices = {record.device_id: record for record in devices}
        self.servers = [dict(server) for server in servers]


class TopologyCache:
    """What was seen last of a domain; without a path only as long as the client lives."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._content: _Content | None = None
        self._changes: dict[str, DeviceRecord | None] = {}
        self._servers: list[dict[str, Any]] | None = None
        self._saved_at = -SAVE_S

    def device(self, device_id: str) -> DeviceRecord | None:
        """Return what was known last of a device."""
        return self._present().devices.get(device_id)

    def devices(self) -> list[DeviceRecord]:
        """Return every device that was known last, all with status ``cached``."""
        return list(self._present().devices.values())

    def servers(self) -> list[dict[str, Any]]:
        """Return the plain maps of the servers that were known last."""
        return self._present().servers if self._servers is None else self._servers

    def knows_any(self) -> bool:
        """Return whether anybody has seen anything of the domain."""
        return bool(self.servers() or self._present().devices)

    def learn(self, record: DeviceRecord) -> None:
        """Remember where a device is."""
        self._note(record)
        self._save_soon()

    def forget(self, device_id: str) -> None:
        """Remember that a device exists no more."""
        self._drop(device_id)
        self._save_soon()

    def replace(
        self,
        pattern: str,
        devices: Mapping[str, DeviceRecord],
        servers: Iterable[Mapping[str, Any]],
    ) -> None:
        """Remember all servers, and all devices whose id matches a shell pattern."""
        for device_id in list(self._present().devices):
            if device_id not in devices and fnmatch.fnmatchcase(device_id, pattern):
                self._drop(device_id)
        for record in devices.values():
            self._note(record)
        told = [dict(server) for server in servers]
        if told != self.servers():
            self._servers = told
        self._save_soon()

    def _note(self, record: DeviceRecord) -> None:
        known = self.device(record.device_id)
        if known is None or (known.instance, known.rpc) != (record.instance, record.rpc):
            record = replace(record, status=CACHED)
            self._present().devices[record.device_id] = record
            self._changes[record.device_id] = record

    def _drop(self, device_id: str) -> None:
        if self._present().devices.pop(device_id, None) is not None:
            self._changes[device_id] = None

    def _present(self) -> _Content:
        if self._content is None:
            self._content = self._load()
        return self._content

    def _load(self) -> _Content:
        if self._path is not None:
            with contextlib.suppress(*_UNREADABLE):
                stored = json.loads(self._path.read_bytes())
                devices = map(DeviceRecord.from_wire, stored["devices"])
                return _Content(devices, stored["servers"])
        return _Content()

    def _save_soon(self) -> None:
        if time.monotonic() - self._saved_at >= SAVE_S:
            self.save()

    def save(self) -> None:
        """Write what has changed; what other programs have learned meanwhile is kept."""
        if self._path is None or not (self._changes or self._servers is not None):
            return
        with contextlib.suppress(OSError), _alone_with(self._path):
            content = self._load()
            self._apply(content)
            self._saved_at = time.monotonic()
            _write(self._path, content)
            self._content = content
            self._changes.clear()
            self._servers = None

    def _apply(self, content: _Content) -> None:
        for device_id, record in self._changes.items():
            content.devices.pop(device_id, None)
            if record is not None:
                content.devices[device_id] = record
        if self._servers is not None:
            content.servers = self._servers


def cache_file(domain: str, endpoints: Iterable[str]) -> Path:
    """Return the file of a domain as these replicas know it."""
    name = hashlib.sha256(",".join(sorted(endpoints)).encode()).hexdigest()[:16]
    return cache_directory(domain) / f"topology-{name}.json"


@contextlib.contextmanager
def _alone_with(path: Path) -> Generator[None, None, None]:
    """Let no other program change the file between our reading and our writing of it.

    Raises:
        BlockingIOError: another one does so now; it may be stopped, so nobody waits for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _write(path: Path, content: _Content) -> None:
    devices = [record.to_wire() for record in content.devices.values()]
    handle, new = tempfile.mkstemp(dir=path.parent, prefix=path.stem)  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"devices": devices, "servers": content.servers}, file)
        Path(new).replace(path)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
