"""The command line: `pykarabo`. Packages that add commands to it use what is exported here."""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._app import ROLES, common, report, run
from ._complete import complete_devices, complete_targets
from ._text import print_json, print_table, to_text

if TYPE_CHECKING:
    from ._finding import Finding
    from ._logging_in import accounts_service, ask_secret
    from ._roles import require_role
    from ._serving import set_up_log
    from ._storing import database_option, refuse_password

__all__ = [
    "ROLES",
    "Finding",
    "accounts_service",
    "ask_secret",
    "common",
    "complete_devices",
    "complete_targets",
    "database_option",
    "print_json",
    "print_table",
    "refuse_password",
    "report",
    "require_role",
    "run",
    "set_up_log",
    "to_text",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            "Finding": "_finding",
            "require_role": "_roles",
            "set_up_log": "_serving",
            **dict.fromkeys(("accounts_service", "ask_secret"), "_logging_in"),
            **dict.fromkeys(("database_option", "refuse_password"), "_storing"),
        },
    )
