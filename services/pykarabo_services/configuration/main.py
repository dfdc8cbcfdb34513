"""Joins the configuration store with its database; the class that device servers start."""

from pykarabo_services.configuration import service
from pykarabo_services.configuration.model import ConfigurationStorage
from pykarabo_services.configuration.store import STORE, Configurations
from pykarabo_services.kernel.database import Database, Health, place_of


class ConfigurationStore(service.ConfigurationStore):
    """Keeps named configurations of devices with all of their history in the domain's database."""

    def open_storage(self) -> ConfigurationStorage:
        """Return where versions are kept."""
        place = place_of(STORE.name, domain=self.client.domain, url=self.database or None)
        return Configurations(Database(STORE, place, on_health=self._show))

    def _show(self, health: Health) -> None:
        self.show_health("" if health.error is None else str(health.error))
