"""The option that says where the services' databases are."""

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from pykarabo.errors import BadConfigurationError

_F = TypeVar("_F", bound=Callable[..., Any])
DATABASE_VARIABLE: Final = "PYKARABO_DATABASE_URL"


def refuse_password(url: str) -> None:
    """Keep passwords out of the command line, which every user of the host can read.

    Raises:
        BadConfigurationError: the URL has one.
    """
    try:
        has_password = urlsplit(url).password is not None
    except ValueError:
        return  # whoever opens the database tells
    if has_password:
        raise BadConfigurationError(
            "a password on the command line can be read by all users of this host",
            remedy="put it into ~/.pgpass, or the URL into the file database.url",
        )


def _take_database(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        refuse_password(value)
        os.environ[DATABASE_VARIABLE] = value


def database_option(function: _F) -> _F:
    """Give a command the option --database; what it says is in the environment from then on."""
    return click.option(
        "--database",
        metavar="URL",
        expose_value=False,
        callback=_take_database,
        help="Where the databases of services are; default: $PYKARABO_DATABASE_URL, the file "
        "database.url, or files of the domain.",
    )(function)
