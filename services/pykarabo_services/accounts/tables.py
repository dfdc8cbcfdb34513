"""The tables of the accounts."""

from typing import Final

from sqlalchemy import Boolean, Column, Float, Integer, String, Table

from pykarabo_services.kernel.database import StoreDeclaration, new_metadata

METADATA: Final = new_metadata()
ACCOUNT: Final = Table(
    "account",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("role", Integer, nullable=False),
    Column("may_become", Integer, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("password", String(256), nullable=False),
    Column("disabled", Boolean(create_constraint=False), nullable=False),
    Column("gateway", Boolean(create_constraint=False), nullable=False),
    Column("logged_in_s", Float(53), nullable=False),
)
ENDED: Final = Table(
    "ended",
    METADATA,
    Column("kind", String(8), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("ended_s", Float(53), nullable=False),
)
STORE: Final = StoreDeclaration(
    name="accounts",
    metadata=METADATA,
    migrations="pykarabo_services.accounts.migrations",
)
