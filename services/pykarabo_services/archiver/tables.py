"""The tables of an archive, on SQLite and on PostgreSQL; `model` says what they mean."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from pykarabo_services.kernel.database import new_metadata

metadata: Final = new_metadata()
_LONGEST_KEY: Final = 512
_LONGEST_ID: Final = 128
# SQLite numbers rows only by a column of exactly this type.
_NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")

series: Final = Table(
    "archive_series",
    metadata,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("device_id", String(_LONGEST_ID), nullable=False),
    Column("key", String(_LONGEST_KEY), nullable=False),
    Column("value_type", String(32), nullable=False),
    UniqueConstraint("device_id", "key", "value_type"),
)

sample: Final = Table(
    "archive_sample",
    metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("time_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("step", SmallInteger, primary_key=True, autoincrement=False),
    Column("rest", Integer, nullable=False),
    Column("train_id", BigInteger, nullable=False),
    Column("quality", SmallInteger, nullable=False),
    Column("flags", SmallInteger, nullable=False),
    Column("int_value", BigInteger),
    Column("float_value", Double),
    Column("text_value", Text),
    Column("blob_value", LargeBinary),
    # One tree instead of two: what belongs together lies together, and half as much is written.
    sqlite_with_rowid=False,
)

chunk: Final = Table(
    "archive_chunk",
    metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("first_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("last_ns", BigInteger, nullable=False),
    Column("last_epoch", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("worst_quality", SmallInteger, nullable=False),
    # Of the finite ones among its numbers; NULL where there are none.
    Column("numbers", Integer, nullable=False),
    Column("minimum", Double),
    Column("min_ns", BigInteger),
    Column("maximum", Double),
    Column("max_ns", BigInteger),
    Column("total", Double),
    Column("m2", Double),
    Column("first_value", Double),
    Column("last_value", Double),
    sqlite_with_rowid=False,
)

chunk_data: Final = Table(
    "archive_chunk_data",
    metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("first_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

event: Final = Table(
    "archive_event",
    metadata,
    Column("device_id", String(_LONGEST_ID), primary_key=True),
    Column("time_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), primary_key=True),
    Column("key", String(_LONGEST_KEY), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("until_ns", BigInteger),
    Column("lost", BigInteger),
    Column("reason", Text, nullable=False),
    # JSON, or nothing.
    Column("details", Text, nullable=False),
)

schema: Final = Table(
    "archive_schema",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

described: Final = Table(
    "archive_described",
    metadata,
    Column("device_id", String(_LONGEST_ID), primary_key=True),
    Column("time_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
)

mark: Final = Table(
    "archive_mark",
    metadata,
    Column("device_id", String(_LONGEST_ID), primary_key=True),
    Column("instance", String(32), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
)

spool: Final = Table(
    "archive_spool",
    metadata,
    Column("spool_id", String(32), primary_key=True),
    Column("archiver", String(_LONGEST_ID), nullable=False),
    Column("record", BigInteger, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
)

about: Final = Table(
    "archive_about",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

Index(None, event.c.time_ns)
