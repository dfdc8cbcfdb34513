"""The names of configurations, their priorities and comments."""

import re
from typing import Final

from pykarabo.errors import InvalidNameError, OutOfRangeError

NAME_PATTERN: Final = "[A-Za-z0-9_-]{1,30}"
RESERVED_NAME: Final = "default"
"""Whoever reads it would take it for what a device has without any configuration."""
MOST_PRIORITY: Final = 9
MAX_COMMENT: Final = 4_000
_NAME: Final = re.compile(NAME_PATTERN)


def check_configuration_name(name: str) -> str:
    """Return `name` if a configuration can have it; raises `InvalidNameError`."""
    if not _NAME.fullmatch(name) or name == RESERVED_NAME:
        raise InvalidNameError(
            f"'{name}' is no name for a configuration",
            remedy="use up to 30 letters, digits, '_' and '-', and not 'default'",
        )
    return name


def check_priority(priority: int) -> int:
    """Return `priority` if a configuration can have it; raises `OutOfRangeError`."""
    if not 0 <= priority <= MOST_PRIORITY:
        raise OutOfRangeError(
            f"a configuration cannot have the priority {priority}",
            remedy=f"give 0 to {MOST_PRIORITY}; the highest is listed first",
        )
    return priority


def check_comment(comment: str) -> str:
    """Return `comment` if it can be kept with a configuration; raises `OutOfRangeError`."""
    if len(comment) > MAX_COMMENT or "\0" in comment:
        raise OutOfRangeError(
            f"a comment of {len(comment)} characters cannot be kept",
            remedy=f"give {MAX_COMMENT} at most, without NUL",
        )
    return comment
