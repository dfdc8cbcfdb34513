"""A network namespace as another host, behind a link that can lose packets or be cut. Needs root.

The link is a pair of TUN devices with a program of ours between them: it works where the kernel
has no queueing discipline that loses packets.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_LINK_PROGRAM: Final = Path(__file__).with_name("lossy_link.py")
_TUN: Final = Path("/dev/net/tun")


def why_not() -> str | None:
    """Return why namespaces cannot be used here; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the program 'ip'"
    return None if _TUN.exists() else f"network namespaces need {_TUN}"


class Namespace:
    """Another host at `far`, which sees this one at `near`; use it as a context manager."""

    def __init__(self) -> None:
        self._name = f"pk{secrets.token_hex(4)}"
        block = f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
        self.near = f"{block}.1"
        self.far = f"{block}.2"
        self._link: subprocess.Popen[str]

    def __enter__(self) -> "Namespace":
        self.create()
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()

    def create(self) -> None:
        """Make the namespace and connect it."""
        _ip("netns", "add", self._name)
        near, far = f"{self._name}a", f"{self._name}b"
        self._link = subprocess.Popen(
            [sys.executable, str(_LINK_PROGRAM), near, far],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._heard()
        _ip("address", "add", self.near, "peer", self.far, "dev", near)
        _ip("link", "set", near, "up")
        _ip("link", "set", far, "netns", self._name)
        _ip("-n", self._name, "address", "add", self.far, "peer", self.near, "dev", far)
        _ip("-n", self._name, "link", "set", far, "up")
        _ip("-n", self._name, "link", "set", "lo", "up")

    def delete(self) -> None:
        """Remove the namespace with everything in it; its processes must have ended."""
        assert self._link.stdin is not None
        assert self._link.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._link.stdin.close()
        self._link.wait(10)
        self._link.stdout.close()
        _ip("netns", "delete", self._name)

    def lose(self, share: float) -> None:
        """Lose this share of the packets in each direction."""
        assert self._link.stdin is not None
        self._link.stdin.write(f"{share}\n")
        self._link.stdin.flush()
        self._heard()

    def cut(self) -> None:
        """Lose everything."""
        self.lose(1.0)

    def heal(self) -> None:
        """Lose nothing."""
        self.lose(0.0)

    def command(self) -> list[str]:
        """Return what to put before a command that is to run there."""
        return ["ip", "netns", "exec", self._name]

    def _heard(self) -> None:
        assert self._link.stdout is not None
        assert self._link.stdout.readline(), "the link's program has ended"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
