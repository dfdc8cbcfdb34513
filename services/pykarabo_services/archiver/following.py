"""Which devices an archiver follows: those that are there, are wanted, and are its own."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pykarabo.client import Client, DeviceNews, DeviceRecord
from pykarabo.errors import PykaraboError
from pykarabo.transport import TaskOwner
from pykarabo_services.archiver.entries import event_entry
from pykarabo_services.archiver.model import DeviceEvent, EventKind, Mark
from pykarabo_services.archiver.recorder import Recorder
from pykarabo_services.archiver.recording import DeviceRecording, is_archived, why_not_archived
from pykarabo_services.archiver.sharing import owner_of

CLASS: Final = "Archiver"
LEAVE_S: Final = 5.0
"""A device that has gone is followed for so long: its last messages may be under way."""
_PEER_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Choice:
    """Who archives, where, and which devices.

    Attributes:
        archiver: its device id.
        store: tells its database; archivers of the same one share the devices.
        is_selected: whether a device is to be archived by whoever it belongs to.
    """

    archiver: str
    store: Callable[[], str]
    is_selected: Callable[[str], bool]


@dataclass(slots=True)
class _Followed:
    recording: DeviceRecording
    task: "asyncio.Task[Any]"
    leaves_at: float | None = None


@dataclass(slots=True)
class Totals:
    """What all devices together have brought, those included that are followed no more."""

    stored: int = 0
    missed: int = 0
    recovered: int = 0
    limited: int = 0
    rejected: int = 0

    def add(self, recording: DeviceRecording) -> None:
        """Count a recording in."""
        self.stored += recording.stored
        self.missed += recording.missed
        self.recovered += recording.recovered
        self.limited += recording.limited
        self.rejected += recording.rejected


class Following:
    """The recordings of an archiver.

    Args:
        read_marks: returns up to where the database has everything of some devices.
    """

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        choice: Choice,
        *,
        read_marks: Callable[[Collection[str]], Awaitable[dict[str, Mark]]],
        clock_ns: Callable[[], int],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._choice = choice
        self._read_marks = read_marks
        self._clock_ns = clock_ns
        self._present: dict[str, DeviceRecord] = {}
        self._peers: dict[str, str] = {}
        self._followed: dict[str, _Followed] = {}
        self._ended = Totals()
        self._changed = asyncio.Event()
        self._tasks = TaskOwner("archived devices")

    @property
    def recordings(self) -> list[DeviceRecording]:
        """What is followed now."""
        return [followed.recording for followed in self._followed.values()]

    def totals(self) -> Totals:
        """Return what has come of all devices so far."""
        ended = self._ended
        found = Totals(ended.stored, ended.missed, ended.recovered, ended.limited, ended.rejected)
        for recording in self.recordings:
            found.add(recording)
        return found

    def heard(self, news: DeviceNews) -> None:
        """A device has come or gone."""
        device_id = news.device_id
        if news.is_there:
            self._present[device_id] = news.record
        else:
            self._present.pop(device_id, None)
            self._peers.pop(device_id, None)
        followed = self._followed.get(device_id)
        if followed is not None:
            followed.recording.wake()
        self.look()

    def look(self) -> None:
        """See again who is to be followed."""
        self._changed.set()

    async def run(self) -> None:
        """Follow the devices that are ours, and no others, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._find_peers()
            wanted = [device_id for device_id in self._present if self._is_ours(device_id)]
            self._leave(self._followed.keys() - set(wanted))
            new = [device_id for device_id in wanted if device_id not in self._followed]
            if new:
                await self._follow(new)

    def _is_ours(self, device_id: str) -> bool:
        own = self._choice
        archivers = [
            own.archiver,
            *(name for name, store in self._peers.items() if store == own.store()),
        ]
        return own.is_selected(device_id) and owner_of(device_id, archivers) == own.archiver

    async def _find_peers(self) -> None:
        """Ask archivers that have come which database they write to."""
        for device_id, record in list(self._present.items()):
            is_peer = record.class_id == CLASS and device_id != self._choice.archiver
            if is_peer and device_id not in self._peers:
                try:
                    store = (await self._client.get(device_id, ["store"]))[0][1]
                except PykaraboError:
                    store = ""
                if store:
                    self._peers[device_id] = store
                else:  # it is starting, or cannot be reached now
                    self._changed.set()
                    await asyncio.sleep(_PEER_S)

    async def _follow(self, device_ids: list[str]) -> None:
        registry = self._recorder.registry
        known = {state.device_id for state in registry.devices() if state.epoch}
        await self._take_over([name for name in device_ids if name not in known])
        for device_id in device_ids:
            recording = DeviceRecording(
                self._client, registry.device(device_id), self._recorder, clock_ns=self._clock_ns
            )
            task = self._tasks.spawn(recording.run(), name=f"archiving {device_id}")
            self._followed[device_id] = _Followed(recording, task)

    async def _take_over(self, device_ids: list[str]) -> None:
        """Go on where the database ends with devices that this spool does not know."""
        if not device_ids:
            return
        try:
            found = await self._read_marks(device_ids)
        except PykaraboError as error:
            if self._peers:
                self._may_miss(device_ids, error)
            return
        for device_id, mark in found.items():
            state = self._recorder.registry.device(device_id)
            state.instance, state.epoch = bytes.fromhex(mark.instance), mark.epoch
            state.seq = state.durable = mark.seq
            state.last_ns = mark.time_ns
            self._recorder.put(state.entry())

    def _may_miss(self, device_ids: list[str], error: PykaraboError) -> None:
        """Note that nobody can say where another archiver has stopped."""
        now_ns = self._clock_ns()
        for device_id in device_ids:
            record = self._present.get(device_id)
            epoch = now_ns if record is None else record.epoch
            event = DeviceEvent(
                device_id=device_id,
                time_ns=epoch,
                until_ns=now_ns,
                kind=EventKind.GAP,
                epoch=epoch,
                reason=f"it is not known where another archiver has stopped: {error.message}",
            )
            self._recorder.put(event_entry(event))

    def _leave(self, device_ids: Collection[str]) -> None:
        """Follow devices no more: at once those of another archiver, later those that are gone."""
        for device_id in device_ids:
            followed = self._followed[device_id]
            if device_id in self._present:
                self._end(device_id)
            elif followed.leaves_at is None:
                followed.leaves_at = asyncio.get_running_loop().time() + LEAVE_S

    def _end(self, device_id: str) -> None:
        followed = self._followed.pop(device_id)
        followed.task.cancel()
        followed.recording.tick()
        self._ended.add(followed.recording)

    def tick(self) -> None:
        """Look at what waits; to be called often."""
        now = asyncio.get_running_loop().time()
        for device_id, followed in list(self._followed.items()):
            followed.recording.tick()
            if device_id in self._present:
                followed.leaves_at = None
            elif followed.leaves_at is not None and now >= followed.leaves_at:
                self._end(device_id)

    def away(self) -> Iterator[str]:
        """Yield the followed devices from which nothing comes, and why."""
        for recording in self.recordings:
            if not recording.live:
                yield f"{recording.device_id}: {recording.reason}"

    def not_archived(self) -> Iterator[str]:
        """Yield the devices and properties that are not archived here or elsewhere, and why."""
        for device_id in self._present:
            if not self._choice.is_selected(device_id):
                yield f"{device_id}: it is excluded"
        for recording in self.recordings:
            schema = recording.state.schema
            for key, info in ({} if schema is None else schema.properties).items():
                if not info.node and not is_archived(info):
                    yield f"{recording.device_id}.{key}: {why_not_archived(info)}"

    async def aclose(self) -> None:
        """Follow nothing any more, and note what waits."""
        await self._tasks.aclose()
        for device_id in list(self._followed):
            self._end(device_id)


def only_new(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Return the names whose count has grown."""
    return [name for name, count in now.items() if count > before.get(name, 0)]
