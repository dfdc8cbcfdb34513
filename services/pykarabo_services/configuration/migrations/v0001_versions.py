"""Versions of configurations."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go to this revision."""
    for name in ("configuration_schema", "configuration_content"):
        op.create_table(
            name,
            sa.Column("digest", sa.String(64), nullable=False),
            sa.Column("text", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("digest", name=f"pk_{name}"),
        )
    op.create_table(
        "configuration_version",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("device_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(30), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.Column("user", sa.String(128), nullable=False),
        sa.Column("class_id", sa.String(128), nullable=False),
        sa.Column("server_id", sa.String(260), nullable=False),
        sa.Column("own_process", sa.Boolean, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("schema_digest", sa.String(64), nullable=False),
        sa.Column("content_digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_configuration_version"),
        sa.UniqueConstraint(
            "device_id", "name", "number", name="uq_configuration_version_device_id_name_number"
        ),
        sa.ForeignKeyConstraint(
            ["schema_digest"],
            ["configuration_schema.digest"],
            name="fk_configuration_version_schema_digest",
        ),
        sa.ForeignKeyConstraint(
            ["content_digest"],
            ["configuration_content.digest"],
            name="fk_configuration_version_content_digest",
        ),
    )
    op.create_index(
        "ix_configuration_version_device_id_time_ns",
        "configuration_version",
        ["device_id", "time_ns"],
    )


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_table("configuration_version")
    op.drop_table("configuration_content")
    op.drop_table("configuration_schema")
