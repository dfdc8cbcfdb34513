"""Joins the accounts service with its database and its providers; what device servers start."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from pykarabo.data import State
from pykarabo_services.accounts import service
from pykarabo_services.accounts.configured import PROVIDERS_FILE, read_providers
from pykarabo_services.accounts.model import AccountStore, AuthProvider
from pykarabo_services.accounts.store import STORE, AccountDatabase
from pykarabo_services.kernel.database import Database, Health, place_of


class Accounts(service.Accounts):
    """Knows the users of the domain, and signs the tokens that say who they are."""

    async def open_store(self, stack: AsyncExitStack) -> AccountStore:
        """Return the domain's database of accounts."""

        def tell(health: Health) -> None:
            error = health.error
            self.set_values(
                {"state": State.ON, "status": ""}
                if error is None
                else {"state": State.ERROR, "status": str(error)}
            )

        place = place_of(STORE.name, domain=self.client.domain)
        database = Database(STORE, place, on_health=tell)
        stack.push_async_callback(database.aclose)
        await database.open(required=False)
        return AccountDatabase(database)

    def read_providers(self, folder: Path) -> Sequence[AuthProvider]:
        """Return those of the providers' file."""
        return read_providers(folder / PROVIDERS_FILE)
