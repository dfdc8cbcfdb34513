"""The tables of projects."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, String, Table, Text

from pykarabo_services.kernel.database import StoreDeclaration, new_metadata

METADATA: Final = new_metadata()
ITEMS: Final = Table(
    "items",
    METADATA,
    Column("uuid", String(36), primary_key=True),
    Column("project", String(36), nullable=False, index=True),
    Column(
        "parent",
        String(36),
        # An item may be written before the one above it.
        ForeignKey("items.uuid", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=True,
        index=True,
    ),
    Column("kind", String(16), nullable=False),
    Column("name", String(256), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("text", Text, nullable=True),
    Column("size", Integer, nullable=False),
    Column("saved_ns", BigInteger, nullable=False),
    Column("saved_by", String(128), nullable=False),
)
"""Every item, the projects themselves too; `attributes` are JSON."""
PROJECTS: Final = Table(
    "projects",
    METADATA,
    Column(
        "uuid",
        String(36),
        ForeignKey("items.uuid", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        primary_key=True,
    ),
    Column("folder", String(256), nullable=False),
    Column("trashed", Boolean, nullable=False),
    Column("last_loaded_ns", BigInteger, nullable=False),
)
"""What only projects have."""
STORE: Final = StoreDeclaration(
    name="projects", metadata=METADATA, migrations="pykarabo_services.project.migrations"
)
