"""`pykarabo db`: look after the databases of the services."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pykarabo.cli import (
    Finding,
    common,
    database_option,
    print_json,
    print_table,
    refuse_password,
    require_role,
)
from pykarabo.data import AccessLevel
from pykarabo.errors import BadConfigurationError, DatabaseError, PykaraboError

if TYPE_CHECKING:
    from pykarabo_services.kernel.database import Place, StoreDeclaration, StoreStatus

_F = TypeVar("_F", bound=Callable[..., Any])
_MEBIBYTE: Final = 1 << 20
_PROGRESS_S: Final = 5.0
_SLOW_S: Final = 0.5
"""A database that is well answers in milliseconds."""


_stores_argument = click.argument("stores", metavar="[STORE]...", nargs=-1)


def _options(function: _F) -> _F:
    return database_option(common(function))


def _chosen(names: Sequence[str]) -> "list[StoreDeclaration]":
    from pykarabo_services.kernel.database import declared_store, declared_stores

    return [declared_store(name) for name in names] or list(declared_stores().values())


def _place(store: "StoreDeclaration", url: str | None = None) -> "Place":
    from pykarabo_services.kernel.database import place_of

    return place_of(store.name, url=url)


@click.group("db")
def db_group() -> None:
    """Look after the databases of configurations, projects and histories."""
    if not _has_libraries():
        raise BadConfigurationError(
            "the libraries for databases are not installed",
            remedy="pip install 'pykarabo[services]'",
        )


def _has_libraries() -> bool:
    return all(find_spec(name) is not None for name in ("sqlalchemy", "alembic", "psycopg"))


@db_group.command("status")
@_stores_argument
@_options
def status_command(stores: tuple[str, ...], *, as_json: bool) -> int:
    """Show where the stores are and whether they can be used; ends with 7 if one cannot."""
    from pykarabo_services.kernel.database import look_at

    found = [look_at(store, _place(store)) for store in _chosen(stores)]
    if as_json:
        print_json([_as_json(status) for status in found])
    else:
        print_table(("store", "state", "revision", "size", "writer", "place"), map(_row, found))
        for error in {str(status.error): None for status in found if status.error is not None}:
            click.echo(f"error: {error}", err=True)
    return DatabaseError.exit_code if any(_problem(status) for status in found) else 0


def _problem(status: "StoreStatus") -> str:
    if status.error is not None:
        return str(status.error)
    revision = status.revision
    if not status.exists or revision is None or revision.kind == "current":
        return ""
    return f"{revision.kind} revision {revision.current}"


def _row(status: "StoreStatus") -> tuple[str, ...]:
    revision = status.revision
    state = _problem(status) or ("ok" if status.exists else "not made yet")
    if status.error is not None:
        state = "cannot be used"
    return (
        status.store,
        state,
        "" if revision is None else revision.current or "",
        f"{status.size_bytes / _MEBIBYTE:.1f} MiB" if status.size_bytes else "",
        "" if status.writer is None else str(status.writer),
        status.place,
    )


def _as_json(status: "StoreStatus") -> dict[str, Any]:
    revision = status.revision
    return {
        "store": status.store,
        "place": status.place,
        "exists": status.exists,
        "revision": None if revision is None else revision.current,
        "newest": None if revision is None else revision.newest,
        "kind": None if revision is None else str(revision.kind),
        "size_bytes": status.size_bytes,
        "writer": status.writer,
        "answer_s": status.answer_s,
        "error": None if status.error is None else status.error.to_wire(),
    }


@db_group.command("upgrade")
@_stores_argument
@click.option("--no-backup", is_flag=True, help="Do not copy a SQLite file before.")
@_options
def upgrade_command(stores: tuple[str, ...], *, no_backup: bool, as_json: bool) -> None:
    """Bring the tables of stopped services to the newest revision; of all by default.

    A SQLite file is copied before, to FILE.before-REVISION.
    """
    from pykarabo_services.kernel.database import look_at, migrate, writer_of

    require_role(AccessLevel.ADMINISTRATOR, "changing tables")
    done: list[dict[str, Any]] = []
    for store in _chosen(stores):
        place = _place(store)
        status = look_at(store, place)
        if status.error is not None:
            raise status.error
        if not stores and not status.exists:
            continue
        with writer_of(place):
            copied = None if no_backup else _copy_before(store, place, status)
            before = migrate(store, place)
        done.append(
            {"store": store.name, "from": before.current, "to": before.newest, "backup": copied}
        )
    _tell_upgrades(done, as_json=as_json)


def _copy_before(store: "StoreDeclaration", place: "Place", status: "StoreStatus") -> str | None:
    from pykarabo_services.kernel.database import back_up

    revision = status.revision
    if place.path is None or revision is None or revision.kind != "old":
        return None
    file = place.path.with_name(f"{place.path.name}.before-{revision.newest}")
    back_up(store, place, file, replace=True)
    return str(file)


def _tell_upgrades(done: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    for item in done:
        if item["from"] == item["to"]:
            click.echo(f"{item['store']} has the newest revision {item['to']} already")
        else:
            click.echo(f"{item['store']}: {item['from'] or 'nothing'} -> {item['to']}")
        if item["backup"]:
            click.echo(f"  what it was before is in {item['backup']}")
    if not done:
        click.echo("there is no store yet: services make theirs when they start")


@db_group.command("downgrade")
@click.argument("store")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_options
def downgrade_command(store: str, revision: str, *, yes: bool, as_json: bool) -> None:
    """Bring a store's tables back to an older REVISION, for an older pykarabo.

    What only the newer tables can hold is lost.
    """
    from pykarabo_services.kernel.database import migrate, writer_of

    require_role(AccessLevel.ADMINISTRATOR, "changing tables")
    [declared] = _chosen([store])
    place = _place(declared)
    if not yes:
        click.confirm(f"Lose what revision {revision} of {place} cannot hold?", abort=True)
    with writer_of(place):
        before = migrate(declared, place, revision=revision)
    if as_json:
        print_json({"store": store, "from": before.current, "to": revision})
    else:
        click.echo(f"{store}: {before.current} -> {revision}")


@db_group.command("backup")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_stores_argument
@click.option("--force", is_flag=True, help="Replace backups that are there.")
@_options
def backup_command(folder: Path, stores: tuple[str, ...], *, force: bool, as_json: bool) -> None:
    """Copy stores into FOLDER, each as a SQLite file STORE.db, while the services run.

    Without names it copies all stores that there are.
    """
    from pykarabo_services.kernel.database import back_up, look_at

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    for store in _chosen(stores):
        place = _place(store)
        if not stores and not look_at(store, place).exists:
            continue
        file = folder / f"{store.name}.db"
        size = back_up(store, place, file, replace=force)
        done.append({"store": store.name, "file": str(file), "size_bytes": size})
        if not as_json:
            click.echo(f"{store.name}: {size / _MEBIBYTE:.1f} MiB in {file}")
    if as_json:
        print_json(done)
    elif not done:
        click.echo("there is no store yet")


@db_group.command("restore")
@click.argument("store")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do not ask.")
@_options
def restore_command(store: str, file: Path, *, yes: bool, as_json: bool) -> None:
    """Make a stopped store what it was when FILE was written by `pykarabo db backup`."""
    from pykarabo_services.kernel.database import restore

    require_role(AccessLevel.ADMINISTRATOR, "restoring a backup")
    [declared] = _chosen([store])
    place = _place(declared)
    if not yes:
        click.confirm(f"Replace what is in {place}?", abort=True)
    restore(declared, place, file)
    if as_json:
        print_json({"store": store, "place": str(place), "file": str(file)})
    else:
        click.echo(f"{store} is what it was in {file}")


@db_group.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@_stores_argument
@common
def copy_command(source: str, destination: str, stores: tuple[str, ...], *, as_json: bool) -> None:
    """Copy stopped stores from one database URL to another, of any kind; all by default.

    The destination must be empty. FROM and TO are postgresql://USER@HOST/DATABASE, or
    sqlite:////FOLDER.
    """
    from pykarabo_services.kernel.database import copy_store, look_at

    require_role(AccessLevel.ADMINISTRATOR, "copying databases")
    refuse_password(source)
    refuse_password(destination)
    done: list[dict[str, Any]] = []
    for store in _chosen(stores):
        origin = _place(store, source)
        if not stores and not look_at(store, origin).exists:
            continue
        rows = copy_store(store, origin, _place(store, destination))
        done.append({"store": store.name, "rows": rows})
        if not as_json:
            click.echo(f"{store.name}: {sum(rows.values())} rows in {len(rows)} tables")
    if as_json:
        print_json(done)
    elif not done:
        click.echo(f"there is no store in {source}")


@db_group.command("vacuum")
@_stores_argument
@_options
def vacuum_command(stores: tuple[str, ...], *, as_json: bool) -> None:
    """Give back the space of what was removed; the services of SQLite files are stopped for it."""
    from pykarabo_services.kernel.database import look_at, vacuum

    done: list[dict[str, Any]] = []
    for store in _chosen(stores):
        place = _place(store)
        before = look_at(store, place)
        if not stores and not before.exists:
            continue
        vacuum(place)
        after = look_at(store, place).size_bytes
        done.append({"store": store.name, "before_bytes": before.size_bytes, "after_bytes": after})
        if not as_json:
            sizes = (f"{size / _MEBIBYTE:.1f} MiB" for size in (before.size_bytes, after))
            click.echo(f"{store.name}: {' -> '.join(sizes)}")
    if as_json:
        print_json(done)


@db_group.command("check")
@_stores_argument
@_options
def check_command(stores: tuple[str, ...], *, as_json: bool) -> int:
    """Look for damage: files, tables, references and chunks of histories; ends with 7 if found."""
    from pykarabo_services.kernel.database import check, look_at

    problems: dict[str, list[str]] = {}
    for store in _chosen(stores):
        place = _place(store)
        if stores or look_at(store, place).exists or look_at(store, place).error is not None:
            try:
                problems[store.name] = check(store, place, on_progress=_Progress(store.name))
            except DatabaseError as error:
                problems[store.name] = [str(error)]
    if as_json:
        print_json(problems)
    else:
        for name, found in problems.items():
            for line in found or ["ok"]:
                click.echo(f"{name}: {line}")
    return DatabaseError.exit_code if any(problems.values()) else 0


class _Progress:
    """Tells every few seconds how far a check has come."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_S:
            self._told_at = now
            click.echo(f"{self._name}: {done} of {total} chunks are checked", err=True)


def check_stores() -> Iterator[Finding]:
    """Look for `pykarabo doctor` at the stores that there are."""
    if not _has_libraries():
        return  # where no service can run there is no store
    from pykarabo_services.kernel.database import look_at

    try:
        found = [look_at(store, _place(store)) for store in _chosen(())]
    except PykaraboError as error:
        yield Finding("databases", good=False, result=error.message, remedy=error.remedy or "")
        return
    for status in found:
        if status.exists:
            yield _finding(status)


def _refusal(status: "StoreStatus") -> PykaraboError | None:
    """Return what a service would say that needs this store; None if it would work."""
    from pykarabo_services.kernel.database import declared_store, require_newest

    if status.revision is None:
        return None
    store = declared_store(status.store)
    try:
        require_newest(status.revision, store, _place(store))
    except DatabaseError as error:
        return error
    return None


def _finding(status: "StoreStatus") -> Finding:
    finding = Finding(f"store {status.store}", good=False, result=status.place)
    if status.error is not None:
        return replace(finding, result=status.error.message, remedy=status.error.remedy or "")
    refusal = _refusal(status)
    if refusal is not None:
        return replace(finding, result=refusal.message, remedy=refusal.remedy or "")
    size = f"{status.size_bytes / _MEBIBYTE:.1f} MiB"
    result = f"{status.place}: {size}, answers after {status.answer_s * 1e3:.1f} ms"
    if status.answer_s > _SLOW_S:
        return replace(finding, result=result, remedy="see what its disk or its server does")
    return replace(finding, good=True, result=result)
