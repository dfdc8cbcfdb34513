"""What a replica must not forget: the fencing numbers it gave, and whom it gave them to.

Whether the domain may be changed is kept here, too.

Everything else is told again by the servers. A number that was given twice would let two servers
believe that they are alone, so the largest is on the disk before the first is given; numbers are
reserved in blocks, which makes that one write in a thousand grants.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pykarabo.client import WRITABLE, DomainMode
from pykarabo.errors import BadConfigurationError

BLOCK: Final = 1_000
"""Numbers reserved at a time."""
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Ledger:
    """The durable part of a replica.

    Attributes:
        fence: no number above this one was given.
        servers: endpoint of every server that may hold a device id, by its instance.
        mode: what an administrator has said last of who may change the domain.
    """

    fence: int = 0
    servers: dict[str, str] = field(default_factory=dict[str, str])
    mode: DomainMode = WRITABLE


def load(path: Path | None) -> Ledger:
    """Read a ledger; one that was never written is empty.

    Raises:
        BadConfigurationError: it cannot be read; a replica that guesses could give a number twice.
    """
    if path is None:
        return Ledger()
    try:
        content = json.loads(path.read_text())
        fence, servers = int(content["fence"]), dict(content["servers"])
        return Ledger(fence, servers, DomainMode.from_wire(content.get("mode")))
    except FileNotFoundError:
        return Ledger()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfigurationError(
            f"the directory's ledger {path} cannot be read: {error}",
            remedy="stop every server of the domain, then remove it",
        ) from None


def save(ledger: Ledger, path: Path | None) -> None:
    """Write a ledger; when this returns it survives a power cut."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(handle, "w") as file:
        content = {"fence": ledger.fence, "servers": ledger.servers}
        json.dump(content | {"mode": ledger.mode.to_wire()}, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
