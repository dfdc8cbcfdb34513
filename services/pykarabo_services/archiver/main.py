"""Joins the archiver with its database; the class that device servers start."""

import asyncio
from collections.abc import Collection
from importlib import import_module
from typing import TYPE_CHECKING, Final

from pykarabo.errors import DatabaseUnavailableError
from pykarabo_services.archiver import service
from pykarabo_services.archiver.importing import Stored
from pykarabo_services.archiver.model import Position

if TYPE_CHECKING:
    from pykarabo_services.kernel.database import Database

_LOOK_S: Final = 30.0
"""Each of thousands of samples may lie in a chunk of its own."""


class Archiver(service.Archiver):
    """Stores every change of every property of the domain's devices in the domain's database."""

    _marks_in: "Database | None" = None
    _samples_in: "Database | None" = None

    async def open_store(self) -> str:
        """Return the name of the database; what is written goes there."""
        # SQLAlchemy is imported by servers that have an archiver, and by no others; on a busy host
        # that takes seconds.
        await asyncio.to_thread(import_module, "pykarabo_services.archiver.store")
        from pykarabo_services.archiver.store import STORE
        from pykarabo_services.kernel.database import Database, place_of

        place = place_of(STORE.name, domain=self.client.domain, url=self.database or None)
        self._marks_in = Database(STORE, place, read_only=True)
        return str(place)

    async def read_positions(self, device_ids: Collection[str]) -> dict[str, Position]:
        """Return up to where the database has everything of some devices."""
        from sqlalchemy.exc import SQLAlchemyError

        from pykarabo_services.archiver.store import positions

        database = self._marks_in
        if database is None:
            return {}
        if not database.health.good:
            await database.open(required=False)
        try:
            return await database.read(
                lambda connection: positions(connection, device_ids), deadline_s=service.POSITIONS_S
            )
        except SQLAlchemyError as error:  # the writer has not made the tables yet
            raise DatabaseUnavailableError(
                f"the archive cannot be read: {type(error).__name__}",
                remedy="wait until its tables are made",
            ) from None

    async def close_store(self) -> None:
        """End the connections to the database."""
        if self._marks_in is not None:
            await self._marks_in.aclose()
        if self._samples_in is not None:
            await self._samples_in.aclose()

    async def read_samples(self, device_id: str, key: str, times: Collection[int]) -> Stored:
        """Return what the database has of a property at some moments.

        On connections of its own: what is asked of marks does not wait for it.
        """
        from sqlalchemy.exc import SQLAlchemyError

        from pykarabo_services.archiver.known import stored_at
        from pykarabo_services.archiver.store import STORE
        from pykarabo_services.kernel.database import Database, place_of

        if self._samples_in is None:
            place = place_of(STORE.name, domain=self.client.domain, url=self.database or None)
            self._samples_in = Database(STORE, place, read_only=True)
        database = self._samples_in
        if not database.health.good:
            await database.open(required=False)
        try:
            return await database.read(
                lambda connection: stored_at(connection, device_id, key, list(times)),
                deadline_s=_LOOK_S,
            )
        except SQLAlchemyError as error:
            raise DatabaseUnavailableError(
                f"the archive cannot be read: {type(error).__name__}",
                remedy="try again when the archiver's database works",
            ) from None
