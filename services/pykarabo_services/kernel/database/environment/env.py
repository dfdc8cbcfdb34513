"""Runs migrations on the connection, and in the transaction, of whoever has called Alembic."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    # SQLite changes a table by copying it.
    render_as_batch=True,
    compare_server_default=True,
)
context.run_migrations()
