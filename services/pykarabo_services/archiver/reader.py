"""The reader of the archive: a device that answers what others were.

It reads the database itself and needs no archiver for that. Several may run, on several hosts;
clients choose among them. What a reader reads does not slow the archiver in another process.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pykarabo.data import AccessLevel, Float64, State, String, UInt64
from pykarabo.device import command
from pykarabo.device.interfaces import History
from pykarabo.errors import PykaraboError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pykarabo_services.kernel.database import Database, Health

T = TypeVar("T")

DEADLINE_S: Final = 30.0
"""As long as a person waits for the history of years; a trend takes a tenth of a second."""
_LOOK_S: Final = 1.0


class HistoryReader(History):
    """Answers what the properties of devices were, out of the archive's database."""

    database = String(
        init_only=True,
        secret=True,
        access_level=AccessLevel.ADMINISTRATOR,
        description="URL of the database; empty for the one that the domain's services share.",
    )
    store = String(read_only=True, description="The database that is read.")
    answers = UInt64(read_only=True, description="Questions that were answered.")
    failures = UInt64(read_only=True, description="Questions that the database did not answer.")
    longest = Float64(
        read_only=True, unit="s", description="How long the slowest answer has taken so far."
    )

    _archive: "Database | None" = None

    async def on_initialize(self) -> None:
        """Open the archive for reading; without one, go on looking for it."""
        self.set_values({"state": State.STARTING, "status": "looking for the archive"})
        self.spawn(self._look(), name="look for the archive")

    async def on_stop(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            await self._archive.aclose()

    async def _look(self) -> None:
        """Open the archive as soon as there is one: its writer makes it, perhaps after us."""
        await asyncio.to_thread(_load)
        from pykarabo_services.archiver.store import STORE
        from pykarabo_services.kernel.database import Database, place_of

        place = place_of(STORE.name, domain=self.client.domain, url=self.database or None)
        self.store = str(place)
        while True:
            archive = Database(STORE, place, read_only=True, on_health=self._show)
            try:
                await archive.open()
            except PykaraboError as error:
                self.set_values({"state": State.ERROR, "status": str(error)})
                await asyncio.sleep(_LOOK_S)
                continue
            self._archive = archive
            self._show(archive.health)
            return

    def _show(self, health: "Health") -> None:
        if health.error is None:
            self.set_values({"state": State.ON, "status": "answers questions"})
        else:
            self.set_values({"state": State.ERROR, "status": str(health.error)})

    # Commands

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def history(
        self,
        device_id: str,
        key: str,
        start_ns: int,
        end_ns: int,
        *,
        operator: str = "raw",
        points: int = 0,
        every_ns: int = 0,
        after: list[int] | None = None,
        trains: list[int] | None = None,
    ) -> dict[str, Any]:
        """Return what an operator makes of a property's samples from a moment up to another.

        A page of it: `after` is what the page before gave as ``following``.
        """
        from pykarabo_services.archiver import answering
        from pykarabo_services.archiver.decimation import Question

        question = Question(
            start_ns=start_ns, end_ns=end_ns, operator=operator, points=points, every_ns=every_ns
        )
        return await self._read(
            lambda connection: answering.history(
                connection, device_id, key, question, after=_plain(after), trains=_plain(trains)
            )
        )

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def past(
        self, device_id: str, time_ns: int, *, after: str | None = None
    ) -> dict[str, Any]:
        """Return the schema and the values that a device had at a moment.

        Of the values, a page: `after` is what the page before gave as ``following``.
        """
        from pykarabo_services.archiver import answering

        return await self._read(
            lambda connection: answering.past(connection, device_id, time_ns, after=after)
        )

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def archived(self, pattern: str = "*") -> list[str]:
        """Return the devices that match a shell pattern and have a history."""
        from pykarabo_services.archiver import catalog

        return await self._read(lambda connection: catalog.devices(connection, pattern))

    @command(access_level=AccessLevel.OBSERVER, idempotent=True, audited=False)
    async def span_of_trains(self, device_id: str, key: str, first: int, last: int) -> list[int]:
        """Return when a property's samples of some trains begin, and when they are over."""
        from pykarabo_services.archiver import answering

        return await self._read(
            lambda connection: answering.span_of_trains(connection, device_id, key, first, last)
        )

    async def _read(self, work: "Callable[[Connection], T]") -> T:
        from pykarabo.errors import DatabaseUnavailableError

        if self._archive is None:
            raise DatabaseUnavailableError(
                f"'{self.device_id}' has no archive yet: {self.status}",
                device=self.device_id,
                remedy="start an archiver, which makes it",
            )
        began_ns = self.clock.monotonic_ns()
        try:
            found = await self._archive.read(work, deadline_s=DEADLINE_S)
        except PykaraboError:
            self.failures += 1
            raise
        took_s = (self.clock.monotonic_ns() - began_ns) / 1e9
        self.set_values({"answers": self.answers + 1, "longest": max(self.longest, took_s)})
        return found


def _load() -> None:
    """Import what reading needs; SQLAlchemy takes half a second, in which no device may wait."""
    from importlib import import_module

    for name in ("archiver.answering", "archiver.store", "kernel.database"):
        import_module(f"pykarabo_services.{name}")


def _plain(numbers: Sequence[int] | None) -> list[int] | None:
    """Return Python's own integers; vectors arrive as arrays, whose elements SQLite misreads."""
    return None if numbers is None else [int(number) for number in numbers]
