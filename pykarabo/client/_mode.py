"""Whether a domain may be changed: an administrator can forbid it to everybody else."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

MODE_KEY: Final = "domain_mode"
"""The property of the directory that shows it."""


class DomainMode(NamedTuple):
    """What an administrator has said last.

    Attributes:
        read_only: whether only administrators may write and run commands that change something.
        by: who has said so.
        reason: why.
        changed_ns: when, in ns since 1970 UTC; of two modes the later one holds.
    """

    read_only: bool = False
    by: str = ""
    reason: str = ""
    changed_ns: int = 0

    @classmethod
    def from_wire(cls, wire: Any) -> "DomainMode":
        """Rebuild a mode; whatever is none is the one before anybody has said anything."""
        match wire:
            case {
                "read_only": bool() as read_only,
                "by": str() as by,
                "reason": str() as reason,
                "changed_ns": int() as changed_ns,
            }:
                return cls(read_only, by, reason, changed_ns)
            case _:
                return cls()

    def to_wire(self) -> Mapping[str, Any]:
        """Return it as a plain map."""
        return self._asdict()

    def __str__(self) -> str:
        if not self.read_only:
            return "may be changed"
        since = f"{datetime.fromtimestamp(self.changed_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S UTC}"
        reason = f": {self.reason}" if self.reason else ""
        return f"is read-only since {since} by {self.by}{reason}"


SET_MODE_COMMAND: Final = "set_domain_mode"
MODE_COMMAND: Final = "mode"
REMIND_COMMAND: Final = "remind_mode"
"""Commands of the directory: for an administrator, for everybody, and for servers."""
WRITABLE: Final = DomainMode()
