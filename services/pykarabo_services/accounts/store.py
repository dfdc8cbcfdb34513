"""Accounts in a database."""

from dataclasses import asdict, fields
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, select, update

from pykarabo.data import AccessLevel
from pykarabo_services.accounts.model import Account, Ended
from pykarabo_services.accounts.tables import ACCOUNT, ENDED, STORE
from pykarabo_services.kernel.database import Database

__all__ = ["STORE", "AccountDatabase"]

_FIELDS: Final = tuple(item.name for item in fields(Account))
_USER: Final = "user"
_LOGIN: Final = "login"


class AccountDatabase:
    """The accounts of a domain; meets `model.AccountStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, name: str) -> Account | None:
        """Return an account, or None."""
        statement = select(ACCOUNT).where(ACCOUNT.c.name == name)
        row = await self._database.read(lambda connection: connection.execute(statement).first())
        return None if row is None else _account(row)

    async def accounts(self) -> list[Account]:
        """Return all of them, by name."""
        statement = select(ACCOUNT).order_by(ACCOUNT.c.name)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [_account(row) for row in rows]

    async def put(self, account: Account, *, ended_s: float | None = None) -> None:
        """Keep an account as it is now."""

        def work(connection: Connection) -> None:
            values = asdict(account)
            _put(connection, ACCOUNT, {"name": values.pop("name")}, values)
            if ended_s is not None:
                _end(connection, _USER, account.name, ended_s)

        await self._database.write(work)

    async def ended(self, since_s: float) -> Ended:
        """Return the logins that were ended since then, and forget older ones."""

        def work(connection: Connection) -> Ended:
            connection.execute(delete(ENDED).where(ENDED.c.ended_s < since_s))
            rows = connection.execute(select(ENDED)).all()
            found = Ended({}, {})
            for row in rows:
                (found.users if row.kind == _USER else found.logins)[row.name] = row.ended_s
            return found

        return await self._database.write(work)

    async def end_login(self, login: str, ended_s: float) -> None:
        """Note that a login has ended."""
        await self._database.write(lambda connection: _end(connection, _LOGIN, login, ended_s))


def _end(connection: Connection, kind: str, name: str, ended_s: float) -> None:
    _put(connection, ENDED, {"kind": kind, "name": name}, {"ended_s": ended_s})


def _put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Change a row, or add it."""
    found = update(table).values(values)
    for name, value in key.items():
        found = found.where(table.c[name] == value)
    if connection.execute(found).rowcount == 0:
        connection.execute(insert(table).values({**key, **values}))


def _account(row: Any) -> Account:
    values = {name: getattr(row, name) for name in _FIELDS}
    values["role"], values["may_become"] = AccessLevel(row.role), AccessLevel(row.may_become)
    return Account(**values)
