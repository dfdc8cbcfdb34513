"""Accounts, and logins that have ended."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "account",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("may_become", sa.Integer, nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("password", sa.String(256), nullable=False),
        sa.Column("disabled", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("gateway", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("logged_in_s", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_account"),
    )
    op.create_table(
        "ended",
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("ended_s", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name="pk_ended"),
    )


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_table("ended")
    op.drop_table("account")
