"""Joins the project store with its database; the class that device servers start."""

from collections.abc import Callable

from pykarabo_services.kernel.database import Database, Health, place_of
from pykarabo_services.project import service
from pykarabo_services.project.model import ProjectStorage
from pykarabo_services.project.store import STORE, DatabaseProjects


class ProjectStore(service.ProjectStore):
    """Keeps the projects of the domain: scenes, macros, servers, devices, configurations."""

    _database: Database | None = None

    async def open_storage(self, tell: Callable[[str, str], None]) -> ProjectStorage:
        """Open the database of the domain's projects; without it go on trying."""

        def show(health: Health) -> None:
            tell(str(place), "" if health.error is None else str(health.error))

        place = place_of(STORE.name, domain=self.client.domain)
        self._database = Database(STORE, place, on_health=show)
        await self._database.open(required=False)
        return DatabaseProjects(self._database)

    async def close_storage(self) -> None:
        """Close the database, so that another process can have it."""
        if self._database is not None:
            await self._database.aclose()
