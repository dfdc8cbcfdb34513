"""TCP ports that a server finds free again when it is restarted."""

import contextlib
import random
import socket
from pathlib import Path
from typing import Final

from .proxy import PROXY_HOST, SERVER_HOST

_GIVEN: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 10_000


def free_ports(count: int, *, following: int = 0) -> list[int]:
    """Return TCP ports that are free where servers listen and where the proxies do.

    They are none of those that the system gives away: a server that was killed needs its own again.

    Args:
        following: so many ports that follow each of them are free as well.
    """
    first_given = int(_GIVEN.read_text().split()[0])
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            port = random.randrange(_LOWEST, first_given - following)
            with contextlib.suppress(OSError):
                for number in range(port, port + 1 + following):
                    near, far = (stack.enter_context(socket.socket()) for _ in range(2))
                    near.bind((SERVER_HOST, number))
                    far.bind((PROXY_HOST, number))
                ports.append(port)
    return ports
