"""Which devices an archiver follows: those that are there, are wanted, and are its own."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pykarabo.client import Client, DeviceNews, DeviceRecord
from pykarabo.errors import PykaraboError
from pykarabo.transport import TaskOwner
from pykarabo_services.archiver.entries import event_entry
from pykarabo_services.archiver.model import (
    DeviceEvent,
    EventKind,
    Position,
    is_archived,
    why_not_archived,
)
from pykarabo_services.archiver.recorder import Recorder
from pykarabo_services.archiver.recording import DeviceRecording
from pykarabo_services.archiver.sharing import Peer, Selection, owner_of

CLASS: Final = "Archiver"
LEAVE_S: Final = 5.0
"""A device that has gone is followed for so long: its last messages may be under way."""
START_S: Final = 3.0
"""Where other archivers are, devices wait so long for it to be known whether they are shared."""
PEERS_S: Final = 1.0
"""How often other archivers are asked what they archive, and where."""
_PEER_KEYS: Final = ("store_id", "devices", "excluded")


@dataclass(frozen=True, slots=True)
class Choice:
    """Who archives, where, and which devices.

    Attributes:
        archiver: its device id.
        own: tells its database and its patterns as the others see them.
        waits: tells whether another process writes to its file; if that is an archiver's, nothing
            is followed here until it ends.
    """

    archiver: str
    own: Callable[[], Peer]
    waits: Callable[[], bool]


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
    errors: int = 0

    def add(self, recording: DeviceRecording) -> None:
        """Count a recording in."""
        self.stored += recording.stored
        self.missed += recording.missed
        self.recovered += recording.recovered
        self.limited += recording.limited
        self.rejected += recording.rejected
        self.errors += recording.errors


class Following:
    """The recordings of an archiver.

    Args:
        read_positions: returns up to where the database has everything of some devices.
    """

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        choice: Choice,
        *,
        read_positions: Callable[[Collection[str]], Awaitable[dict[str, Position]]],
        clock_ns: Callable[[], int],
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._choice = choice
        self._read_positions = read_positions
        self._clock_ns = clock_ns
        self._present: dict[str, DeviceRecord] = {}
        self._peers: dict[str, Peer] = {}
        self._peers_came = asyncio.Event()
        self._met: set[str] = set()
        self._had_peers = False
        self._followed: dict[str, _Followed] = {}
        self._ended = Totals()
        self._is_new_store = False
        self._changed = asyncio.Event()
        self._tasks = TaskOwner("archived devices")

    @property
    def recordings(self) -> list[DeviceRecording]:
        """What is followed now."""
        return [followed.recording for followed in self._followed.values()]

    def totals(self) -> Totals:
        """Return what has come of all devices so far."""
        found = replace(self._ended)
        for recording in self.recordings:
            found.add(recording)
        return found

    def heard(self, news: DeviceNews) -> None:
        """A device has come or gone."""
        device_id = news.device_id
        if news.is_there:
            self._present[device_id] = news.record
            if self._is_peer(news.record):
                self._peers_came.set()
        else:
            self._present.pop(device_id, None)
            self._peers.pop(device_id, None)
            self._met.discard(device_id)
        followed = self._followed.get(device_id)
        if followed is not None:
            followed.recording.wake()
        self.look()

    def begin_anew(self) -> None:
        """The database is another one than before: it is told of all devices as they are."""
        self._is_new_store = True
        for recording in self.recordings:
            recording.begin_anew()

    def look(self) -> None:
        """See again who is to be followed."""
        self._changed.set()

    async def run(self) -> None:
        """Follow the devices that are ours, and no others, until cancelled."""
        loop = asyncio.get_running_loop()
        settled_at = loop.time() + START_S
        self._tasks.spawn(self._watch_peers(), name="other archivers")
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._meet_peers()
            own = self._choice.own()
            if self._peers and not own.store_id and loop.time() < settled_at:
                loop.call_later(settled_at - loop.time(), self.look)
                continue
            wanted = [device_id for device_id in self._present if self._is_ours(own, device_id)]
            self._leave(self._followed.keys() - set(wanted))
            new = [device_id for device_id in wanted if device_id not in self._followed]
            if new:
                await self._follow(new)

    async def _meet_peers(self) -> None:
        """Give archivers that have come a moment to say what they do."""
        new = {name for name, record in self._present.items() if self._is_peer(record)} - self._met
        if new:
            self._met |= new
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PEERS_S):
                    await self._look_at_peers()

    def _is_ours(self, own: Peer, device_id: str) -> bool:
        works = any(peer.store_id for peer in self._peers.values())
        if (self._choice.waits() and works) or not own.selection.includes(device_id):
            return False
        archivers = [self._choice.archiver, *self._partners(own, device_id)]
        return owner_of(device_id, archivers) == self._choice.archiver

    def _partners(self, own: Peer, device_id: str) -> list[str]:
        """Return the other archivers that store a device in the same database as we do."""
        return [
            name
            for name, peer in self._peers.items()
            if own.store_id and peer.store_id == own.store_id and peer.selection.includes(device_id)
        ]

    def _is_peer(self, record: DeviceRecord) -> bool:
        return record.class_id == CLASS and record.device_id != self._choice.archiver

    async def _watch_peers(self) -> None:
        """See again and again what the other archivers do; at once when another one comes."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PEERS_S):
                    await self._peers_came.wait()
            self._peers_came.clear()
            await self._look_at_peers()

    async def _look_at_peers(self) -> None:
        """Ask the other archivers; of one that does not answer, what it said last counts."""
        names = [device_id for device_id, record in self._present.items() if self._is_peer(record)]
        answers = await asyncio.gather(*map(self._ask_peer, names))
        for name, answer in zip(names, answers, strict=True):
            if name in self._present and answer not in (None, self._peers.get(name)):
                self._peers[name] = answer
                self._had_peers = True
                self._changed.set()

    async def _ask_peer(self, name: str) -> Peer | None:
        try:
            rows = await self._client.get(name, list(_PEER_KEYS))
        except PykaraboError:
            return None
        store_id, devices, excluded = (row[1] for row in rows)
        return Peer(store_id, Selection(tuple(devices), tuple(excluded)))

    async def _follow(self, device_ids: list[str]) -> None:
        await self._take_over(device_ids)
        registry = self._recorder.registry
        for device_id in device_ids:
            recording = DeviceRecording(
                self._client, registry.device(device_id), self._recorder, clock_ns=self._clock_ns
            )
            if self._is_new_store:
                recording.begin_anew()
            task = self._tasks.spawn(recording.run(), name=f"archiving {device_id}")
            self._followed[device_id] = _Followed(recording, task)

    async def _take_over(self, device_ids: list[str]) -> None:
        """Go on where the database ends with devices that another archiver had meanwhile.

        Of those that only this spool knows, it knows more: they need not wait for the database.
        """
        registry = self._recorder.registry
        known = {state.device_id for state in registry.devices() if state.epoch}
        asked = [name for name in device_ids if self._had_peers or name not in known]
        if not asked:
            return
        try:
            found = await self._read_positions(asked)
        except PykaraboError as error:
            if self._peers:
                self._may_miss([name for name in asked if name not in known], error)
            return
        for device_id, position in found.items():
            state = registry.device(device_id)
            if state.advance(position):
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
        followed.recording.end()
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
        own = self._choice.own()
        for device_id in self._present:
            if not own.selection.includes(device_id) and not self._partners(own, device_id):
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
