"""A small store to test the kernel with: people and their notes."""

from sqlalchemy import Column, ForeignKey, Integer, String, Table

from pykarabo_services.kernel.database import StoreDeclaration, new_metadata

METADATA = new_metadata()
PEOPLE = Table(
    "people",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
)
NOTES = Table(
    "notes",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("author", ForeignKey("people.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("text", String(4096), nullable=False),
)
STORE = StoreDeclaration(name="notes", metadata=METADATA, migrations=f"{__name__}.migrations")
RELAXED = StoreDeclaration(
    name="notes", metadata=METADATA, migrations=f"{__name__}.migrations", synchronous=False
)
