"""Samples, chunks and events."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "archive_about",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_archive_about")),
    )
    op.create_table(
        "archive_chunk",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_epoch", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("worst_quality", sa.SmallInteger(), nullable=False),
        sa.Column("numbers", sa.Integer(), nullable=False),
        sa.Column("minimum", sa.Double(), nullable=True),
        sa.Column("min_ns", sa.BigInteger(), nullable=True),
        sa.Column("maximum", sa.Double(), nullable=True),
        sa.Column("max_ns", sa.BigInteger(), nullable=True),
        sa.Column("total", sa.Double(), nullable=True),
        sa.Column("m2", sa.Double(), nullable=True),
        sa.Column("first_value", sa.Double(), nullable=True),
        sa.Column("last_value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "first_ns", name=op.f("pk_archive_chunk")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "archive_chunk_data",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "first_ns", name=op.f("pk_archive_chunk_data")),
    )
    op.create_table(
        "archive_described",
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "time_ns", "epoch", name=op.f("pk_archive_described")),
    )
    op.create_table(
        "archive_event",
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until_ns", sa.BigInteger(), nullable=True),
        sa.Column("lost", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "device_id", "time_ns", "kind", "key", "epoch", name=op.f("pk_archive_event")
        ),
    )
    op.create_index(op.f("ix_archive_event_time_ns"), "archive_event", ["time_ns"], unique=False)
    op.create_table(
        "archive_mark",
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("instance", sa.String(length=32), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_archive_mark")),
    )
    op.create_table(
        "archive_sample",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("rest", sa.Integer(), nullable=False),
        sa.Column("train_id", sa.BigInteger(), nullable=False),
        sa.Column("quality", sa.SmallInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("int_value", sa.BigInteger(), nullable=True),
        sa.Column("float_value", sa.Double(), nullable=True),
        sa.Column("text_value", sa.Text(), nullable=True),
        sa.Column("blob_value", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint(
            "series_id", "time_ns", "epoch", "seq", "step", name=op.f("pk_archive_sample")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "archive_schema",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_archive_schema")),
    )
    op.create_table(
        "archive_series",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("device_id", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("value_type", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archive_series")),
        sa.UniqueConstraint(
            "device_id",
            "key",
            "value_type",
            name=op.f("uq_archive_series_device_id_key_value_type"),
        ),
    )
    op.create_table(
        "archive_spool",
        sa.Column("spool_id", sa.String(length=32), nullable=False),
        sa.Column("archiver", sa.String(length=128), nullable=False),
        sa.Column("record", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("spool_id", name=op.f("pk_archive_spool")),
    )


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_table("archive_spool")
    op.drop_table("archive_series")
    op.drop_table("archive_schema")
    op.drop_table("archive_sample")
    op.drop_table("archive_mark")
    op.drop_index(op.f("ix_archive_event_time_ns"), table_name="archive_event")
    op.drop_table("archive_event")
    op.drop_table("archive_described")
    op.drop_table("archive_chunk_data")
    op.drop_table("archive_chunk")
    op.drop_table("archive_about")
