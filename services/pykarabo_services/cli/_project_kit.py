"""What the commands of `pykarabo project` share."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pykarabo.cli import common
from pykarabo.client import BlockingClient

if TYPE_CHECKING:
    from pykarabo_services.project.client import Projects
    from pykarabo_services.project.model import Item

_F = TypeVar("_F", bound=Callable[..., Any])
_store_option = click.option(
    "--store", metavar="DEVICE", help="The project store; default: the only one there is."
)
cached_option = click.option(
    "--cached", is_flag=True, help="The copy of when this user has loaded it last."
)
trash_option = click.option("--trash", is_flag=True, help="One that is in the trash.")


def options(function: _F) -> _F:
    """Add what every command has."""
    return _store_option(common(function))


def projects_of(client: BlockingClient, store: str | None) -> "Projects":
    """Return the projects of a store."""
    from pykarabo_services.project.client import Projects, project_store

    return Projects(project_store(client, store))


def shown_time(time_ns: int) -> str:
    """Return a time as people read it; nothing for never."""
    if not time_ns:
        return ""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def load(project: str, store: str | None, *, cached: bool, trash: bool) -> "Sequence[Item]":
    """Load a project, from the store or as it was loaded last."""
    if cached:
        from pykarabo_services.project.cache import ProjectCache

        kept = ProjectCache().load(project)
        tell_age(kept.loaded_ns)
        return kept.items
    with BlockingClient() as client:
        projects = projects_of(client, store)
        return projects.load(projects.resolve(project, trashed=trash))


def tell_age(loaded_ns: int) -> None:
    """Say on stderr that what is shown is not what is stored now."""
    click.echo(f"as it was loaded at {shown_time(loaded_ns)}", err=True)
