"""What Alembic runs for the migrations of every store; nothing else imports it."""
