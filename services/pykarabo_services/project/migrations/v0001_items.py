"""Items and projects."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "items",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("parent", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("saved_ns", sa.BigInteger(), nullable=False),
        sa.Column("saved_by", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent"],
            ["items.uuid"],
            name=op.f("fk_items_parent"),
            ondelete="CASCADE",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_items")),
    )
    with op.batch_alter_table("items") as items:
        items.create_index(items.f("ix_items_name"), ["name"], unique=False)
        items.create_index(items.f("ix_items_parent"), ["parent"], unique=False)
        items.create_index(items.f("ix_items_project"), ["project"], unique=False)

    op.create_table(
        "projects",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("folder", sa.String(length=256), nullable=False),
        sa.Column("trashed", sa.Boolean(), nullable=False),
        sa.Column("last_loaded_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["uuid"],
            ["items.uuid"],
            name=op.f("fk_projects_uuid"),
            ondelete="CASCADE",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_projects")),
    )


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_table("projects")
    with op.batch_alter_table("items") as items:
        items.drop_index(items.f("ix_items_project"))
        items.drop_index(items.f("ix_items_parent"))
        items.drop_index(items.f("ix_items_name"))

    op.drop_table("items")
