"""What docs/how-to/site.md says is what happens, between two hosts. Needs root.

Each host is a network namespace with a name and folders of its own. The commands are those of the
page, in their order; only the address, and what `site invite` prints, are put in their places.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.harness.namespace import Namespace, why_not

_PAGE: Final = Path(__file__).resolve().parents[3] / "docs/how-to/site.md"
_BLOCK: Final = re.compile(r"```bash\n(.*?)```", re.DOTALL)
_TOLD_S: Final = 2.0
_STARTS: Final = 3
"""A busy host needs up to so many times as long to start a program as it needed just before."""

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]


class Host:
    """A host of the site: commands are typed there."""

    def __init__(self, name: str, prefix: list[str], runtime: Path, folder: Path) -> None:
        self.name = name
        runtime.mkdir(mode=0o700)
        kinds = ("CONFIG", "DATA", "STATE", "CACHE")
        self.folders = {kind: folder / name / kind.lower() for kind in kinds}
        self._prefix = prefix
        self._environment = {
            **os.environ,
            **{f"XDG_{kind}_HOME": str(path) for kind, path in self.folders.items()},
            "XDG_RUNTIME_DIR": str(runtime),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.said: list[str] = []

    def type(self, line: str, *, ahead_s: float = 0.0) -> "subprocess.CompletedProcess[str]":
        """Type a command, with a clock that may be wrong."""
        if ahead_s:
            program = (
                "import sys, time; true = time.time; time.time = lambda: true() + "
                f"{ahead_s}; from pykarabo.cli import run; run(sys.argv[1:])"
            )
            line = line.replace("pykarabo ", f'{sys.executable} -c "{program}" ', 1)
        named = ["unshare", "--uts", "sh", "-c", f"hostname {self.name}; {line}"]
        done = subprocess.run(
            [*self._prefix, *named],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.said.append(done.stdout + done.stderr)
        return done

    def must(self, line: str) -> str:
        """Type a command that does well."""
        done = self.type(line)
        assert done.returncode == 0, (line, self.said)
        return done.stdout

    def is_refused(self, line: str, message: str, *, ahead_s: float = 0.0) -> None:
        """Type a command that fails soon, with a message of the page."""
        begun = time.monotonic()
        self.type("pykarabo site invite --help", ahead_s=ahead_s)  # which imports the same
        started = time.monotonic()
        done = self.type(line, ahead_s=ahead_s)
        seconds = time.monotonic() - started
        assert done.returncode != 0, self.said
        assert re.search(message, done.stderr), (message, done.stderr)
        assert " - " in done.stderr, f"no remedy: {done.stderr}"
        assert seconds < _TOLD_S + _STARTS * (started - begun), (line, seconds)


class Pair:
    """The two hosts, and what the page has them type."""

    def __init__(self, near: str, first: Host, second: Host) -> None:
        self.first, self.second = first, second
        page = _PAGE.read_text("utf-8").replace("192.0.2.10", near)
        self.on_first, self.on_second, *_others = (
            block.strip().splitlines() for block in _BLOCK.findall(page)
        )

    def form(self) -> None:
        """Form a site as the page says."""
        for line in self.on_first:
            self.first.must(line)
        self.second.must(self.joining())
        for line in self.on_second[1:]:
            self.second.must(line)

    def joining(self) -> str:
        """Return the command that was printed last for who joins."""
        found: list[str] = re.findall(r"pykarabo site join .*", self.first.said[-1])
        return found[-1]

    def invite(self, more: str = "") -> str:
        """Invite once more; returns the command for who joins."""
        self.first.must(f"pykarabo site invite --role server {more}")
        return self.joining()


@pytest.fixture
def pair(short_runtime: Path, tmp_path: Path) -> Iterator[Pair]:
    with Namespace() as namespace:
        first = Host("ctrl1", [], short_runtime / "1", tmp_path)
        second = Host("ctrl2", namespace.command(), short_runtime / "2", tmp_path)
        try:
            yield Pair(namespace.near, first, second)
        finally:
            for host in (second, first):
                host.type("pykarabo down")


def test_two_hosts_form_a_site_with_three_commands_on_each(pair: Pair) -> None:
    assert [len(pair.on_first), len(pair.on_second)] == [3, 3]
    assert pair.on_second[0].startswith("pykarabo site join ")
    pair.form()
    for host in (pair.first, pair.second):
        told = host.must("pykarabo status")
        assert "CTRL1/MAIN" in told
        assert "CTRL2/MAIN" in told
    assert pair.first.must("pykarabo get HOST/MONITOR/CTRL2.state").strip() == "MONITORING"
    assert pair.second.must("pykarabo get HOST/MONITOR/1.state").strip() == "MONITORING"
    assert "@ctrl2" in pair.first.must("pykarabo site keys")


def test_X2_what_keeps_a_host_from_joining_names_cause_and_remedy(pair: Pair) -> None:
    for line in pair.on_first[:2]:
        pair.first.must(line)
    expired = pair.invite("--ttl 1s")
    time.sleep(1.1)  # the invitation's own time
    pair.second.is_refused(expired, r"this invitation has expired: it was valid until .* UTC - ask")
    good = pair.invite()
    for ahead_s, how in ((86_400, "1 d 0 h ahead of"), (-86_400, "1 d 0 h behind")):
        pair.second.is_refused(
            good,
            rf"the clock of host 'ctrl2' is {how} the site's.* - set the clock",
            ahead_s=ahead_s,
        )
    other = re.sub(r"#[0-9a-f]{8}", "#00000000", good)
    pair.second.is_refused(
        other, "does not have the key of the site that you were told.* - ask the"
    )
    pair.second.must(good)
    pair.second.must("pykarabo status")
    done = pair.second.type("pykarabo status", ahead_s=86_400)
    assert done.returncode != 0
    assert "the clock of this host is 1 d 0 h ahead of the site's" in done.stderr


def test_X2_a_host_that_was_shut_out_is_told_so_and_can_come_back(pair: Pair) -> None:
    pair.form()
    pair.first.must("pykarabo site revoke ctrl2")
    pair.second.is_refused(
        "pykarabo status", r"the grant of '.*@ctrl2' was revoked at .* - ask the"
    )
    pair.second.must(pair.invite())
    pair.second.must("pykarabo status")
