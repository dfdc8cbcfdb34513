"""Names of 64 characters."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    with op.batch_alter_table("people") as people:
        people.alter_column("name", existing_type=sa.String(32), type_=sa.String(64))


def downgrade() -> None:
    """Go back to the revision before."""
    with op.batch_alter_table("people") as people:
        people.alter_column("name", existing_type=sa.String(64), type_=sa.String(32))
