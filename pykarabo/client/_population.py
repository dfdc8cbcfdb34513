"""Which devices come and go, from what the directory tells."""

import fnmatch
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ._records import DIRECTORY_ID, DeviceRecord
from ._updates import Change, NewSchema, Stale, Update

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient
    from ._client import Client

TARGET: Final = f"{DIRECTORY_ID}.update"
_GONE: Final = "gone"


class DeviceNews(NamedTuple):
    """A device has come, or come anew after a restart, or has gone.

    Attributes:
        is_there: whether it is there now.
        record: what is known of it; of one that has gone, what was known last.
    """

    device_id: str
    is_there: bool
    record: DeviceRecord


class Population:
    """The devices of a domain whose ids match a pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._known: dict[str, DeviceRecord] = {}

    def replace(self, records: Iterable[DeviceRecord]) -> list[DeviceNews]:
        """Take all records; returns what is new since the last time."""
        present = {record.device_id: record for record in records if record.status != _GONE}
        gone = [self._leave(device_id) for device_id in self._known.keys() - present.keys()]
        return [*gone, *self._arrive(present.values())]

    def change(self, update: Mapping[str, Any]) -> list[DeviceNews]:
        """Take an update of the directory."""
        records = [DeviceRecord.from_wire(wire) for wire in update["devices"]]
        matching = [item for item in records if fnmatch.fnmatchcase(item.device_id, self._pattern)]
        gone = [*update["gone"], *(item.device_id for item in matching if item.status == _GONE)]
        left = [self._leave(device_id) for device_id in gone if device_id in self._known]
        return [*left, *self._arrive(item for item in matching if item.status != _GONE)]

    def _arrive(self, records: Iterable[DeviceRecord]) -> Iterator[DeviceNews]:
        for record in records:
            known = self._known.get(record.device_id)
            if known is not None and known.instance == record.instance:
                self._known[record.device_id] = max(known, record, key=lambda item: item.version)
            else:
                self._known[record.device_id] = record
                yield DeviceNews(record.device_id, True, record)

    def _leave(self, device_id: str) -> DeviceNews:
        return DeviceNews(device_id, False, self._known.pop(device_id))


def wants_all(update: Update) -> bool:
    """Tell whether all records must be read again after this update of the directory's stream."""
    if isinstance(update, Change):
        told = update.values.get("update")
        return told is None or not told.value.get("complete", True)
    return True


async def afollow(client: "Client", pattern: str) -> AsyncIterator[DeviceNews]:
    """Yield which devices come and go."""
    population = Population(pattern)
    async with client.watch(TARGET, anew=True) as watch:
        async for update in watch:
            if isinstance(update, Stale | NewSchema):
                continue
            if wants_all(update):
                news = population.replace(await client.topology(pattern))
            else:
                news = _told(population, update)
            for item in news:
                yield item


def follow(
    client: "BlockingClient", pattern: str, deadline: float | None
) -> Generator[DeviceNews, None, None]:
    """Yield which devices come and go, until `deadline` (`time.monotonic`)."""
    from ._event_thread import UpdateStream

    population = Population(pattern)
    updates = UpdateStream(client.place, lambda other: other.watch(TARGET, anew=True))
    try:
        while (update := updates.get(deadline)) is not None:
            if isinstance(update, Stale | NewSchema):
                continue
            if wants_all(update):
                yield from population.replace(client.topology(pattern))
            else:
                yield from _told(population, update)
    finally:
        updates.close()


def _told(population: Population, update: Update) -> list[DeviceNews]:
    return population.change(update.values["update"].value) if isinstance(update, Change) else []
