"""Commands that services add to the command line; each module holds those of one service."""

from typing import Final

import click

from ._bridge import bridge_group
from ._configurations import config_group
from ._database import db_group
from ._history import history_command
from ._history_import import history_import_command
from ._past import past_command
from ._projects import project_group
from ._runs import run_group
from ._site import site_group
from ._users import user_group

commands: Final[list[click.Command]] = [
    run_group,
    bridge_group,
    project_group,
    db_group,
    config_group,
    site_group,
    user_group,
    history_command,
    history_import_command,
    past_command,
]
