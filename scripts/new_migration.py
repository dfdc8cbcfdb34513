"""Write the next revision of a store's tables from the difference to its metadata.

    python scripts/new_migration.py STORE WORDS...

The new module lies in the store's migrations and is to be read before it is committed: what was
renamed looks like one thing gone and another one come.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command

from pykarabo_services.kernel.database import (
    Place,
    StoreDeclaration,
    alembic_config,
    declared_store,
    make_engine,
    migrate,
    revisions,
)


def main(store_name: str, *words: str) -> None:
    """Write a revision called by `words`."""
    store = declared_store(store_name)
    number = f"v{len(revisions(store)) + 1:04d}"
    name = re.sub(r"\W+", "_", " ".join(words).lower())
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder) / "before.db")
        (Path(folder) / "before.db").touch()
        if revisions(store):
            migrate(store, place)
        write(store, place, number, name, " ".join(words))
    path = store.migrations_folder() / f"{number}_{name}.py"
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(path)], check=True)
    print(path)


def write(store: StoreDeclaration, place: Place, number: str, name: str, message: str) -> None:
    """Write the module that leads from the tables in a database to those of the metadata."""
    config = alembic_config(store)
    config.attributes["metadata"] = store.metadata
    config.set_main_option("file_template", f"{number}_{name}")
    folder = str(store.migrations_folder())
    with make_engine(place).connect() as connection:
        config.attributes["connection"] = connection
        command.revision(config, message, autogenerate=True, rev_id=number, version_path=folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
