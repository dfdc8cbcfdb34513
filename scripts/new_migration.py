"""Write the next revision of a store's tables from the difference to its metadata.

    python scripts/new_migration.py STORE WORDS...

The new module lies in the store's migrations and is to be read before it is committed: what was
renamed looks like one thing gone and another one come.
"""

import re
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import Connection

from pykarabo_services.kernel.database import Place, declared_store, make_engine, migrate, revisions
from pykarabo_services.kernel.database import alembic_config as config_of


def main(store_name: str, *words: str) -> None:
    """Write a revision called by `words`."""
    store = declared_store(store_name)
    number = f"v{len(revisions(store)) + 1:04d}"
    name = re.sub(r"\W+", "_", " ".join(words).lower())
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "before.db")
        migrate(store, place)
        with make_engine(place).connect() as connection:
            path = _write(connection, store_name, number, name, " ".join(words))
    print(path)


def _write(connection: Connection, store_name: str, number: str, name: str, message: str) -> str:
    config = config_of(declared_store(store_name))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = declared_store(store_name).metadata
    config.set_main_option("file_template", f"{number}_{name}")
    written = command.revision(
        config, message, autogenerate=True, rev_id=number,
        version_path=config.get_main_option("version_locations"),
    )  # fmt: skip
    return "" if written is None or isinstance(written, list) else str(written.path)


if __name__ == "__main__":
    main(*sys.argv[1:])
