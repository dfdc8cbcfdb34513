"""The command line: `pykarabo`. Packages that add commands to it use what is exported here."""

from ._app import common, report, run
from ._complete import complete_devices, complete_targets
from ._roles import require_role
from ._text import print_json, print_table, to_text

__all__ = [
    "common",
    "complete_devices",
    "complete_targets",
    "print_json",
    "print_table",
    "report",
    "require_role",
    "run",
    "to_text",
]
